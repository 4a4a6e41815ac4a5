"""Errors a user can mend. Each message says the rule, the values, the fix."""


class AcmixError(Exception):
    """A mistake or a failure that is shown as one message, without a traceback.

    Attributes:
        exit_code: What the command line returns: 2 for wrong usage, 1 for a failure.
    """

    exit_code = 1


class UsageError(AcmixError):
    """The command was called in a way that cannot mean anything."""

    exit_code = 2


class ArchError(AcmixError, ValueError):
    """An `Arch`, a `Mixer` or an operator was described by values that build no network."""

    exit_code = 2


class DerivativeError(AcmixError, RuntimeError):
    """A derivative was asked for that the form of the operator does not have."""


class SpaceError(AcmixError, ValueError):
    """A search space or an ablation table is wrong; the message names file, line and field."""

    exit_code = 2


class CostError(AcmixError):
    """A cost is not known: a latency table is unreadable, or is that of another space."""

    exit_code = 2


class MetricError(AcmixError, ValueError):
    """A metric is unknown, or is described by values that it cannot have."""

    exit_code = 2


class DataError(AcmixError):
    """A data source cannot be read as labelled images."""


class StudyError(AcmixError):
    """A study cannot be made, found or continued as asked."""


class DiskError(AcmixError):
    """A file cannot be written; what was there before is as it was."""


class RecordError(AcmixError, ValueError):
    """A stored record does not say what a record must say."""
