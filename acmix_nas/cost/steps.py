"""How far a profile is, in seconds that its steps are expected to take."""

from collections.abc import Callable

Progress = Callable[[str, float, float], None]
"""Called with (what is done now, steps done, steps in all), in expected seconds."""

COUNT_S, MEMORY_S = 4.0, 6.0
"""What building and counting a network, and a process that measures its memory, are expected to take."""
WARM_UP = 1 / 3
"""Of the time limit, before the rounds begin."""


class Steps:
    """Tells how far a profile is.

    Args:
        progress: Whom to tell; None for nobody.
        networks: Number of networks.
        batches: Number of batch sizes.
        limit_s: Seconds of timing for each row, about.
        memory: Whether memory is measured.
    """

    def __init__(self, progress: Progress | None, networks: int, batches: int, limit_s: float, *, memory: bool) -> None:
        self._progress = progress
        self._timing_s = networks * limit_s * (1 + WARM_UP)
        self._limit_s = networks * limit_s
        self._memory_s = MEMORY_S if memory else 0.0
        self._total = networks * COUNT_S + batches * (self._timing_s + networks * self._memory_s)
        self._text, self._done, self._next = "", 0.0, 0.0

    def begin_count(self, label: str) -> None:
        """A network is built and counted now."""
        self._begin(f"counting {label}", COUNT_S)

    def begin_timing(self, batch_size: int) -> None:
        """Batches of a size are timed now."""
        self._begin(f"timing batches of {batch_size}", self._timing_s)

    def begin_memory(self, label: str) -> None:
        """The memory of a row is measured now."""
        if self._memory_s:
            self._begin(f"memory of {label}", self._memory_s)

    def tick(self, share: float) -> None:
        """So much of the timing's limit is spent."""
        self._tell(self._next - self._limit_s * (1 - share))

    def _begin(self, text: str, seconds: float) -> None:
        self._text, self._done = text, self._next
        self._next += seconds
        self._tell(self._done)

    def _tell(self, done: float) -> None:
        if self._progress is not None:
            self._progress(self._text, done, self._total)
