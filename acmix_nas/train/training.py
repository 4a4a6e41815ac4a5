"""The training loop: one model, one budget, a score after every epoch, and a file to go on from."""

import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.data import Samples, Splits
from acmix_nas.errors import AcmixError, DiskError
from acmix_nas.fields import MOST
from acmix_nas.record import Blocks
from acmix_nas.sizes import pair
from acmix_nas.tasks import DEFAULT, load_task, pick_metric
from acmix_nas.train.checkpoint import (
    ResumeError,
    Tensors,
    below,
    check_key,
    prefixed,
    read_checkpoint,
    write_checkpoint,
)
from acmix_nas.train.frozen import prepared
from acmix_nas.train.loader import Feed
from acmix_nas.train.ranks import rank, same_buffers, total
from acmix_nas.train.recipe import Budget
from acmix_nas.train.sample_loader import SampleFeed
from acmix_nas.train.scoring import Mixing, Scored, check_weights, score, watch_mixing
from acmix_nas.train.step import TrainStep

log = logging.getLogger(__name__)

CHECKED = {"cpu": 1, "cuda": 50}
"""Steps between two looks at the loss: a look waits for all work of the GPU."""
MOST_SKIPPED = 0.01
"""Share of the steps that may be skipped for a gradient that is not finite, and `FEW_SKIPPED` in any case."""
FEW_SKIPPED = 3


class DivergedError(AcmixError):
    """The loss stopped being a number, or one that a record can hold, or so did the gradient of too many steps."""


@dataclass(slots=True)
class Progress:
    """What training has shown so far; it grows while a network trains.

    Attributes:
        scores: Value of the metric that the study looks at, on the scored split after each epoch.
        metrics: Name of each metric, that one among them -> its value after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block after each epoch.
        norms: Norms of (alpha * F_att, beta * F_conv) of each block on the scored images after each epoch.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epochs: Epochs in all.
        started: When the first epoch began, ISO 8601 in UTC.
        seconds: Wall-clock time of each epoch.
        earlier: Time of the epochs before a resume.
        skipped: Steps that changed no weight, because the norm of their gradient was not finite.
        by_class: Name of a score -> its value for each class after the last epoch.
        predictions: Pictures of what was predicted for the first scored images after the last epoch.
    """

    scores: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    mixing: list[Blocks] = field(default_factory=list)
    norms: list[Blocks] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    epochs: int = 0
    started: str = ""
    seconds: list[float] = field(default_factory=list)
    earlier: float = 0.0
    skipped: int = 0
    by_class: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    predictions: tuple[str, ...] = ()

    def take(self, values: Mapping[str, Any]) -> None:
        """Takes over what `dataclasses.asdict` said of another one and JSON kept."""
        values = {
            "norms": [],
            "skipped": 0,
            "metrics": {},
            "by_class": {},
            "predictions": (),
            **values,
        }  # which files of earlier versions do not have
        for item in fields(self):
            setattr(self, item.name, values[item.name])
        self.earlier = sum(self.seconds)
        self.mixing, self.norms = _pairs(self.mixing), _pairs(self.norms)
        self.predictions = tuple(self.predictions)


