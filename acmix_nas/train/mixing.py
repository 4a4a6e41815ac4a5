"""alpha and beta of every block, also where they depend on the images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import torch
from torch import nn

Mixing: TypeAlias = tuple[tuple[float, float] | None, ...]
"""(alpha, beta) of each block, first to last; None for a block without ACmix."""


@contextmanager
def watch_mixing(model: nn.Module) -> Iterator[Callable[[], Mixing]]:
    """Observes a model of ours while it runs; the function it gives reads (alpha, beta) of each block.

    Learned and fixed weights are read as they are, per-channel ones as their mean. The gates of `gated` are averaged
    over the images that passed and over channels; None before any did.
    """
    mixers: list[nn.Module] = list(model.mixers()) if hasattr(model, "mixers") else []  # type: ignore[operator]
    seen: dict[int, list[torch.Tensor]] = {}

    def observe(index: int) -> Callable[[nn.Module, Any, torch.Tensor], None]:
        return lambda _gate, _inputs, gates: seen.setdefault(index, []).append(gates.detach().float().mean(-1))

    gates = {index: gate for index, mixer in enumerate(mixers) if (gate := _gate(mixer)) is not None}
    hooks = [gate.register_forward_hook(observe(index)) for index, gate in gates.items()]

    def read() -> Mixing:
        return tuple(_mean(seen[index]) if index in seen else _static(mixer) for index, mixer in enumerate(mixers))

    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def _gate(mixer: nn.Module) -> nn.Module | None:
    gate = getattr(getattr(mixer, "combine", None), "gate", None)
    return gate if isinstance(gate, nn.Module) else None


def _mean(gates: list[torch.Tensor]) -> tuple[float, float]:
    alpha, beta = torch.cat(gates).mean(0).tolist()
    return alpha, beta


def _static(mixer: nn.Module) -> tuple[float, float] | None:
    pair: tuple[float, float] | None = mixer.mixing() if hasattr(mixer, "mixing") else None  # type: ignore[operator]
    return pair
