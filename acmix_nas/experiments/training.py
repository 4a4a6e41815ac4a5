"""A network at full size: trained from its first epoch to its weights, or scored with weights that are there."""

import logging
import signal
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from types import FrameType
from typing import Any

import torch
import yaml

from acmix_nas import __version__
from acmix_nas.cost.environment import environment
from acmix_nas.data import Samples, Splits
from acmix_nas.data.splits import check_shown
from acmix_nas.errors import UsageError
from acmix_nas.experiments.predictions import Predictions
from acmix_nas.experiments.setup import announce, pick_device
from acmix_nas.experiments.training_job import FACTS, Job, TrainingOptions, backbone_of, check, stored_fingerprint
from acmix_nas.files import write_text
from acmix_nas.inference import Applied
from acmix_nas.metrics import Metric
from acmix_nas.reference import load_weights
from acmix_nas.sizes import size_text
from acmix_nas.study.folder import at_work
from acmix_nas.tasks import DEFAULT, load_images
from acmix_nas.train import Progress, Training
from acmix_nas.train.backbone_weights import load_backbone
from acmix_nas.train.checkpoint import trained_weights
from acmix_nas.train.fit import LAST, fit
from acmix_nas.train.ranks import first_then_others, joined, rank, world

log = logging.getLogger(__name__)


