"""report.html and report.md.

The page is one file that needs neither network nor server; without scripts its tables and picture remain.
"""

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from acmix_nas.arch import Mixer
from acmix_nas.metrics import COSTS, Metric
from acmix_nas.printable import printable
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import pareto
from acmix_nas.report.by_class import class_table
from acmix_nas.report.claims import rows
from acmix_nas.report.describe import arch_text, stage_texts, varying
from acmix_nas.report.effects import Effect
from acmix_nas.report.escape import markdown
from acmix_nas.report.facts import embedded_note, facts, is_embedded
from acmix_nas.report.latex import as_latex
from acmix_nas.report.mattered import Mattered, tables
from acmix_nas.report.pareto import COUNTED, axis_label, complete, front_of
from acmix_nas.report.sampling import sampling_error
from acmix_nas.report.table import Table, as_markdown
from acmix_nas.report.trials import REFERENCES, split_title

TEMPLATES = Path(__file__).parent / "templates"
SCRIPTS = ("chart.js", "accuracy.js", "curves.js", "mixing.js", "mattered.js", "table.js", "trial.js", "page.js")

SCRIPT_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


def build(
    header: StudyHeader,
    records: Sequence[TrialRecord],
    table: Table,
    svg: str,
    commands: Mapping[int, str],
    found: Mattered,
    finals: Table | None = None,
) -> str:
    """The page of either kind of study.

    Args:
        header: What holds for all trials.
        records: The trials, by number.
        table: The front or the ablation table.
        svg: pareto.svg, shown where scripts are off.
        commands: Number of each trial -> the command that repeats it.
        found: What mattered in the study.
        finals: The table of a search's finalists, if it has some.
    """
    from acmix_nas.report.predictions import as_data, strips  # NumPy, which only a rendering needs

    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=select_autoescape(["html"]),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
        keep_trailing_newline=True,
    )
    shown, costs = varying(record.arch for record in records), costs_of(header, records)
    best = front_of(header, records)
    return environment.get_template("report.html").render(
        header=header,
        facts=facts(header, records),
        warning=embedded_note(header, records) if is_embedded(records) else "",
        table=table,
        finals=finals,
        classes=class_table(header, records),
        strips=strips(header, records),
        as_data=as_data,
        title=split_title(header, records),
        trials=[(record, arch_text(record.arch, shown), _cells(record, costs)) for record in records],
        headings=[(metric.heading, True) for metric in (header.metric, *(COSTS[cost] for cost in costs))],
        best=best[0].number if best else None,
        failed=[record for record in records if record.status == "failed"],
        done=len(complete(records)),
        svg=base64.b64encode(svg.encode("utf-8", "backslashreplace")).decode(),
        mattered=tables(found),
        rails=rails_of(found),
        style=_asset("style.css"),
        script=Markup("\n").join(_asset(name) for name in SCRIPTS),
        study=_script_json({**_study(header, records, shown, commands), **_charts(found), "latex": as_latex(table)}),
    )


def _charts(found: Mattered) -> dict[str, Any]:
    """What the pictures of "What mattered" show."""
    blocks = [{"block": block.number, "alpha": block.alpha, "beta": block.beta} for block in found.blocks]
    return {"hypervolume": [round(share, 6) for share in found.course], "front_mixing": blocks}


def costs_of(header: StudyHeader, records: Sequence[TrialRecord]) -> tuple[str, ...]:
    """The costs that the page shows: those from a table, if any, and those that every network has."""
    return (*pareto.timed(header, records), *COUNTED)


def _cells(record: TrialRecord, costs: Sequence[str]) -> list[tuple[float, str]]:
    """Value and text of each cost in the table of all trials."""
    return [(value := float(getattr(record.cost, cost)), COSTS[cost].text(value)) for cost in costs]


def _asset(name: str) -> Markup:
    """A file of the package itself: the only text that is not escaped."""
    return Markup((TEMPLATES / name).read_text(encoding="utf-8"))


