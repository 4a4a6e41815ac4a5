"""Scores of a network on images; one whose weights or outputs are not numbers is refused, as its scores say nothing."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from acmix_nas.data import Targets
from acmix_nas.errors import AcmixError
from acmix_nas.fields import MOST
from acmix_nas.metrics import Metric
from acmix_nas.tasks import Task
from acmix_nas.train.batch import leading, tensors_of
from acmix_nas.train.ranks import gathered


class NotFiniteError(AcmixError):
    """Weights or outputs of a network hold NaN or infinity."""


class ScoreError(AcmixError):
    """A metric gave a value that it cannot have."""


def score(
    model: nn.Module, batches: Iterable[tuple[torch.Tensor, Targets]], images: int, task: Task, metric: Metric
) -> dict[str, float]:
    """Values of a network's metrics.

    In processes that `torch.distributed` joins each passes batches of its own, and the values are those of all.

    Args:
        model: The network, in evaluation mode.
        batches: Images (B, C, H, W) and their targets.
        images: Number of images in all.
        task: Says what scores are made of.
        metric: What the study looks at; one with `compute` is computed from the outputs for all images.

    Returns:
        By name, that of `metric` first.

    Raises:
        NotFiniteError: Outputs hold NaN.
        ScoreError: A value is not finite, or beyond the metric's bounds.
    """
    tally: torch.Tensor | None = None
    wrong: torch.Tensor | None = None
    kept: list[tuple[Any, Targets]] = []
    for pixels, targets in batches:
        outputs = model(pixels)
        added = task.tally(outputs, targets)
        tally = added if tally is None else tally + added
        broken = nan_images(outputs)
        wrong = broken if wrong is None else wrong + broken
        if metric.compute is not None:
            kept.append((leading(outputs, len(pixels), "cpu"), leading(targets, len(pixels), "cpu")))
    parts = gathered((None if tally is None else tally.cpu(), 0 if wrong is None else int(wrong)))
    check_outputs(sum(count for _, count in parts), images)
    tallies = [part for part, _ in parts if part is not None]
    values = dict(task.scores(torch.stack(tallies).sum(0), images))
    if metric.compute is not None:
        everyone = [batch for part in gathered(kept) for batch in part]
        outputs, targets = (_joined([batch[place] for batch in everyone]) for place in (0, 1))
        values = {metric.name: metric.compute(outputs, targets), **values}
    known = {each.name: each for each in (metric, *task.metrics)}
    return {name: _checked(known[name], values[name]) for name in dict.fromkeys((metric.name, *values))}


def nan_images(outputs: Any) -> torch.Tensor:
    """Number of images whose outputs hold NaN."""
    flags = [tensor.isnan().reshape(len(tensor), -1).any(1) for tensor in tensors_of(outputs)]
    return torch.stack(flags).any(0).sum()


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


def check_outputs(wrong: int, images: int) -> None:
    """Refuses a score where outputs were NaN.

    Args:
        wrong: Images whose outputs hold NaN.
        images: Images in all.

    Raises:
        NotFiniteError: There are such images.
    """
    if wrong:
        raise NotFiniteError(
            f"the network's outputs contain NaN for {wrong:,} of {images:,} images; their score would mean "
            "nothing. Its values leave the range of the precision: score it in fp32, or train with a smaller "
            "learning rate."
        )


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
