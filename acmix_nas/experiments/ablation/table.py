"""YAML -> `Ablation`: the rows of a table as networks, before anything is trained."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import SpaceError
from acmix_nas.experiments.ablation.carry import carry, own_arch
from acmix_nas.experiments.ablation.rows import BASE, read_rows
from acmix_nas.experiments.options import StudyOptions, WorkerOptions
from acmix_nas.files import find_space, is_path, space_names
from acmix_nas.space import Space, load_space
from acmix_nas.space.arch_file import load_arch
from acmix_nas.space.document import Node, read

FOLDER = "ablations"
SEEDS = 3
"""Seeds of a table that names no number: the fewest that let a difference be claimed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """An ablation table before it is trained.

    Attributes:
        name: The file's name, and that of the space if it is not the file's own.
        summary: One line on what it is.
        space: Gives the proxies and the size that costs are counted at.
        base: The network that the rows change.
        baseline: The row that the others are compared with, named beforehand.
        rows: Name -> network, no network twice.
        seeds: Seeds of each row.
        budget: What the file says of "proxy", "epochs" and "images".
        notes: What was left out, in sentences.
    """

    name: str
    summary: str
    space: Space
    base: Arch
    baseline: str
    rows: Mapping[str, Arch]
    seeds: int = SEEDS
    budget: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class AblationOptions(StudyOptions, WorkerOptions):
    """The options of `acmix ablate`; None stands for the default, or, on resuming, for what the study has.

    Attributes:
        table: A name in search_spaces/ablations, or the path of a YAML file.
        base: Network that the rows change: a timm name, a best.yaml, STUDY:TRIAL, or a first network of the space.
        host: Host or space to make the table for.
        seeds: Seeds of each row; on resuming the total.
        reuse: Studies whose cells may be taken.
        columns: Columns of the rendered table; the usual ones if empty.
        compare: "published" for the paper's numbers beside the measured ones.
        throughput: Whether the rows' full networks are timed when all cells are trained.
    """

    table: str
    base: str | None = None
    host: str | None = None
    seeds: int | None = None
    reuse: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()
    compare: str | None = None
    throughput: bool = True

    def with_budget(self, budget: Mapping[str, Any]) -> "AblationOptions":
        """The same, with what the table's file says of "proxy", "epochs" and "images" where nothing was asked."""
        names = {"proxy": "proxy", "epochs": "epochs", "proxy_images": "images"}
        unsaid = {name: budget[key] for name, key in names.items() if getattr(self, name) is None and key in budget}
        return replace(self, **unsaid)


def load_ablation(
    name_or_path: str | os.PathLike[str], *, base: Arch | str | None = None, host: str | None = None
) -> Ablation:
    """The ablation of a YAML file; docs/ablate.md explains its fields.

    Args:
        name_or_path: A name in search_spaces/ablations, or the path of a file.
        base: The network to change instead of the file's, or the name of a first network of the space.
        host: Host family, or space, that the table is made for; None for that of `base`, else the file's.

    Raises:
        SpaceError: The file is wrong; the message names file, line and field. Or there is no such host or base, or
            the base is not in the space whose neighbours are asked for.
    """
    path = find_space(name_or_path, FOLDER)
    top = _fields(path)
    space = table_space(path, base=base, host=host)
    network, lost = _base(top, space, base)
    if space.depths != network.depths:
        space = replace(space, depths=network.depths)
    rows = read_rows(top, space, network)
    kept, same = _distinct(rows)
    given = base.named if isinstance(base, Arch) else ()
    plugins.check_named((name for arch in kept.values() for name in arch.named if name not in given), path)
    baseline = _baseline(top, rows, same)
    if len(kept) < 2:
        raise top["axes" if "axes" in top else "rows"].error(
            f"on {space.host} all rows are one network, so nothing can be compared; choose another --base or --host."
        )
    own = Path(top["space"].text()).stem == space.name
    return Ablation(
        name=path.stem if own else f"{path.stem}-{space.name}",
        summary=top["summary"].text() if "summary" in top else "",
        space=space,
        base=network,
        baseline=baseline,
        rows=kept,
        seeds=top["seeds"].whole() if "seeds" in top else SEEDS,
        budget=_budget(top["budget"], space) if "budget" in top else {},
        notes=(*lost, *(f"row {name!r} is the same network as {twin!r} here: left out" for name, twin in same.items())),
    )


