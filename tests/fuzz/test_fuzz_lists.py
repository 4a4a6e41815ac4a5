"""Lists and tables of images of unknown origin: a source that names only images below it, or an error."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pieces import CORPUS, law
from test_data_layouts import LAYOUTS, Tree

from acmix_nas.data import open_source

FILES = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=15
)
LISTS = (".txt", ".csv", ".jsonl", ".mat")
LISTED = {name: make for name, make in LAYOUTS.items() if name not in ("Imagenette", "parts in capitals")}
IN_MATLAB = ("Stanford Cars", "Stanford Dogs", "Oxford Flowers 102", "ImageNet with its development kit")
"""Layouts whose lists are read in processes of their own, which takes time."""
text = st.one_of(
    st.text(max_size=30),
    st.sampled_from(
        ["../../etc/passwd", "/etc/passwd", "a.jpg,", ",", "\t", '"', "\n\n", "1 1 1", "{}", "[]", "null", "nan"]
    ),
)


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(make, id=name, marks=[pytest.mark.nightly] if name in IN_MATLAB else [])
        for name, make in LISTED.items()
    ],
)
def tree(request, tmp_path_factory) -> Path:
    made = Tree(tmp_path_factory.mktemp("layout") / "set")
    request.param(made)
    return made.root


def read_all(root: Path) -> None:
    source = open_source(root)
    for part in (source.train, source.validation):
        for index in range(len(part.labels)):
            name = part.name(index)  # one with a NUL is no file anywhere
            assert "\0" in name or Path(name).resolve().is_relative_to(root.resolve())
            source.classes[part.labels[index]]


def with_one_changed(tree: Path, root: Path, data: st.DataObject, change: Callable[[bytes], bytes]) -> Path:
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(tree, root)
    lists = sorted(file for file in root.rglob("*") if file.suffix in LISTS)
    file = data.draw(st.sampled_from(lists))
    file.write_bytes(change(file.read_bytes()))
    return root


@FILES
@given(data=st.data(), new=st.binary(max_size=6))
def test_lists_with_bytes_changed(tree, tmp_path, data, new):
    def change(content: bytes) -> bytes:
        start = data.draw(st.integers(0, len(content)))
        return content[:start] + new + content[start + data.draw(st.integers(0, 8)) :]

    law(lambda: read_all(with_one_changed(tree, tmp_path / "set", data, change)))


@FILES
@given(data=st.data(), new=text)
def test_lists_with_a_word_or_line_changed(tree, tmp_path, data, new):
    def change(content: bytes) -> bytes:
        mark = data.draw(st.sampled_from([b"\n", b" ", b",", b"\t", b'"']))
        words = content.split(mark)
        words[data.draw(st.integers(0, len(words) - 1))] = new.encode(errors="surrogatepass")
        return mark.join(words)

    law(lambda: read_all(with_one_changed(tree, tmp_path / "set", data, change)))


@pytest.mark.parametrize("file", sorted((CORPUS / "tables").iterdir()), ids=lambda file: file.name)
def test_tables_that_are_meant_to_fail(tmp_path, file):
    made = Tree(tmp_path)
    LAYOUTS["train.csv and val.csv"](made)
    (tmp_path / "train.csv").unlink()
    shutil.copy(file, tmp_path / f"train{file.suffix}")
    assert law(lambda: read_all(tmp_path)) is None
