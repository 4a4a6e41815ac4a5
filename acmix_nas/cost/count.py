"""Exact parameters and multiply-adds by arithmetic, with no weights in memory."""

from collections.abc import Iterator
from functools import cache
from typing import Any

from acmix_nas import registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import AcmixError
from acmix_nas.hosts import HostOptions, options_of
from acmix_nas.parts import Part, Placed, below, norm, total
from acmix_nas.record import Cost
from acmix_nas.sizes import Pair, Size, pair, size_of

LAST_NORM = "norm"
"""The norm before a classifier, which maps do not pass."""


def count(arch_or_model: Any, input_size: Size = 224) -> Cost:
    """Counts a network.

    Multiply-adds are those of the named formulation (docs/operator.md): convolutions, linear layers and both products
    of attention for one image; no norms, softmax, activations or sums of maps. Blocks are counted once for each kind
    and remembered, so that thousands of networks of a space are counted in a second.

    Args:
        arch_or_model: An `Arch`, counted as a full network for 1000 classes and 3 channels that is built for
            `input_size`; or a model of `build_model` or `build_segmentor`, counted as it is.
        input_size: Extent of the square image in pixels, or (height, width).

    Returns:
        The cost, with the size that it is for.

    Raises:
        AcmixError: It is neither, or a model that was merged or pruned.
    """
    if hasattr(arch_or_model, "head_name"):  # a Segmentor, whose module takes seconds to load
        whole = total(_segmentor_parts(arch_or_model, input_size))
        return Cost(params=whole.params, macs=whole.macs, macs_deploy=whole.macs_deploy, input_size=size_of(input_size))
    params = macs = macs_deploy = 0
    for placed in _placed(arch_or_model, input_size):
        block = placed.counted.total
        params += block.params
        macs += block.macs
        macs_deploy += block.macs_deploy
    return Cost(params=params, macs=macs, macs_deploy=macs_deploy, input_size=size_of(input_size))


def breakdown(arch_or_model: Any, input_size: Size = 224) -> tuple[Part, ...]:
    """The parts of a network by module, in the order they run; their sums are those of `count`.

    Args:
        arch_or_model: As for `count`.
        input_size: Extent of the square image in pixels, or (height, width).

    Returns:
        A `Part` for each module that has parameters or multiply-adds; `acmix_nas.parts.total` adds some of them up.

    Raises:
        AcmixError: As `count`.
    """
    if hasattr(arch_or_model, "head_name"):  # a Segmentor, whose module takes seconds to load
        return _segmentor_parts(arch_or_model, input_size)
    return tuple(part for placed in _placed(arch_or_model, input_size) for part in placed.parts())


def _placed(arch_or_model: Any, input_size: Size) -> Iterator[Placed]:
    arch = arch_or_model if isinstance(arch_or_model, Arch) else getattr(arch_or_model, "arch", None)
    if not isinstance(arch, Arch):
        raise AcmixError(
            f"count takes an Arch or a model of acmix_nas.build_model; {type(arch_or_model).__name__} is neither. "
            "Other networks are counted by torch.utils.flop_counter or fvcore."
        )
    host = registry.load("hosts", arch.host)
    options = HostOptions() if arch is arch_or_model else options_of(arch_or_model)
    placed: Iterator[Placed] = host.count(arch, count_mixer, options, input_size)
    return placed if arch is arch_or_model else _checked(list(placed), arch_or_model)


def _segmentor_parts(model: Any, input_size: Size) -> tuple[Part, ...]:
    """The parts of a network that scores every pixel; images are counted as it pads them."""
    from acmix_nas.segmentor import padded

    arch, inner = model.backbone.arch, getattr(model.backbone.net, "model", None)
    if arch is None or inner is None:
        raise AcmixError("the backbone is timm's own; networks are counted by arithmetic where it is ours.")
    size = padded(pair(input_size), model.backbone.strides[-1])
    parts = _backbone_parts(arch, options_of(inner), size)
    around = _around(model, size)
    _check_held(total((*parts, *around)).params, model)
    return (*below("backbone.net.model", parts), *around)


