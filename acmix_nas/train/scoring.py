"""What a network shows on the scored images: the values of its metrics, and what every block mixed there.

One whose weights or outputs are not numbers is refused, as its scores say nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from itertools import zip_longest
from math import sqrt
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle

from acmix_nas.data import Targets
from acmix_nas.errors import AcmixError
from acmix_nas.fields import MOST
from acmix_nas.metrics import Metric
from acmix_nas.record import Blocks
from acmix_nas.tasks import Task
from acmix_nas.train.ranks import gathered, total

PICTURES = 4
"""Scored images whose predictions records keep, as `TrialRecord.predictions`."""


class NotFiniteError(AcmixError):
    """Weights or outputs of a network hold NaN or infinity."""


class ScoreError(AcmixError):
    """A metric gave a value that it cannot have."""


class Scored(NamedTuple):
    """What a network scored.

    Attributes:
        values: Name of a metric -> its value, that of the study's first.
        by_class: Name of a score -> its value for each class, None for one that has none.
        predictions: Pictures of what was predicted for the first images, of a task that has them.
    """

    values: dict[str, float]
    by_class: Mapping[str, tuple[float | None, ...]]
    predictions: tuple[str, ...]


def score(
    model: nn.Module,
    batches: Iterable[tuple[torch.Tensor, Targets]],
    images: int,
    task: Task,
    metric: Metric,
    seen: Callable[[Any, Targets], None] | None = None,
) -> Scored:
    """Values of a network's metrics, and of its scores by class.

    In processes that `torch.distributed` joins each passes batches of its own, and the values are those of all.

    Args:
        model: The network, in evaluation mode.
        batches: Images (B, C, H, W) and their targets.
        images: Number of images in all.
        task: Says what scores are made of.
        metric: What the study looks at; one with `compute` is computed from the outputs for all images.
        seen: Called with the outputs and targets of each batch.

    Raises:
        NotFiniteError: Outputs hold NaN.
        ScoreError: A value is not finite, or beyond the metric's bounds.
    """
    tally: torch.Tensor | int = 0
    wrong: torch.Tensor | int = 0
    kept: list[tuple[Any, Targets]] = []
    pictures: list[str] = []
    for pixels, targets in batches:
        outputs = model(pixels)
        tally = tally + task.tally(outputs, targets)
        if seen is not None:
            seen(outputs, targets)
        if len(pictures) < PICTURES:
            pictures += task.pictures(outputs, targets, PICTURES - len(pictures))
        flags = [_has_nan(tensor) for tensor in _tensors_of(outputs)]
        wrong = wrong + torch.stack(flags).any(0).sum()
        if metric.compute is not None:
            kept.append((leading(outputs, len(pixels), "cpu"), leading(targets, len(pixels), "cpu")))
    parts = gathered((tally if isinstance(tally, int) else tally.cpu(), int(wrong), pictures))
    if broken := sum(count for _, count, _ in parts):
        raise NotFiniteError(
            f"the network's outputs contain NaN for {broken:,} of {images:,} images; their score would mean "
            "nothing. Its values leave the range of the precision: score it in fp32, or train with a smaller "
            "learning rate."
        )
    tallies = [part for part, _, _ in parts if isinstance(part, torch.Tensor)]
    whole = torch.stack(tallies).sum(0)
    values = dict(task.scores(whole, images))
    if metric.compute is not None:
        everyone = [batch for part in gathered(kept) for batch in part]
        outputs, targets = (_joined([batch[place] for batch in everyone]) for place in (0, 1))
        values = {metric.name: metric.compute(outputs, targets), **values}
    known = {each.name: each for each in (metric, *task.metrics)}
    checked = {name: _checked(known[name], values[name]) for name in dict.fromkeys((metric.name, *values))}
    in_turns = [picture for turn in zip_longest(*(own for _, _, own in parts)) for picture in turn if picture]
    return Scored(checked, task.by_class(whole), tuple(in_turns[:PICTURES]))


def check_weights(network: nn.Module) -> None:
    """Refuses a network with a parameter that is not finite, or a buffer with NaN: a mask may hold infinity.

    Raises:
        NotFiniteError: The message names the first of them.
    """
    whole = {name: value.isfinite().all() for name, value in network.named_parameters()}
    whole |= {name: ~value.isnan().any() for name, value in network.named_buffers()}
    if not whole:
        return
    flags = torch.stack([flag.reshape(()) for flag in whole.values()]).tolist()  # one wait for a GPU
    wrong = [name for name, flag in zip(whole, flags, strict=True) if not flag]
    if wrong:
        raise NotFiniteError(
            f"{len(wrong)} of {len(whole)} tensors of the weights contain NaN or infinity, the first is "
            f"{wrong[0]}; their score would mean nothing. Take another checkpoint, or train with a smaller "
            "learning rate."
        )


def leading(values: Any, count: int, device: str | None = None) -> Any:
    """The first of a batch's outputs or targets, floating-point tensors as float32.

    Args:
        values: A tensor (B, ...), a list of B values, or several such in a tuple or a mapping.
        count: How many.
        device: Where they are put; None leaves them.
    """
    if isinstance(values, torch.Tensor):
        first = values[:count].to(device)
        return first.float() if first.is_floating_point() else first
    if isinstance(values, Mapping):
        return {name: leading(value, count, device) for name, value in values.items()}
    if isinstance(values, tuple):
        return tuple(leading(value, count, device) for value in values)
    return list(values[:count])


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
    gates, norms = torch.zeros(2, len(mixers), 3, dtype=torch.float64, device=device)
    hooks: list[RemovableHandle] = []
    for block, mixer in enumerate(mixers):
        combine = getattr(mixer, "combine", None)
        for name, sums, pairs in (("gate", gates, _gates), ("sum", norms, _norms)):
            watched = getattr(combine, name, None)
            if isinstance(watched, nn.Module):
                hooks.append(watched.register_forward_hook(partial(_add, sums[block], pairs)))

    def read() -> Mixing:
        gated = _means(gates)
        weights = tuple(_fixed(mixer) if pair is None else pair for mixer, pair in zip(mixers, gated, strict=True))
        return Mixing(weights, _means(norms))

    try:
        yield read
    finally:
        for hook in hooks:
            hook.remove()


def _tensors_of(outputs: Any) -> list[torch.Tensor]:
    """The tensors (B, ...) of a network's outputs."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    parts = outputs.values() if isinstance(outputs, Mapping) else outputs
    return [tensor for part in parts for tensor in _tensors_of(part)]


