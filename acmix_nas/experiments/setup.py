"""From what was asked to what a study holds fixed; shared by search, finalists, ablation and fidelity."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from acmix_nas import __version__, plugins
from acmix_nas.data import Splits
from acmix_nas.data.splits import check_shown
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Executor, Work, make_executor
from acmix_nas.executors.placement import (
    SEVERAL,
    check_placement,
    chosen_device,
    place_workers,
    trial_limits,
    usual_workers,
    workers_text,
)
from acmix_nas.executors.table import table_file
from acmix_nas.experiments.options import PlaceOptions, StudyOptions
from acmix_nas.metrics import Metric
from acmix_nas.record import StudyHeader
from acmix_nas.sizes import Size
from acmix_nas.space import Proxy, Space
from acmix_nas.space.stored import space_of
from acmix_nas.study.folder import has_study, newest_name, study_folder
from acmix_nas.study.settings import check_same
from acmix_nas.study.study import Study, check_free
from acmix_nas.tasks import DEFAULT, Task, load_images, load_task, pick_metric
from acmix_nas.train import Budget, Setting

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Options = TypeVar("Options", bound=StudyOptions)


@dataclass(frozen=True, slots=True)
class Workers:
    """Where an experiment trains.

    Attributes:
        count: Jobs at a time.
        make: Makes the executor for some work.
        text: What they are, in a line.
    """

    count: int
    make: Callable[[Work], Executor]
    text: str


def device_of(options: PlaceOptions, device: str) -> str:
    """Where the workers that were asked for train, "cpu" or "cuda".

    Args:
        options: What was asked.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: The options contradict each other, or name what is not there.
    """
    check_placement(options.executor, ray_address=options.ray_address, gpus=options.gpus)
    return pick_device(chosen_device(device, options.gpus))


def workers_of(
    options: PlaceOptions, device: str, proxy: Proxy, space: Space, *, trainings: int, at_once: int | None = None
) -> Workers:
    """Finds the workers that were asked for, or that suit the study, before anything is made.

    Args:
        options: What was asked.
        device: "cpu" or "cuda".
        proxy: How networks are shrunk and trained.
        space: Their space.
        trainings: Trainings of the study.
        at_once: So many of them need no result of another; all if None.

    Raises:
        UsageError: The options contradict each other, or name what is not there.
    """
    if table_file(options.executor) is not None:
        raise UsageError(f"--executor {options.executor} is for `acmix search`; here networks are trained.")
    limits = trial_limits(options.trial_minutes, options.trial_memory)
    workers = options.workers
    if workers is None and device == "cpu" and options.executor in SEVERAL:
        workers = usual_workers(proxy, space.widths, trainings=trainings, at_once=at_once or trainings)
    name, places = place_workers(
        device=device,
        executor=options.executor,
        workers=workers,
        gpus=options.gpus,
        workers_per_gpu=options.workers_per_gpu,
        gpus_per_trial=options.gpus_per_trial,
        limits=limits,
    )

    def make(work: Work) -> Executor:
        return make_executor(name, replace(work, limits=limits), places, address=options.ray_address)

    return Workers(len(places), make, workers_text(device, places))


def find_study(options: Options, name: str) -> tuple[Study | None, Options]:
    """The study to resume, with what it remembers where nothing else was said; or none, if the name is free.

    Args:
        options: What was asked.
        name: Name of the space or of the ablation table.

    Raises:
        StudyError: The study's name is taken, there is none to resume, or it is another's.
    """
    if not options.resume:
        if options.study:
            check_free(options.out, options.study)
        return None, options.located()
    chosen = options.study or newest_name(options.out, name)
    if not has_study(options.out / chosen):  # a folder that was renamed may have any name
        study_folder(options.out, chosen)
    study = Study.open(options.out / chosen, storage=options.storage)
    if study.header.space != name:
        raise StudyError(f"the study {study.header.name!r} is one of {study.header.space!r}, not of {name!r}.")
    check_version(study.header)
    if options.seed not in (None, study.header.seed):
        raise StudyError(
            f"the study {study.header.name!r} has seed {study.header.seed}, not {options.seed}; leave --seed out."
        )
    return study, options.recalled(study.header).located()


def load_work(
    options: StudyOptions,
    space: Space,
    study: Study | None,
    *,
    split: str,
    device: str,
    progress: Progress | None = None,
) -> tuple[Work, Setting]:
    """Loads the images and fixes proxy and budget: what all trials of a study share.

    Args:
        options: What was asked.
        space: Gives the proxies and the size that costs are counted at.
        study: The study to resume: the fingerprint of the images is by the same rule.
        split: "search" or "report": the images that scores are read on.
        device: "cpu" or "cuda".
        progress: Called with the number of images that were decoded, and of all.

    Raises:
        DataError: The images cannot be read.
        UsageError: There is no such proxy or task, or the task is not scored by the metric.
    """
    proxy = pick_proxy(space, options, device)
    metric_of(options)
    return make_work(
        options,
        proxy,
        split=split,
        input_size=cost_size(options, space),
        device=device,
        like=study.header.settings["data"] if study else None,
        progress=progress,
    )


def make_work(
    options: StudyOptions,
    proxy: Proxy,
    *,
    split: str,
    input_size: Size,
    device: str,
    budget: Budget | None = None,
    like: str | None = None,
    progress: Progress | None = None,
) -> tuple[Work, Setting]:
    """Loads the images of a proxy: what trials hold fixed, here and in another process.

    Args:
        options: Say which images, what is learned and what it is scored by.
        proxy: How networks are shrunk.
        split: The images that scores are read on.
        input_size: Image extent in pixels that full networks are counted at.
        device: "cpu" or "cuda".
        budget: How networks are trained; by default as the proxy says.
        like: A fingerprint whose rule that of the images follows.
        progress: Called with the number of images that were decoded, and of all.

    Raises:
        DataError: The images cannot be read.
    """
    task = options.task or DEFAULT
    learned = load_task(task, options.head)
    load = partial(
        load_images,
        task,
        options.data,
        input_size=proxy.input_size,
        train_images=proxy.images,
        seed=options.seed or 0,
        with_report=split == "report",
        at_most=options.proxy_images is None,
        like=like,
    )
    splits = check_shown(load(progress=progress))
    setting = Setting(
        proxy=proxy,
        budget=budget or Budget.of_proxy(proxy, images=len(splits.train), device=device, **learned.proxy_recipe),
        splits=splits,
        split=split,
        input_size=input_size,
        device=device,
        task=task,
        head=options.head,
        metric=options.metric,
    )
    return Work.of(setting, load=load, source=options.data), setting


def task_of(options: StudyOptions) -> Task:
    """What networks learn, with the head that was asked for.

    Raises:
        UsageError: There is no such task, or it takes no such head.
    """
    return load_task(options.task or DEFAULT, options.head)


def cost_size(options: StudyOptions, space: Space) -> Size:
    """Height and width in pixels that networks of a space are counted at."""
    return task_of(options).input_size or space.input_size


def metric_of(options: StudyOptions) -> Metric:
    """What networks are compared in.

    Raises:
        UsageError: There is no such task, or it is not scored by the metric.
    """
    return pick_metric(task_of(options), options.metric)


def settings_of(setting: Setting) -> dict[str, Any]:
    """What of a setting the header of a study keeps; the study cannot be resumed with another."""
    return {
        "task": setting.task,
        "data": setting.splits.fingerprint,
        "proxy": setting.proxy.to_dict(),
        "budget": setting.budget.to_dict(),
        "head": setting.head_facts,
    }


def examples_of(setting: Setting) -> dict[str, Any]:
    """What a study's header keeps of the scored images, to show beside predictions."""
    return {"examples": found} if (found := setting.examples) else {}


