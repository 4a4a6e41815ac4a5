"""One training in several processes: who this one is, and sums over all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any

import torch
from torch import distributed

PATIENCE = timedelta(hours=2)
"""Processes wait so long for one another, as for the first to decode the images."""


@contextmanager
def joined(device: str, *, meeting: str = "env://") -> Iterator[None]:
    """Joins processes that train together, each with a GPU of its own; one process is left as it is.

    Args:
        device: "cpu" or "cuda".
        meeting: Where they find each other: as `torchrun` says by default, or a URL that `init_process_group` takes.
            Who they are is in the environment, as `torchrun` puts it there.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        yield
        return
    join = partial(
        distributed.init_process_group,
        init_method=meeting,
        rank=int(os.environ["RANK"]),
        world_size=count,
        timeout=PATIENCE,
    )
    if device == "cuda":
        own = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(own)
        join("nccl", device_id=own)
    else:
        join("gloo")
    try:
        yield
    finally:
        distributed.destroy_process_group()


@contextmanager
def first_then_others() -> Iterator[None]:
    """The first process runs the block before the others do, as when it fills a cache."""
    if rank():
        distributed.barrier()
    yield
    if _together() and not rank():
        distributed.barrier()


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


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in the order of their ranks."""
    if not _together():
        return [value]
    values: list[Any] = [None] * world()
    distributed.all_gather_object(values, value)
    return values


def any_of(is_so: bool) -> bool:
    """Whether it is so in any process."""
    if not _together():
        return is_so
    device = "cuda" if distributed.get_backend() == "nccl" else "cpu"
    return bool(total(torch.tensor(int(is_so), device=device)))


def text_of_first(text: str) -> str:
    """The text of the first process, in all of them."""
    texts = [text]
    if _together():
        distributed.broadcast_object_list(texts)
    return texts[0]


def same_buffers(model: torch.nn.Module) -> None:
    """Gives all processes the buffers of the first: each has seen other images."""
    if _together():
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
