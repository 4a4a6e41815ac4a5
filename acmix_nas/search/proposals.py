"""What becomes a trial: what the sampler draws, if it keeps to the limits."""

from collections.abc import Callable, Sequence

from optuna.trial import FrozenTrial

from acmix_nas.errors import StudyError
from acmix_nas.search.objectives import DIRECTIONS, Limits, Prices, amount
from acmix_nas.search.sampler import decode, draw
from acmix_nas.search.study import Study
from acmix_nas.space import Space, Values

MOST_DRAWS = 300
"""So many networks in a row may be beyond the limits."""


class Proposals:
    """Draws networks for a study.

    Attributes:
        exhausted: Whether no network is left to try.

    Args:
        study: The study.
        space: Its space.
        prices: Exact costs of networks.
        note: Told of what is left out.
    """

    def __init__(self, study: Study, space: Space, prices: Prices, note: Callable[[str], None]) -> None:
        self.exhausted = False
        self._study = study
        self._space = space
        self._prices = prices
        self._note = note
        self._limits = Limits(study.header.settings.get("limits", {}))
        self._told: set[str] = set()
        self._seen: dict[int, str] = {}

    def draw(self, history: Sequence[FrozenTrial]) -> tuple[str, Values] | None:
        """The next network within the limits, or None when all were tried or none is found.

        Args:
            history: The trials so far, as the sampler is to see them.

        Raises:
            StudyError: None is found, and none was before.
        """
        beyond: dict[str, dict[str, float]] = {}
        for _ in range(MOST_DRAWS):
            drawn = self._draw(history, {*self._seen_so_far(), *beyond})
            if drawn is None:
                self.exhausted = True
                within = " within the limits" if beyond else ""
                self._note(f"all networks of the space{within} were tried, {self._space.size:,} in all")
                return None
            label, values = drawn
            arch = self._space.build(values)
            broken = self._limits.broken(self._prices(arch))
            if not broken:
                return drawn
            beyond[arch.id] = broken
            self._leave_out(label, broken)
        self._give_up(list(beyond.values()))
        return None

    def _draw(self, history: Sequence[FrozenTrial], seen: set[str]) -> tuple[str, Values] | None:
        header = self._study.header
        return draw(
            self._space,
            seed=header.seed,
            starts=header.settings["random_starts"],
            history=history,
            seen=seen,
            directions=[DIRECTIONS[name] for name in header.objectives],
        )

    def _seen_so_far(self) -> set[str]:
        for trial in self._study.trials():
            if trial.number not in self._seen:
                self._seen[trial.number] = self._space.build(decode(self._space, trial.params)).id
        return set(self._seen.values())

    def _leave_out(self, label: str, broken: dict[str, float]) -> None:
        if label in self._space.first and label not in self._told:
            self._told.add(label)
            self._note(f"{label} is left out: {self._in_words(broken)}")

    def _give_up(self, beyond: list[dict[str, float]]) -> None:
        nearest = min(beyond, key=lambda broken: max(value / self._limits.most[name] for name, value in broken.items()))
        text = f"no network within the limits in {MOST_DRAWS} draws; the nearest has {self._in_words(nearest)}"
        if not any(record.status == "complete" for record in self._study.records()):
            raise StudyError(f"{text}. Raise the limit in a new study.")
        self.exhausted = True
        self._note(text)

    def _in_words(self, broken: dict[str, float]) -> str:
        return ", ".join(
            f"{name} {amount(value)} above {amount(self._limits.most[name])}" for name, value in broken.items()
        )
