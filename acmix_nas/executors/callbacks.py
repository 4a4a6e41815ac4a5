"""What the caller of a search, a retraining or an ablation is shown while it runs."""

from typing import Protocol

from acmix_nas.arch import Arch
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress


class Callbacks(Protocol):
    """Called by the driver, in its own thread, one call at a time."""

    def note(self, text: str) -> None:
        """The driver does something beside the trials."""

    def begin(self, number: int, label: str, arch: Arch) -> None:
        """A trial begins, or goes on."""

    def step(self, progress: Progress) -> None:
        """A trial did an optimizer step."""

    def pause(self, record: TrialRecord) -> None:
        """A trial reached a rung and waits there."""

    def end(self, record: TrialRecord) -> None:
        """A trial ended and is stored."""
