"""Whether a proxy ranks networks as longer training does, measured on a seeded sample of a space."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Executor, Job, Outcome, Work
from acmix_nas.executors.callbacks import Callbacks
from acmix_nas.executors.serial import SerialExecutor
from acmix_nas.experiments.fidelity_summary import Network, summarise
from acmix_nas.experiments.options import PlaceOptions, StudyOptions
from acmix_nas.experiments.setup import announce, cost_size, device_of, make_work, metric_of, pick_proxy, workers_of
from acmix_nas.experiments.stored_fidelity import CLASSIFIED, Fidelity, fidelity_folder, learned_of
from acmix_nas.experiments.zero_cost import lines_of, zero_costs
from acmix_nas.fields import Origin
from acmix_nas.files import append_line, write_text
from acmix_nas.record import TrialRecord
from acmix_nas.search.run import record_of, train_jobs
from acmix_nas.space import Proxy, Space, load_space
from acmix_nas.study.folder import CHECKPOINTS, remove_empty_checkpoints
from acmix_nas.study.stop import Stop
from acmix_nas.train import Progress, Setting

log = logging.getLogger(__name__)

RECORDS = "records.jsonl"
CHEAP, LARGE = "cheap", "large"


@dataclass(frozen=True, kw_only=True)
class FidelityOptions(StudyOptions, PlaceOptions):
    """The options of `acmix data fidelity`; `epochs` and `proxy_images` are those of the cheap training.

    Attributes:
        space: A name of `acmix spaces`, or a YAML file.
        archs: Networks to draw and train twice.
        epochs_large: Epochs of the large training; None for three times the proxy's.
        images_large: Training images of the large training; None for the proxy's.
        ceiling: Whether the large training is done again with another seed, to see how well two of them agree.
    """

    space: str
    archs: int = 16
    epochs_large: int | None = None
    images_large: int | None = None
    ceiling: bool = False


class FidelityCallbacks:
    """What the caller is shown while networks are trained: nothing; a subclass overrides what it wants to see."""

    def decode(self, done: int, total: int) -> None:
        """`done` of `total` images are decoded; never called where none has to be."""

    def note(self, text: str) -> None:
        """A line about what is done."""

    def begin(self, number: int, count: int, name: str) -> None:
        """A training begins: its number, how many there are, its name."""

    def step(self, number: int, progress: Progress) -> None:
        """A training did an optimizer step."""

    def end(self, number: int) -> None:
        """A training ended and is stored."""

    def scored(self, done: int, total: int) -> None:
        """`done` of `total` networks have their zero-cost scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """The cheap and the large training.

    Attributes:
        space: The networks.
        works: By "cheap" and "large", with the images loaded.
        seed: Seed of sample, weights and order.
        folder: Where records and summaries lie.
    """

    space: Space
    works: Mapping[str, Work]
    seed: int
    folder: Path

    def setting(self, label: str) -> Setting:
        """The setting of one of them."""
        setting = self.works[label].setting
        assert setting is not None
        return setting


def run(options: FidelityOptions, callbacks: FidelityCallbacks | None = None) -> tuple[Fidelity, Path]:
    """Measures how well a proxy ranks the networks of a space; what was trained before is not trained again.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Returns:
        What was found, and the folder that keeps it.

    Raises:
        UsageError: The large training is not larger, or the proxy does not distinguish this many networks.
        DataError: The images cannot be read, or are too few.
        StudyError: Fewer than four networks were trained to the end twice.
    """
    callbacks = callbacks or FidelityCallbacks()
    space, device = load_space(options.space), device_of(options, options.device)
    options = options.of_space(space.task, space.head)
    metric_of(options)
    proxy = pick_proxy(space, options, device)
    workers = workers_of(options, device, proxy, space, trainings=options.archs)
    trainings = prepare_fidelity(options, space, proxy, device, callbacks.decode)
    announce([workers.text], trainings.setting(LARGE).splits, callbacks.note)
    found = measure_fidelity(
        trainings, archs=options.archs, ceiling=options.ceiling, callbacks=callbacks, make=workers.make
    )
    return found, trainings.folder


