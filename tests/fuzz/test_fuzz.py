"""Space files, networks, records, stores and names of unknown origin."""

import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pieces import CORPUS, changed, law, leaves, scalars, values
from report_records import make_arch, make_record, make_search

from acmix_nas.arch import Arch
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.data import open_source, plan_subset, write_store
from acmix_nas.data.sources.store import SPLITS, open_split, read_index
from acmix_nas.metrics import TOP1
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import render
from acmix_nas.report.sampling import sampling_fact
from acmix_nas.space import load_space
from acmix_nas.space.arch_file import load_arch
from acmix_nas.study.finals import sort_fresh
from acmix_nas.train.checkpoint import read_checkpoint, write_checkpoint
from acmix_nas.train.recipe_file import load_recipe

SPACE = (Path(__file__).parents[1] / "faults" / "tiny.yaml").read_text()
PLAIN = yaml.safe_load(SPACE)
ARCH = make_arch(("att", "conv", "learned", "learned")).to_dict()
RECORD = replace(make_record(3, epochs=2), data={**make_record().data, "counts": {"search": 40}}).to_dict()
HEADER = make_search()[0].to_dict()
FRESH = {"data": RECORD["data"]["fingerprint"], "budget": RECORD["budget"], "proxy": RECORD["proxy"]}
HUGE = "{'descr': '<i8', 'fortran_order': False, 'shape': (10000000000000,), }"
FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
plain_values = values.filter(lambda value: "\ud800" not in json.dumps(value, ensure_ascii=False))


def files(folder: str) -> list[Path]:
    return sorted((CORPUS / folder).iterdir())


@pytest.mark.parametrize("file", files("spaces"), ids=lambda file: file.stem)
def test_spaces_that_are_meant_to_fail(file, tmp_path):
    assert law(lambda: load_space(file)) is None
    for read in (load_arch, load_recipe):
        assert law(lambda read=read: read(file)) is None


@pytest.mark.parametrize("file", files("archs"), ids=lambda file: file.stem)
def test_networks_that_are_meant_to_fail(file):
    assert law(lambda: load_arch(file)) is None
    assert law(lambda: load_recipe(str(file))) is None


@pytest.mark.parametrize("file", files("records"), ids=lambda file: file.stem)
def test_records_that_are_meant_to_fail(file):
    assert law(lambda: TrialRecord.from_json(file.read_text())) is None
    assert law(lambda: LatencyTable.load(file)) is None


@FILES
@given(path=st.sampled_from(list(leaves(PLAIN))), value=plain_values)
def test_a_space_with_one_value_changed(tmp_path, path, value):
    file = tmp_path / "space.yaml"
    file.write_text(yaml.safe_dump(changed(PLAIN, path, value), allow_unicode=True), encoding="utf-8")
    law(lambda: load_space(file))


@FILES
@given(data=st.data())
def test_a_space_with_some_bytes_changed(tmp_path, data):
    text = SPACE.encode()
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 20)))
    new = data.draw(st.binary(max_size=12) | st.text("{}[]:,&*!|>-?\"'#% \n019ax", max_size=12).map(str.encode))
    file = tmp_path / "space.yaml"
    file.write_bytes(text[:start] + new + text[end:])
    for read in (load_space, load_arch, load_recipe):
        law(lambda read=read: read(str(file)))


@given(path=st.sampled_from(list(leaves(ARCH))), value=values)
def test_a_network_with_one_value_changed(path, value):
    arch = law(lambda: Arch.from_dict(changed(ARCH, path, value)))
    if arch is not None:
        assert Arch.from_dict(json.loads(json.dumps(arch.to_dict()))).id == arch.id


@given(value=values)
def test_anything_as_a_network_record_or_header(value):
    law(lambda: Arch.from_dict(value))
    law(lambda: TrialRecord.from_dict(value))
    law(lambda: StudyHeader.from_dict(value))


@given(path=st.sampled_from(list(leaves(RECORD))), value=values)
def test_a_record_with_one_value_changed(path, value):
    line = json.dumps(changed(RECORD, path, value))
    record = law(lambda: TrialRecord.from_json(line))
    if record is not None:
        assert TrialRecord.from_json(record.to_json()) == record
        law(lambda: (sort_fresh([record, record], FRESH, seed=1), sampling_fact(TOP1, [record])))


@given(line=st.text(max_size=40), cut=st.integers(0, len(json.dumps(RECORD))))
def test_a_torn_line_is_skipped(line, cut):
    law(lambda: TrialRecord.from_json(json.dumps(RECORD)[:cut] + line))


