"""One training in several processes: who this one is, and sums over all."""

import torch
from torch import distributed


def rank() -> int:
    """Number of this process, from 0; 0 if it is alone."""
    return distributed.get_rank() if _together() else 0


def world() -> int:
    """Number of processes that train together."""
    return distributed.get_world_size() if _together() else 1


def total(values: torch.Tensor) -> torch.Tensor:
    """Sum of a tensor over all processes."""
    if _together():
        distributed.all_reduce(values)
    return values


def same_buffers(model: torch.nn.Module) -> None:
    """Gives all processes the buffers of the first: each has seen other images."""
    if _together():
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