def prepare_fidelity(
    options: FidelityOptions,
    space: Space,
    proxy: Proxy,
    device: str,
    progress: Callable[[int, int], None] | None = None,
) -> Trainings:
    """Loads images and fixes both budgets. Only the search split is scored.

    Args:
        options: Say which images, the seed and the large training.
        space: The networks.
        proxy: How they are shrunk and, cheaply, trained.
        device: "cpu" or "cuda".
        progress: Told how many images were decoded, of how many.

    Raises:
        UsageError: The large training is not larger.
        DataError: The images cannot be read.
    """
    epochs = options.epochs_large or 3 * proxy.epochs
    longer = replace(proxy, epochs=epochs, images=options.images_large or proxy.images)
    load = partial(make_work, split="search", input_size=cost_size(options, space), device=device, progress=progress)
    work, cheap = load(options, proxy)
    folder, former = (
        fidelity_folder(options.out, space, mark) for mark in (cheap.splits.fingerprint, cheap.splits.former)
    )
    like = cheap.splits.former if former.is_dir() and not folder.is_dir() else None
    if like is not None:  # goes on with what 0.1 measured
        work, cheap = load(options, proxy, like=like)
    if options.images_large is None:
        budget = replace(cheap.budget, epochs=epochs)
        large = replace(cheap, proxy=longer, budget=budget)
        more = Work.of(large, load=work.load, source=options.data)
    else:
        more, large = load(replace(options, proxy_images=longer.images), longer, like=like)
    seen, enough = (len(each.splits.train) for each in (cheap, large))
    if epochs * enough <= proxy.epochs * seen:
        raise UsageError(
            f"the large training sees more images than the proxy's {proxy.epochs} x {seen}; "
            f"{epochs} x {enough} is not more. Give more --epochs-large or --images-large."
        )
    folder = fidelity_folder(options.out, space, cheap.splits.fingerprint)
    return Trainings(space=space, works={CHEAP: work, LARGE: more}, seed=options.seed or 0, folder=folder)


def measure_fidelity(
    trainings: Trainings,
    *,
    archs: int,
    ceiling: bool = False,
    callbacks: FidelityCallbacks | None = None,
    make: Callable[[Work], Executor] | None = None,
) -> Fidelity:
    """Trains a sample of networks twice each and compares the orders; what is stored is not trained again.

    Args:
        trainings: The two trainings.
        archs: Networks in the sample; a larger sample contains the smaller.
        ceiling: Whether to do the large training again with the next seed.
        callbacks: Told of each training.
        make: Makes the executor of each of the two; this process trains by default.

    Raises:
        UsageError: The proxy does not distinguish this many networks.
        StudyError: Fewer than four networks were trained to the end twice.
    """
    callbacks = callbacks or FidelityCallbacks()
    trainings.folder.mkdir(parents=True, exist_ok=True)
    sample = sample_archs(trainings.space, trainings.setting(CHEAP).proxy, archs, trainings.seed)
    found = _stored(trainings.folder / RECORDS)
    runs = [_Run(label, trainings.seed) for label in trainings.works]
    again = _Run(LARGE, trainings.seed + 1)
    runs += [again] if ceiling else []
    for place, run in enumerate(runs):
        work = trainings.works[run.label]
        executor = make(work) if make else SerialExecutor(trainings.setting(run.label))
        _train(trainings, run, sample, found, executor, callbacks, numbers=(place, len(runs)))
    remove_empty_checkpoints(trainings.folder)
    scores = zero_costs(
        sample, trainings.setting(CHEAP), seed=trainings.seed, folder=trainings.folder, tell=callbacks.scored
    )
    networks = [
        Network(
            cheap=found[_training(trainings, runs[0], arch)],
            large=found[_training(trainings, runs[1], arch)],
            again=found.get(_training(trainings, again, arch)),
            scores=of_arch,
        )
        for arch, of_arch in zip(sample, scores, strict=True)
    ]
    summary = summarise(networks, trainings.space, trainings.setting(CHEAP), trainings.setting(LARGE), trainings.seed)
    facts = [summary.cheap, summary.large, summary.proxy, summary.seed, archs]
    facts += [] if summary.learned == CLASSIFIED else [summary.learned]
    name = hashlib.sha256(json.dumps(facts).encode()).hexdigest()
    write_text(trainings.folder / f"summary-{name[:8]}.json", json.dumps(asdict(summary), indent=1) + "\n")
    return summary


