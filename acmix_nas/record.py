"""What a study leaves behind: a header and one record for each trial. Reports read these and nothing else."""

import json
from collections.abc import Mapping
from dataclasses import MISSING, asdict, dataclass, field, fields, replace
from typing import Any, Self, TypeAlias, TypedDict

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError, RecordError
from acmix_nas.fields import (
    Origin,
    Rule,
    shown,
)
from acmix_nas.metrics import COSTS, SCORES, TOP1, Metric
from acmix_nas.record_fields import (
    ASKED,
    COST_FIELDS,
    EXAMPLE,
    HEADER_FIELDS,
    LATENCY_TABLE,
    SCORED_STARTS,
    SETTINGS,
    TRIAL_FIELDS,
)
from acmix_nas.sizes import Size, size_of

Blocks: TypeAlias = tuple[tuple[float, float] | None, ...]
"""A value of attention and one of convolution for each block, first to last; None for a block without them."""
STATUSES = ("complete", "paused", "pruned", "failed")
"""All epochs trained; stopped to be gone on with; stopped for good because others were better; ended by an error."""
ANY_SCORE = Metric("score", "higher", title="a score")
"""What is asked of the values of a user's own metric."""
SPLITS = ("search", "report")
KINDS = ("search", "ablate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What one image costs in the full network at full size.

    Attributes:
        params: Trainable parameters.
        macs: Multiply-adds of the named formulation, literally (frozen kernels count as executed).
        macs_deploy: Multiply-adds when every layer takes its cheapest exact form.
        input_size: Side of the square image in pixels, or (height, width); equal ones become one number.
        latency_ms: Milliseconds of a batch, if a latency table gives it.
        throughput: Images a second, if a latency table gives it.
    """

    params: int
    macs: int
    macs_deploy: int
    input_size: Size
    latency_ms: float | None = None
    throughput: float | None = None

    def __post_init__(self) -> None:
        if isinstance(self.input_size, list | tuple):
            object.__setattr__(self, "input_size", size_of(self.input_size))


class Head(TypedDict):
    """What a record says of a head on a network's maps.

    Attributes:
        name: A file of `acmix_nas.heads`, or the dotted path of a module of the user's own.
        options: How it differs from its usual form.
        classes: Names of the classes that it scores.
    """

    name: str
    options: dict[str, Any]
    classes: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyHeader:
    """What holds for all trials of a study.

    Attributes:
        name: Name of the study and of its folder.
        kind: "search" or "ablate".
        space: Name of the search space or of the ablation table.
        host: Host family of its networks.
        split: Images that its scores are read on: "search" or "report".
        metric: What its scores are; all that a report needs to show them.
        objectives: What a search optimises, for example ("top1", "macs"): the metric and names of costs.
        baseline: Row that an ablation compares the others with.
        rows: Row names of an ablation, in their order.
        seed: Seed of the study.
        command: The command line that made it.
        version: Version of acmix-nas that made it.
        settings: Everything that must be the same when it is continued: choices, proxy, budget, data fingerprint.
    """

    name: str
    kind: str
    space: str
    host: str
    split: str
    metric: Metric = TOP1
    objectives: tuple[str, ...] = ()
    baseline: str | None = None
    rows: tuple[str, ...] = ()
    seed: int = 0
    command: str = ""
    version: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check("kind", self.kind, KINDS)
        _check("split", self.split, SPLITS)
        object.__setattr__(self, "objectives", tuple(self.objectives) or (self.metric.name, "macs"))
        object.__setattr__(self, "rows", tuple(self.rows))
        for name in self.objectives:
            _check("an objective", name, (self.metric.name, *COSTS))

    @property
    def measures(self) -> tuple[Metric, ...]:
        """The metric or the cost that each objective is."""
        return tuple(COSTS.get(name, self.metric) for name in self.objectives)

    def setting(self, name: str) -> Any:
        """One of `settings` that must be there.

        Raises:
            RecordError: It is not.
        """
        if name not in self.settings:
            raise RecordError(f"the header of the study {self.name!r} has no setting {name}; {SETTINGS[name].text}.")
        return self.settings[name]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "metric": self.metric.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            RecordError: A field or a setting is unknown, missing or of another kind.
        """
        known = _all_fields(cls, values)
        _check_rules(known, HEADER_FIELDS)
        origin = Origin("the header of a study", RecordError)
        if "metric" in known:
            known["metric"] = Metric.from_dict(known["metric"], origin)
        settings = {name: value for name, value in known.get("settings", {}).items() if name in SETTINGS}
        origin.fields(settings, SETTINGS, optional=SETTINGS, path="settings")
        asked = {name: value for name, value in (settings.get("asked") or {}).items() if name in ASKED}
        origin.fields(asked, ASKED, optional=ASKED, path="settings.asked")
        if table := settings.get("latency_table"):
            origin.fields(table, LATENCY_TABLE, optional=("sha256",), path="settings.latency_table")
        for example in settings.get("examples", ()):
            origin.fields(example, EXAMPLE, path="settings.examples")
        if scored := settings.get("scored_starts"):
            origin.fields(scored, SCORED_STARTS, path="settings.scored_starts")
        return cls(**known)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRecord:
    """One trained network and everything needed to train it again.

    Attributes:
        number: Number of the trial in its study, from 0.
        status: One of `STATUSES`.
        arch: The network at full size.
        cost: Cost of that full network, whatever the proxy.
        label: Row of an ablation; in a search, where the trial came from ("plain host", "paper", "random", "tpe").
        split: Images that `scores` are read on: "search" or "report".
        task: What the network learned.
        metric: Name of the metric of `scores`, the first of its task or the one that the study chose.
        scores: Its value after each epoch; of top-1 in [0, 1].
        metrics: Name of each metric of the task, `metric` among them -> its value after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block, first to last, after each epoch; None for a block without ACmix.
        seeds: Seeds of "init" (weights) and "order" (images and augmentation).
        budget: Training recipe: epochs, images, batch_size, learning rate and the rest.
        proxy: How the network was shrunk for training.
        data: Name, fingerprint, classes and split sizes of the images.
        environment: Device, threads, versions, machine.
        norms: Norms of (alpha * F_att, beta * F_conv) of each block on the images of `split`, after each epoch: the
            root mean square over pixels and channels, averaged over images; None for a block with one path. Records
            of earlier versions have none.
        skipped: Optimizer steps that changed no weight, because the norm of their gradient was not finite. Records of
            earlier versions do not say.
        head: The head on the network's maps, in a dense task.
        by_class: Name of a score -> its value after the last epoch for each class of the head, None for a class that
            has none.
        predictions: What was predicted for the first of the scored images after the last epoch, in a task that has
            pictures: texts of `acmix_nas.thumbnails`. The header's setting `examples` has the images and their truth.
        shared_with: Number of the trial whose proxy network is the same and whose score this one shares.
        started: When it began, ISO 8601 in UTC.
        seconds: Wall-clock time it took.
        error: Why it failed.
        origin: Study and trial that it was brought over from, as "demo:3".
    """

    number: int
    status: str
    arch: Arch
    cost: Cost
    label: str
    split: str
    task: str = "classification"
    metric: str = TOP1.name
    scores: tuple[float, ...]
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    losses: tuple[float, ...]
    mixing: tuple[Blocks, ...]
    seeds: Mapping[str, int]
    budget: Mapping[str, Any]
    proxy: Mapping[str, Any]
    data: Mapping[str, Any]
    environment: Mapping[str, Any]
    started: str
    seconds: float
    norms: tuple[Blocks, ...] = ()
    skipped: int = 0
    head: Head | None = None
    by_class: Mapping[str, tuple[float | None, ...]] = field(default_factory=dict)
    predictions: tuple[str, ...] = ()
    shared_with: int | None = None
    error: str | None = None
    origin: str | None = None

    def __post_init__(self) -> None:
        _check("status", self.status, STATUSES)
        _check("split", self.split, SPLITS)
        if self.status == "complete" and not self.scores:
            raise RecordError(f"trial {self.number} is complete but has no score.")
        object.__setattr__(self, "metrics", {**self.metrics, self.metric: self.scores})
        for name, values in self.metrics.items():
            known = SCORES.get(name, ANY_SCORE)
            wrong = [value for value in values if not known.holds(value)]
            if wrong:
                raise RecordError(
                    f"trial {self.number} has the score {shown(wrong[0])}; {known.title} is {known.range_text()}."
                )

    @property
    def arch_id(self) -> str:
        """`Arch.id` of the network."""
        return self.arch.id

    @property
    def score(self) -> float | None:
        """Value of `metric` after the last epoch of the budget; None if the trial did not get there."""
        return self.scores[-1] if self.status == "complete" else None

    def cut(self, epochs: int) -> Self:
        """The record as it was after some epochs: paused there."""
        values = {name: getattr(self, name)[:epochs] for name in ("scores", "losses", "mixing", "norms")}
        metrics = {name: found[:epochs] for name, found in self.metrics.items()}
        return replace(self, status="paused", metrics=metrics, by_class={}, predictions=(), **values)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, the `arch_id` first."""
        values = {item.name: getattr(self, item.name) for item in fields(self)}
        for optional in ("norms", "skipped", "origin", "head", "by_class", "predictions"):
            if not values[optional]:
                del values[optional]
        return {"arch_id": self.arch_id, **values, "arch": self.arch.to_dict(), "cost": asdict(self.cost)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            RecordError: A field is unknown or missing, or `arch_id` is not the id of `arch`.
        """
        known = _all_fields(cls, values, beside=("arch_id",))
        try:
            known["arch"] = Arch.from_dict(known["arch"])
            plugins.suspect(known["arch"].named)
        except ArchError as error:
            raise RecordError(f"trial {str(known['number'])[:20]}: {error}") from error
        cost = _all_fields(Cost, known["cost"])
        _check_rules(known, TRIAL_FIELDS)
        _check_rules(cost, COST_FIELDS)
        known["cost"] = Cost(**cost)
        known["scores"] = tuple(known["scores"])
        known["metrics"] = {name: tuple(found) for name, found in known.get("metrics", {}).items()}
        known["losses"] = tuple(known["losses"])
        known["by_class"] = {name: tuple(found) for name, found in known.get("by_class", {}).items()}
        known["predictions"] = tuple(known.get("predictions", ()))
        for name in ("mixing", "norms"):
            known[name] = tuple(
                tuple(None if pair is None else (pair[0], pair[1]) for pair in blocks) for blocks in known.get(name, ())
            )
        record = cls(**known)
        _check_epochs(record)
        if values.get("arch_id", record.arch_id) != record.arch_id:
            raise RecordError(
                f"trial {record.number} says arch_id {shown(values['arch_id'])}, but its arch has {record.arch_id}."
            )
        return record

    def to_json(self) -> str:
        """One line of trials.jsonl."""
        return json.dumps(self.to_dict(), allow_nan=False)

    @classmethod
    def from_json(cls, line: str) -> Self:
        """The inverse of `to_json`."""
        try:
            values = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise RecordError(f"a record is one JSON object on one line: {error}.") from error
        return cls.from_dict(values)


def _check_epochs(record: TrialRecord) -> None:
    """Refuses a stored record that has not one score for each epoch trained."""
    count, epochs = len(record.scores), record.budget.get("epochs")
    if isinstance(epochs, int) and (count > epochs or (record.status == "complete" and count < epochs)):
        raise RecordError(
            f"trial {record.number} is {record.status} and has {count} scores for the {epochs} epochs of its budget; "
            "there is one score for each epoch."
        )
    lists = {"losses": record.losses, "mixing": record.mixing, "norms": record.norms, **record.metrics}
    for name, values in lists.items():
        found = len(values)
        if found != count and (found or name == "losses"):
            raise RecordError(f"trial {record.number} has {count} scores but {found} {name}; each epoch has one.")


def _check_rules(values: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    for name, value in values.items():
        if name in rules and not rules[name].fits(value):
            raise RecordError(f"a record's {name}: {rules[name].text} is needed; it is {shown(value)}.")


def _check(name: str, value: str, options: tuple[str, ...]) -> None:
    if value not in options:
        raise RecordError(f"{name} is one of {', '.join(options)}; it is {shown(value)}.")


def _all_fields(cls: type, values: Mapping[str, Any], beside: tuple[str, ...] = ()) -> dict[str, Any]:
    """The values of all fields of a dataclass, without those of `beside`."""
    if not isinstance(values, Mapping):
        raise RecordError(f"a {cls.__name__} is a mapping of fields to values; it is {shown(values)}.")
    have = {item.name for item in fields(cls)}
    required = {item.name for item in fields(cls) if item.default is MISSING and item.default_factory is MISSING}
    wrong = sorted((set(values) - have - set(beside)) | (required - set(values)))
    if wrong:
        raise RecordError(f"a {cls.__name__} has unknown or missing fields: {', '.join(map(str, wrong))}.")
    return {name: value for name, value in values.items() if name not in beside}
