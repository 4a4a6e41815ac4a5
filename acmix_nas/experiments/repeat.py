"""Trains a recorded trial again from its record, and says whether it came out the same."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any

import torch

from acmix_nas.errors import DataError, RecordError, StudyError, UsageError
from acmix_nas.executors import Job, Place, Work, make_executor
from acmix_nas.experiments.networks import find_trial
from acmix_nas.experiments.options import StudyOptions, check_task
from acmix_nas.experiments.setup import make_work
from acmix_nas.experiments.training import TrainingCallbacks, score_text
from acmix_nas.fields import COUNT, MAPPING, Origin
from acmix_nas.metrics import TOP1, Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.space import Proxy
from acmix_nas.train import Budget, Progress

TOLD = ("device_name", "threads", "acmix_nas", "torch", "timm", "cuda", "python")
"""What of the environment is compared, beside the score."""
DRAWN = {"seed": COUNT, "counts": MAPPING}
"""What a record's data says of how they were drawn."""
NORMAL = 1.96
"""Half width of a 95 % interval in standard errors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """How a trial came out the second time.

    Attributes:
        equal: Whether all scores are the same to the last digit, or it failed in the same way.
        difference: Second score less the first; None where one failed.
        half_width: Half of the 95 % interval that the difference of two such trainings lies in.
        within: Whether it is equal or lies in it.
        message: One line.
    """

    equal: bool
    difference: float | None
    half_width: float | None
    within: bool
    message: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatOptions:
    """The options of `acmix repeat`.

    Attributes:
        trial: "STUDY:TRIAL", where STUDY is the name of a study in `reports`, or the path of its folder.
        data: Where its images are now, if they have moved.
        task: What its network learned, if it is said again.
        head: Its head, if it is said again.
        device: "cpu" or "cuda"; None for the kind of device of the record.
        reports: Folder of study folders.
        storage: URL of the study's database, where that is not study.db in its folder.
    """

    trial: str
    data: str | None = None
    task: str | None = None
    head: str | None = None
    device: str | None = None
    reports: Path = Path("reports")
    storage: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatResult:
    """A trial and what came of it the second time.

    Attributes:
        study: Name of its study.
        record: As it was recorded.
        comparison: How it came out.
        changed: What of the environment is not as it was: name -> then, now.
    """

    study: str
    record: TrialRecord
    comparison: Comparison
    changed: Mapping[str, tuple[Any, Any]]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        facts = {"study": self.study, "trial": self.record.number, **asdict(self.comparison)}
        return {**facts, "changed": dict(self.changed)}


def run(options: RepeatOptions, callbacks: TrainingCallbacks | None = None) -> RepeatResult:
    """Trains a recorded trial again with its seeds; nothing is stored.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        UsageError: `options.trial` names no trial.
        StudyError: There is no such trial, or its device is not here.
        DataError: The images are not those of the record.
    """
    study, _, number = options.trial.rpartition(":")
    if not study or not number.isdecimal():
        raise UsageError(f"a trial is named STUDY:TRIAL, as swin_t-001:7; {options.trial!r} is not.")
    callbacks = callbacks or TrainingCallbacks()
    header, records, record = find_trial(study, int(number), options.reports, storage=options.storage)
    check_task(f"{header.name}:{record.number}", options, record.task, record.head)
    work = work_of(header, record, data=options.data, device=options.device, on_image=callbacks.decode)
    callbacks.start(header.metric)
    again = repeat(record, work, callbacks.step)
    comparison, changed = compare(record, again, records, header.metric), changed_environment(record, again)
    return RepeatResult(study=header.name, record=record, comparison=comparison, changed=changed)


def work_of(
    header: StudyHeader,
    record: TrialRecord,
    *,
    data: str | None = None,
    device: str | None = None,
    on_image: Callable[[int, int], None] | None = None,
) -> Work:
    """What a recorded trial was trained with, made again: proxy, recipe, images; torch gets its number of threads.

    Args:
        header: Of its study.
        record: The trial.
        data: Where its images are, if they have moved.
        device: "cpu" or "cuda"; that of the record if None.
        on_image: Told how many images were decoded, of how many.

    Raises:
        DataError: The images are not those of the record.
        StudyError: The record's device is not here, or not as many of them.
    """
    device = device or str(record.environment.get("device", "cpu")).split(":")[0]
    if device == "cuda" and torch.cuda.device_count() < _processes(record):
        raise StudyError(
            f"trial {record.number} was trained on {_processes(record)} GPUs, and torch sees "
            f"{torch.cuda.device_count()} here; add --device cpu."
        )
    if device == "cpu" and isinstance(record.environment.get("threads"), int):
        torch.set_num_threads(record.environment["threads"])
    proxy = Proxy.from_dict(record.proxy, f"trial {record.number}, proxy")
    asked = dict(header.settings.get("asked") or {})
    source = data or asked.get("data")
    data_of = Origin(f"trial {record.number}, data", RecordError).fields(
        {name: value for name, value in record.data.items() if name in DRAWN}, DRAWN
    )
    options = StudyOptions(
        data=source,
        task=record.task,
        head=None if record.head is None else record.head["name"],
        metric=asked.get("metric"),
        seed=data_of["seed"],
    )
    work, setting = make_work(
        options,
        proxy,
        split=record.split,
        input_size=record.cost.input_size,
        device=device,
        budget=Budget.from_dict(record.budget, f"trial {record.number}, budget"),
        like=record.data.get("fingerprint"),
        progress=on_image,
    )
    _check_data(record, setting.splits.to_dict())
    return work


def repeat(record: TrialRecord, work: Work, on_step: Callable[[Progress], None] = lambda _: None) -> TrialRecord:
    """Trains the trial's network again with its seeds, in as many processes as it was trained in together.

    Raises:
        StudyError: One of several processes was lost.
    """
    count = _processes(record)
    name = "serial" if count == 1 else "process"
    place = Place(threads=count * torch.get_num_threads(), world_size=count)
    with tempfile.TemporaryDirectory() as folder, make_executor(name, work, [place]) as executor:
        executor.submit(
            Job(
                number=record.number,
                label=record.label,
                arch=record.arch,
                seeds=dict(record.seeds),
                checkpoint=Path(folder) / "checkpoint",
            )
        )
        while not (ended := executor.wait(lambda _, progress: on_step(progress))):
            pass
    if ended[0].record is None:
        raise StudyError(f"trial {record.number} could not be trained to its end: {ended[0].lost or ended[0].failed}")
    return ended[0].record


def _processes(record: TrialRecord) -> int:
    """So many trained the trial together."""
    count = record.environment.get("processes")
    return count if isinstance(count, int) else 1


def compare(
    first: TrialRecord, second: TrialRecord, records: Sequence[TrialRecord] = (), metric: Metric = TOP1
) -> Comparison:
    """Whether two trainings of a trial agree.

    Where they are not equal (another machine, another version: rounding alone leads training astray), the second is as
    good as another seed: the difference of two has at most the variance 2 p (1 - p) / n of n images, where the score is
    a share p of them, and twice that of the seeds.

    Args:
        first: The record.
        second: The trial trained again.
        records: The study's trials: other seeds of the row tell how much seeds matter.
        metric: What the scores are.
    """
    if first.status == "failed" or second.status == "failed":
        return _of_failures(metric, first, second)
    count = len(first.scores)
    difference = second.scores[count - 1] - first.scores[-1]
    if second.scores[:count] == first.scores:
        same = score_text(metric, first.scores[-1])
        message = f"equal: {same}, and every score before it ({count} in all) the same"
        return Comparison(equal=True, difference=0.0, half_width=None, within=True, message=message)
    width = _half_width(metric, first, records)
    within = abs(difference) <= width
    apart, now = f"{metric.difference_text(difference)} {metric.points}".rstrip(), second.scores[count - 1]
    message = (
        f"{'within' if within else 'not within'} the interval: {score_text(metric, now)}, recorded "
        f"{metric.stored_text(first.scores[-1])}; the difference {apart} is {'in' if within else 'outside'} "
        f"± {metric.text(width)} (95 %, two trainings that differ by chance)"
    )
    return Comparison(equal=False, difference=difference, half_width=width, within=within, message=message)


def changed_environment(first: TrialRecord, second: TrialRecord) -> dict[str, tuple[Any, Any]]:
    """What of the environment is not as it was: name -> then, now."""
    then, now = first.environment, second.environment
    return {name: (then.get(name), now.get(name)) for name in TOLD if name in then and then[name] != now.get(name)}


def _of_failures(metric: Metric, first: TrialRecord, second: TrialRecord) -> Comparison:
    same = first.status == second.status and first.error == second.error
    said = {name: f"failed ({r.error})" if r.status == "failed" else score_text(metric, r.scores[-1])
            for name, r in (("first", first), ("second", second))}  # fmt: skip
    message = f"equal: {said['second']} again" if same else f"not equal: {said['second']}, recorded {said['first']}"
    return Comparison(equal=same, difference=None, half_width=None, within=same, message=message)


def _half_width(metric: Metric, record: TrialRecord, records: Sequence[TrialRecord]) -> float:
    images = dict(record.data.get("counts") or {}).get(record.split) or 1
    share = record.scores[-1] if metric.is_share else 0.0
    row = [r.scores[-1] for r in records if r.status == "complete" and r.arch == record.arch and r.shared_with is None]
    seeds = stdev(row) ** 2 if len(row) > 1 else 0.0
    return float(NORMAL * (2 * share * (1 - share) / images + 2 * seeds) ** 0.5)


def _check_data(record: TrialRecord, found: Mapping[str, Any]) -> None:
    for name, then in record.data.items():
        if name != "name" and found.get(name) != then:
            raise DataError(
                f"trial {record.number} was trained on images with {name} {then}, these have {found.get(name)}; name "
                "the folder of its images with --data."
            )
