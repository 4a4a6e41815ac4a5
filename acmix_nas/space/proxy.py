"""`Proxy`: how a network is shrunk so that a trial is cheap."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import ceil
from typing import Any, Self

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import RecordError
from acmix_nas.fields import MAPPING, TEXT, Origin, Rule, list_of, maybe, number, one_of, whole
from acmix_nas.sizes import Size, each_side, pair, size_of, size_rule

PROXY: Mapping[str, Rule] = {
    "name": TEXT,
    "input_size": size_rule(),
    **dict.fromkeys(("patch_size", "epochs", "batch_size"), whole(1)),
    **dict.fromkeys(("width", "learning_rate"), number(0)),
    "depths": list_of(whole(1), 1),
    "images": maybe(whole(1)),
    "inert": one_of("error", "allow"),
    "recipe": MAPPING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Proxy:
    """A smaller form of every network of a space, and how long it is trained.

    Attributes:
        name: Its key under `proxies:`.
        input_size: Height and width of the training images in pixels, one number for squares.
        patch_size: Downsampling before the first stage.
        width: Factor on the host's widths.
        depths: Number of blocks in each stage.
        epochs: Passes over the training images.
        images: Training images, drawn evenly from the classes; None takes all.
        batch_size: Images in a training step.
        learning_rate: Peak learning rate of AdamW.
        inert: "error", or "allow" for choices whose options build the same function at this size.
        recipe: Further fields of the training recipe (`acmix_nas.train.Budget`).
    """

    name: str
    input_size: Size
    patch_size: int
    width: float
    depths: tuple[int, ...]
    epochs: int
    images: int | None
    batch_size: int
    learning_rate: float
    inert: str = "error"
    recipe: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def maps(self) -> tuple[Size, ...]:
        """Size of each stage's map in pixels."""
        return stage_maps(self.input_size, self.patch_size, len(self.depths))

    def widths(self, widths: Sequence[int]) -> tuple[int, ...]:
        """Channels of each stage, given the full network's."""
        return tuple(round(width * self.width) for width in widths)

    def shrink(self, arch: Arch) -> Arch:
        """The network with this proxy's depths; two networks with the same result train the same.

        A stage keeps blocks spread evenly from its first to its last. A window is cut to the map, as the host cuts it.
        """
        stages = (
            tuple(_clamp(stage[block], max(pair(size))) for block in _spread(len(stage), depth))
            for stage, depth, size in zip(arch.stages, self.depths, self.maps(), strict=True)
        )
        return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        size, values = self.input_size, asdict(self)
        if not self.recipe:
            del values["recipe"]
        return {
            **values,
            "input_size": size if isinstance(size, int) else list(size),
            "depths": list(self.depths),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the proxy of a record") -> Self:
        """The inverse of `to_dict`.

        Args:
            values: What is stored.
            where: What stores it, for messages.

        Raises:
            RecordError: A field is unknown, missing or of another kind.
        """
        known = Origin(where, RecordError).fields(values, PROXY, optional=("inert", "recipe"))
        return cls(**{**known, "input_size": size_of(known["input_size"]), "depths": tuple(known["depths"])})


def stage_maps(input_size: Size, patch_size: int, stages: int) -> tuple[Size, ...]:
    """Size of each stage's map: halved from stage to stage, odd heights and widths rounded up."""
    maps = [each_side(input_size, lambda side: ceil(side / patch_size))]
    for _ in range(stages - 1):
        maps.append(each_side(maps[-1], lambda side: ceil(side / 2)))
    return tuple(maps)


def _spread(depth: int, kept: int) -> list[int]:
    if kept == 1:
        return [0]
    return [round(index * (depth - 1) / (kept - 1)) for index in range(kept)]


def _clamp(mixer: Mixer, side: int) -> Mixer:
    if mixer.attention == "window" and mixer.attn_kernel is not None and mixer.attn_kernel > side:
        return mixer.having(attn_kernel=side)
    return mixer
