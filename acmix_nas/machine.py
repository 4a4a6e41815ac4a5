"""The state of the machine while a number is taken: clocks, and what else is running on it."""

import ctypes
import os
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

CPUFREQ = Path("/sys/devices/system/cpu/cpu0/cpufreq")
STAT = Path("/proc/stat")
GPU_FIELDS = ("clocks.sm", "clocks.max.sm", "utilization.gpu", "driver_version")
BUSY = 0.1
"""Share of a device that others keep busy, above which times are not to be trusted."""
WATCHED_S = 0.3
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
"""Of malloc.h; mallopt(3)."""


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, where its C library is glibc, instead of giving it back and asking again.

    A training step frees and takes the same tensors as the step before; their pages would be zeroed anew each time.
    Tensors above 32 MiB, the largest that glibc keeps, are given back as before.
    """
    set_option = getattr(ctypes.CDLL(None), "mallopt", None) if os.name == "posix" else None
    if set_option is not None:
        for option, value in ((M_MMAP_THRESHOLD, 32 * 2**20), (M_TRIM_THRESHOLD, 2**31 - 1)):
            set_option(option, value)


def load() -> float | None:
    """Mean number of running processes in the last minute; None where the system does not say."""
    return round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None


def busy_cores(sleep: Callable[[float], object] = time.sleep) -> float | None:
    """Cores that others kept busy while this process slept for a moment; None where the system does not say."""
    before = _busy_ticks()
    start_s = time.monotonic()
    sleep(WATCHED_S)
    after = _busy_ticks()
    if before is None or after is None:
        return None
    return round((after - before) / os.sysconf("SC_CLK_TCK") / max(time.monotonic() - start_s, WATCHED_S), 2)


def cpu_clocks() -> dict[str, str | bool | None]:
    """{"governor", "clocks_locked"} of the processor; None for what the system does not say.

    The clocks count as locked where the least frequency allowed is also the highest.
    """
    low, high = _read(CPUFREQ / "scaling_min_freq"), _read(CPUFREQ / "scaling_max_freq")
    locked = None if low is None or high is None else low == high
    return {"governor": _read(CPUFREQ / "scaling_governor"), "clocks_locked": locked}


def gpu_state(device: "torch.device") -> dict[str, str | None]:
    """Clock of the multiprocessors now and at most (MHz), share in use (%), driver; None for what nvidia-smi hides."""
    nothing = dict.fromkeys(GPU_FIELDS)
    command = [
        "nvidia-smi",
        f"--query-gpu={','.join(GPU_FIELDS)}",
        "--format=csv,noheader,nounits",
        f"--id={_id(device)}",
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return nothing
    values = [value.strip() for value in done.stdout.strip().split(",")]
    if len(values) != len(GPU_FIELDS):
        return nothing
    return {name: None if value.startswith("[") else value for name, value in zip(GPU_FIELDS, values, strict=True)}


def gpu_clocks(idle: dict[str, str | None], loaded: dict[str, str | None]) -> dict[str, str | bool | None]:
    """{"clocks_locked", "sm_clock_idle_mhz", "sm_clock_loaded_mhz", "sm_clock_max_mhz", "driver"} of a GPU.

    No query says whether clocks are locked; they count as locked where idling does not lower them.

    Args:
        idle: `gpu_state` before the work.
        loaded: `gpu_state` right after it.
    """
    low, high = idle["clocks.sm"], loaded["clocks.sm"]
    return {
        "clocks_locked": None if low is None or high is None else low == high,
        "sm_clock_idle_mhz": low,
        "sm_clock_loaded_mhz": high,
        "sm_clock_max_mhz": loaded["clocks.max.sm"],
        "driver": loaded["driver_version"],
    }


def _id(device: "torch.device") -> str:
    """What nvidia-smi knows the device by: its own numbers leave CUDA_VISIBLE_DEVICES out of account."""
    import torch  # what else is here needs none of it

    properties = torch.cuda.get_device_properties(device)
    uuid = getattr(properties, "uuid", None)
    return f"GPU-{uuid}" if uuid is not None else str(device.index or 0)


def _busy_ticks() -> int | None:
    """Clock ticks that all cores spent working since the start of the system."""
    try:
        fields = [int(value) for value in STAT.read_text().split("\n", 1)[0].split()[1:9]]
    except (OSError, ValueError):
        return None
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return user + nice + system + irq + softirq + steal


def _read(path: Path) -> str | None:
    try:
        return path.read_text().strip()
    except OSError:
        return None