@given(path=st.sampled_from(list(leaves(HEADER))), value=values)
def test_a_header_with_one_value_changed(path, value):
    law(lambda: StudyHeader.from_dict(changed(HEADER, path, value)))


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("store") / "store"
    write_store(plan_subset(open_source("embedded"), classes="2", images_per_class=4, search_images=4, size=8), folder)
    return folder


def read_all(folder: Path) -> None:
    index = read_index(folder)
    for split in SPLITS:
        assert int(open_split(folder, index, split)[1].max()) < len(index.classes)


@FILES
@given(data=st.data(), value=values)
def test_a_store_whose_index_is_changed(store, tmp_path, data, value):
    index = json.loads((store / "index.json").read_text())
    path = data.draw(st.sampled_from(list(leaves(index))))
    folder = tmp_path / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(store, folder)
    (folder / "index.json").write_text(json.dumps(changed(index, path, value)))
    law(lambda: read_all(folder))


@FILES
@given(data=st.data(), new=st.binary(max_size=30))
def test_a_store_whose_files_are_changed(store, tmp_path, data, new):
    folder = tmp_path / "store"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(store, folder)
    file = folder / data.draw(st.sampled_from(["index.json", *(f"{split}.labels.npy" for split in SPLITS)]))
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    file.write_bytes(content[:start] + new + content[start + len(new) :])
    law(lambda: read_all(folder))


@pytest.mark.parametrize("kind", ["pickle", "archive", "huge", "empty", "nul", "indent"])
def test_labels_that_are_no_numbers_run_no_code(store, tmp_path, kind):
    folder = tmp_path / "store"
    shutil.copytree(store, folder)
    file = folder / "train.labels.npy"
    if kind == "pickle":
        np.save(file, np.array([_Loud()] * 8, dtype=object), allow_pickle=True)
    elif kind == "archive":
        with file.open("wb") as stream:
            np.savez(stream, x=np.arange(3))
    elif kind == "huge":
        header = f"{HUGE:117}\n"
        file.write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    elif kind == "empty":
        file.write_bytes(b"")
    else:
        content = bytearray(file.read_bytes())
        content[10:11] = {"nul": b"\0", "indent": b"\n  "}[kind]
        file.write_bytes(content)
    assert law(lambda: read_all(folder) or True) is None
    assert not _Loud.heard


class _Loud:
    heard: list[int] = []  # noqa: RUF012 (what unpickling would leave)

    def __reduce__(self):
        return (_Loud.heard.append, (1,))


@FILES
@given(data=st.data(), new=st.binary(min_size=1, max_size=30))
def test_a_checkpoint_whose_bytes_are_changed(tmp_path, data, new):
    import torch

    file = tmp_path / "0.ckpt"
    write_checkpoint(file, {"model/x": torch.zeros(3)}, {"key": {"arch": "a"}, "progress": {}})
    content = file.read_bytes()
    start = data.draw(st.integers(0, len(content)))
    file.write_bytes(content[:start] + new + content[start + len(new) :])
    law(lambda: read_checkpoint(file))


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def handle_starttag(self, tag, attrs) -> None:
        self.seen += [tag, *(f"{tag} {name}" for name, _ in attrs)]


names = st.text(max_size=20) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "</script><img src=x onerror=alert(1)>",
        "' onload='x",
        '"><svg/onload=x>',
        "{{ 7 * 7 }}",
        "{% raw %}",
        "]]>",
        "<!--",
        "\u2028\u2029\x00\x1b[31m",
        "\ud800",
        "$\\input{/etc/passwd}$",
        "| a | b |\n|---|",
    ]
)
ELEMENTS: set[str] = set()


@pytest.fixture(scope="module")
def usual(tmp_path_factory) -> set[str]:
    """The elements and attributes of a page with harmless names."""
    return tags(tmp_path_factory.mktemp("usual"), "name")


def tags(folder: Path, name: str) -> set[str]:
    header = StudyHeader.from_dict({**HEADER, "name": name, "command": name, "space": name})
    records = [make_record(0), make_record(1, status="failed", error=name, label=name, scores=())]
    folder.mkdir(exist_ok=True)
    render(folder, header, records)
    parser = _Tags()
    parser.feed((folder / "report.html").read_text(encoding="utf-8"))
    return set(parser.seen)


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(name=names)
def test_names_bring_no_element_into_a_page(usual, tmp_path, name):
    found = law(lambda: tags(tmp_path / "page", name))
    assert found is None or found <= usual


@given(name=scalars)
def test_plug_ins_are_named_by_dotted_paths_alone(name):
    from acmix_nas import registry

    for folder in ("operators", "operators.attention", "hosts", "executors"):
        if isinstance(name, str):
            law(lambda folder=folder: registry.load(folder, name))
