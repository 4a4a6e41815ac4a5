"""Peak memory of one run. `python -m acmix_nas.cost.memory` measures one on the CPU, in a process of its own."""

import ctypes
import gc
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.cost.execution import Execution, Step, conditions, make_images, make_step, prepare
from acmix_nas.cost.network import Network
from acmix_nas.sizes import Pair

PROC = Path("/proc/self")


def peak_cpu_mb(network: Network, *, batch_size: int, input_size: Pair, how: Execution) -> float | None:
    """Peak resident memory of one run on the CPU, in a fresh process.

    The highest resident set during the run, less the resident set before the network was built: weights, images, what
    the pass holds at once (with `how.train` gradients too), and what the memory allocator keeps. 1 MB is 10^6 bytes.

    Args:
        network: What to run.
        batch_size: Images in the batch.
        input_size: (height, width) in pixels.
        how: How it is run.

    Returns:
        Megabytes; None where the system keeps no such account (/proc/self/clear_refs), where the process fails, and for
        a compiled network, whose compiler would be counted with it.
    """
    if how.compiled or not (PROC / "clear_refs").exists():
        return None
    asked = {
        "network": network.to_dict(),
        "batch_size": batch_size,
        "input_size": input_size,
        "how": how.to_dict(),
        "threads": torch.get_num_threads(),
    }
    command = [sys.executable, "-P", "-m", "acmix_nas.cost.memory"]
    done = subprocess.run(command, input=json.dumps(asked), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    answer: float | None = json.loads(done.stdout.splitlines()[-1])
    return answer


def peak_cuda_mb(model: nn.Module, step: Step) -> float:
    """Peak memory of one run on a GPU: the network's tensors, the images and what the run allocates.

    Counted by PyTorch's allocator, without the CUDA context. 1 MB is 10^6 bytes.

    Args:
        model: The network, on the GPU; others may lie beside it.
        step: A run of it.
    """
    device = step.images.device
    for weight in model.parameters():
        weight.grad = None
    own = sum(tensor.nbytes for tensor in [*model.parameters(), *model.buffers(), step.images])
    torch.cuda.synchronize(device)
    before = torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    with conditions([model], step.how):
        step()
    torch.cuda.synchronize(device)
    return (own + torch.cuda.max_memory_allocated(device) - before) / 1e6


def main() -> None:
    """Reads one JSON object from stdin and writes the peak in megabytes, or null."""
    asked = json.load(sys.stdin)
    torch.set_num_threads(asked["threads"])
    sys.stdout.write(json.dumps(_measure(asked)) + "\n")


def _measure(asked: dict[str, Any]) -> float | None:
    network, how = Network.from_dict(asked["network"]), Execution.from_dict(asked["how"])
    size = (asked["input_size"][0], asked["input_size"][1])
    _load_libraries(how)
    before_kb = _status_kb("VmRSS")
    model = prepare(network.build(size, features_only=how.features_only), how)
    step = make_step(model, make_images(asked["batch_size"], size, how), how)
    _return_freed_memory()
    try:
        (PROC / "clear_refs").write_text("5")  # sets VmHWM, the peak so far, back to VmRSS: proc(5)
    except OSError:
        return None
    with conditions([model], how):
        step()
    return (_status_kb("VmHWM") - before_kb) * 1024 / 1e6


def _load_libraries(how: Execution) -> None:
    """Runs a small convolution and product: threads and kernels that come with the first call are not the network's."""
    small = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(8 * 14 * 14, 64)).to(how.weights_dtype)
    with conditions([small], how):
        make_step(small, torch.randn(2, 3, 16, 16, dtype=how.weights_dtype), how)()


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
