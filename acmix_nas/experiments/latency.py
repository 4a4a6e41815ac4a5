"""A latency table of a space: every block measured once, and the table checked with whole networks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from acmix_nas.cost.latency import LatencyTable
from acmix_nas.cost.latency_build import build_table
from acmix_nas.errors import UsageError
from acmix_nas.experiments.busy import warn_when_busy
from acmix_nas.experiments.profile import ExecutionOptions, ProfileCallbacks, threads
from acmix_nas.space import load_space


@dataclass(frozen=True, kw_only=True)
class LatencyOptions(ExecutionOptions):
    """The options of `acmix latency`.

    Attributes:
        space: A name of `acmix spaces`, or a YAML file.
        out: File to write.
        batch_size: Images in a batch.
    """

    space: str
    out: Path
    batch_size: int = 1


@dataclass(frozen=True, slots=True)
class LatencyResult:
    """A table and where it was written."""

    table: LatencyTable
    file: Path

    def to_dict(self) -> dict[str, Any]:
        """What is said about it, in plain values for JSON."""
        table, check = self.table, self.table.check
        assert check is not None
        return {
            "file": str(self.file),
            "space": table.space,
            "blocks": len(table.mixers_ms),
            "rest_ms": table.rest_ms,
            "env": dict(table.env),
            "held_out": len(check.measured_ms),
            "spearman": check.spearman,
            "median_error": check.median_error,
            "worst_error": check.worst_error,
        }


def run(options: LatencyOptions, callbacks: ProfileCallbacks | None = None) -> LatencyResult:
    """Measures every block of a space once and writes a latency table.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Raises:
        UsageError: Options do not go together, a block's own time is not seen in this way, or there is no folder to
            write in.
        SpaceError: The space cannot be read.
    """
    callbacks = callbacks or ProfileCallbacks()
    space, how = load_space(options.space), options.execution()
    if not options.out.parent.is_dir():
        raise UsageError(f"there is no folder {str(options.out.parent)!r} to write {options.out.name} in.")
    warn_when_busy(how.device, callbacks.warn)
    with threads(options.threads):
        table = build_table(
            space,
            how=how,
            batch_size=options.batch_size,
            input_size=options.input_size,
            progress=callbacks.progress,
        )
    table.save(options.out)
    return LatencyResult(table, options.out)