def _has_nan(tensor: torch.Tensor) -> torch.Tensor:
    """Whether each of B tensors (B, ...) has a NaN, which the largest value then is; no copy is made."""
    return (tensor.amax(tuple(range(1, tensor.ndim))) if tensor.ndim > 1 else tensor).isnan()


def _joined(parts: list[Any]) -> Any:
    """Batches of outputs or targets as one."""
    first = parts[0]
    if isinstance(first, torch.Tensor):
        return torch.cat(parts)
    if isinstance(first, dict):
        return {name: _joined([part[name] for part in parts]) for name in first}
    if isinstance(first, tuple):
        return tuple(_joined(list(place)) for place in zip(*parts, strict=True))
    return [each for part in parts for each in part]


def _checked(metric: Metric, value: float) -> float:
    value = float(value)
    if not (abs(value) < MOST and metric.holds(value)):
        raise ScoreError(
            f"the metric {metric.name} gave {value:g}, and its values are {metric.range_text()}. Correct its bounds, "
            "or what computes it."
        )
    return value


_Pairs: TypeAlias = Callable[[tuple[torch.Tensor, ...], torch.Tensor], torch.Tensor]
"""A pair (B, 2) for each image, from what a module takes and gives."""


def _gates(_inputs: tuple[torch.Tensor, ...], gates_B2C: torch.Tensor) -> torch.Tensor:
    return gates_B2C.float().mean(-1)


def _norms(paths_BhwC: tuple[torch.Tensor, ...], _sum: torch.Tensor) -> torch.Tensor:
    norms = [torch.linalg.vector_norm(path, dim=(1, 2, 3), dtype=torch.float32) for path in paths_BhwC]
    return torch.stack(norms, 1) / sqrt(paths_BhwC[0][0].numel())


def _add(
    sums: torch.Tensor, pairs: _Pairs, _module: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> None:
    """Adds both values of a block's pairs, and the number of images, to its sums (3,)."""
    seen_B2 = pairs(inputs, output).detach().double()
    sums += nn.functional.pad(seen_B2.sum(0), (0, 1), value=len(seen_B2))


def _means(sums: torch.Tensor) -> Blocks:
    """The mean pair of each block from its sums (blocks, 3), over the images of all processes."""
    if not len(sums):
        return ()
    summed = total(sums.clone())
    means = (summed / summed[:, 2:]).tolist()  # no images give nan, which is not below anything
    return tuple((att, conv) if abs(att) < MOST and abs(conv) < MOST else None for att, conv, _ in means)


def _fixed(mixer: nn.Module) -> tuple[float, float] | None:
    pair: tuple[float, float] | None = mixer.mixing() if hasattr(mixer, "mixing") else None  # type: ignore[operator]
    return pair
