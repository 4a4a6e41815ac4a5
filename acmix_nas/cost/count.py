"""Exact parameters and multiply-adds by arithmetic, with no weights in memory."""

from functools import cache
from typing import Any

from acmix_nas import registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import AcmixError
from acmix_nas.record import Cost


def count(arch_or_model: Any, input_size: int | tuple[int, int] = 224) -> Cost:
    """Counts a network.

    Multiply-adds are those of the named formulation (docs/operator.md): convolutions, linear layers and both matrix
    products of attention for one image; no norms, softmax, activations or sums.

    Args:
        arch_or_model: An `Arch`, counted as a full network for 1000 classes and 3 channels that is built for
            `input_size`; or a model of `build_model`, counted as it is.
        input_size: Extent of the square image in pixels, or (height, width).

    Returns:
        The cost; of an image that is not square, `Cost.input_size` is the longer side.

    Raises:
        AcmixError: It is neither.
    """
    arch = arch_or_model if isinstance(arch_or_model, Arch) else getattr(arch_or_model, "arch", None)
    if not isinstance(arch, Arch):
        raise AcmixError(
            f"count takes an Arch or a model of acmix_nas.build_model; {type(arch_or_model).__name__} is neither. "
            "Other networks are counted by torch.utils.flop_counter or fvcore."
        )
    host = registry.load("hosts", arch.host)
    built: dict[str, Any] = {"num_classes": 1000, "in_chans": 3, "img_size": None, "patch_size": None, "width": 1.0}
    if arch is not arch_or_model:
        built = host.options(arch_or_model)
    params, macs, macs_deploy = host.count(arch, count_mixer, input_size=input_size, **built)
    longest = input_size if isinstance(input_size, int) else max(input_size)
    return Cost(params=params, macs=macs, macs_deploy=macs_deploy, input_size=longest)


@cache
def count_mixer(mixer: Mixer, **site: Any) -> tuple[int, int, int]:
    """(params, macs, macs_deploy) of one block's operator at its site; remembered."""
    counted: tuple[int, int, int] = registry.load("operators", mixer.operator).count(mixer, **site)
    return counted