class TrainingCallbacks:
    """Shows nothing; a subclass overrides what it wants to see. Of several processes only the first calls it."""

    def note(self, text: str) -> None:
        """A line about the training."""

    def decode(self, done: int, total: int) -> None:
        """Shows how many images are decoded, and of how many; not called if none has to be."""

    def start(self, metric: Metric) -> None:
        """The network is there, and what it is scored by."""

    def step(self, progress: Progress) -> None:
        """An optimizer step was done."""

    def epoch(self, progress: Progress) -> None:
        """An epoch was scored and saved."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingResult:
    """What came of a training.

    Attributes:
        job: What was trained, and how.
        metric: What the scores are.
        progress: Scores, losses and seconds of its epochs.
        params: Parameters of the network.
        processes: Processes that trained it together.
        is_first: Whether this is the first of them, which says what came out.
        interrupted: Whether someone stopped it; the last finished epoch is kept.
    """

    job: Job
    metric: Metric
    progress: Progress
    params: int
    processes: int
    is_first: bool
    interrupted: bool

    @property
    def best(self) -> int | None:
        """Index of the best epoch."""
        gains = [self.metric.gain(score) for score in self.progress.scores]
        return max(range(len(gains)), key=gains.__getitem__, default=None)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        job, progress, best, name = self.job, self.progress, self.best, self.metric.name
        scores = progress.scores
        return {
            "study": job.name,
            "folder": str(job.folder),
            "network": job.network.name,
            "arch_id": job.network.arch.id if job.network.arch else None,
            "recipe": job.recipe.name,
            "params": self.params,
            "split": "report",
            "epochs": len(scores),
            "of_epochs": progress.epochs,
            name: scores[-1] if scores else None,
            f"best_{name}": None if best is None else scores[best],
            "best_epoch": None if best is None else best + 1,
            "scores": scores,
            "losses": progress.losses,
            "seconds": round(sum(progress.seconds), 3),
            "skipped": progress.skipped,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoreResult:
    """The score of weights.

    Attributes:
        job: Which network.
        data: Name of the images.
        images: How many were scored.
        metric: The metric that comes first.
        values: Name of each metric -> its value.
        classes: Names of the classes.
        by_class: Name of a score -> its value for each class, None for one that has none.
        is_first: Whether this is the first of several processes.
    """

    job: Job
    data: str
    images: int
    metric: Metric
    values: Mapping[str, float]
    classes: Sequence[str]
    by_class: Mapping[str, Sequence[float | None]]
    is_first: bool

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "network": self.job.network.name,
            "checkpoint": str(self.job.options.checkpoint),
            "data": self.data,
            "split": "report",
            "images": self.images,
            **self.values,
            **{name: dict(zip(self.classes, found, strict=True)) for name, found in self.by_class.items()},
        }


def run(options: TrainingOptions, callbacks: TrainingCallbacks | None = None) -> TrainingResult:
    """Trains a network at full size, and scores it on the validation images after every epoch.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        AcmixError: Something about it is wrong; nothing was written.
    """
    with _begun(options, callbacks) as (job, callbacks):
        splits, training = _prepared(job, callbacks)
        goes_on = options.resume and (job.folder / LAST).exists()
        if goes_on:
            training.load(job.folder / LAST)
        interrupted = False
        job.folder.mkdir(parents=True, exist_ok=True)
        with at_work(job.folder) if rank() == 0 else nullcontext():
            if rank() == 0 and not goes_on:
                write_text(job.folder / FACTS, yaml.safe_dump(_facts(job, splits, training), sort_keys=False))
            announce(_announcement(job, splits, training), splits, callbacks.note)
            callbacks.start(training.metric)
            try:
                fit(training, job.folder, on_epoch=partial(_after_epoch, callbacks, training.metric))
            except KeyboardInterrupt:
                log.info("interrupted")
                interrupted = True
        return TrainingResult(
            job=job,
            metric=training.metric,
            progress=training.progress,
            params=sum(parameter.numel() for parameter in training.model.parameters()),
            processes=world(),
            is_first=rank() == 0,
            interrupted=interrupted,
        )


def score(options: TrainingOptions, callbacks: TrainingCallbacks | None = None) -> ScoreResult:
    """Scores the weights in `options.checkpoint` on the validation images, and trains nothing.

    Args:
        options: As of `run`.
        callbacks: As of `run`.

    Raises:
        AcmixError: Something about it is wrong.
    """
    checkpoint = options.checkpoint
    assert checkpoint is not None
    how = None if options.inference.is_plain else partial(Applied, how=options.inference)
    predictions = None if options.predictions is None else Predictions(options.predictions)
    if predictions is not None and world() > 1:
        raise UsageError("--predictions writes from one process; leave torchrun out.")
    with _begun(options, callbacks) as (job, callbacks):
        splits, training = _prepared(job, callbacks)
        load_weights(training.scored, trained_weights(checkpoint) or checkpoint)
        assert splits.report is not None
        if predictions is not None and isinstance(splits.report.images, Samples):
            scored, _ = training.score(how, predictions.writer(splits.report.images))
        else:
            scored, _ = training.score(how)
        return ScoreResult(
            job=job,
            data=splits.name,
            images=len(splits.report),
            metric=training.metric,
            values=scored.values,
            classes=splits.classes,
            by_class=scored.by_class,
            is_first=rank() == 0,
        )


def score_text(metric: Metric, score: float) -> str:
    """A score with its name: "top-1 0.8123"."""
    return f"{metric.title} {metric.stored_text(score)}"


def epoch_line(metric: Metric, progress: Progress) -> str:
    """What came of the last epoch, in a line."""
    done = len(progress.scores)
    left = sum(progress.seconds) / done * (progress.epochs - done)
    shown = f"about {left / 60:.0f} min left" if left > 90 else f"about {left:.0f} s left"
    score = score_text(metric, progress.scores[-1])
    line = f"epoch {done} of {progress.epochs}  loss {progress.losses[-1]:.4f}  {score}  {progress.seconds[-1]:.1f} s"
    return f"{line}  {shown}" if done < progress.epochs else line


def _after_epoch(callbacks: TrainingCallbacks, metric: Metric, progress: Progress) -> None:
    if rank() == 0:
        log.info(epoch_line(metric, progress))
    callbacks.epoch(progress)


@contextmanager
def _begun(options: TrainingOptions, callbacks: TrainingCallbacks | None) -> Iterator[tuple[Job, TrainingCallbacks]]:
    """All processes together, the training checked; only the first calls the callbacks.

    A SIGTERM, as batch systems send it, ends it as Ctrl-C does.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    device = pick_device(options.device)
    with joined(device):
        before = signal.signal(signal.SIGTERM, interrupt)
        try:
            yield check(options, device), (callbacks if rank() == 0 else None) or TrainingCallbacks()
        finally:
            signal.signal(signal.SIGTERM, before)


