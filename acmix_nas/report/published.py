"""Published params, MACs and top-1 beside measured ones, always marked as published."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from acmix_nas.errors import UsageError
from acmix_nas.metrics import Metric
from acmix_nas.report.table import NOTHING, Cell, Column, Table, numeric

FILE = Path(__file__).with_name("published.yaml")
METRIC, DENSE = "top1", "miou"
"""The metrics of published scores: on ImageNet, and of plain hosts on ADE20K."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """One network of a published figure.

    Attributes:
        name: As the paper calls it.
        family: Its host.
        form: "acmix", "plain" or "attention".
        params_m: Parameters in millions; None where it is not given.
        macs_g: Multiply-adds in 10^9.
        top1_percent: On ImageNet.
        arch_id: `Arch.id` of the same network here.
    """

    name: str
    family: str
    form: str
    params_m: float | None
    macs_g: float
    top1_percent: float
    arch_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Segmented:
    """One plain network of ADE20K; nothing is published of ACmix there.

    Attributes:
        name: As its paper calls it, with its head.
        params_m: Parameters in millions.
        macs_g: Multiply-adds in 10^9.
        size: Height and width in pixels that these are counted at.
        miou_percent: On the 2,000 validation images, whole and at one scale.
        source: Where the numbers are from.
        arch_id: `Arch.id` of the same network here.
    """

    name: str
    params_m: float
    macs_g: float
    size: str
    miou_percent: float
    source: str
    arch_id: str


def segmented() -> tuple[Segmented, ...]:
    """The plain networks of ADE20K in published.yaml."""
    return tuple(Segmented(**entry) for entry in _document()["segmentation"])


@cache
def published() -> tuple[Published, ...]:
    """All networks of published.yaml."""
    return tuple(Published(**entry) for entry in _document()["models"])


def source() -> str:
    """Where the numbers are from, in a few words."""
    return str(_document()["source"])


def with_published(table: Table, metric: Metric) -> Table:
    """The table with three more columns: the published numbers of the rows whose network was published.

    Raises:
        UsageError: The scores of the table are of another metric.
    """
    if metric.name == DENSE:
        return _with_segmented(table)
    if metric.name != METRIC:
        raise UsageError(
            f"--compare published: the published scores are {METRIC} on ImageNet and {DENSE} on ADE20K, those of this "
            f"table {metric.name}."
        )
    known = {model.arch_id: model for model in published()}
    found = [known.get(arch_id or "") for arch_id in table.arch_ids]
    columns = (
        numeric("published_params", "published params M", "publ. params"),
        numeric("published_macs", "published MACs G @224", "publ. MACs"),
        numeric("published_top1", "published ImageNet top-1 %", "publ. top-1 %"),
    )
    rows = tuple((*row, *_cells(model)) for row, model in zip(table.rows, found, strict=True))
    return replace(table, columns=(*table.columns, *columns), rows=rows, notes=(*table.notes, *_notes(found)))


def _with_segmented(table: Table) -> Table:
    known = {model.arch_id: model for model in segmented()}
    found = [known.get(arch_id or "") for arch_id in table.arch_ids]
    columns = (
        Column(key="published_network", title="published network"),
        numeric("published_params", "published params M", "publ. params"),
        numeric("published_macs", "published MACs G", "publ. MACs"),
        numeric("published_miou", "published ADE20K mIoU %", "publ. mIoU %"),
    )
    cells = [
        (NOTHING,) * 4
        if model is None
        else (
            Cell(model.name, model.name),
            Cell(f"{model.params_m:g}", model.params_m),
            Cell(f"{model.macs_g:g} @{model.size}", model.macs_g),
            Cell(f"{model.miou_percent:g}", model.miou_percent),
        )
        for model in found
    ]
    there = list(dict.fromkeys(f"{model.name} ({model.source})" for model in found if model is not None))
    note = (
        f"Published: {'; '.join(there)}, trained in full on ADE20K from weights of ImageNet; not comparable with proxy "
        "training. Nothing is published of ACmix on ADE20K."
        if there
        else "Published: no row of this table is a network that was published on ADE20K; ACmix is not."
    )
    rows = tuple((*row, *more) for row, more in zip(table.rows, cells, strict=True))
    return replace(table, columns=(*table.columns, *columns), rows=rows, notes=(*table.notes, note))


def _cells(model: Published | None) -> tuple[Cell, Cell, Cell]:
    if model is None:
        return NOTHING, NOTHING, NOTHING
    params = NOTHING if model.params_m is None else Cell(f"{model.params_m:g}", model.params_m)
    return params, Cell(f"{model.macs_g:g}", model.macs_g), Cell(f"{model.top1_percent:.1f}", model.top1_percent)


def _notes(found: Iterable[Published | None]) -> list[str]:
    names = [model.name for model in dict.fromkeys(found) if model is not None]
    if not names:
        return ["Published: no row of this table is a network of the paper."]
    return [
        f"Published: {', '.join(names)} as in {source()}, trained in full on ImageNet; not comparable with accuracies "
        "of proxy training."
    ]


@cache
def _document() -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return values