def check_resumed(header: StudyHeader, setting: Setting, **more: Any) -> None:
    """Refuses to go on with a study under another setting.

    Args:
        header: Of the study.
        setting: How its networks would be trained now.
        more: Further settings.

    Raises:
        StudyError: The message names what differs.
    """
    check_same(header, {**settings_of(setting), **more})
    metric = pick_metric(setting.learned, setting.metric)
    if metric != header.metric:
        raise StudyError(
            f"the study {header.name!r} compares networks in {header.metric.name}, now it is {metric.name}. Leave "
            "--metric out, or start a new --study."
        )


def pick_device(asked: str) -> str:
    """The device to compute on: "auto" takes CUDA where it is.

    Raises:
        UsageError: CUDA was asked for and is not there.
    """
    has_cuda = torch.cuda.is_available()
    if asked == "cuda" and not has_cuda:
        raise UsageError("--device cuda: torch sees no CUDA device here; see `acmix doctor`, or use --device cpu.")
    return "cuda" if has_cuda and asked in ("auto", "cuda") else "cpu"


def check_version(header: StudyHeader) -> None:
    """Refuses to train on in a study that another version of acmix made.

    Raises:
        StudyError: The message has both versions.
    """
    if header.version != __version__:
        raise StudyError(
            f"the study {header.name!r} was made by acmix-nas {header.version or 'of unknown version'}, this is "
            f"{__version__}; networks and training may differ between them. Install that version to continue, or "
            f"start a new study with --warm-start {header.name}."
        )


