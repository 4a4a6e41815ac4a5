"""Hosts: families of networks whose blocks take a mixer.

Each public file here is a host named by its file. It offers

    MODELS                            timm name -> `NamedModel`
    FEATURES                          keyword arguments of timm's feature extraction
    build(arch, make_mixer, *, num_classes, in_chans, img_size, patch_size, width, drop_path_rate, drop_rate,
          global_pool) -> torch.nn.Module
    count(arch, count_mixer, *, input_size, num_classes, in_chans, img_size, patch_size, width)
        -> (params, macs, macs_deploy)
    options(model) -> the last five of those for a model as it is now

`make_mixer(mixer, **site)` and `count_mixer(mixer, input_map=..., **site)` are `build` and `count` of the mixer's
operator; the sites are told in `acmix_nas.operators`. A model has `mixers()`, its mixing modules, first to last.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from acmix_nas.arch import Arch

Count = tuple[int, int, int]
"""(params, macs, macs_deploy)."""

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


def total(counts: list[Count]) -> Count:
    """The sum of some counts."""
    params, macs, macs_deploy = (sum(column) for column in zip(*counts, strict=True))
    return params, macs, macs_deploy


def linear(inputs: int, outputs: int, pixels: int, *, bias: bool = True) -> Count:
    """Count of a linear layer applied at so many pixels."""
    macs = inputs * outputs * pixels
    return inputs * outputs + bias * outputs, macs, macs


def norm(channels: int) -> Count:
    """Count of a normalisation with weight and bias; norms have no multiply-adds here."""
    return 2 * channels, 0, 0
