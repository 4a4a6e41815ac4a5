"""Trials of acmix-nas 0.1 that trained with a weight gradient which torch gets wrong on CPUs with AVX-512.

A convolution in bf16 whose kernel reaches far beyond a tiny map takes a broken kernel of oneDNN there (torch 2.14).
Later versions compute such convolutions in fp32. Which ones of the shipped spaces take it was measured against float64:
those of kernel 7 on a map of 2 x 2 pixels that read 144 maps at each depth.
"""

from collections.abc import Iterable

from acmix_nas.record import TrialRecord
from acmix_nas.sizes import pair
from acmix_nas.space.proxy import stage_maps

VERSION = "0.1.0"
LEAST_KERNEL = 7
LEAST_MAPS = 144
"""Maps that one group of the convolution reads: q, k and v of each head."""


def has_broken_gradient(record: TrialRecord) -> bool:
    """Whether a trial trained with such a gradient if its CPU has AVX-512, which no record says."""
    environment, proxy = record.environment, record.proxy
    trained = (environment.get("acmix_nas"), environment.get("device"), record.budget.get("precision"))
    input_size, patch_size = proxy.get("input_size"), proxy.get("patch_size")
    if trained != (VERSION, "cpu", "bf16") or not isinstance(input_size, int) or not isinstance(patch_size, int):
        return False
    maps = stage_maps(input_size, max(patch_size, 1), len(record.arch.stages))
    return any(
        mixer.conv_impl in ("shift", "groupconv", "learnable")
        and (mixer.conv_kernel or 0) >= LEAST_KERNEL
        and (mixer.conv_kernel or 0) > min(pair(size))
        and 3 * (mixer.num_heads or 0) >= LEAST_MAPS
        for stage, size in zip(record.arch.stages, maps, strict=True)
        for mixer in stage
    )


def gradient_fact(records: Iterable[TrialRecord]) -> dict[str, str]:
    """What a report says of such trials, as name -> text; nothing if there are none."""
    numbers = [str(record.number) for record in records if has_broken_gradient(record)]
    if not numbers:
        return {}
    which = f"trial {numbers[0]} has" if len(numbers) == 1 else f"trials {', '.join(numbers)} have"
    return {
        "Gradients": f"{which} a stage whose convolution gradients torch 2.14 gets wrong in bf16 on CPUs with AVX-512; "
        "acmix-nas 0.1 trained with them. Repeat before you compare."
    }
