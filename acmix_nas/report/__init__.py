"""A study folder from stored records alone: page, tables, picture, best network. No network is built."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from shlex import quote
from typing import Any

import yaml

from acmix_nas.files import replacing, unwritable
from acmix_nas.metrics import TIMED
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import ablation, page, picture, rendered, together, trials
from acmix_nas.report.claims import rows
from acmix_nas.report.escape import plain
from acmix_nas.report.figures import drawn_forms, picture_files
from acmix_nas.report.finals import Final, Fresh, stored_finals
from acmix_nas.report.latex import as_latex
from acmix_nas.report.mattered import mattered
from acmix_nas.report.pareto import complete, front_of
from acmix_nas.report.table import Table, as_csv
from acmix_nas.report.view import View

__all__ = ["View", "render", "render_together", "study_table"]


def render(
    folder: Path,
    header: StudyHeader,
    records: Sequence[TrialRecord],
    view: View | None = None,
    *,
    figures: Sequence[str] | None = None,
) -> list[Path]:
    """Renders all of a study's folder: report.html, report.md, table.tex, trials.csv, best.yaml and the rest.

    Once finalists were trained again, table.tex and best.yaml use their fresh scores, whichever command renders. All
    is computed before anything is written, and each file is replaced once, in one step. The same records in the same
    folder always give the same bytes; where these lie there already, nothing is computed. Without a complete trial
    there is no best.yaml, and an old one is removed.

    Args:
        folder: The study's folder; made if missing.
        header: What holds for all trials.
        records: The trials, in any order.
        view: Which columns the table has; the usual ones if None.
        figures: Forms of the pictures in figures/: some of "svg", "pdf", "png"; those that lie there if None.

    Returns:
        The files.

    Raises:
        RecordError: Complete trials differ in split, data fingerprint, proxy or budget, or a finalist is unreadable.
        UsageError: The table has no such column.
        DiskError: A file cannot be written.
    """
    records = sorted(records, key=lambda record: record.number)
    place = folder if folder.name not in ("", "..") else folder.resolve()
    commands = {record.number: _repeating(place.name, record.number, place.parent) for record in records}
    fresh = stored_finals(folder, header)
    lines = "".join(f"{record.to_json()}\n" for record in records)
    forms = drawn_forms(folder) if figures is None else figures
    shown = view or View()
    digest = rendered.digest_of(header, lines, shown.columns, shown.compare, fresh, tuple(forms), commands)
    if (known := rendered.stored(folder, digest)) is not None:
        return known
    texts = _texts(header, records, view, commands, fresh)
    texts["trials.jsonl"] = lines
    if fresh is not None:
        texts["best.yaml"] = _finals_yaml(header, fresh.best)
    elif (best := best_trial(header, records)) is not None:
        texts["best.yaml"] = _best_yaml(header, records, best)
    files = _encoded({**texts, **picture_files(header, records, forms)})
    written = _write(folder, files)
    if "best.yaml" not in texts:
        (folder / "best.yaml").unlink(missing_ok=True)
    rendered.remember(folder, digest, files)
    return written


def render_together(
    out: Path,
    studies: Sequence[tuple[StudyHeader, Sequence[TrialRecord]]],
    view: View | None = None,
    *,
    figures: Sequence[str] | None = None,
) -> tuple[Path, StudyHeader, list[TrialRecord]]:
    """Compares studies: report.html, report.md, table.tex, trials.csv and pareto.svg of all their trials together.

    Args:
        out: Folder of study folders; the files get a folder there named after the studies.
        studies: Header and trials of each, two or more.
        view: Which columns the table has; the usual ones if None.
        figures: Forms of the pictures in figures/; those that lie there if None.

    Returns:
        The folder, and what holds for all trials with the trials, numbered through.

    Raises:
        RecordError: The studies are of two kinds, or complete trials differ in split, data, proxy, budget or the size
            that costs are counted at.
        UsageError: The table has no such column.
    """
    header, records, origins = together.merge(studies)
    commands = {number: _repeating(name, trial, out) for number, (name, trial) in origins.items()}
    folder = out / together.folder_name([header.name for header, _ in studies])
    texts = _texts(header, records, view, commands)
    pictures = picture_files(header, records, drawn_forms(folder) if figures is None else figures)
    _write(folder, _encoded({**texts, **pictures}))
    return folder, header, records


def _texts(
    header: StudyHeader,
    records: Sequence[TrialRecord],
    view: View | None,
    commands: Mapping[int, str],
    fresh: Fresh | None = None,
) -> dict[str, str | bytes]:
    """The files of a report by name."""
    table, finals = study_table(header, records, view), fresh.table if fresh else None
    svg, found = picture.draw(header, records), mattered(header, records)
    return {
        "report.html": page.build(header, records, table, svg, commands, found, finals),
        "report.md": page.markdown_page(header, records, table, found, finals),
        "table.tex": as_latex(finals or table),
        "trials.csv": as_csv(trials.trial_table(header, records)),
        "pareto.svg": svg,
    }


def _encoded(texts: Mapping[str, str | bytes]) -> dict[str, bytes]:
    """Files as bytes."""
    return {
        name: text if isinstance(text, bytes) else text.encode("utf-8", "backslashreplace")
        for name, text in texts.items()
    }


def _write(folder: Path, files: Mapping[str, bytes]) -> list[Path]:
    for name, content in files.items():
        try:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise unwritable(folder / name, error) from error
        with replacing(folder / name) as temporary:
            temporary.write_bytes(content)
    return [folder / name for name in files]


def _repeating(study: str, number: int, out: Path) -> str:
    """The command that trains a trial again."""
    where = "" if out == Path("reports") else f" --reports {quote(str(out))}"
    return f"acmix repeat {quote(f'{study}:{number}')}{where}"


def study_table(header: StudyHeader, records: Sequence[TrialRecord], view: View | None = None) -> Table:
    """The neutral table of either kind of study, its trials by number, with the columns of a view."""
    build = trials.front_table if header.kind == "search" else ablation.build
    return (view or View()).of(build(header, records), header.metric)


def best_trial(header: StudyHeader, records: Sequence[TrialRecord]) -> TrialRecord | None:
    """The first of the front, or of the ablation row with the best mean; None without a complete trial."""
    if header.kind == "search":
        return next(iter(front_of(header, records)), None)
    scored = [row for row in rows(header, records) if row.trials]
    return max(scored, key=lambda row: header.metric.gain(row.mean or 0.0)).trials[0] if scored else None


def _best_yaml(header: StudyHeader, records: Sequence[TrialRecord], best: TrialRecord) -> str:
    """best.yaml, as `acmix profile` and `acmix search` read it."""
    metric, score = header.metric, best.score
    more: dict[str, Any] = {"chosen_from": len(complete(records))}
    if header.kind != "search":
        row = next(row for row in rows(header, records) if row.name == best.label)
        score, more = row.mean, {"row": row.name, "seeds": len(row.trials)}
    head = [
        f"The best network of study {header.name}: trial {best.number}, {best.label}.",
        f"{trials.split_title(header, records)}: {metric.stored_text(score or 0.0)}",
        "Count and time it: acmix profile best.yaml",
        f"Made by: {header.command}",
    ]
    cost = {name: value for name, value in asdict(best.cost).items() if value is not None}
    return _network_yaml(head, header, best, best.number, {metric.name: score, "split": best.split, **more}, cost)


def _finals_yaml(header: StudyHeader, best: Final) -> str:
    """best.yaml with the network that has the best fresh score."""
    record, seeds, metric = best.records[0], len(best.records), header.metric
    head = [
        f"The best network of study {header.name} by fresh scores: {best.name}.",
        f"report {metric.title}, mean of {seeds} fresh seeds: {metric.stored_text(best.mean or 0.0)}",
        "Count and time it: acmix profile best.yaml",
    ]
    cost = {name: value for name, value in asdict(record.cost).items() if name not in TIMED}
    score = {metric.name: best.mean, "split": "report", "seeds": seeds}
    return _network_yaml(head, header, record, best.trial, score, cost)


def _network_yaml(
    head: Sequence[str],
    header: StudyHeader,
    best: TrialRecord,
    trial: int | None,
    score: Mapping[str, Any],
    cost: Mapping[str, Any],
) -> str:
    """Comments, then the values."""
    values = {"study": header.name, "trial": trial, "arch_id": best.arch_id, "score": score, "cost": cost}
    comments = "".join(f"# {plain(line)}\n" for line in head)
    text = yaml.safe_dump({**values, "arch": best.arch.to_dict()}, sort_keys=False, default_flow_style=None, width=160)
    return comments + text
