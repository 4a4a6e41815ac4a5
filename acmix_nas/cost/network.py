"""`Network`: what is to be profiled, ours or timm's, in plain values from which another process can build it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Self

from torch import nn

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import UsageError
from acmix_nas.sizes import Pair, Size, pair


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseHead:
    """A head that scores every pixel.

    Attributes:
        name: A file of `acmix_nas.heads`, or the dotted path of a module of the user's own.
        num_classes: Classes.
    """

    name: str
    num_classes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network by description.

    Attributes:
        name: timm name, or the name that a table shows.
        arch: Its description; None for a model that is timm's own.
        head: The dense head on its maps; None for its own classifier.
    """

    name: str
    arch: Arch | None = None
    head: DenseHead | None = None

    @property
    def impl(self) -> str | None:
        """Implementation of shift-and-sum, "mixed" if blocks differ, None if there is no convolution path."""
        impls = {mixer.conv_impl for mixer in self.arch.mixers if mixer.convolves} if self.arch else set()
        return None if not impls else impls.pop() if len(impls) == 1 else "mixed"

    @property
    def label(self) -> str:
        """Its name with that of its head, and its implementation if the name does not say it."""
        return f"{self.whole} ({self.impl})" if self.impl and self.impl not in self.name else self.whole

    @property
    def whole(self) -> str:
        """Its name with that of its head."""
        return self.name if self.head is None else f"{self.name} + {self.head.name}"

    def having_impl(self, impl: str) -> Self:
        """This network with one implementation in every convolution path.

        Raises:
            UsageError: It has no such path.
        """
        if self.arch is None or self.impl is None:
            raise UsageError(
                f"--impl names how ACmix's convolution path is computed; {self.name} has no such path. "
                "Leave --impl out, or take an acmix_* model."
            )

        def changed(mixer: Mixer) -> Mixer:
            init = mixer.conv_init or "shift"
            return mixer.having(conv_impl=impl, conv_init=init) if mixer.convolves else mixer

        return replace(self, arch=self.arch.having(changed))

    def merges_like(self, other: "Network") -> bool:
        """Whether merging makes this and another network the same computation: they differ in `conv_impl` alone."""
        if self.arch is None or other.arch is None or self.impl is None or other.impl is None:
            return False
        return self.having_impl("full").arch == other.having_impl("full").arch

    def build(self, input_size: Size, *, features_only: bool = False) -> nn.Module:
        """The network in evaluation mode, with random weights, for images of `input_size` pixels.

        No path is dropped (stochastic depth is 0), also where timm's recipe would.

        Args:
            input_size: (height, width) of the images, or the extent of a square.
            features_only: Whether it gives its stages' maps instead of class scores.

        Raises:
            UsageError: timm cannot take the features of this network.
            AcmixError: There is no such head, or the network has not the maps that it reads.
        """
        # Importing these takes seconds, which the description alone should not cost.
        from timm.layers.drop import DropPath

        size = pair(input_size)
        if self.head is not None:
            model = _build_dense(self.arch or self.name, self.head, size)
        elif self.arch is not None:
            model = _build_ours(self.arch, size, features_only)
        else:
            model = _build_timm(self.name, size, features_only)
        for part in model.modules():
            if isinstance(part, DropPath):
                part.drop_prob = 0.0
        return model.eval()

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {
            "name": self.name,
            "arch": self.arch and self.arch.to_dict(),
            "head": None if self.head is None else asdict(self.head),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        arch, head = values["arch"], values["head"]
        return cls(name=values["name"], arch=arch and Arch.from_dict(arch), head=head and DenseHead(**head))


def _build_dense(network: Arch | str, head: DenseHead, size: Pair) -> nn.Module:
    from acmix_nas.segmentor import build_segmentor, padded

    # Ours learn positions for their usual size, as published networks do; others may be bound to one size.
    img_size = None if isinstance(network, Arch) else padded(size)
    return build_segmentor(network, head=head.name, num_classes=head.num_classes, img_size=img_size)


def _build_ours(arch: Arch, size: Pair, features_only: bool) -> nn.Module:
    from acmix_nas.models import build_features, build_model

    return build_features(arch, img_size=size) if features_only else build_model(arch, img_size=size)


def _build_timm(name: str, size: Pair, features_only: bool) -> nn.Module:
    model = _create(name, features_only=features_only)
    usual = getattr(model, "default_cfg", {}).get("input_size", (3, *size))[1:]
    inner = getattr(model, "model", model) if features_only else model
    if tuple(usual) != size and hasattr(inner, "set_input_size"):
        model = _create(name, features_only=features_only, img_size=size)
    return model


def _create(name: str, *, features_only: bool, **options: Any) -> nn.Module:
    import timm

    if not features_only:
        return timm.create_model(name, **options)
    try:
        return timm.create_model(name, features_only=True, **options)
    except Exception as error:  # timm refuses in ways of its models' own
        raise UsageError(f"timm takes no features of {name}: {error}. Leave --features-only out.") from error