def _prepared(job: Job, callbacks: TrainingCallbacks) -> tuple[Splits, Training]:
    """Reads the images and builds the network."""
    task = job.options.task or DEFAULT
    with first_then_others():
        splits = load_images(
            task,
            job.options.data,
            input_size=job.input_size,
            train_images=job.options.images,
            seed=job.seed,
            with_report=True,
            # Nothing here reads the search split: it takes as few of the training images as it can.
            search_images=1 if job.options.data else None,
            like=stored_fingerprint(job.folder) if job.options.resume else None,
            progress=callbacks.decode,
        )
        splits = splits if job.options.checkpoint else check_shown(splits)
    budget = job.recipe.budget(images=len(splits.train), **job.changes)
    model = job.learned.build(backbone_of(job, budget, in_chans=splits.in_chans), splits)
    weights = job.options.backbone_weights
    if weights is not None and not (job.options.resume and (job.folder / LAST).exists()):
        ours = job.network.arch is not None
        said = load_backbone(model, weights) if ours else f"the backbone is timm's with the weights of {weights}"
        log.info(said)
        callbacks.note(said)
    torch.manual_seed(job.seed + rank())  # processes drop paths of their own
    training = Training(
        model,
        splits,
        budget,
        split="report",
        order_seed=job.seed,
        device=job.device,
        on_step=callbacks.step,
        task=task,
        head=job.options.head,
        metric=job.options.metric,
        key={"network": job.network.arch.id if job.network.arch else job.network.name},
    )
    return splits, training


def _facts(job: Job, splits: Splits, training: Training) -> dict[str, Any]:
    """What train.yaml says; `acmix train` reads it as ARCH too, where the network is one of ours."""
    arch = job.network.arch
    described = {} if arch is None else {"arch_id": arch.id, "arch": arch.to_dict()}
    return {
        "network": job.network.name,
        **described,
        "recipe": job.recipe.name,
        "budget": training.budget.to_dict(),
        "input_size": job.input_size if isinstance(job.input_size, int) else list(job.input_size),
        "task": job.options.task or DEFAULT,
        **({} if (head := job.learned.head(splits.classes)) is None else {"head": head}),
        "metric": training.metric.name,
        "data": splits.to_dict(),
        "split": "report",
        "seed": job.seed,
        "processes": world(),
        "asked": job.options.remembered(),
        "command": job.options.command,
        "version": __version__,
        "environment": environment(job.device),
    }


def _announcement(job: Job, splits: Splits, training: Training) -> list[str]:
    """What is trained, on what, and how."""
    budget = training.budget
    processes = f" in {world()} processes" if world() > 1 else ""
    done = len(training.progress.scores)
    lines = [
        f"training {job.name}: {job.network.name}, recipe {job.recipe.name}, seed {job.seed}, in {job.folder}",
        f"data: {splits.name}, {len(splits.classes)} classes, {budget.images:,} training images of "
        f"{size_text(job.input_size)} px, scores on {len(splits.report or ()):,} validation images",
        f"epochs {budget.epochs}, batch {budget.batch_size}, {budget.optimizer} at {budget.learning_rate:g}, "
        f"{budget.precision} on {job.device}{processes}" + (f"; going on after epoch {done}" if done else ""),
    ]
    if splits.embedded:
        recipe = job.recipe
        length = f"{recipe.iterations} steps" if recipe.iterations else f"{recipe.values['epochs']} epochs"
        said = "" if job.options.epochs else f" The recipe has {length}."
        what = "Fashion-MNIST, not ImageNet" if job.learned.head(()) is None else "composed scenes, not photographs"
        lines.append(f"These images are {what}: the results show that everything works.{said}")
    return lines
