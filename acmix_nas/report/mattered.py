"""What mattered in a search: how far its front came, which choices decided, and what its best blocks learned."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from acmix_nas.front import Point, added_hypervolume, beats, values_of
from acmix_nas.metrics import COSTS, TOP1, Metric
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.depth import Block, Span, over_front
from acmix_nas.report.effects import Effect, chosen, effects
from acmix_nas.report.table import NOTHING, Cell, Column, Table, numeric

REFERENCE = "reference"
"""Setting of a study: objective -> its value at the reference point."""
MOST_ROWS = 8
"""Rows of the table of hypervolumes, at most."""
BELIEVED = 0.25
"""Share of the trials' variance that a model must predict for its shares to mean something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Mattered:
    """What mattered in a search; of an ablation, of several studies, or of too few trials, less or nothing.

    Attributes:
        metric: What the study's scores are.
        course: Hypervolume after each ended trial, as a share of its box.
        box: The reference point, for people.
        importances: Choice -> share of the variance of the score (`acmix_nas.search.importance.shares`), largest first.
        subtree: Choice -> that share and those of all its children.
        explained: How much of the trials' variance the model behind the shares predicts.
        ped_anova: Choice -> Optuna's importance.
        active: Choice -> trials in which it is active.
        effects: Options against the other options of their choice, by the importance of the choice.
        blocks: alpha and beta by depth over the front.
    """

    metric: Metric = TOP1
    course: tuple[float, ...] = ()
    box: str = ""
    importances: Mapping[str, float] = field(default_factory=dict)
    subtree: Mapping[str, float] = field(default_factory=dict)
    explained: float = 0.0
    ped_anova: Mapping[str, float] = field(default_factory=dict)
    active: Mapping[str, int] = field(default_factory=dict)
    effects: tuple[Effect, ...] = ()
    blocks: tuple[Block, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.course or self.importances or self.effects or self.blocks)


def mattered(header: StudyHeader, records: Sequence[TrialRecord]) -> Mattered:
    """Everything that mattered in a study; no network is built."""
    if header.kind != "search":
        return Mattered(metric=header.metric)
    known = Mattered(
        metric=header.metric, course=course(header, records), box=_box(header), blocks=over_front(header, records)
    )
    if (found := chosen(header, records)) is None:
        return known
    space, trials = found
    from acmix_nas.search.importance import ped_anova, shares  # loads Optuna and SciPy

    parts = shares(space, trials)
    if parts is None:
        return replace(known, effects=effects(space, trials))
    return replace(
        known,
        importances=parts.own,
        subtree=parts.subtree,
        explained=parts.explained,
        ped_anova=ped_anova(space, trials, header.metric.direction),
        active={name: sum(name in values for values, _ in trials) for name in parts.own},
        effects=effects(space, trials, parts.own),
    )


