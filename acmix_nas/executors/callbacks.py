"""What the caller of a search, a retraining or an ablation is shown while it runs."""

from collections.abc import Sequence

from acmix_nas.arch import Arch
from acmix_nas.metrics import Metric
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress


class Callbacks:
    """Shows nothing; a subclass overrides what it wants to see. Called in the driver's thread, one call at a time."""

    def note(self, text: str) -> None:
        """A line about the study, or about what is done beside the trials."""

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins, or goes on."""

    def step(self, number: int, progress: Progress) -> None:
        """A trial did an optimizer step."""

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""


class ExperimentCallbacks(Callbacks):
    """Of a whole experiment: it reads images, then trains."""

    def decode(self, done: int, total: int) -> None:
        """`done` of `total` images are decoded; never called where none has to be."""

    def start(self, name: str, measures: Sequence[Metric], total: int, records: Sequence[TrialRecord]) -> None:
        """The trials begin: how many there will be, and those that ended before."""

    def finish(self) -> None:
        """No trial runs any more, whatever ended them."""
