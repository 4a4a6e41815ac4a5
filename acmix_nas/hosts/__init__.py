"""Hosts: families of networks whose blocks take a mixer.

Each public file here is a host named by its file. It offers

    MODELS                            timm name -> `NamedModel`
    FEATURES                          keyword arguments of timm's feature extraction
    MAP_NORMS = True                  if each map gets a LayerNorm before a dense head, as it was published
    build(arch, make_mixer, options) -> torch.nn.Module
    count(arch, count_mixer, options, input_size) -> Iterator[acmix_nas.parts.Placed]: all parts of the network, blocks
                                      of one kind counted once

`options` are `HostOptions`. A model has `arch`, `num_classes`, `in_chans`, `img_size`, `patch_size` and `width` as they
are now, for `options_of`, and `mixers()`, its mixing modules, first to last. `make_mixer(mixer, **site)` and
`count_mixer(mixer, input_map=..., **site)` are `build` and `count` of the mixer's operator; `acmix_nas.operators` lists
the sites.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError
from acmix_nas.parts import Part, linear
from acmix_nas.sizes import Size, pair
from acmix_nas.space.proxy import stage_maps

MakeMixer = Callable[..., Any]
"""`make_mixer(mixer, **site)`, the mixing module of a block."""
CountMixer = Callable[..., tuple[Part, ...]]
"""`count_mixer(mixer, input_map=..., **site)`, its parts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOptions:
    """What a host needs beside an arch to build a network.

    Attributes:
        num_classes: Classes of the head; 0 for none.
        in_chans: Channels of the image.
        img_size: Height and width in pixels that the network is built for; the host's own if None. Without effect where
            nothing in the network depends on it.
        patch_size: Extent of a patch, or downsampling of the stem, in pixels; the paper's if None.
        width: Multiplier of all widths, for proxies.
        drop_path_rate: Stochastic depth of the last block, in [0, 1]; it grows from 0 at the first block.
        drop_rate: Dropout before the classifier, in [0, 1].
        global_pool: Pooling of the head, by its timm name.
        class_token: Whether a host that has a class token uses it; dense heads read none.
    """

    num_classes: int = 1000
    in_chans: int = 3
    img_size: Size | None = None
    patch_size: Any = None  # a Size; hosts that take no pair say int
    width: float = 1.0
    drop_path_rate: float = 0.0
    drop_rate: float = 0.0
    global_pool: str = "avg"
    class_token: bool = True


def options_of(model: Any) -> HostOptions:
    """The options that change what a model costs, as they are now."""
    names = ("num_classes", "in_chans", "img_size", "patch_size", "width")
    return HostOptions(
        **{name: getattr(model, name) for name in names}, class_token=getattr(model, "class_token", True)
    )


class NamedModel(NamedTuple):
    """A network that timm knows by name.

    Attributes:
        summary: One line about it.
        arch: Builds its description.
        drop_path_rate: Stochastic depth of its recipe.
        cfg: timm's default_cfg: input size, normalisation, names of first convolution and classifier.
    """

    summary: str
    arch: Callable[[], Arch]
    drop_path_rate: float
    cfg: Mapping[str, Any]

    @classmethod
    def of(cls, summary: str, arch: Callable[[], Arch], drop_path_rate: float = 0.0, **cfg: Any) -> "NamedModel":
        """A network for ImageNet at 224 pixels.

        Args:
            summary: One line about it.
            arch: Builds its description.
            drop_path_rate: Stochastic depth of its recipe.
            cfg: What its default_cfg has beside, as first_conv, classifier and crop_pct.
        """
        from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD

        usual = {"input_size": (3, 224, 224), "num_classes": 1000, "pool_size": (7, 7), "interpolation": "bicubic"}
        return cls(
            summary, arch, drop_path_rate, usual | {"mean": IMAGENET_DEFAULT_MEAN, "std": IMAGENET_DEFAULT_STD} | cfg
        )


def mlp(dim: int, ratio: int, tokens: int) -> tuple[Part, Part]:
    """The MLP of a transformer's block, for a number of tokens."""
    hidden = linear("mlp.fc1", dim, ratio * dim, tokens, op="mlp")
    return hidden, linear("mlp.fc2", ratio * dim, dim, tokens, op="mlp")


def map_sizes(size: Size, downsampling: int, stages: int) -> list[tuple[int, int]]:
    """(height, width) of each stage's map: the first at `downsampling`, then halved; odd extents are rounded up."""
    return [pair(of_stage) for of_stage in stage_maps(size, downsampling, stages)]


def scaled(widths: tuple[int, ...], factor: float, stages: int) -> list[int]:
    """Channels of each stage, times the factor of a proxy.

    Raises:
        ArchError: The arch has more stages than the host has widths, or a stage is left without channels.
    """
    if stages != len(widths):
        raise ArchError(f"this host has {len(widths)} stages; the arch has {stages}.")
    channels = [round(width * factor) for width in widths]
    if min(channels) < 1:
        raise ArchError(f"width times {min(widths)} is at least 1; width is {factor}.")
    return channels
