"""`Network`: what is to be profiled, ours or timm's, told in plain values that another process can build it from."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network by description.

    Attributes:
        name: timm name, or the name that a table shows.
        arch: Its description; None for a model that is timm's own.
    """

    name: str
    arch: Arch | None = None

    @property
    def impl(self) -> str | None:
        """Implementation of shift-and-sum, "mixed" if blocks differ, None if there is no convolution path."""
        impls = {mixer.conv_impl for mixer in self.arch.mixers if mixer.convolves} if self.arch else set()
        return None if not impls else impls.pop() if len(impls) == 1 else "mixed"

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
        stages = [
            [
                mixer.having(conv_impl=impl, conv_init=mixer.conv_init or "shift") if mixer.convolves else mixer
                for mixer in stage
            ]
            for stage in self.arch.stages
        ]
        arch = Arch.canonical(host=self.arch.host, stages=stages, conv_on=self.arch.conv_on)
        return replace(self, arch=arch)

    def build(self, input_size: int) -> nn.Module:
        """The network in evaluation mode, with random weights, for images of `input_size` pixels."""
        # Importing these takes seconds, which the description alone should not cost.
        import timm

        from acmix_nas.models import build_model

        if self.arch is not None:
            return build_model(self.arch, img_size=input_size).eval()
        model: Any = timm.create_model(self.name)
        usual = getattr(model, "default_cfg", {}).get("input_size", (3, input_size, input_size))[-1]
        if input_size != usual and hasattr(model, "set_input_size"):
            model.set_input_size((input_size, input_size))
        module: nn.Module = model.eval()
        return module

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"name": self.name, "arch": self.arch and self.arch.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(name=values["name"], arch=values["arch"] and Arch.from_dict(values["arch"]))
