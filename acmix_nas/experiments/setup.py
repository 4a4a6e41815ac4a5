"""From what was asked to what a study holds fixed; shared by search, finalists and ablate."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from acmix_nas import __version__, plugins
from acmix_nas.data import Splits, absolute, load_splits
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.executors import Work
from acmix_nas.record import StudyHeader
from acmix_nas.space import Proxy, Space
from acmix_nas.space.stored import space_of
from acmix_nas.study.creation import check_free
from acmix_nas.study.folder import has_study, newest_name, next_name, study_folder
from acmix_nas.study.settings import check_same
from acmix_nas.study.study import Study
from acmix_nas.train import Budget, Setting

log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a user may say of a study; None stands for the default, or, on resuming, for what the study has.

    Attributes:
        out: Folder of study folders.
        study: Name of the study.
        resume: Whether to go on with it.
        data: A source of images, as `acmix_nas.data.open_source` takes it; None for the embedded ones.
        seed: Seed of draws, weights and order.
        epochs: Passes over the training images.
        proxy: Name of the space's proxy.
        proxy_images: Training images.
        device: "auto", "cpu" or "cuda".
        storage: URL of the study's database; None for SQLite in its folder.
    """

    out: Path
    study: str | None = None
    resume: bool = False
    data: str | None = None
    seed: int | None = None
    epochs: int | None = None
    proxy: str | None = None
    proxy_images: int | None = None
    device: str = "auto"
    storage: str | None = None

    def remembered(self) -> dict[str, Any]:
        """What a study keeps of this, so that it can be resumed without saying it again."""
        kept = {"seed": self.seed, "epochs": self.epochs, "proxy": self.proxy, "proxy_images": self.proxy_images}
        return {**kept, "data": None if self.data is None else absolute(self.data)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """Everything that the trials of a study need.

    Attributes:
        study: The study.
        setting: What its trials hold fixed, the images loaded.
        load: Loads the same images in another process.
        source: Path of the images; None where they come with the package.
        is_new: Whether the study was made now.
    """

    study: Study
    setting: Setting
    load: Callable[[], Splits]
    is_new: bool
    source: str | None = None

    @property
    def work(self) -> Work:
        """The same for executors."""
        return Work.of(self.setting, load=self.load, source=self.source)


def open_study(asked: Asked, space: Space, **facts: Any) -> tuple[Study, Setting]:
    """Makes or opens the study that was asked for: the study and the setting of `prepare`, which see."""
    prepared = prepare(asked, space, **facts)
    return prepared.study, prepared.setting


def prepare(
    asked: Asked,
    space: Space,
    *,
    kind: str,
    name: str,
    fixed: Mapping[str, Any],
    kept: Mapping[str, Any] | Callable[[Budget], Mapping[str, Any]],
    command: str,
    objectives: tuple[str, ...] = ("top1", "macs"),
    baseline: str | None = None,
    rows: tuple[str, ...] = (),
    goal: Mapping[str, Any] | None = None,
    fill: Callable[[Path], None] | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """Makes or opens the study that was asked for, and everything its trials need.

    Args:
        asked: What the user said.
        space: Gives the proxies and the size that costs are counted at.
        kind: "search" or "ablate".
        name: Name of the space or of the ablation table: the default study's name begins with it.
        fixed: Further settings; the study cannot be resumed with others.
        kept: Further settings that the study keeps from when it was made, or a function that gives them.
        command: The command line, for the header.
        objectives: What a new search optimises.
        baseline: Row that an ablation compares with.
        rows: Rows of an ablation.
        goal: How much of it is wanted, as {"trials": 12}; the study keeps it with all that was asked for.
        fill: Puts into the folder of a new study what else it needs.
        progress: Told how many images were decoded, of how many.

    Raises:
        StudyError: The study's name is taken, there is none to resume, or it was made with other settings.
        DataError: The images cannot be read.
        UsageError: There is no such proxy or device.
    """
    study, asked = _find(asked, name)
    asked = absolute_data(asked)
    device = pick_device(asked.device)
    proxy = pick_proxy(space, asked, device)
    load = partial(load_asked, asked, proxy, kind == "ablate", like=study.header.settings["data"] if study else None)
    splits = load(progress=progress)
    budget = Budget.of_proxy(proxy, images=len(splits.train), device=device)
    settings = {"data": splits.fingerprint, "proxy": proxy.to_dict(), "budget": budget.to_dict(), **fixed}
    is_new = study is None
    if study is None:
        header = StudyHeader(
            name=asked.study or next_name(asked.out, name),
            kind=kind,
            space=name,
            host=space.host,
            split="search" if kind == "search" else "report",
            objectives=objectives,
            baseline=baseline,
            rows=rows,
            seed=asked.seed or 0,
            command=command,
            version=__version__,
            settings={
                **settings,
                **(kept(budget) if callable(kept) else kept),
                "asked": {**asked.remembered(), **(goal or {})},
            },
        )
        study = Study.create(asked.out, header, storage=asked.storage, fill=fill)
    else:
        check_same(study.header, settings)
    setting = Setting(
        proxy=proxy,
        budget=budget,
        splits=splits,
        split=study.header.split,
        input_size=space.input_size,
        device=device,
    )
    return Prepared(study=study, setting=setting, load=load, source=asked.data, is_new=is_new)


def absolute_data(asked: Asked) -> Asked:
    """The same, with images that are found from any folder: a worker may be in another."""
    return asked if asked.data is None else replace(asked, data=absolute(asked.data))


def pick_device(asked: str) -> str:
    """The device to train on: "auto" takes CUDA where it is.

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
            f"{__version__}; networks and training may differ between them. Install that version to go on, or start "
            f"a new study with --warm-start {header.name}."
        )


def load_asked(
    asked: Asked, proxy: Proxy, with_report: bool, *, like: str | None = None, progress: Progress | None = None
) -> Splits:
    """The images of a proxy, from what was asked alone, so that another process can load the same.

    Args:
        asked: What the user said.
        proxy: Gives size and number.
        with_report: Whether the report split is read too.
        like: The fingerprint that a study has; that of the images is by the same rule.
        progress: Told how many images were decoded, of how many.
    """
    return load_splits(
        asked.data,
        input_size=proxy.input_size,
        train_images=proxy.images,
        seed=asked.seed or 0,
        with_report=with_report,
        at_most=asked.proxy_images is None,
        like=like,
        progress=progress,
    )


def _find(asked: Asked, name: str) -> tuple[Study | None, Asked]:
    """The study to resume, with what it remembers where nothing else was said; or none, if the name is free."""
    if not asked.resume:
        if asked.study:
            check_free(asked.out, asked.study)
        return None, asked
    folder = asked.out / (asked.study or newest_name(asked.out, name))
    if not has_study(folder):  # a folder that was renamed may have any name
        study_folder(asked.out, folder.name if asked.study is None else asked.study)
    study = Study.open(folder, storage=asked.storage)
    if study.header.space != name:
        raise StudyError(f"the study {study.header.name!r} is one of {study.header.space!r}, not of {name!r}.")
    check_version(study.header)
    if asked.seed not in (None, study.header.seed):
        raise StudyError(
            f"the study {study.header.name!r} has seed {study.header.seed}, not {asked.seed}; leave --seed out."
        )
    return study, recalled(asked, study.header)


def recalled(asked: Asked, header: StudyHeader) -> Asked:
    """What was asked, with what the study remembers where nothing was said."""
    stored = header.setting("asked")
    said = {key: value for key, value in asdict(asked).items() if value is not None}
    known = {key: stored[key] for key in asdict(asked) if stored.get(key) is not None}
    return Asked(**{**asdict(asked), **known, **said})


def pick_proxy(space: Space, asked: Asked, device: str) -> Proxy:
    """The proxy that was asked for, or the space's own for the device, with the epochs and images that were asked for.

    Raises:
        UsageError: The space has no such proxy.
    """
    default = {"cuda": "gpu", "cpu": "cpu"}[device]
    name = asked.proxy or (default if default in space.proxies else next(iter(space.proxies)))
    if name not in space.proxies:
        raise UsageError(f"{space.name} has the proxies {', '.join(space.proxies)}; --proxy {name!r} is none of them.")
    proxy = space.proxies[name]
    return replace(proxy, epochs=asked.epochs or proxy.epochs, images=asked.proxy_images or proxy.images)


def prepare_again(
    study: Study, *, data: str | None = None, device: str = "auto", progress: Progress | None = None
) -> Prepared:
    """What trains a search's networks again as it did, scored on the report split.

    Args:
        study: The search.
        data: Where its images are, if not where they were.
        device: "auto", "cpu" or "cuda".
        progress: Told how many images were decoded, of how many.

    Raises:
        StudyError: The images are others now, or another version made the study.
        DataError: The images cannot be read.
        UsageError: There is no such device.
        PluginError: Its space names a module that the user did not name (`acmix_nas.plugins`).
    """
    header = study.header
    check_version(header)
    asked = absolute_data(recalled(Asked(out=study.folder.parent, data=data, seed=header.seed), header))
    space, where = space_of(header), f"the header of the study {header.name}"
    plugins.check_named(space.named, where)
    proxy = Proxy.from_dict(header.setting("proxy"), where)
    load = partial(load_asked, asked, proxy, True, like=header.settings.get("data"))
    splits = load(progress=progress)
    budget = Budget.from_dict(header.setting("budget"), where)
    check_same(header, {"data": splits.fingerprint, "budget": {**budget.to_dict(), "images": len(splits.train)}})
    device = pick_device(device)
    setting = Setting(
        proxy=proxy,
        budget=budget,
        splits=splits,
        split="report",
        input_size=space.input_size,
        device=device,
    )
    return Prepared(study=study, setting=setting, load=load, source=asked.data, is_new=False)
