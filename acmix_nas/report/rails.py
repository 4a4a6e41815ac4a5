"""The lines beside a row of the page's tables: a share as a bar, an effect as a dot with its interval."""

from dataclasses import dataclass

from acmix_nas.report.effects import Effect
from acmix_nas.report.mattered import Mattered


@dataclass(frozen=True, slots=True, kw_only=True)
class Rail:
    """One line; places are percent of its length.

    Attributes:
        kind: "share", "open" (an interval with 0 in it, or none) or "clear".
        left: Where its bar begins.
        width: How long the bar is.
        at: Where its dot is, if it has one.
        zero: Where 0 is, if it is marked.
    """

    kind: str
    left: float
    width: float
    at: float | None = None
    zero: float | None = None


def of(told: Mattered) -> dict[str, list[Rail]]:
    """Name of a table of `mattered.tables` -> the line of each of its rows."""
    most = max(told.importances.values(), default=0.0)
    shares = [Rail(kind="share", left=0, width=_percent(share / most)) for share in told.importances.values()]
    reach = max((abs(effect.gain) + (effect.half_width or 0.0) for effect in told.effects), default=0.0) or 1.0
    return {"importance": shares, "effects": [_effect(effect, reach) for effect in told.effects]}


def _effect(effect: Effect, reach: float) -> Rail:
    half = effect.half_width or 0.0
    return Rail(
        kind="clear" if 0 < half < abs(effect.gain) else "open",
        left=_percent((effect.gain - half + reach) / (2 * reach)),
        width=_percent(half / reach),
        at=_percent((effect.gain + reach) / (2 * reach)),
        zero=50.0,
    )


def _percent(share: float) -> float:
    return round(100 * share, 2)
