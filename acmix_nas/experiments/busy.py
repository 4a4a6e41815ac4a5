"""A warning where others use the machine on which times are taken."""

from collections.abc import Callable
from typing import Any

import torch

from acmix_nas import machine


def warn_when_busy(device: str, warn: Callable[[str], None]) -> dict[str, Any]:
    """Warns when others use the machine.

    Args:
        device: "cpu" or "cuda".
        warn: Called with the warning.

    Returns:
        {"busy_cores"} that others used just now, and {"busy_gpu_percent"} on a GPU; None where the system does not say.
    """
    busy, have = machine.busy_cores(), machine.cores()
    if busy is not None and busy > machine.BUSY * have:
        warn(_busy(f"other processes keep {busy:g} of {have} cores busy"))
    if device == "cpu":
        return {"busy_cores": busy}
    share = machine.gpu_state(torch.device(device))["utilization.gpu"]
    if share is not None and float(share) > 100 * machine.BUSY:
        warn(_busy(f"other processes keep the GPU busy for {share} % of the time"))
    return {"busy_cores": busy, "busy_gpu_percent": None if share is None else float(share)}


def _busy(what: str) -> str:
    return f"the machine is busy: {what}. Times will be too long and vary; stop other work and measure again."
