"""`Progress`: what a training has shown so far."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from acmix_nas.record import Blocks


@dataclass(slots=True)
class Progress:
    """What training has shown so far; it grows while a network trains.

    Attributes:
        scores: Value of the metric that the study looks at, on the scored split after each epoch.
        metrics: Name of each metric, that one among them -> its value after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block after each epoch.
        norms: Norms of (alpha * F_att, beta * F_conv) of each block on the scored images after each epoch.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epochs: Epochs in all.
        started: When the first epoch began, ISO 8601 in UTC.
        seconds: Wall-clock time of each epoch.
        earlier: Time of the epochs before a resume.
        skipped: Steps that changed no weight, because the norm of their gradient was not finite.
    """

    scores: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    losses: list[float] = field(default_factory=list)
    mixing: list[Blocks] = field(default_factory=list)
    norms: list[Blocks] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    epochs: int = 0
    started: str = ""
    seconds: list[float] = field(default_factory=list)
    earlier: float = 0.0
    skipped: int = 0

    def take(self, values: Mapping[str, Any]) -> None:
        """Takes over what `dataclasses.asdict` said of another one and JSON kept."""
        values = {"norms": [], "skipped": 0, "metrics": {}, **values}  # which files of earlier versions do not have
        for item in fields(self):
            setattr(self, item.name, values[item.name])
        self.earlier = sum(self.seconds)
        self.mixing, self.norms = _pairs(self.mixing), _pairs(self.norms)


def _pairs(epochs: Iterable[Blocks]) -> list[Blocks]:
    """Pairs as tuples, which JSON made lists."""
    return [tuple(pair if pair is None else (pair[0], pair[1]) for pair in blocks) for blocks in epochs]
