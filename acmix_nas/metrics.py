"""What the numbers of a study mean: which way is better, in which unit, and how they are written.

A metric of your own is a `Metric` in a module of yours, named by its dotted path, as my_lab.metrics:BALANCED.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Literal, Self, TypeAlias

from acmix_nas import plugins
from acmix_nas.errors import MetricError
from acmix_nas.fields import FLAG, Origin, Rule, list_of, maybe, number, one_of

Direction: TypeAlias = Literal["maximize", "minimize"]
"""Which way is better, in Optuna's words."""
FORMAT = re.compile(r"\.([0-9]|1[0-9])[fg]")
"""Formats that Python and the report's page both know."""
NOUN = re.compile("[A-Za-z]{1,40}")
"""Of names of files, among others."""
NAME = re.compile(r"[A-Za-z_]\w{0,39}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Metric:
    """A number that a network is judged by: a score of a task, or a cost.

    Attributes:
        name: Its name in records, files and options.
        better: "higher" or "lower".
        unit: Unit that values are shown in, as "%" or "ms"; none by default.
        format: Python's format of a value in its unit: ".2f", ".4g".
        title: Its name in text; `name` by default.
        noun: What a value is called in a sentence.
        unit_size: The stored value that is one unit: 0.01 where a share of 1 is shown in %, 1e9 for G.
        rounded: Format of a value in tables where more digits would say nothing; `format` by default.
        bounds: Least and largest possible value, each None where there is none.
        is_share: Whether a value is the share of the images that were answered rightly, so that its sampling error is
            sqrt(p (1 - p) / images).
        compute: Outputs of the network and targets, both of all images of a split and on the CPU -> the value; for a
            metric that the task does not know.

    Raises:
        MetricError: A value is none that a metric can have.
    """

    name: str
    better: Literal["higher", "lower"]
    unit: str = ""
    format: str = ".4g"
    _: KW_ONLY
    title: str = ""
    noun: str = "score"
    unit_size: float = 1.0
    rounded: str = ""
    bounds: tuple[float | None, float | None] = (None, None)
    is_share: bool = False
    compute: Callable[[Any, Any], float] | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "title", self.title or self.name)
        object.__setattr__(self, "rounded", self.rounded or self.format)
        object.__setattr__(self, "bounds", tuple(self.bounds))
        Origin(f"the metric {str(self.name)[:20]!r}", MetricError).fields(self.to_dict(), METRIC_FIELDS)
        low, high = self.bounds
        if low is not None and high is not None and not low < high:
            raise MetricError(f"the metric {self.name!r}: its lower bound, {low:g}, is not below its upper, {high:g}.")
        if self.is_share and self.bounds != (0, 1):
            raise MetricError(
                f"the metric {self.name!r}: a share of the images has the bounds (0, 1), not {self.bounds}."
            )

    @property
    def direction(self) -> Direction:
        """Which way is better, in Optuna's words."""
        return "maximize" if self.better == "higher" else "minimize"

    @property
    def points(self) -> str:
        """The unit of a difference: points for a percentage."""
        return "points" if self.unit == "%" else self.unit

    @property
    def best(self) -> float | None:
        """The best possible value; None where there is none."""
        return self.bounds[self.better == "higher"]

    @property
    def worst(self) -> float | None:
        """The worst possible value; None where there is none."""
        return self.bounds[self.better == "lower"]

    def gain(self, value: float) -> float:
        """The value, or its negative, so that more is better."""
        return value if self.better == "higher" else -value

    def clipped(self, value: float) -> float:
        """The nearest possible value."""
        low, high = self.bounds
        value = value if low is None else max(low, value)
        return value if high is None else min(high, value)

    def holds(self, value: float) -> bool:
        """Whether a value is finite and within the bounds."""
        return abs(value) < float("inf") and self.clipped(value) == value

    def range_text(self) -> str:
        """The bounds in words: "from 0 to 1"."""
        low, high = ("" if bound is None else f"{bound:g}" for bound in self.bounds)
        words = [f"from {low}" if low else "", (f"to {high}" if low else f"up to {high}") if high else ""]
        return " ".join(word for word in words if word) or "any finite number"

    def shown(self, value: float) -> float:
        """The value in its unit."""
        return value / self.unit_size if self.unit_size >= 1 else value * (1 / self.unit_size)  # 7.0 %, not 7.000000001

    def text(self, value: float) -> str:
        """The value in its unit, without the unit."""
        return f"{self.shown(value):{self.format}}"

    def rounded_text(self, value: float) -> str:
        """The value in its unit as tables round it."""
        return f"{self.shown(value):{self.rounded}}"

    def text_with_unit(self, value: float) -> str:
        """The value and its unit: "81.23 %"."""
        return f"{self.text(value)} {self.unit}".rstrip()

    def stored_text(self, value: float) -> str:
        """The value as it is stored, for a terminal: a share of 1 with 4 decimals."""
        return f"{value:.4f}" if self.unit_size < 1 else self.text(value)

    def difference_text(self, value: float, *, rounded: bool = False, signed: bool = True) -> str:
        """The difference of two values, or the width of one, in the unit of differences."""
        return f"{self.shown(value):{'+z' if signed else ''}{self.rounded if rounded else self.format}}"

    @property
    def heading(self) -> str:
        """Title and unit: "top-1 %"."""
        return f"{self.title} {self.unit}".rstrip()

    def of_values(self, text: str) -> str:
        """A text, and the unit of the values that it stands for: "search top-1, %"."""
        return f"{text}, {self.unit}" if self.unit else text

    def of_differences(self, text: str) -> str:
        """A text, and the unit of the differences that it stands for: "effect, points"."""
        return f"{text}, {self.points}" if self.points else text

    @property
    def nouns(self) -> str:
        """`noun` of several values."""
        return f"{self.noun[:-1]}ies" if self.noun.endswith("y") else f"{self.noun}s"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, all but `compute`."""
        values = {name: getattr(self, name) for name in METRIC_FIELDS}
        return {**values, "bounds": list(self.bounds)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], origin: Origin) -> Self:
        """The inverse of `to_dict`; `compute` is None.

        Raises:
            AcmixError: A field is unknown, missing or of another kind; the error is that of the origin.
        """
        known = origin.fields(values, METRIC_FIELDS, path="metric")
        with origin.at("metric"):
            return cls(**known)


def _matching(pattern: re.Pattern[str], text: str) -> Rule:
    return Rule(text, lambda value: isinstance(value, str) and pattern.fullmatch(value) is not None)


PRINTED = Rule(
    "text of at most 80 printable characters",
    lambda value: isinstance(value, str) and value.isprintable() and len(value) <= 80,
)
METRIC_NAME = _matching(NAME, "a name of letters, digits and underscores")
METRIC_FIELDS: Mapping[str, Rule] = {
    "name": METRIC_NAME,
    "better": one_of("higher", "lower"),
    **dict.fromkeys(("title", "unit"), PRINTED),
    "noun": _matching(NOUN, "a word of letters"),
    **dict.fromkeys(("format", "rounded"), _matching(FORMAT, "a format as .2f or .4g")),
    "unit_size": number(1e-18, 1e18),
    "bounds": list_of(maybe(number()), 2, 2),
    "is_share": FLAG,
}
PERCENT: dict[str, Any] = {"better": "higher", "unit": "%", "format": ".2f", "unit_size": 0.01, "bounds": (0, 1)}
"""Of a share of 1 that is shown in percent."""
SCORES = {
    metric.name: metric
    for metric in (
        Metric("top1", **PERCENT, title="top-1", noun="accuracy", rounded=".1f", is_share=True),
        Metric("miou", **PERCENT, title="mIoU"),
        Metric("box_ap", **PERCENT, title="box AP"),
        Metric("mask_ap", **PERCENT, title="mask AP"),
    )
}
"""Scores of tasks."""
COSTS = {
    metric.name: metric
    for metric in (
        Metric("macs", "lower", "G", ".3f", title="MACs", unit_size=1e9, rounded=".2f"),
        Metric("macs_deploy", "lower", "G", ".3f", title="deployed MACs", unit_size=1e9, rounded=".2f"),
        Metric("params", "lower", "M", ".2f", unit_size=1e6),
        Metric("latency_ms", "lower", "ms", ".2f", title="latency"),
        Metric("throughput", "higher", "images/s", ".1f"),
    )
}
"""Costs of networks, by their names in `acmix_nas.record.Cost`."""
TIMED = ("latency_ms", "throughput")
"""Costs from a latency table; nothing is timed during training."""
TOP1 = SCORES["top1"]


def find_metric(name: str) -> Metric:
    """The score of a name, or of a dotted path in a module of the user's own.

    Args:
        name: As "top1", or "my_lab.metrics:BALANCED".

    Raises:
        MetricError: There is none of this name, or the module's has the name of another metric.
        PluginError: The module may not be imported (`acmix_nas.plugins`), cannot be, or holds no `Metric` there.
    """
    if name in SCORES:
        return SCORES[name]
    if ":" not in name:
        raise MetricError(
            f"there is no metric {name!r}; there are {', '.join(SCORES)}. One of your own is named by its dotted path, "
            "as my_lab.metrics:BALANCED."
        )
    found = plugins.load_value(name, Metric)
    if found.name in SCORES or found.name in COSTS:
        raise MetricError(f"{name} has the name {found.name!r}, which is that of another metric; give it its own.")
    return found
