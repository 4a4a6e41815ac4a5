"""One trial: a network of a study is built as its proxy, trained and recorded, whatever happens."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost.environment import environment
from acmix_nas.data import Splits
from acmix_nas.errors import AcmixError, DataError
from acmix_nas.models import build_features, build_model
from acmix_nas.record import Cost, Head, TrialRecord
from acmix_nas.sizes import Size
from acmix_nas.space import Proxy
from acmix_nas.tasks import DEFAULT, Backbone, Task, load_task, pick_metric
from acmix_nas.train.checkpoint import ResumeError
from acmix_nas.train.ranks import rank, world
from acmix_nas.train.recipe import Budget
from acmix_nas.train.scoring import PICTURES
from acmix_nas.train.training import Progress, Training, run_epochs

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What is the same for all trials of a study.

    Attributes:
        proxy: How the networks are shrunk.
        budget: How they are trained.
        splits: On which images.
        split: The images that scores are read on.
        input_size: Height and width in pixels at which the full networks' costs are counted, one number for squares.
        device: "cpu" or "cuda".
        environment: Versions, threads, machine; those of this process by default.
        task: What the networks learn, as `acmix_nas.tasks.load_task` takes it.
        head: The head of a dense task; None for the task's usual one.
        metric: What scores are, as `acmix_nas.tasks.pick_metric` takes it.
    """

    proxy: Proxy
    budget: Budget
    splits: Splits
    split: str
    input_size: Size
    device: str
    environment: Mapping[str, Any] = field(default_factory=dict)
    task: str = DEFAULT
    head: str | None = None
    metric: str | None = None

    @property
    def learned(self) -> Task:
        """The task, with its head."""
        return load_task(self.task, self.head)

    @property
    def head_facts(self) -> Head | None:
        """What records and the study's header say of the head."""
        return self.learned.head(self.splits.classes)

    @property
    def examples(self) -> list[dict[str, str]]:
        """The first scored images and their truth as pictures, of a task that has them."""
        images = self.splits.search if self.split == "search" else self.splits.report
        return [] if images is None else self.learned.examples(images, PICTURES)

    def cost_of(self, arch: Arch) -> Cost:
        """What a full network costs, with the task's head."""
        return self.learned.count(arch, self.input_size, len(self.splits.classes))

    def __post_init__(self) -> None:
        if not self.environment:
            together = {"processes": world()} if world() > 1 else {}
            object.__setattr__(self, "environment", {**environment(self.device), **together})


def run_trial(
    arch: Arch,
    setting: Setting,
    *,
    number: int,
    label: str,
    seeds: Mapping[str, int],
    on_step: Callable[[Progress], None] | None = None,
    checkpoint: Path | None = None,
    until: int | None = None,
) -> TrialRecord:
    """Trains one network and records it; a failure is a record too.

    Args:
        arch: The network at full size.
        setting: What the study holds fixed.
        number: The trial's number in the study.
        label: Its row, or where it came from.
        seeds: "init" for the weights, "order" for images and augmentation.
        on_step: Called after every optimizer step.
        checkpoint: File to go on from if it is there, written after every epoch.
        until: Epoch to stop after; None for all of the budget.

    Returns:
        The record: "complete" after all epochs, "paused" if `until` came before, "failed" with the reason if the loss
        diverged, memory ran out or anything raised. Only an interrupt passes through, and what is raised below.

    Raises:
        ResumeError: The checkpoint is that of another network, budget, data or seeds, or cannot be read.
        DataError: Images on disk are not what they were any more.
    """
    progress, error = Progress(), None
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if setting.device == "cuda" else []):
            torch.manual_seed(seeds["init"])
            training = Training(
                build_proxy(arch, setting, drop_path_rate=setting.budget.drop_path),
                setting.splits,
                setting.budget,
                split=setting.split,
                order_seed=seeds["order"],
                device=setting.device,
                progress=progress,
                on_step=on_step,
                task=setting.task,
                head=setting.head,
                metric=setting.metric,
                key={"arch": arch.id, "proxy": setting.proxy.to_dict(), "seeds": dict(seeds)},
            )
            if rank():  # processes drop paths of their own
                torch.manual_seed(seeds["init"] + rank())
            run_epochs(training, checkpoint=checkpoint, until=until)
    except (ResumeError, DataError):  # images that changed are no failure of the network
        raise
    except (Exception, SystemExit) as caught:  # code of the user's may call sys.exit
        error = _reason(caught)
        log.warning("trial %d failed: %s", number, error, exc_info=not isinstance(caught, AcmixError))
    seconds = round(progress.earlier + time.perf_counter() - clock, 3)
    return record_of(
        arch,
        setting,
        progress,
        number=number,
        label=label,
        seeds=seeds,
        started=progress.started or started,
        seconds=seconds,
        error=error,
    )


def record_of(
    arch: Arch,
    setting: Setting,
    progress: Progress,
    *,
    number: int,
    label: str,
    seeds: Mapping[str, int],
    started: str,
    seconds: float = 0.0,
    error: str | None = None,
) -> TrialRecord:
    """The record of a trial: "failed" with an error, else "complete" after all epochs, "paused" before."""
    done = len(progress.scores) == setting.budget.epochs
    return TrialRecord(
        number=number,
        status="failed" if error else "complete" if done else "paused",
        arch=arch,
        cost=setting.cost_of(arch),
        label=label,
        split=setting.split,
        scores=tuple(progress.scores),
        task=setting.task,
        metric=pick_metric(setting.learned, setting.metric).name,
        metrics={name: tuple(values) for name, values in progress.metrics.items()},
        losses=tuple(progress.losses),
        mixing=tuple(progress.mixing),
        norms=tuple(progress.norms),
        skipped=progress.skipped,
        head=setting.head_facts,
        by_class=progress.by_class if done and not error else {},
        predictions=progress.predictions if done and not error else (),
        seeds=dict(seeds),
        budget=setting.budget.to_dict(),
        proxy=setting.proxy.to_dict(),
        data=setting.splits.to_dict(),
        environment=dict(setting.environment),
        started=started,
        seconds=seconds,
        error=error,
    )


def shared_record(twin: TrialRecord, arch: Arch, setting: Setting, *, number: int, label: str) -> TrialRecord:
    """The record of a network whose proxy was trained before, as trial `twin`: the scores are that trial's."""
    cost = setting.cost_of(arch)
    return replace(twin, number=number, label=label, arch=arch, cost=cost, shared_with=twin.number, seconds=0.0)


def build_proxy(arch: Arch, setting: Setting, *, drop_path_rate: float = 0.0) -> nn.Module:
    """The small network that is trained for one of full size, with the head of the task."""
    options: dict[str, Any] = {
        "in_chans": setting.splits.in_chans,
        "img_size": setting.proxy.input_size,
        "patch_size": setting.proxy.patch_size,
        "width": setting.proxy.width,
        "drop_path_rate": drop_path_rate,
    }
    shrunk = setting.proxy.shrink(arch)
    backbone = Backbone(
        classifier=lambda outputs: build_model(shrunk, num_classes=outputs, **options),
        features=lambda: build_features(shrunk, feature_cls="getter", class_token=False, **options),
        width=setting.proxy.width,
        img_size=setting.proxy.input_size,
    )
    return setting.learned.build(backbone, setting.splits)


def _reason(error: Exception | SystemExit) -> str:
    """One line on what went wrong."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "can't allocate memory" in str(error):
        return f"out of memory: {error}"
    if isinstance(error, AcmixError):
        return str(error)
    return f"{type(error).__name__}: {error}".splitlines()[0]