def _script_json(values: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element it stands in."""
    return Markup(json.dumps(values, allow_nan=False, sort_keys=True).translate(SCRIPT_ESCAPES))


def _study(
    header: StudyHeader, records: Sequence[TrialRecord], shown: frozenset[str], commands: Mapping[int, str]
) -> dict[str, Any]:
    scored, costs = complete(records), costs_of(header, records)
    mixers: dict[Mixer, int] = {}  # each once: a thousand networks are made of a few
    for record in records:
        for mixer in record.arch.mixers:
            mixers.setdefault(mixer, len(mixers))
    best = front_of(header, records)
    edges = {cost: {record.number for record in pareto.edge(header, records, cost)} for cost in costs}
    trials = [
        {
            **_trial(header.metric, record, shown),
            **{cost: getattr(record.cost, cost) for cost in costs},
            "front": record in best,
            "edge": [cost for cost in costs if record.number in edges[cost]],
            "blocks": [[mixers[mixer] for mixer in stage] for stage in record.arch.stages],
            "command": commands.get(record.number, ""),
        }
        for record in records
    ]
    return {
        "kind": header.kind,
        "split": header.split,
        "metric": {**_metric(header.metric, pareto.score_label(header)), "heading": header.metric.noun.capitalize()},
        "cost": pareto.axis_of(header),
        "costs": [_cost(cost, scored or records) for cost in costs],
        "objectives": pareto.titles(header),
        "rows": [row.name for row in rows(header, records)] if header.kind == "ablate" else [],
        "baseline": header.baseline,
        "references": list(REFERENCES),
        "best": best[0].number if best else None,
        "trials": trials,
        "mixers": [json.dumps(mixer.to_dict()) for mixer in mixers],  # JSON is YAML's flow style
    }


def _cost(cost: str, records: Sequence[TrialRecord]) -> dict[str, Any]:
    """What the page says of a cost."""
    return {"name": cost, "less": COSTS[cost].better == "lower", **_metric(COSTS[cost], axis_label(cost, records))}


def _metric(metric: Metric, label: str) -> dict[str, Any]:
    """How the page writes values."""
    written = {"unit": metric.unit, "size": metric.unit_size, "format": metric.format}
    return {"title": metric.title, "label": label, **written}


def _trial(metric: Metric, record: TrialRecord, shown: frozenset[str]) -> dict[str, Any]:
    depths = record.proxy.get("depths")
    return {
        "number": record.number,
        "status": record.status,
        "label": record.label,
        "arch_id": record.arch_id,
        "stages": stage_texts(record.arch, shown),
        "depths": list(depths) if isinstance(depths, list | tuple) else list(record.arch.depths),
        "score": record.score,
        "error_points": sampling_error(metric, record),
        "host": record.arch.host,
        "conv_on": record.arch.conv_on,
        "scores": list(record.scores),
        "losses": [round(loss, 5) if math.isfinite(loss) else None for loss in record.losses],
        "started": record.started,
        "device": str(record.environment.get("device_name") or record.environment.get("device") or ""),
        "mixing": list(record.mixing[-1]) if record.mixing else [],
        "norms": [pair and [float(f"{norm:.4g}") for norm in pair] for pair in record.norms[-1]]
        if record.norms
        else [],
        "seeds": dict(record.seeds),
        "seconds": record.seconds,
        "shared": record.shared_with,
        "error": record.error,
    }


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


def rails_of(found: Mattered) -> dict[str, list[Rail]]:
    """Name of a table of `mattered.tables` -> the line of each of its rows."""
    most = max(found.importances.values(), default=0.0)
    shares = [Rail(kind="share", left=0, width=_rail_percent(share / most)) for share in found.importances.values()]
    reach = max((abs(effect.gain) + (effect.half_width or 0.0) for effect in found.effects), default=0.0) or 1.0
    return {"importance": shares, "effects": [_effect_rail(effect, reach) for effect in found.effects]}


def _effect_rail(effect: Effect, reach: float) -> Rail:
    half = effect.half_width or 0.0
    return Rail(
        kind="clear" if 0 < half < abs(effect.gain) else "open",
        left=_rail_percent((effect.gain - half + reach) / (2 * reach)),
        width=_rail_percent(half / reach),
        at=_rail_percent((effect.gain + reach) / (2 * reach)),
        zero=50.0,
    )


def _rail_percent(share: float) -> float:
    return round(100 * share, 2)


def markdown_page(
    header: StudyHeader, records: Sequence[TrialRecord], table: Table, found: Mattered, finals: Table | None = None
) -> str:
    """report.md: the facts, the tables and how to read them."""
    made = {"Command": header.command, "acmix-nas": header.version}
    lines = [f"- {name}: {markdown(text)}" for name, text in {**facts(header, records), **made}.items() if text]
    failed = [record for record in records if record.status == "failed"]
    classes = class_table(header, records)
    sections = [
        f"# {markdown(table.title)}",
        *([f"**{embedded_note(header, records)}**"] if is_embedded(records) else []),
        "\n".join(lines),
        as_markdown(table),
        f"![{header.metric.noun.capitalize()} of the trials](pareto.svg)",
        *([f"## {markdown(finals.title)}", as_markdown(finals)] if finals else []),
        *([f"## {markdown(classes.title)}", as_markdown(classes)] if classes else []),
        *(["## What mattered"] if found else []),
        *(f"### {markdown(each.title)}\n\n{as_markdown(each)}" for each in tables(found).values()),
    ]
    if failed:
        reasons = [
            f"- trial {each.number}, {markdown(each.label)}: {markdown(each.error or 'no reason')}" for each in failed
        ]
        sections += ["## Failed trials", "\n".join(reasons)]
    return "\n\n".join(sections) + "\n"
