"""A store that was half written, its plan and its progress edited: the same command goes on, or one error."""

import json
import shutil

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pieces import changed, law, leaves, values

from acmix_nas.data import open_source, plan_subset, write_store
from acmix_nas.errors import DataError

pytestmark = pytest.mark.slow


def subset():
    return plan_subset(open_source("embedded"), classes="2", images_per_class=4, search_images=4, size=8)


class KilledError(Exception):
    pass


def kill_after_the_first(done: int, total: int) -> None:
    if done < total:
        raise KilledError


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    folder = tmp_path_factory.mktemp("half") / "store"
    with pytest.raises(KilledError):
        write_store(subset(), folder, chunk=3, progress=kill_after_the_first)
    assert not (folder / "index.json").exists()
    return folder


def gone_on(half, folder, name: str, text: str):
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(half, folder)
    (folder / name).write_text(text, encoding="utf-8", errors="surrogatepass")
    return write_store(subset(), folder, chunk=3)


def test_it_goes_on(half, tmp_path):
    whole = write_store(subset(), tmp_path / "whole")
    lines = (half / "progress.jsonl").read_text()
    assert gone_on(half, tmp_path / "store", "progress.jsonl", lines).fingerprint == whole.fingerprint


@pytest.mark.parametrize("name", ["plan.json", pytest.param("progress.jsonl", marks=pytest.mark.nightly)])
def test_one_value_changed(half, tmp_path_factory, name):
    folder = tmp_path_factory.mktemp("edited") / "store"
    line = json.loads((half / name).read_text().splitlines()[0])

    @settings(max_examples=settings.default.max_examples // 4, suppress_health_check=[HealthCheck.too_slow])
    @given(path=st.sampled_from(list(leaves(line))), value=values)
    def edited(path, value):
        law(lambda: gone_on(half, folder, name, json.dumps(changed(line, path, value)) + "\n"))

    edited()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("plan.json", text) for text in ("", "{", "[]", "7", "null", "[" * 9999, '{"format": "other"}')),
        *(("progress.jsonl", text + "\n") for text in ("{", "[]", "7", "null", "{}", "[" * 9999)),
        ("progress.jsonl", '{"split": "test", "start": 0, "images": 3, "broken": [], "traits": {}}\n'),
        ("progress.jsonl", '{"split": "train", "start": 0, "images": -3, "broken": [], "traits": {}}\n'),
        ("progress.jsonl", '{"split": "train", "start": 0, "images": 3, "broken": [[1]], "traits": {}}\n'),
        ("progress.jsonl", '{"split": "train", "start": 0, "images": 3, "broken": [], "traits": {"x": "y"}}\n'),
        ("progress.jsonl", '{"split": "train", "start": 0, "images": 300, "broken": [], "traits": {}}\n'),
    ],
)
def test_a_malformed_plan_or_progress_is_one_error(half, tmp_path, name, text):
    with pytest.raises(DataError, match=r"again|another"):
        gone_on(half, tmp_path / "store", name, text)
