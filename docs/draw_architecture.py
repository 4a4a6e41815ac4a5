"""Draws docs/architecture.svg from the imports: floors as pyproject.toml has them, an arrow where a room needs another.

An arrow that follows from others (cli needs report, report needs space, so cli needs space) is left out.

    python docs/draw_architecture.py
"""

import ast
import tomllib
from collections import defaultdict
from itertools import chain
from pathlib import Path

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "architecture.svg"
PACKAGE = "acmix_nas"
GROUND = "ground"
WHAT = {
    "cli": "parses, calls one function, prints",
    "experiments": "what a command does, from Python too",
    "report": "renders stored records",
    "search": "proposes, hands out, stores, prunes",
    "executors": "train it here, in processes, on Ray",
    "train": "batches in, a score out",
    "tasks": "heads, losses, metrics",
    "export": "files for other programs",
    "cost": "counts and times networks",
    "data": "sources, splits, stores",
    "segmentor": "scores for every pixel",
    "inference": "whole images, windows, mirrors, scales",
    "models": "timm names",
    "reference": "published weights",
    "dropin": "ACmix in others' networks",
    "heads": "from maps to pixels",
    "operators": "mix the pixels of a map",
    "hosts": "families of networks",
    "samplers": "propose values",
    "study": "records on disk",
    "space": "choices become networks",
    GROUND: "no torch",
}
"""A few words on each room."""
BOX_W, BOX_H, GAP, FLOOR_GAP, MARGIN, REACH = 400, 34, 6, 14, 24, 260
COLOURS = ("#1b6ca8", "#b3541e", "#3a7d44", "#8a3ffc", "#a3195b", "#5b6770")

Edges = set[tuple[str, str]]


def floors() -> list[list[str]]:
    """The rooms of each floor, the highest first; the ground is one room."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    (contract,) = (each for each in tools["importlinter"]["contracts"] if each["type"] == "layers")
    *above, _ = ([name.strip(" ()") for name in layer.replace("|", ":").split(":")] for layer in contract["layers"])
    return [*above, [GROUND]]


def needs(rooms: set[str]) -> Edges:
    """Which room imports from which."""
    found = set()
    for file in (ROOT / PACKAGE).rglob("*.py"):
        source = room_of(".".join(file.relative_to(ROOT).with_suffix("").parts), rooms)
        found |= {(source, room_of(name, rooms)) for name in imported(file)}
    return {(one, other) for one, other in found if one != other and one is not None and other is not None}


def imported(file: Path) -> set[str]:
    """Names of the package's modules that a file imports."""
    nodes = list(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))
    plain = chain.from_iterable([alias.name for alias in node.names] for node in nodes if isinstance(node, ast.Import))
    parts = (node for node in nodes if isinstance(node, ast.ImportFrom))
    named = chain.from_iterable([f"{node.module}.{alias.name}" for alias in node.names] for node in parts)
    return {name for name in (*plain, *named) if name.startswith(f"{PACKAGE}.")}


def room_of(module: str, rooms: set[str]) -> str | None:
    """The room of a module: its folder, or the ground; None for the package's own face."""
    first = module.split(".")[1]
    if first in rooms:
        return first
    on_the_ground = (ROOT / PACKAGE / f"{first}.py").is_file() and not first.startswith("__")
    return GROUND if on_the_ground else None


def without_implied(edges: Edges) -> Edges:
    """The fewest arrows from which all others follow."""
    return {(one, other) for one, other in edges if not reaches(edges - {(one, other)}, one, other)}


def reaches(edges: Edges, start: str, end: str) -> bool:
    """Whether arrows lead from one room to another."""
    seen, waiting = {start}, [start]
    while waiting:
        here = waiting.pop()
        waiting += (new := {other for one, other in edges if one == here} - seen)
        seen |= new
    return end in seen


def places(rows: list[list[str]]) -> dict[str, float]:
    """Upper edge of every room's box, floor below floor."""
    found, y = {}, float(MARGIN)
    for row in rows:
        for room in row:
            found[room] = y
            y += BOX_H + GAP
        y += FLOOR_GAP
    return found


def draw() -> str:
    """The picture."""
    at = places(floors())
    width, height = MARGIN + BOX_W + REACH, max(at.values()) + BOX_H + MARGIN
    edges = without_implied(needs(set(at) - {GROUND}))
    boxes = [box(room, y) for room, y in at.items()]
    return "\n".join((HEAD.format(width=width, height=height), *boxes, *arrows(edges, at), "</svg>", ""))


HEAD = """<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}"
  height="{height:g}" font-family="DejaVu Sans, Arial, sans-serif">
<rect width="100%" height="100%" fill="#fff"/>"""


def box(room: str, y: float) -> str:
    """A room: its name, and a few words."""
    return (
        f'<rect x="{MARGIN}" y="{y:g}" width="{BOX_W}" height="{BOX_H}" rx="5" fill="#eef4f8" stroke="#2f5d7c"/>\n'
        f'<text x="{MARGIN + 12}" y="{y + 22:g}" font-size="15" font-weight="bold" fill="#16324a">{room}</text>\n'
        f'<text x="{MARGIN + 130}" y="{y + 22:g}" font-size="13" fill="#33424d">{WHAT[room]}</text>'
    )


def arrows(edges: Edges, at: dict[str, float]) -> list[str]:
    """Arcs at the right of the boxes: they begin in the lower half of one and end in the upper half of another."""
    rooms = list(at)
    begins, ends = defaultdict(list), defaultdict(list)
    for one, other in sorted(edges, key=lambda edge: rooms.index(edge[1]) - rooms.index(edge[0])):
        begins[one].insert(0, other)  # the longest leaves highest, the shortest lowest: arcs of a box do not cross
        ends[other].append(one)  # and the shortest arrives lowest
    lines = []
    for one, other in sorted(edges, key=lambda edge: (rooms.index(edge[0]), rooms.index(edge[1]))):
        start = at[one] + BOX_H * (0.5 + 0.5 * (begins[one].index(other) + 0.5) / len(begins[one]))
        end = at[other] + BOX_H * 0.5 * (1 - (ends[other].index(one) + 0.5) / len(ends[other]))
        reach = REACH * 1.2 * min(1, (60 + end - start) / (max(at.values()) + 60))
        x, colour = MARGIN + BOX_W, COLOURS[rooms.index(one) % len(COLOURS)]
        lines.append(
            f'<path d="M{x} {start:g}C{x + reach:g} {start:g} {x + reach:g} {end:g} {x + 8} {end:g}" fill="none" '
            f'stroke="{colour}" stroke-width="1.5"/><path d="M{x + 1} {end:g}l9 -4v8z" fill="{colour}"/>'
        )
    return lines


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
