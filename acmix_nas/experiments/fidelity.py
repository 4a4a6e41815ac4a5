"""Whether a proxy ranks networks as longer training does, measured on a seeded sample of a space."""

import hashlib
import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from acmix_nas.arch import Arch
from acmix_nas.data import Splits, load_splits
from acmix_nas.errors import StudyError, UsageError
from acmix_nas.experiments.options import StudyOptions
from acmix_nas.experiments.rank_correlation import Agreement, agreement
from acmix_nas.experiments.setup import announce, pick_device, pick_proxy
from acmix_nas.experiments.training import TrainingCallbacks
from acmix_nas.fields import COUNT, MAPPING, TEXT, Origin, whole
from acmix_nas.files import append_line, write_text
from acmix_nas.record import TrialRecord
from acmix_nas.space import Proxy, Space, load_space
from acmix_nas.train import Budget, Progress, Setting, run_trial

log = logging.getLogger(__name__)

FOLDER = "fidelity"
RECORDS = "records.jsonl"
CHEAP, LARGE = "cheap", "large"
LEAST = 4
"""Least networks for a rank correlation."""
LARGER = dict.fromkeys(("epochs", "images"), whole(1))
SUMMARY = {
    **dict.fromkeys(("space", "proxy", "cheap", "large", "agreements"), MAPPING),
    "fingerprint": TEXT,
    **dict.fromkeys(("archs", "failed", "seed"), COUNT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What was found.

    Attributes:
        space: What decides the networks of the space.
        proxy: The proxy, with its epochs and images, of the cheap training.
        fingerprint: Of the images.
        cheap: Budget of the cheap training.
        large: Budget of the large training.
        archs: Networks that both trainings finished.
        failed: Networks that one of them did not finish.
        seed: Seed of sample, draws, weights and order.
        agreements: Of "proxy", "params" and "macs", how its order agrees with that of the scores of the large training.
    """

    space: Mapping[str, Any]
    proxy: Mapping[str, Any]
    fingerprint: str
    cheap: Mapping[str, Any]
    large: Mapping[str, Any]
    archs: int
    failed: int
    seed: int
    agreements: Mapping[str, Agreement]

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads a summary.

        Raises:
            StudyError: The file cannot be read, or is none.
        """
        origin = Origin(file, StudyError, "Remove it; acmix data fidelity writes it again from the stored trainings.")
        values = origin.fields(origin.read(), SUMMARY)
        origin.fields({name: values["large"].get(name) for name in LARGER}, LARGER, path="large")
        pairs = origin.fields(
            values["agreements"], dict.fromkeys(("proxy", "params", "macs"), MAPPING), path="agreements"
        )
        agreements = {name: Agreement.from_dict(pair, origin, f"agreements.{name}") for name, pair in pairs.items()}
        return cls(**{**values, "agreements": agreements})


@dataclass(frozen=True, kw_only=True)
class FidelityOptions(StudyOptions):
    """The options of `acmix data fidelity`; `epochs` and `proxy_images` are those of the cheap training.

    Attributes:
        space: A name of `acmix spaces`, or a YAML file.
        archs: Networks to draw and train twice.
        epochs_large: Epochs of the large training; None for three times the proxy's.
        images_large: Training images of the large training; None for the proxy's.
    """

    space: str
    archs: int = 16
    epochs_large: int | None = None
    images_large: int | None = None


class FidelityCallbacks(TrainingCallbacks):
    """What the caller is shown while networks are trained: nothing; a subclass overrides what it wants to see."""

    def begin(self, number: int, count: int, name: str) -> None:
        """A training begins: its number, how many there are, its name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trainings:
    """The cheap and the large training.

    Attributes:
        space: The networks.
        settings: By "cheap" and "large".
        seed: Seed of sample, weights and order.
        folder: Where records and summaries lie.
    """

    space: Space
    settings: Mapping[str, Setting]
    seed: int
    folder: Path


def run(options: FidelityOptions, callbacks: FidelityCallbacks | None = None) -> tuple[Fidelity, Path]:
    """Measures how well a proxy ranks the networks of a space; what was trained before is not trained again.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Returns:
        What was found, and the folder that keeps it.

    Raises:
        UsageError: The large training is not larger, or the proxy does not distinguish this many networks.
        DataError: The images cannot be read.
        StudyError: Fewer than four networks were trained to the end twice.
    """
    callbacks = callbacks or FidelityCallbacks()
    space, device = load_space(options.space), pick_device(options.device)
    trainings = prepare_fidelity(options, space, pick_proxy(space, options, device), device, callbacks.decode)
    announce([], trainings.settings[LARGE].splits, callbacks.note)
    found = measure_fidelity(trainings, archs=options.archs, begin=callbacks.begin, on_step=callbacks.step)
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
    out, seed, images_large = options.out, options.seed or 0, options.images_large
    epochs = options.epochs_large or 3 * proxy.epochs
    longer = replace(proxy, epochs=epochs, images=images_large or proxy.images)
    load = partial(
        load_splits, options.data, input_size=proxy.input_size, seed=seed, with_report=False, progress=progress
    )
    splits = load(train_images=proxy.images, at_most=True)
    more = splits if images_large is None else load(train_images=longer.images, at_most=False)
    if _folder(out, space, splits.former).is_dir() and not _folder(out, space, splits.fingerprint).is_dir():
        splits, more = splits.like(splits.former), more.like(splits.former)  # goes on with what 0.1 measured
    if epochs * len(more.train) <= proxy.epochs * len(splits.train):
        raise UsageError(
            f"the large training sees more images than the proxy's {proxy.epochs} x {len(splits.train)}; "
            f"{epochs} x {len(more.train)} is not more. Give more --epochs-large or --images-large."
        )
    settings = {
        label: Setting(
            proxy=shrunk,
            budget=Budget.of_proxy(shrunk, images=len(images.train), device=device),
            splits=images,
            split="search",
            input_size=space.input_size,
            device=device,
        )
        for label, shrunk, images in ((CHEAP, proxy, splits), (LARGE, longer, more))
    }
    return Trainings(space=space, settings=settings, seed=seed, folder=_folder(out, space, splits.fingerprint))


def measure_fidelity(
    trainings: Trainings,
    *,
    archs: int,
    begin: Callable[[int, int, str], None] = lambda *_: None,
    on_step: Callable[[Progress], None] = lambda _: None,
) -> Fidelity:
    """Trains a sample of networks twice each and compares the orders; what is stored is not trained again.

    Args:
        trainings: The two trainings.
        archs: Networks in the sample; a larger sample contains the smaller.
        begin: Told of each training: its number, how many there are, its name.
        on_step: Called after every optimizer step.

    Raises:
        UsageError: The proxy does not distinguish this many networks.
        StudyError: Fewer than four networks were trained to the end twice.
    """
    trainings.folder.mkdir(parents=True, exist_ok=True)
    stored, seed = _stored(trainings.folder / RECORDS), trainings.seed
    sample = sample_archs(trainings.space, trainings.settings[CHEAP].proxy, archs, seed)
    pairs: list[dict[str, TrialRecord]] = []
    for arch in sample:
        pairs.append({})
        for label, setting in trainings.settings.items():
            facts = (setting.budget.to_dict(), setting.proxy.to_dict(), setting.splits.to_dict())
            record = stored.get(_key(arch.id, label, seed, *facts))
            if record is None:
                number = 2 * (len(pairs) - 1) + (label == LARGE)
                begin(number, 2 * len(sample), f"{label} {arch.id}")
                seeds = {"init": seed, "order": seed}
                record = run_trial(arch, setting, number=number, label=label, seeds=seeds, on_step=on_step)
                append_line(trainings.folder / RECORDS, record.to_json())
            pairs[-1][label] = record
    found = _summarise(trainings, pairs)
    name = hashlib.sha256(json.dumps([found.cheap, found.large, found.proxy, found.seed, archs]).encode()).hexdigest()
    write_text(trainings.folder / f"summary-{name[:8]}.json", json.dumps(asdict(found), indent=1) + "\n")
    return found


def find_fidelity(out: Path, space: Space, proxy: Proxy, splits: Splits) -> Fidelity | None:
    """What was measured for this space, this proxy with its epochs and images, and these images; None: unvalidated.

    Args:
        out: Folder of reports.
        space: The space that is searched.
        proxy: The proxy, with the epochs and images that a search trains with.
        splits: The images.

    Returns:
        Of several, that of the most networks.
    """
    found = []
    folders = [_folder(out, space, mark) for mark in (splits.fingerprint, splits.former) if mark]
    for file in sorted(file for folder in folders for file in folder.glob("summary-*.json")):
        fidelity = Fidelity.load(file)
        if fidelity.proxy == _plain(proxy.to_dict()) and fidelity.space == _definition(space):
            found.append(fidelity)
    return max(found, key=lambda fidelity: fidelity.archs, default=None)


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


def _summarise(trainings: Trainings, pairs: list[dict[str, TrialRecord]]) -> Fidelity:
    done = [pair for pair in pairs if all(record.score is not None for record in pair.values())]
    if len(done) < LEAST:
        failed = next(record.error for pair in pairs for record in pair.values() if record.error)
        raise StudyError(
            f"an order needs {LEAST} networks or more; {len(done)} were trained. The first failed: {failed}"
        )
    large = [pair[LARGE].score or 0.0 for pair in done]
    orders = {
        "proxy": [pair[CHEAP].score or 0.0 for pair in done],
        "params": [float(pair[LARGE].cost.params) for pair in done],
        "macs": [float(pair[LARGE].cost.macs) for pair in done],
    }
    cheap = trainings.settings[CHEAP]
    return Fidelity(
        space=_definition(trainings.space),
        proxy=_plain(cheap.proxy.to_dict()),
        fingerprint=cheap.splits.fingerprint,
        cheap=cheap.budget.to_dict(),
        large=trainings.settings[LARGE].budget.to_dict(),
        archs=len(done),
        failed=len(pairs) - len(done),
        seed=trainings.seed,
        agreements={name: agreement(values, large, seed=trainings.seed) for name, values in orders.items()},
    )


def _folder(out: Path, space: Space, fingerprint: str) -> Path:
    return out / FOLDER / f"{space.name}-{fingerprint.replace(':', '-')}"


def _definition(space: Space) -> dict[str, Any]:
    """What decides the networks of a space."""
    choices = {choice.name: [list(choice.options), dict(choice.when)] for choice in space.choices}
    facts = {"name": space.name, "host": space.host, "widths": space.widths, "depths": space.depths}
    return _plain({**facts, "conv_on": space.conv_on, "fixed": [dict(f) for f in space.fixed], "choices": choices})


def _stored(file: Path) -> dict[str, TrialRecord]:
    """The records of a file by what was trained; a last line that a kill tore is cut off."""
    if not file.is_file():
        return {}
    text = file.read_text(encoding="utf-8")
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        write_text(file, whole)
    return {
        _key(item.arch_id, item.label, item.seeds["init"], item.budget, item.proxy, item.data): item
        for item in map(TrialRecord.from_json, whole.splitlines())
    }


def _key(*facts: Any) -> str:
    return json.dumps(facts, sort_keys=True)


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
