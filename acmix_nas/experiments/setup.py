"""From what was asked to what a study holds fixed; shared by search, finalists, ablation and fidelity."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import torch

from acmix_nas import __version__, plugins
from acmix_nas.data import Splits
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Executor, Place, TrialLimits, Work, make_executor
from acmix_nas.executors.placement import check_placement, chosen_device, place_workers, trial_limits
from acmix_nas.experiments.options import StudyOptions, WorkerOptions
from acmix_nas.metrics import Metric
from acmix_nas.record import StudyHeader
from acmix_nas.sizes import Size
from acmix_nas.space import Proxy, Space
from acmix_nas.space.stored import space_of
from acmix_nas.study.creation import check_free
from acmix_nas.study.folder import has_study, newest_name, next_name, study_folder
from acmix_nas.study.settings import check_same
from acmix_nas.study.study import Study
from acmix_nas.tasks import DEFAULT, load_images, load_task, pick_metric
from acmix_nas.train import Budget, Setting

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
Options = TypeVar("Options", bound=StudyOptions)


@dataclass(frozen=True, slots=True, kw_only=True)
class Workers:
    """Who trains.

    Attributes:
        device: "cpu" or "cuda".
        executor: Name of the executor.
        places: One for each worker.
        limits: What a trial may take.
        address: Where the cluster is.
    """

    device: str
    executor: str
    places: Sequence[Place]
    limits: TrialLimits
    address: str | None

    def make(self, work: Work) -> Executor:
        """The executor for some work."""
        return make_executor(self.executor, replace(work, limits=self.limits), self.places, address=self.address)


def workers_of(options: WorkerOptions, device: str) -> Workers:
    """Finds the workers that were asked for, before anything is made.

    Args:
        options: What was asked.
        device: "auto", "cpu" or "cuda".

    Raises:
        UsageError: The options contradict each other, or name what is not there.
    """
    check_placement(options.executor, ray_address=options.ray_address, gpus=options.gpus)
    limits = trial_limits(options.trial_minutes, options.trial_memory)
    device = pick_device(chosen_device(device, options.gpus))
    name, places = place_workers(
        device=device,
        executor=options.executor,
        workers=options.workers,
        gpus=options.gpus,
        workers_per_gpu=options.workers_per_gpu,
        gpus_per_trial=options.gpus_per_trial,
        limits=limits,
    )
    return Workers(device=device, executor=name, places=places, limits=limits, address=options.ray_address)


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
    folder = options.out / (options.study or newest_name(options.out, name))
    if not has_study(folder):  # a folder that was renamed may have any name
        study_folder(options.out, folder.name if options.study is None else options.study)
    study = Study.open(folder, storage=options.storage)
    if study.header.space != name:
        raise StudyError(f"the study {study.header.name!r} is one of {study.header.space!r}, not of {name!r}.")
    check_version(study.header)
    if options.seed not in (None, study.header.seed):
        raise StudyError(
            f"the study {study.header.name!r} has seed {study.header.seed}, not {options.seed}; leave --seed out."
        )
    return study, options.recalled(study.header).located()


def header_of(
    options: StudyOptions,
    *,
    kind: str,
    name: str,
    host: str,
    split: str,
    settings: Mapping[str, Any],
    metric: Metric,
    objectives: tuple[str, ...] = (),
    baseline: str | None = None,
    rows: tuple[str, ...] = (),
) -> StudyHeader:
    """The header of a new study.

    Args:
        options: What was asked.
        kind: "search" or "ablate".
        name: Name of the space or of the ablation table: the default study's name begins with it.
        host: Host family.
        split: The images that scores are read on.
        settings: What the study keeps.
        metric: What networks are compared in.
        objectives: What a search optimises.
        baseline: Row that an ablation compares with.
        rows: Rows of an ablation.
    """
    return StudyHeader(
        name=options.study or next_name(options.out, name),
        kind=kind,
        space=name,
        host=host,
        split=split,
        metric=metric,
        objectives=objectives,
        baseline=baseline,
        rows=rows,
        seed=options.seed or 0,
        command=options.command,
        version=__version__,
        settings=settings,
    )


def load_work(
    options: StudyOptions,
    space: Space,
    *,
    split: str,
    device: str,
    like: StudyHeader | None = None,
    progress: Progress | None = None,
) -> tuple[Work, Setting]:
    """Loads the images and fixes proxy and budget: what all trials of a study share.

    Args:
        options: What was asked.
        space: Gives the proxies and the size that costs are counted at.
        split: "search" or "report": the images that scores are read on.
        device: "cpu" or "cuda".
        like: Header of the study to resume: the fingerprint of the images is by the same rule.
        progress: Called with the number of images that were decoded, and of all.

    Raises:
        DataError: The images cannot be read.
        UsageError: There is no such proxy or task, or the task is not scored by the metric.
    """
    proxy = pick_proxy(space, options, device)
    metric_of(options)
    load = _loading(options, proxy, split=split, like=like.settings["data"] if like else None)
    splits = load(progress=progress)
    setting = setting_of(
        proxy,
        splits,
        split=split,
        input_size=space.input_size,
        device=device,
        task=options.task,
        metric=options.metric,
    )
    return Work.of(setting, load=load, source=options.data), setting


def metric_of(options: StudyOptions) -> Metric:
    """What networks are compared in.

    Raises:
        UsageError: There is no such task, or it is not scored by the metric.
    """
    return pick_metric(load_task(options.task or DEFAULT), options.metric)


def setting_of(
    proxy: Proxy,
    splits: Splits,
    *,
    split: str,
    input_size: Size,
    device: str,
    budget: Budget | None = None,
    task: str | None = None,
    metric: str | None = None,
) -> Setting:
    """What trials hold fixed.

    Args:
        proxy: How networks are shrunk.
        splits: The images.
        split: The images that scores are read on.
        input_size: Image extent in pixels that full networks are counted at.
        device: "cpu" or "cuda".
        budget: How networks are trained; by default as the proxy says.
        task: What they learn.
        metric: What they are compared in; the task's first metric by default.
    """
    return Setting(
        proxy=proxy,
        budget=budget or Budget.of_proxy(proxy, images=len(splits.train), device=device),
        splits=splits,
        split=split,
        input_size=input_size,
        device=device,
        task=task or DEFAULT,
        metric=metric,
    )


def settings_of(setting: Setting) -> dict[str, Any]:
    """What of a setting the header of a study keeps; the study cannot be resumed with another."""
    return {
        "task": setting.task,
        "data": setting.splits.fingerprint,
        "proxy": setting.proxy.to_dict(),
        "budget": setting.budget.to_dict(),
    }


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
    metric = pick_metric(load_task(setting.task), setting.metric)
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


def _loading(options: StudyOptions, proxy: Proxy, *, split: str, like: str | None) -> Callable[..., Splits]:
    """Loads the images of a proxy, from plain values alone, so that another process can load the same."""
    return partial(
        load_images,
        options.task or DEFAULT,
        options.data,
        input_size=proxy.input_size,
        train_images=proxy.images,
        seed=options.seed or 0,
        with_report=split == "report",
        at_most=options.proxy_images is None,
        like=like,
    )


def image_remarks(splits: Splits) -> list[str]:
    """Lines on what a source has that is not trained on; the log gets the name of each broken image."""
    lines = [f"Note: {note}." for note in splits.notes]
    if splits.skipped:
        lines.append(f"{len(splits.skipped)} images cannot be decoded and are left out; log.txt names them.")
    for path, reason in splits.skipped:
        log.warning("left out %s: %s", path, reason)
    return lines


def pick_proxy(space: Space, options: StudyOptions, device: str) -> Proxy:
    """The proxy that was asked for, or the space's own for the device, with the epochs and images that were asked for.

    Raises:
        UsageError: The space has no such proxy.
    """
    default = {"cuda": "gpu", "cpu": "cpu"}[device]
    name = options.proxy or (default if default in space.proxies else next(iter(space.proxies)))
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
    load = _loading(options, proxy, split="report", like=header.settings.get("data"))
    splits = load(progress=progress)
    budget = Budget.from_dict(header.setting("budget"), where)
    setting = setting_of(
        proxy,
        splits,
        split="report",
        input_size=space.input_size,
        device=device,
        budget=budget,
        task=options.task,
        metric=options.metric,
    )
    check_resumed(header, replace(setting, budget=replace(budget, images=len(splits.train))))
    return Work.of(setting, load=load, source=options.data), setting