def table_space(
    name_or_path: str | os.PathLike[str], *, base: Arch | str | None = None, host: str | None = None
) -> Space:
    """The space that a table is made for.

    Args:
        name_or_path: As of `load_ablation`.
        base: As of `load_ablation`.
        host: As of `load_ablation`.

    Raises:
        SpaceError: The file is wrong, or no space has that host.
    """
    own = _file_space(_fields(find_space(name_or_path, FOLDER)))
    wanted = host or (base.host if isinstance(base, Arch) else own.host)
    if wanted in (own.host, own.name):
        return own
    if wanted in space_names() or Path(wanted).suffix in (".yaml", ".yml"):
        return load_space(wanted)
    found = _space_of(wanted)
    if found is None:
        have = ", ".join(dict.fromkeys([*space_names(), *(load_space(name).host for name in space_names())]))
        raise SpaceError(
            f"no space has the host {wanted!r}; there are {have}. A space of your own is named by its path."
        )
    return found


def _space_of(host: str) -> Space | None:
    """The first space that has this host family."""
    return next((space for space in map(load_space, space_names()) if space.host == host), None)


def _fields(path: Path) -> dict[str, Node]:
    top = read(path)
    fields = top.mapping(["space"], ["summary", "base", "baseline", "rows", "axes", "combine", "seeds", "budget"])
    if "rows" not in fields and "axes" not in fields:
        raise top.error("rows or axes is missing.")
    return fields


def _base(top: Mapping[str, Node], space: Space, base: Arch | str | None) -> tuple[Arch, tuple[str, ...]]:
    """The base network on the space's host, and what of a given one could not be carried there."""
    if isinstance(base, Arch):
        source = _space_of(base.host)
        return (base, ()) if base.host == space.host else carry(base, space, source.widths if source else ())
    if isinstance(base, str):
        if base not in space.first:
            raise SpaceError(f"{space.name} names {', '.join(space.first)}; --base {base!r} is none of them.")
        return space.build(space.first[base]), ()
    if "base" not in top:
        return own_arch(space), ()
    name = top["base"].text()
    if Path(name).suffix in (".yaml", ".yml"):
        return _base(top, space, load_arch(_beside(top["base"], name)))
    file_space = _file_space(top)
    if name not in file_space.first:
        raise top["base"].error(f"one of {', '.join(file_space.first)} is needed; it is {name!r}.")
    if name in space.first:
        return space.build(space.first[name]), ()
    return carry(file_space.build(file_space.first[name]), space, file_space.widths)


def _file_space(top: Mapping[str, Node]) -> Space:
    """The space that the file names; a path starts at the file's folder, as that of its base."""
    name = top["space"].text()
    return load_space(_beside(top["space"], name) if is_path(name) else name)


def _beside(node: Node, name: str) -> Path:
    return Path(node.file).parent / name


def _distinct(rows: Mapping[str, Arch]) -> tuple[dict[str, Arch], dict[str, str]]:
    """The rows that are different networks, and for each other the first row with its network."""
    first: dict[str, str] = {}
    for name, arch in rows.items():
        first.setdefault(arch.id, name)
    kept = {name: rows[name] for name in first.values()}
    return kept, {name: first[arch.id] for name, arch in rows.items() if name not in kept}


def _baseline(top: Mapping[str, Node], rows: Mapping[str, Arch], same: Mapping[str, str]) -> str:
    if "baseline" in top:
        name = top["baseline"].text()
        if name not in rows:
            raise top["baseline"].error(f"one of {', '.join(rows)} is needed; it is {name!r}.")
        return same.get(name, name)
    if BASE in rows:
        return BASE
    raise SpaceError(
        f"{next(iter(top.values())).file}: baseline is missing: name the row that the others are compared with, "
        f"one of {', '.join(rows)}."
    )


def _budget(node: Node, space: Space) -> dict[str, Any]:
    fields = node.mapping((), ["proxy", "epochs", "images"])
    budget: dict[str, Any] = {name: fields[name].whole() for name in ("epochs", "images") if name in fields}
    return {**budget, "proxy": fields["proxy"].text(list(space.proxies))} if "proxy" in fields else budget