def course(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[float, ...]:
    """The hypervolume after each ended trial, by number, as a share of the box from reference to ideal.

    The ideal is the best score at no cost, so that a trial of a share p spans p (1 - cost / reference) of the box.
    Images a second are taken by the time an image needs. What lies beyond the reference spans nothing.

    Args:
        header: Its settings have the reference point; without one there is no hypervolume.
        records: The trials that ended, in any order.

    Returns:
        Shares in [0, 1] that never fall; empty without a reference, a complete trial, or a best possible score.
    """
    reference = header.settings.get(REFERENCE) or {}
    if header.kind != "search" or not set(header.objectives) <= set(reference):
        return ()
    if header.metric.best is None or not any(record.score is not None for record in records):
        return ()
    front: list[Point] = []
    volume, found = 0.0, []
    for record in sorted(records, key=lambda record: record.number):
        if record.score is not None:
            volume += _add(front, _place(record, header, reference))
        found.append(min(volume, 1.0))
    return tuple(found)


def _place(record: TrialRecord, header: StudyHeader, reference: Mapping[str, Any]) -> Point:
    """A trial between the reference (0) and the ideal (1), in each objective."""
    place = []
    values = values_of(header.measures, record.score, record.cost)
    for name, value in zip(header.objectives, values, strict=True):
        limit, best = float(reference[name]), header.metric.best
        if name not in COSTS:
            share = (value - limit) / (best - limit) if best is not None and best != limit else 0.0
        else:
            less, more = (value, limit) if COSTS[name].better == "lower" else (limit, value)
            share = 1 - less / more if more else 0.0
        place.append(max(0.0, share))
    return tuple(place)


def _add(front: list[Point], at: Point) -> float:
    """Puts a point into the front; returns the volume that it alone spans."""
    if any(other == at or beats(other, at) for other in front):
        return 0.0
    gain = added_hypervolume(at, front)
    front[:] = [other for other in front if not beats(at, other)] + [at]
    return gain


def tables(found: Mattered) -> dict[str, Table]:
    """What there is, as tables: of "hypervolume", "importance", "effects" and "mixing" those with rows."""
    built = {
        "hypervolume": _course_table(found),
        "importance": _importance_table(found),
        "effects": _effects_table(found),
        "mixing": _mixing_table(found.blocks),
    }
    return {name: table for name, table in built.items() if table.rows}


def _box(header: StudyHeader) -> str:
    values = header.settings.get(REFERENCE) or {}
    return " and ".join(
        f"{COSTS[name].title} {COSTS[name].text_with_unit(values[name])}"
        if name in COSTS
        else f"{header.metric.title} {header.metric.shown(values[name]):g} {header.metric.unit}".rstrip()
        for name in header.objectives
        if name in values
    )


def ideal(metric: Metric) -> str:
    """The best corner of the box, for people."""
    best = "" if metric.best is None else f" {metric.shown(metric.best):g} {metric.unit}".rstrip()
    return f"{metric.title}{best} at no cost"


def _course_table(found: Mattered) -> Table:
    count = len(found.course)
    ends = sorted({round(count * (row + 1) / MOST_ROWS) for row in range(MOST_ROWS)} - {0})
    return Table(
        name="hypervolume",
        title="Hypervolume of the front against trials",
        columns=(numeric("trials", "trials ended"), numeric("hypervolume", "hypervolume")),
        rows=tuple((_whole(end), Cell(f"{found.course[end - 1]:.4f}", found.course[end - 1])) for end in ends),
        notes=(
            f"Share of the box between the study's reference point ({found.box}), stored when the study was "
            f"created, and {ideal(found.metric)} that the front covers. Trials count in the order of their "
            "numbers.",
        ),
    )


def _importance_table(found: Mattered) -> Table:
    rows = []
    for name, share in found.importances.items():
        shares = (share, found.subtree[name], found.ped_anova.get(name, 0.0))
        rows.append((Cell(name, name), *(Cell(f"{each:.3f}", each) for each in shares), _whole(found.active[name])))
    return Table(
        name="importance",
        title=f"Importance of the choices for {found.metric.title}",
        columns=(
            Column(key="choice", title="choice"),
            numeric("importance", "share of variance"),
            numeric("subtree", "with its children"),
            numeric("ped_anova", "Optuna's importance"),
            numeric("trials", "trials with it active"),
        ),
        rows=tuple(rows),
        notes=(
            f"Share of variance: a choice's Shapley share in the variance of {found.metric.title} over networks "
            "drawn uniformly from the space: its own part and an equal part of every interaction. Its children, "
            "the choices that are active only with some of its options, cannot take its share. Shares are of a "
            f"Gaussian process fitted to the trials, which predicts {max(found.explained, 0.0):.0%} of their "
            "variance, each left out in turn"
            + ("; this is too little, so ignore the shares." if found.explained < BELIEVED else "."),
            "Optuna's importance, as optuna-dashboard shows it, is PED-ANOVA: the difference between the "
            "distribution of a choice's options in the best tenth of the trials (at least five) and in all "
            "trials. It evaluates a choice only in the trials where it is active, so a child may take the share "
            "of its parent. Shared scores are left out.",
        ),
    )


def _effects_table(found: Mattered) -> Table:
    metric = found.metric
    return Table(
        name="effects",
        title=f"Marginal effect of each option on {metric.title}",
        columns=(
            Column(key="choice", title="choice"),
            Column(key="option", title="option"),
            numeric("trials", "trials"),
            numeric(metric.name, f"mean {metric.heading}"),
            numeric("effect", metric.of_differences("effect")),
            numeric("interval", "95 % interval"),
        ),
        rows=tuple(_effect_cells(metric, effect) for effect in found.effects),
        notes=(
            f"Effect: mean {metric.title} of the trials with the option minus that of the trials where the choice "
            "has another option. Choices drawn together are confounded.",
            f"Each Welch interval stands alone: of {len(found.effects)}, about one in twenty excludes 0 by "
            "chance, and a sampler that follows the scores does not draw a fair sample.",
        ),
    )


def _effect_cells(metric: Metric, effect: Effect) -> tuple[Cell, ...]:
    interval = NOTHING
    if effect.half_width is not None:
        ends = [effect.gain + side * effect.half_width for side in (-1, 1)]
        shown = " to ".join(metric.difference_text(end) for end in ends)
        interval = Cell(shown, " to ".join(f"{metric.shown(end):.4f}" for end in ends))
    return (
        Cell(effect.choice, effect.choice),
        Cell(str(effect.option), effect.option),
        _whole(effect.trials),
        Cell(metric.text(effect.mean), metric.shown(effect.mean)),
        Cell(metric.difference_text(effect.gain), metric.shown(effect.gain)),
        interval,
    )


def _mixing_table(blocks: Sequence[Block]) -> Table:
    return Table(
        name="mixing",
        title="\N{GREEK SMALL LETTER ALPHA} and β by depth over the front",
        columns=(
            numeric("block", "block"),
            numeric("trials", "trials that learn it"),
            numeric("alpha", "|\N{GREEK SMALL LETTER ALPHA}| attention: mean (range)"),
            numeric("beta", "|β| convolution: mean (range)"),
        ),
        rows=tuple((_whole(b.number), _whole(b.trials), _span(b.alpha), _span(b.beta)) for b in blocks),
        notes=(
            "Blocks of the trained network, after the last epoch; trials whose rule fixes both weights are not "
            "counted.",
        ),
    )


def _span(span: Span) -> Cell:
    return Cell("{:.3f} ({:.3f} to {:.3f})".format(*span), span[0])


def _whole(value: int) -> Cell:
    return Cell(str(value), value)
