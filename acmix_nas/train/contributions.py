"""What every block mixes: its alpha and beta, and how much each path contributes on the images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import sqrt
from typing import NamedTuple, TypeAlias

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from acmix_nas.fields import MOST
from acmix_nas.record import Blocks
from acmix_nas.train.ranks import total


class Mixing(NamedTuple):
    """What the blocks of a network mix.

    Attributes:
        weights: (alpha, beta), per-channel ones as their mean. Those of `gated` are averaged over images and channels.
        norms: Norms of (alpha * F_att, beta * F_conv): the root mean square over pixels and channels, a class token
            among them, averaged over images. None for a block with one path, and where no record could hold them.
    """

    weights: Blocks
    norms: Blocks


@contextmanager
def watch_mixing(model: nn.Module) -> Iterator[Callable[[], Mixing]]:
    """Observes a model of ours while it runs; the function it gives reads what the blocks mixed of all that passed.

    In processes that `torch.distributed` joins it is called in all of them, and reads what passed in any.
    """
    ours = next((part for part in model.modules() if hasattr(part, "mixers")), None)  # a head of a task may be around
    mixers: list[nn.Module] = list(ours.mixers()) if ours is not None else []  # type: ignore[operator]
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    gates, norms = _Means(len(mixers), device), _Means(len(mixers), device)
    hooks: list[RemovableHandle] = []
    for block, mixer in enumerate(mixers):
        combine = getattr(mixer, "combine", None)
        hooks += gates.watch(block, getattr(combine, "gate", None), _gates)
        hooks += norms.watch(block, getattr(combine, "sum", None), _norms)

    def read() -> Mixing:
        gated = gates.read()
        weights = tuple(_fixed(mixer) if pair is None else pair for mixer, pair in zip(mixers, gated, strict=True))
        return Mixing(weights, norms.read())

    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


_Pairs: TypeAlias = Callable[[tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]
"""A pair (B, 2) for each image, from what a module takes and gives."""


def _gates(_inputs: tuple[torch.Tensor, ...], gates_B2C: torch.Tensor) -> torch.Tensor:
    return gates_B2C.float().mean(-1)


def _norms(paths_BhwC: tuple[torch.Tensor, ...], _sum: torch.Tensor) -> torch.Tensor:
    norms = [torch.linalg.vector_norm(path, dim=(1, 2, 3), dtype=torch.float32) for path in paths_BhwC]
    return torch.stack(norms, 1) / sqrt(paths_BhwC[0][0].numel())


class _Means:
    """Means over images of a pair for each block; the images of all processes."""

    def __init__(self, blocks: int, device: torch.device) -> None:
        self._sums = torch.zeros(blocks, 3, dtype=torch.float64, device=device)
        """Of both values, and the number of images."""

    def watch(self, block: int, part: object, pairs: _Pairs) -> list[RemovableHandle]:
        """Takes the pairs of a block from a part of it, if it has that part."""
        if not isinstance(part, nn.Module):
            return []

        def observe(_part: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor) -> None:
            seen_B2 = pairs(inputs, output).detach().double()
            self._sums[block] += nn.functional.pad(seen_B2.sum(0), (0, 1), value=len(seen_B2))

        return [part.register_forward_hook(observe)]

    def read(self) -> Blocks:
        if not len(self._sums):
            return ()
        sums = total(self._sums.clone())
        means = (sums / sums[:, 2:]).tolist()  # no images give nan, which is not below anything
        return tuple((att, conv) if abs(att) < MOST and abs(conv) < MOST else None for att, conv, _ in means)


def _fixed(mixer: nn.Module) -> tuple[float, float] | None:
    pair: tuple[float, float] | None = mixer.mixing() if hasattr(mixer, "mixing") else None  # type: ignore[operator]
    return pair