def announce(lines: Sequence[str], splits: Splits, note: Callable[[str], None]) -> None:
    """Shows and logs what is trained, and what a source has that is not; the log gets the name of each broken image."""
    for path, reason in splits.skipped:
        log.warning("left out %s: %s", path, reason)
    count = len(splits.skipped)
    skipped = [f"{count} images cannot be decoded and are left out; log.txt names them."] if count else []
    for line in (*lines, *(f"Note: {each}." for each in splits.notes), *skipped):
        log.info(line)
        note(line)


def pick_proxy(space: Space, options: StudyOptions, device: str) -> Proxy:
    """The proxy that was asked for, or the space's own for the device, with the epochs and images that were asked for.

    Raises:
        UsageError: The space has no such proxy.
    """
    task = task_of(options)
    default = task.proxies[device]
    name = options.proxy or (default if default in space.proxies else next(iter(space.proxies)))
    if options.proxy is None and task.own_sizes and default not in space.proxies:
        raise UsageError(
            f"{space.name} has no proxy {default}, which this task's networks are shrunk by; add one to its file "
            f"(docs/spaces.md), or name one of {', '.join(space.proxies)} with --proxy."
        )
    if name not in space.proxies:
        raise UsageError(f"{space.name} has the proxies {', '.join(space.proxies)}; --proxy {name!r} is none of them.")
    proxy = space.proxies[name]
    return replace(proxy, epochs=options.epochs or proxy.epochs, images=options.proxy_images or proxy.images)


def load_work_again(
    study: Study, *, data: str | None, device: str, progress: Progress | None = None
) -> tuple[Work, Setting]:
    """What trains a search's networks again as it did, scored on the report split.

    Args:
        study: The search.
        data: Where its images are, if not where they were.
        device: "cpu" or "cuda".
        progress: Called with the number of images that were decoded, and of all.

    Raises:
        StudyError: The images are others now, or another version made the study.
        DataError: The images cannot be read.
        PluginError: Its space names a module that the user did not name (`acmix_nas.plugins`).
    """
    header = study.header
    check_version(header)
    options = StudyOptions(out=study.folder.parent, data=data, seed=header.seed).recalled(header).located()
    space, where = space_of(header), f"the header of the study {header.name}"
    plugins.check_named(space.named, where)
    proxy = Proxy.from_dict(header.setting("proxy"), where)
    work, setting = make_work(
        options,
        proxy,
        split="report",
        input_size=cost_size(options, space),
        device=device,
        budget=Budget.from_dict(header.setting("budget"), where),
        like=header.settings.get("data"),
        progress=progress,
    )
    check_resumed(header, replace(setting, budget=replace(setting.budget, images=len(setting.splits.train))))
    return work, setting
