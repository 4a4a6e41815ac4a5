"""Hosts: families of networks whose blocks take a mixer.

Each public file here is a host named by its file. It offers

    MODELS                            timm name -> `NamedModel`
    FEATURES                          keyword arguments of timm's feature extraction
    build(arch, make_mixer, *, num_classes, in_chans, img_size, patch_size, width, drop_path_rate, drop_rate,
          global_pool) -> torch.nn.Module
    count(arch, count_mixer, *, input_size, num_classes, in_chans, img_size, patch_size, width)
        -> Iterator[acmix_nas.parts.Placed], all parts of the network, blocks of one kind counted once
    options(model) -> the last five of those for a model as it is now

`make_mixer(mixer, **site)` and `count_mixer(mixer, input_map=..., **site)` are `build` and `count` of the mixer's
operator; `acmix_nas.operators` explains the sites. A model has `mixers()`, its mixing modules, first to last.
"""

from collections.abc import Callable, Mapping
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

UNDECAYED = ("alpha", "beta", "alpha_logit", "relative_position_bias_table")
"""Last names of the parameters of mixers that never get weight decay, whatever the host."""


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
