"""The rooms are as docs/architecture.md shows them, and no file is too long to be one idea."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "architecture.md"
MOST_LINES = 400


@pytest.fixture(scope="module")
def drawing():
    spec = importlib.util.spec_from_file_location("draw_architecture", ROOT / "docs" / "draw_architecture.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_picture_is_drawn_from_the_imports(drawing):
    assert drawing.PICTURE.read_text(encoding="utf-8") == drawing.draw(), "run python docs/draw_architecture.py"


def test_only_arrows_that_follow_from_others_are_left_out(drawing):
    edges = {("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")}
    assert drawing.without_implied(edges) == {("a", "b"), ("b", "c"), ("a", "d")}


def test_an_import_inside_a_function_is_an_arrow_too(drawing, tmp_path):
    file = tmp_path / "x.py"
    file.write_text("import acmix_nas.cost\ndef f():\n    from acmix_nas.data import load_splits\n")
    assert drawing.imported(file) == {"acmix_nas.cost", "acmix_nas.data.load_splits"}


def test_every_room_has_a_paragraph(drawing):
    named = re.findall(r"^\*\*`?(\w+)`?/?\*\*", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert named == [room for floor in drawing.floors() for room in floor]


def test_every_file_that_the_page_names_is_there():
    paths = re.findall(r"`((?:acmix_nas|search_spaces|tests|docs)/[\w/.]+)`", PAGE.read_text(encoding="utf-8"))
    assert len(paths) > 10
    assert [path for path in paths if "NAME" not in path and not (ROOT / path).exists()] == []


def test_no_file_is_longer_than_an_idea():
    sizes = {
        str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines())
        for folder in ("acmix_nas", "benchmarks", "docs")
        for file in (ROOT / folder).rglob("*.py")
    }
    assert len(sizes) > 100
    assert {name: lines for name, lines in sizes.items() if lines > MOST_LINES} == {}