def count_dense(arch: Arch, head: str, num_classes: int, input_size: Size) -> Cost:
    """Counts a full network with a dense head, without building it: what is around the blocks is counted once.

    Args:
        arch: The network.
        head: Name of its head.
        num_classes: Classes of the pixels.
        input_size: Extent of the square image in pixels, or (height, width).

    Raises:
        AcmixError: There is no such head, or the network has not the maps that it reads.
    """
    from acmix_nas.segmentor import padded

    size = padded(pair(input_size))
    options, around = _around_host(arch.host, tuple(map(len, arch.stages)), arch, head, num_classes, size)
    whole = total((*_backbone_parts(arch, options, size), *around))
    return Cost(params=whole.params, macs=whole.macs, macs_deploy=whole.macs_deploy, input_size=size_of(input_size))


def _backbone_parts(arch: Arch, options: HostOptions, size: Pair) -> list[Part]:
    """The parts of a network that gives maps."""
    placed = registry.load("hosts", arch.host).count(arch, count_mixer, options, size)
    return [part for block in placed for part in block.parts() if part.module != LAST_NORM and any(part[3:])]


def _around(model: Any, size: Pair) -> tuple[Part, ...]:
    """The norms on the maps of a segmentor, and the parts of its head."""
    channels, strides = model.backbone.channels, model.backbone.strides
    norms = enumerate(channels if model.backbone.norms is not None else ())
    maps = [(size[0] // stride, size[1] // stride) for stride in strides]
    return (
        *below("backbone", [norm(f"norms.{stage}", width)._replace(stage=stage) for stage, width in norms]),
        *below("head", registry.load("heads", model.head_name).count(channels, maps, model.num_classes)),
    )


_AROUND: dict[Any, tuple[HostOptions, tuple[Part, ...]]] = {}


def _around_host(
    host: str, depths: tuple[int, ...], arch: Arch, head: str, num_classes: int, size: Pair
) -> tuple[HostOptions, tuple[Part, ...]]:
    """How a segmentor of a host is built, and the parts around its blocks; its widths are its own. Remembered."""
    key = (host, depths, head, num_classes, size)
    if key not in _AROUND:
        import torch

        from acmix_nas.segmentor import build_segmentor

        with torch.device("meta"):  # no memory for weights
            model: Any = build_segmentor(arch, head=head, num_classes=num_classes)
        _AROUND[key] = options_of(model.backbone.net.model), _around(model, size)
    return _AROUND[key]


def _checked(placed: list[Placed], model: Any) -> Iterator[Placed]:
    """What was counted of a model, if the model still is what its arch says."""
    _check_held(sum(block.counted.total.params for block in placed), model)
    return iter(placed)


def _check_held(counted: int, model: Any) -> None:
    held = sum(parameter.numel() for parameter in model.parameters())
    if counted != held:
        raise AcmixError(
            f"a model is counted as build_model made it, with {counted:,} parameters; this one has {held:,}: it was "
            "merged, pruned or changed. Count its attribute `arch`, or use acmix_nas.cost.counters."
        )


@cache
def count_mixer(mixer: Mixer, **site: Any) -> tuple[Part, ...]:
    """The parts of one block's operator at its site; remembered.

    Raises:
        AcmixError: A module of the user's own raised something.
    """
    operator = registry.load("operators", mixer.operator)
    own = [name for name in (mixer.operator, mixer.attention) if name is not None and "." in name]
    try:
        parts: tuple[Part, ...] = operator.count(mixer, **site)
    except Exception as error:
        if not own or isinstance(error, AcmixError):
            raise
        raise AcmixError(f"{', '.join(own)} cannot be counted: {type(error).__name__}: {error}.") from error
    return parts
