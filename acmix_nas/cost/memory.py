"""Peak memory of one forward pass. `python -m acmix_nas.cost.memory` measures one in a process of its own."""

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.cost.network import Network
from acmix_nas.models import plain_form

PROC = Path("/proc/self")


def peak_cpu_mb(network: Network, *, batch_size: int, input_size: int) -> float | None:
    """Peak resident memory of one forward pass on the CPU, in a fresh process.

    The highest resident set during the pass, less the resident set before the network was built: weights, images, the
    activations that live together, and what the memory allocator keeps. 1 MB is 10^6 bytes.

    Args:
        network: What to run, in float32, channels_last and plain form.
        batch_size: Images in the batch.
        input_size: Height and width in pixels.

    Returns:
        Megabytes; None where the system keeps no such account (/proc/self/clear_refs), or the process fails.
    """
    if not (PROC / "clear_refs").exists():
        return None
    asked = {
        "network": network.to_dict(),
        "batch_size": batch_size,
        "input_size": input_size,
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-m", "acmix_nas.cost.memory"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    answer: float | None = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_cuda_mb(model: nn.Module, images: torch.Tensor) -> float:
    """Peak memory of one forward pass on a GPU: the network's tensors, the images and what the pass allocates.

    Counted by PyTorch's allocator, without the CUDA context, in plain form. 1 MB is 10^6 bytes.

    Args:
        model: A network on the GPU; others may lie beside it.
        images: (B, C, H, W) on the same GPU.
    """
    own = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers(), images])
    torch.cuda.synchronize(images.device)
    before = torch.cuda.memory_allocated(images.device)
    torch.cuda.reset_peak_memory_stats(images.device)
    with torch.inference_mode(), plain_form(model):
        model(images)
    torch.cuda.synchronize(images.device)
    return (own + torch.cuda.max_memory_allocated(images.device) - before) / 1e6


def main() -> None:
    """Reads one JSON object from stdin and prints the peak in megabytes, or null."""
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    print(json.dumps(_measure(asked)))


def _measure(asked: dict[str, Any]) -> float | None:
    network = Network.from_dict(asked["network"])
    batch, size = asked["batch_size"], asked["input_size"]
    with torch.inference_mode():
        _load_libraries()
        before_kb = _status_kb("VmRSS")
        model = network.build(size).to(memory_format=torch.channels_last)
        images = torch.randn(batch, 3, size, size).to(memory_format=torch.channels_last)
        _return_freed_memory()
        try:
            (PROC / "clear_refs").write_text("5")  # sets VmHWM, the peak so far, back to VmRSS: proc(5)
        except OSError:
            return None
        with plain_form(model):
            model(images)
    return (_status_kb("VmHWM") - before_kb) * 1024 / 1e6


def _load_libraries() -> None:
    """Runs a small convolution and product: threads and kernels that come with the first call are not the network's."""
    nn.Conv2d(3, 8, 3)(torch.randn(2, 3, 16, 16))
    nn.Linear(64, 64)(torch.randn(64, 64))


def _return_freed_memory() -> None:
    """Gives back what building left behind: initialising weights frees large tensors."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _status_kb(field: str) -> int:
    lines = (PROC / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


if __name__ == "__main__":
    main()
