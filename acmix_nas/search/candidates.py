"""What becomes a trial: what the sampler draws within the limits."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial

from optuna.trial import FrozenTrial

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError
from acmix_nas.metrics import COSTS
from acmix_nas.samplers.make import MAX_LISTED, RANDOM_TRIES, decode, draw
from acmix_nas.samplers.observations import Cache
from acmix_nas.search.objectives import Prices, amount, broken
from acmix_nas.space import Space, Values
from acmix_nas.study.study import Study

SAMPLER = "hamming-gp"


class Proposals:
    """Draws networks for a study.

    Attributes:
        exhausted: Whether no network is left to try, or none was found.

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
        self._limits: Mapping[str, float] = study.header.settings.get("limits", {})
        self._nearest: tuple[float, dict[str, float]] = (float("inf"), {})
        self._told: set[str] = set()
        self._seen: dict[int, str] = {}
        self._cache = Cache()
        objectives = enumerate(study.header.objectives)
        self._costs = {index: partial(self._cost, name) for index, name in objectives if name in COSTS}
        self._excesses = {name: partial(self._excess, name) for name in self._limits}

    def draw(self, history: Sequence[FrozenTrial]) -> tuple[str, Values] | None:
        """The next network within the limits, or None when all were tried or none is found.

        Args:
            history: The trials so far, as the sampler is to see them.

        Raises:
            StudyError: None is found, and no trial is complete.
        """
        header = self._study.header
        self._say_left_out()
        drawn = draw(
            self._space,
            seed=header.seed,
            starts=header.setting("random_starts"),
            scored=(header.settings.get("scored_starts") or {}).get("values", ()),
            history=history,
            seen=self._seen_so_far(),
            directions=[item.direction for item in header.measures],
            sampler=header.settings.get("sampler", SAMPLER),
            costs=self._costs,
            limits=self._excesses,
            cache=self._cache,
        )
        if drawn is None:
            self.exhausted = True
            self._say_exhausted()
        return drawn

    def _cost(self, name: str, arch: Arch) -> float:
        """An objective that is known before training."""
        return float(getattr(self._prices(arch), name))

    def _excess(self, name: str, arch: Arch) -> float:
        """By which share of a limit a network is beyond it."""
        beyond = broken(self._limits, self._prices(arch))
        found = self._cost(name, arch) / self._limits[name] - 1
        if beyond and found < self._nearest[0]:
            self._nearest = (found, beyond)
        return found

    def _seen_so_far(self) -> set[str]:
        for trial in self._study.trials():
            if trial.number not in self._seen:
                self._seen[trial.number] = self._space.build(decode(self._space, trial.params)).id
        return set(self._seen.values())

    def _say_left_out(self) -> None:
        """Names the first networks that are beyond a limit, once."""
        for label, values in self._space.first.items():
            beyond = broken(self._limits, self._prices(self._space.build(values)))
            if beyond and label not in self._told:
                self._told.add(label)
                self._note(f"{label} is left out: {self._in_words(beyond)}")

    def _say_exhausted(self) -> None:
        within = " within the limits" if self._limits else ""
        if not self._limits or self._space.size <= MAX_LISTED:
            text = f"all networks of the space{within} were tried"
        else:
            near = self._in_words(self._nearest[1])
            text = f"no network{within} in {RANDOM_TRIES} draws" + (f"; the nearest has {near}" if near else "")
        if not any(record.status == "complete" for record in self._study.records()):
            raise StudyError(f"{text}, and none is trained; raise the limits in a new study.")
        self._note(text)

    def _in_words(self, beyond: dict[str, float]) -> str:
        return ", ".join(f"{name} {amount(value)} above {amount(self._limits[name])}" for name, value in beyond.items())
