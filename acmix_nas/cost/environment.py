"""What a measurement was made on: device, threads, versions, settings that change speed or numbers."""

import platform
from importlib import metadata
from pathlib import Path
from typing import Any

import torch

from acmix_nas import __version__
from acmix_nas.machine import cores, cpu_clocks, load

PACKAGES = ("torch", "torchvision", "timm", "optuna", "fvcore")


def environment(device: torch.device | str = "cpu") -> dict[str, Any]:
    """Describes a device and everything around it that a number depends on.

    Args:
        device: Where the measurement runs.

    Returns:
        Plain values for JSON: the device's name, threads, cores, load (mean number of busy processes in the
        last minute), the processor's governor and whether its clocks are locked (None where the system does not say),
        versions, TF32 and cuDNN settings.
    """
    device = torch.device(device)
    return {
        "device": str(device),
        "device_name": device_name(device),
        "cuda": torch.version.cuda if device.type == "cuda" else None,
        "threads": torch.get_num_threads(),
        "cores": cores(),
        "load": load(),
        **cpu_clocks(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "acmix_nas": __version__,
        **versions(),
        "tf32_matmul": torch.backends.cuda.matmul.allow_tf32,
        "tf32_cudnn": torch.backends.cudnn.allow_tf32,
        "cudnn_benchmark": torch.backends.cudnn.benchmark,
    }


def device_name(device: torch.device) -> str:
    """The model name of a GPU or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else _cpu_name()


def versions() -> dict[str, str | None]:
    """Versions of the packages that results depend on; None where one is not installed."""
    return {name: _version(name) for name in PACKAGES}


def supports_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 in hardware, so that autocast makes it faster."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", " bf16"))


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    named = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor() or platform.machine())


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
