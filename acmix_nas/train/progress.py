"""`Progress`: what a training has shown so far."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from acmix_nas.train.mixing import Mixing


@dataclass(slots=True)
class Progress:
    """What training has shown so far; it grows while a network trains.

    Attributes:
        scores: Top-1 accuracy in [0, 1] on the scored split after each epoch.
        losses: Mean training loss of each epoch.
        mixing: (alpha, beta) of each block after each epoch.
        step: Optimizer steps done.
        steps: Optimizer steps in all.
        epochs: Epochs in all.
        started: When the first epoch began, ISO 8601 in UTC.
        seconds: Wall-clock time of each epoch.
        earlier: Time of the epochs before a resume.
    """

    scores: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    mixing: list[Mixing] = field(default_factory=list)
    step: int = 0
    steps: int = 0
    epochs: int = 0
    started: str = ""
    seconds: list[float] = field(default_factory=list)
    earlier: float = 0.0

    def take(self, values: Mapping[str, Any]) -> None:
        """Takes over what `dataclasses.asdict` said of another one and JSON kept."""
        for item in fields(self):
            setattr(self, item.name, values[item.name])
        self.earlier = sum(self.seconds)
        self.mixing = [tuple(pair if pair is None else (pair[0], pair[1]) for pair in epoch) for epoch in self.mixing]