class Training:
    """A network in training, an epoch at a time. Its attribute `described` says what its weights are for.

    Saved after an epoch and loaded by another process, it goes on to the same bits on the CPU as if it had never
    stopped: weights, their average, optimizer, the order of images, augmentation and dropout are all in the file.

    In processes that `torch.distributed` joins, each trains on its share of every batch and scores its share of the
    images; losses and scores are those of all.

    Args:
        model: The task's network, which maps (B, C, H, W) images to its outputs; trained in place.
        splits: Images; `budget.images` of `splits.train` are there. They may be larger than `splits.input_size`.
        budget: The recipe.
        split: Images that are scored: "search" or "report".
        order_seed: Seed of the order of images and of augmentation, apart from that of the weights.
        device: "cpu" or "cuda".
        progress: Filled as training goes, so that what was reached is known after an error.
        on_step: Called after every optimizer step.
        task: What is learned: a name of `acmix_nas.tasks`, or the dotted path of a task of the user's own.
        head: The head of a dense task; None for the task's usual one.
        metric: What `Progress.scores` are; None for the task's first metric.
        key: Further plain values that a checkpoint has to agree with, as which network it is.

    Raises:
        RecipeError: The device does not do what the recipe wants.
        TaskError: The task does not.
    """

    def __init__(
        self,
        model: nn.Module,
        splits: Splits,
        budget: Budget,
        *,
        split: str = "search",
        order_seed: int = 0,
        device: str = "cpu",
        progress: Progress | None = None,
        on_step: Callable[[Progress], None] | None = None,
        task: str = DEFAULT,
        head: str | None = None,
        metric: str | None = None,
        key: Mapping[str, Any] | None = None,
    ) -> None:
        scored = splits.search if split == "search" else splits.report
        assert scored is not None, "the report split was not loaded"
        model = prepared(model, budget)
        self.model = model.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.budget = budget
        self.progress = progress or Progress()
        self.progress.epochs, self.progress.steps = budget.epochs, budget.total_steps
        self._train_images, self._scored_images = splits.train, scored
        self._device = device
        self._on_step = on_step
        self._generator = torch.Generator().manual_seed(order_seed)
        self._task = load_task(task, head)
        self.metric = pick_metric(self._task, metric)
        self._step = TrainStep(model, budget, device, self._task)
        own_sizes = isinstance(splits.train.images, Samples)
        self._feed = (SampleFeed if own_sizes else Feed)(splits, budget, device, self._task)
        said = (("task", task), ("head", self._task.head(splits.classes)), ("metric", metric))
        asked = {name: value for name, value in said if value not in (DEFAULT, None)}
        facts = {"budget": budget.to_dict(), "data": splits.to_dict(), "split": split, "order_seed": order_seed}
        self._key = {**(key or {}), **facts, **asked}
        facts_of_head = self._task.head(splits.classes)
        self.described: dict[str, Any] = {
            "task": task,
            "head": facts_of_head and facts_of_head["name"],
            "classes": list(splits.classes),
            "mean": list(splits.mean),
            "std": list(splits.std),
            "input_size": list(pair(splits.input_size)),
        }

    @property
    def done(self) -> bool:
        """Whether all epochs are trained."""
        return len(self.progress.scores) >= self.budget.epochs

    @property
    def scored(self) -> nn.Module:
        """The network that is scored: the average of weights where the budget has one, else `model` itself."""
        return self._step.scored

    def epoch(self) -> float:
        """Trains one epoch and scores the network; returns the value of `metric`.

        Raises:
            DivergedError: The loss is no number, or larger than any record holds; or too many steps were skipped.
        """
        clock = time.perf_counter()
        self.progress.started = self.progress.started or datetime.now(UTC).isoformat(timespec="seconds")
        with _algorithms(self._device, deterministic=self.budget.deterministic):
            loss = self._pass()
            scored, mixing = self.score()
        values = scored.values
        self.progress.by_class, self.progress.predictions = scored.by_class, scored.predictions
        self.progress.losses.append(loss)
        self.progress.scores.append(values[self.metric.name])
        for name, value in values.items():
            self.progress.metrics.setdefault(name, []).append(value)
        self.progress.mixing.append(mixing.weights)
        self.progress.norms.append(mixing.norms)
        self.progress.seconds.append(time.perf_counter() - clock)
        return values[self.metric.name]

    @torch.no_grad()
    def score(
        self, how: Callable[[nn.Module], nn.Module] | None = None, seen: Callable[[Any, Any], None] | None = None
    ) -> tuple[Scored, Mixing]:
        """Values of all metrics on the scored split, by class too, and what each block mixed there.

        Args:
            how: Makes of the network what is applied to the images; None for what the task does.
            seen: Called with the outputs and targets of each batch, in the order of the images.

        Raises:
            NotFiniteError: Weights are not finite, or outputs NaN.
            ScoreError: A metric has a value that it cannot have.
        """
        model = self.scored.eval()
        same_buffers(model)
        check_weights(model)
        with watch_mixing(model) as mixing, self._step.autocast():
            batches = self._feed.in_order(self._scored_images)
            applied = self._applied(how)
            scored = score(applied, batches, len(self._scored_images), self._task, self.metric, seen)
            return scored, mixing()

    def _applied(self, how: Callable[[nn.Module], nn.Module] | None) -> nn.Module:
        """What is applied to the scored images."""
        if how is not None:
            return how(self.scored)
        return self.scored if self.metric.compute is not None else self._task.scoring(self.scored)

    def save(self, path: Path) -> None:
        """Writes everything that the next epoch depends on, in one step."""
        tensors, facts = self._step.state()
        random = {"order": self._generator.get_state(), "torch": torch.get_rng_state()}
        if self._device == "cuda":
            random["cuda"] = torch.cuda.get_rng_state()
        facts |= {"key": self._key, "progress": asdict(self.progress)}
        write_checkpoint(path, {**tensors, **prefixed("random", random)}, facts)

    def load(self, path: Path) -> None:
        """Takes over what `save` wrote, torch's own random state included.

        Raises:
            ResumeError: The file cannot be read, or is of another network, budget, data or seed; it says which.
        """
        tensors, facts = read_checkpoint(path)
        check_key(path, facts["key"], self._key)
        try:
            self._take_over(path, tensors, facts)
        except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise ResumeError(
                f"{path} is a damaged checkpoint: {type(error).__name__}: {error}. Give another file, or delete it and "
                "train from the start."
            ) from error

    def _take_over(self, path: Path, tensors: Tensors, facts: Mapping[str, Any]) -> None:
        self._step.load(path, tensors, facts)
        random = below("random", tensors)
        self._generator.set_state(random["order"])
        torch.set_rng_state(random["torch"])
        if self._device == "cuda" and "cuda" in random:
            torch.cuda.set_rng_state(random["cuda"])
        self.progress.take(facts["progress"])
        if not self.progress.metrics and self.progress.scores:  # a file of an earlier version
            self.progress.metrics = {self.metric.name: list(self.progress.scores)}
        if rank():  # the file has the state of the first process; others must not drop the same paths
            torch.manual_seed(self.progress.step * 1009 + rank())

    def _pass(self) -> float:
        """Steps over all images; returns their mean loss."""
        self.model.train()
        losses = _Losses(self.progress)
        for batch in self._feed.shuffled(self._train_images, self._generator):
            losses.add(self._step(batch, self.progress.step), batch.counted)
            self.progress.step += 1
            if self.progress.step % CHECKED[self._device] == 0:
                losses.check()
            if self._step.skipped is not None:
                self._count_skipped(self._step.skipped)
            if self._on_step:
                self._on_step(self.progress)
            if self.progress.step == self.budget.total_steps:
                break
        return losses.mean(self._device)

    def _count_skipped(self, norm: float) -> None:
        progress = self.progress
        progress.skipped += 1
        text = f"the norm of the gradient is {norm:g}"
        if rank() == 0:
            log.warning("step %d of %d is skipped: %s", progress.step, progress.steps, text)
        if progress.skipped > max(FEW_SKIPPED, MOST_SKIPPED * progress.steps):
            raise DivergedError(
                f"{text} at step {progress.step} of {progress.steps}, and {progress.skipped} steps were skipped for "
                "such a norm, which is too many. Train with a smaller learning rate or in fp32; `acmix doctor` says "
                "whether gradients are right on this machine."
            )


