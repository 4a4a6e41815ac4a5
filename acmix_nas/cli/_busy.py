"""Where a command computes, and whether something else computes there too."""

from typing import Any

from acmix_nas.cli._say import say


def find_device(device: str) -> str:
    """What the value of --device means here, "cuda" or "cpu"; says so where a GPU is wanted and there is none."""
    import torch

    if device != "cpu" and torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        say("No GPU that torch can use, going on with the CPU; `acmix doctor` shows what is there.", err=True)
    return "cpu"


def warn_when_busy(device: str) -> dict[str, Any]:
    """Warns when others use the machine.

    Returns:
        {"busy_cores"} that others used just now, and {"busy_gpu_percent"} on a GPU; None where the system does not say.
    """
    from acmix_nas.cost.machine import BUSY, busy_cores, cores, gpu_state

    busy, have = busy_cores(), cores()
    if busy is not None and busy > BUSY * have:
        _warn(f"others keep {busy:g} of {have} cores busy")
    if device == "cpu":
        return {"busy_cores": busy}
    import torch

    share = gpu_state(torch.device(device))["utilization.gpu"]
    if share is not None and float(share) > 100 * BUSY:
        _warn(f"others keep the GPU busy for {share} % of the time")
    return {"busy_cores": busy, "busy_gpu_percent": None if share is None else float(share)}


def _warn(what: str) -> None:
    say(
        f"Warning: the machine is busy: {what}. Times will be too long and spread; stop other work and measure again.",
        err=True,
    )
