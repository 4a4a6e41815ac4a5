"""Everything that is printed passes one place, where control characters of unknown origin are escaped."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "acmix_nas"
SINKS = ("cli/_say.py", "cli/_console.py")
FORBIDDEN = {
    "print": "acmix_nas.cli._say.say",
    "pprint": "acmix_nas.cli._say.say",
    "echo": "acmix_nas.cli._say.say",
    "secho": "acmix_nas.cli._say.say",
    "echo_via_pager": "acmix_nas.cli._say.say",
    "style": "acmix_nas.cli._say.say_marked",
    "prompt": "acmix_nas.cli._say.say",
    "confirm": "acmix_nas.cli._say.say",
    "progressbar": "a progress bar of rich",
    "basicConfig": "the log of acmix_nas.study.folder",
    "Console": "acmix_nas.cli._console.results or progress",
    "TextColumn": "acmix_nas.cli._console.text_column",
    "Spinner": "acmix_nas.cli._console.spinner",
    "status": "acmix_nas.cli._console.spinner",
    "from_markup": "rich.text.Text",
    "get_default_columns": "acmix_nas.cli._console.text_column",
}
CONSOLES = ("console", "_console", "results", "progress", "bar", "_bar")
"""What a console of acmix_nas.cli._console is called where something is printed on it."""
WRITES = ("write", "writelines")


def calls(file: Path) -> list[ast.Call]:
    return [node for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))) if isinstance(node, ast.Call)]


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Call):
        return last_name(node.func)
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def prints(file: Path) -> list[str]:
    found = []
    for call in calls(file):
        name = last_name(call.func)
        on = last_name(call.func.value) if isinstance(call.func, ast.Attribute) else ""
        if name == "print" and on in CONSOLES:
            continue
        if name in FORBIDDEN and (name != "status" or "console" in on):
            found.append(f"{file.relative_to(PACKAGE)}, line {call.lineno}: {name}; use {FORBIDDEN[name]}")
        if name in WRITES and on in ("stdout", "stderr"):
            found.append(f"{file.relative_to(PACKAGE)}, line {call.lineno}: sys.{on}.{name}")
    return found


ALLOWED_WRITES = {"cost/memory.py", "data/sources/_matlab.py"}
"""JSON for the process that asked."""


@pytest.mark.parametrize("file", sorted(PACKAGE.rglob("*.py")), ids=lambda file: str(file.relative_to(PACKAGE)))
def test_nothing_prints_beside_the_one_place(file):
    name = str(file.relative_to(PACKAGE))
    found = [line for line in prints(file) if name not in ALLOWED_WRITES or "sys." not in line]
    assert name in SINKS or found == []


def test_a_direct_print_would_be_found(tmp_path, monkeypatch):
    monkeypatch.setattr("test_prints.PACKAGE", tmp_path)
    file = tmp_path / "x.py"
    for line in (
        "print(1)",
        "click.echo(1)",
        "Console()",
        "console.status(1)",
        "sys.stdout.write('')",
        "rich.print(1)",
    ):
        file.write_text(line)
        assert prints(file), line
    file.write_text("console.print(1)")
    assert not prints(file)