def run_epochs(training: Training, *, checkpoint: Path | None = None, until: int | None = None) -> None:
    """Trains epoch after epoch.

    Args:
        training: The training.
        checkpoint: File to go on from if it is there, written after every epoch, by the first of several processes.
        until: Epoch to stop after; None for all.
    """
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    while not training.done and (until is None or len(training.progress.scores) < until):
        training.epoch()
        if checkpoint is not None and rank() == 0:
            try:
                training.save(checkpoint)
            except DiskError as error:  # it costs what an interrupt would lose, not the training
                log.warning("epoch %d was not saved for --resume: %s", len(training.progress.scores), error)


class _Losses:
    """Losses of an epoch, left on the device until they are looked at."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._new: list[tuple[torch.Tensor, int]] = []
        self._sum, self._count = 0.0, 0

    def add(self, loss: torch.Tensor, count: int) -> None:
        self._new.append((loss, count))

    def check(self) -> None:
        first = self._progress.step - len(self._new)
        values = torch.stack([loss for loss, _ in self._new]).tolist() if self._new else []
        for step, (value, (_, count)) in enumerate(zip(values, self._new, strict=True), start=first):
            if not abs(value) < MOST:  # which nan is not, either
                raise DivergedError(f"the loss is {value} at step {step} of {self._progress.steps}")
            self._sum += value * count
            self._count += count
        self._new.clear()

    def mean(self, device: str) -> float:
        self.check()
        summed, count = total(torch.tensor([self._sum, self._count], dtype=torch.float64, device=device)).tolist()
        return float(summed / count)


@contextmanager
def _algorithms(device: str, *, deterministic: bool) -> Iterator[None]:
    """Torch takes deterministic algorithms, or else the fastest that it finds on a GPU."""
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = device == "cuda" and not deterministic
    if deterministic:
        # https://docs.nvidia.com/cuda/cublas/#results-reproducibility
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
        torch.use_deterministic_algorithms(True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


def _pairs(epochs: Iterable[Blocks]) -> list[Blocks]:
    """Pairs as tuples, which JSON made lists."""
    return [tuple(pair if pair is None else (pair[0], pair[1]) for pair in blocks) for blocks in epochs]