@dataclass(frozen=True, slots=True)
class _Run:
    """One training of each network: the cheap or the large one, and its seed."""

    label: str
    seed: int


class _Steps(Callbacks):
    """Passes steps on."""

    def __init__(self, callbacks: FidelityCallbacks) -> None:
        self._callbacks = callbacks

    def step(self, number: int, progress: Progress) -> None:
        """A training did an optimizer step."""
        self._callbacks.step(number, progress)


def _train(
    trainings: Trainings,
    run: _Run,
    sample: Sequence[Arch],
    found: dict[str, TrialRecord],
    executor: Executor,
    callbacks: FidelityCallbacks,
    numbers: tuple[int, int],
) -> None:
    """Trains what of the sample is not among the records found, and adds it to them.

    The trainings of a network are numbered one after another; `numbers` are that of this run, and how many there are.
    """
    label, setting, lost, (first, step) = run.label, trainings.setting(run.label), Counter[int](), numbers
    todo = [
        Job(
            number=step * place + first,
            label=label,
            arch=arch,
            seeds={"init": run.seed, "order": run.seed},
            checkpoint=trainings.folder / CHECKPOINTS / f"{label}-{arch.id}-{run.seed}.ckpt",
        )
        for place, arch in enumerate(sample)
        if _training(trainings, run, arch) not in found
    ]
    if not todo:
        return

    def next_job() -> Job | None:
        if not todo:
            return None
        job = todo.pop(0)
        callbacks.begin(job.number, step * len(sample), f"{label} {job.arch.id}")
        return job

    def take(outcome: Outcome) -> None:
        job = outcome.job
        lost[job.number] += outcome.lost is not None
        record = record_of(outcome, setting, name=f"{label} {job.arch.id}", lost=lost[job.number])
        if record is None:
            todo.append(job)
            return
        append_line(trainings.folder / RECORDS, record.to_json())
        job.checkpoint.unlink(missing_ok=True)
        found[_training(trainings, run, job.arch)] = record
        callbacks.end(job.number)

    with executor:
        train_jobs(executor, next_job, take, callbacks=_Steps(callbacks), stop=Stop())


def sample_archs(space: Space, proxy: Proxy, count: int, seed: int) -> list[Arch]:
    """Draws networks uniformly by choice, no two with the same proxy network; more contain the fewer.

    Raises:
        UsageError: So many are not found.
    """
    generator = np.random.default_rng(seed)
    found: dict[Arch, Arch] = {}
    for _ in range(100 * count):
        arch = space.build(space.sample(lambda choice: choice.options[generator.integers(len(choice.options))]))
        found.setdefault(proxy.shrink(arch), arch)
        if len(found) == count:
            return list(found.values())
    raise UsageError(
        f"{space.name} has {space.size:,} networks, of which the proxy {proxy.name} tells {len(found)} apart in "
        f"{100 * count} draws; {count} were asked for. Give fewer --archs."
    )


def _stored(file: Path) -> dict[str, TrialRecord]:
    """The records of a file by what was trained.

    Raises:
        StudyError: A line is no record.
    """
    origin, found = Origin(file, StudyError, "Remove that line; its network is trained again."), {}
    for number, line in enumerate(lines_of(file, origin), 1):
        with origin.at(f"line {number}"):
            item = TrialRecord.from_json(line)
            learned = {"task": item.task, "head": item.head, "metric": item.metric}
            found[_key(item.arch_id, item.label, item.seeds["init"], item.budget, item.proxy, item.data, learned)] = (
                item
            )
    return found


def _training(trainings: Trainings, run: _Run, arch: Arch) -> str:
    """The key of a network's record."""
    setting = trainings.setting(run.label)
    facts = (setting.budget.to_dict(), setting.proxy.to_dict(), setting.splits.to_dict(), learned_of(setting))
    return _key(arch.id, run.label, run.seed, *facts)


def _key(*facts: Any) -> str:
    return json.dumps(facts, sort_keys=True)
