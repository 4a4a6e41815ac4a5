"""Every file that is read again, edited by a stranger: a valid object, or one error of file, field and rule."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from pieces import CORPUS, changed, law, leaves, values
from report_records import make_arch, make_record, make_search
from study_pieces import new_study

from acmix_nas.cli import acmix
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.cost.network import Network
from acmix_nas.errors import AcmixError
from acmix_nas.experiments.repeat import work_of
from acmix_nas.experiments.status import read_running
from acmix_nas.experiments.stored_fidelity import Fidelity
from acmix_nas.experiments.training_job import FACTS, TrainingOptions, _stored
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import render
from acmix_nas.space import Proxy, load_space
from acmix_nas.space.stored import definition, space_of
from acmix_nas.study.finals import Candidate, fix_list, load_list
from acmix_nas.study.storage import find_storage
from acmix_nas.study.study import Study
from acmix_nas.train import Budget
from acmix_nas.train.recipe_file import load_recipe

FILES = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
SWIN = load_space("swin_t")
ARCH = make_arch(("att", "conv", "learned", "learned"))
BUDGET = Budget(epochs=2, images=100, batch_size=10, learning_rate=1e-3, crop=(0.5, 1.0)).to_dict()
HEADER = StudyHeader(
    name="demo",
    kind="search",
    space="swin_t",
    host="swin",
    split="search",
    settings={
        "space": definition(SWIN),
        "first": dict(SWIN.first),
        "proxy": SWIN.proxies["cpu"].to_dict(),
        "budget": BUDGET,
        "data": "0123456789abcdef",
        "asked": {"seed": 0, "epochs": 2, "proxy": "cpu", "proxy_images": 100, "data": None},
        "random_starts": 2,
        "reference": {"top1": 0.0, "macs": 1e10},
        "limits": {"macs": 5e9},
        "prune": "asha",
        "sampler": "tpe",
        "latency_table": {"sha256": "00", "device_name": "x"},
        "warm_start": [],
        "notes": ["a"],
    },
)


class Kind(NamedTuple):
    """A kind of file.

    Attributes:
        name: Of the file, and of its corpus.
        values: A valid one.
        read: Reads a file and everything that follows from it.
        anything: Whether what is wrong in it is passed over.
    """

    name: str
    values: Any
    read: Callable[[Path], Any]
    anything: bool = False


def mixers() -> list[dict[str, Any]]:
    return [
        {"stage": s, "block": b, "mixer": mixer.to_dict(), "latency_ms": 1.5}
        for s, stage in enumerate(ARCH.stages)
        for b, mixer in enumerate(stage)
    ]


def read_table(file: Path) -> LatencyTable:
    table = LatencyTable.load(file)
    if table.host == ARCH.host:
        law(lambda: table.latency_ms(ARCH))
    assert isinstance(table.differences({}), list)
    again = file.with_name("again.json")
    table.save(again)
    assert LatencyTable.load(again) == table
    return table


def read_header(file: Path) -> StudyHeader:
    header = StudyHeader.from_dict(json.loads(file.read_text()))
    law(lambda: space_of(header))
    law(lambda: Budget.from_dict(header.setting("budget")))
    law(lambda: Proxy.from_dict(header.setting("proxy")))
    return header


def read_record(file: Path) -> TrialRecord:
    record = TrialRecord.from_json(file.read_text(errors="replace"))
    law(lambda: work_of(HEADER, record, device="cpu"))
    return record


def read_list(file: Path) -> list[Candidate]:
    found = load_list(file.parent)
    law(lambda: fix_list(file.parent, list, top=1))
    assert all(isinstance(each.name, str) for each in found)
    return found


def read_facts(file: Path) -> object:
    stored = _stored(file.parent, Network(name="acmix_resnet26"))
    return TrainingOptions(network="acmix_resnet26").completed(stored).changes()


INTERVAL = {"value": 0.5, "low": 0.1, "high": 0.9}
KINDS = [
    Kind(
        "finalists.json",
        {"top": 1, "candidates": [{"names": ["finalist 1"], "trial": 3, "top1": 0.5, "arch": ARCH.to_dict()}]},
        read_list,
    ),
    Kind(
        "latency.json",
        {
            "format": 1,
            "space": "swin_t",
            "host": "swin",
            "env": {"device_name": "x", "threads": 1},
            "how": {"device": "cpu"},
            "batch_size": 1,
            "input_size": [224, 224],
            "rest_ms": 3.5,
            "check": {
                "measured_ms": [1.0],
                "told_ms": [1.0],
                "spearman": 0.9,
                "median_error": 0.1,
                "worst_error": 0.2,
            },
            "blocks": mixers(),
        },
        read_table,
    ),
    Kind("header.json", json.loads(json.dumps(HEADER.to_dict())), read_header),
    Kind(
        "summary-0.json",
        {
            "space": {},
            "proxy": {},
            "fingerprint": "00",
            "cheap": BUDGET,
            "large": BUDGET,
            "archs": 4,
            "failed": 0,
            "seed": 0,
            "agreements": {name: {"spearman": INTERVAL, "kendall": INTERVAL} for name in ("proxy", "params", "macs")},
        },
        Fidelity.load,
    ),
    Kind("storage.json", {"url": "sqlite:///x.db"}, lambda file: find_storage(file.parent)),
    Kind(
        "running.json",
        {
            "pid": 1,
            "host": "x",
            "left_s": 3.5,
            "trials": [{"number": 1, "label": "random", "epoch": 1, "epochs": 2}],
        },
        lambda file: read_running(file.parent) or None,
        anything=True,
    ),
    Kind("trials.jsonl", json.loads(make_record(3, epochs=2).to_json()), read_record),
]
RECIPE = Kind(
    "recipe.yaml",
    yaml.safe_load((Path(load_recipe.__code__.co_filename).parent / "recipes" / "swin.yaml").read_text()),
    lambda file: load_recipe(str(file)).budget(images=100),
)
TRAINING = Kind(
    FACTS,
    {
        "network": "acmix_resnet26",
        "asked": {
            "data": None,
            "recipe": "resnet",
            "epochs": 3,
            "batch_size": 8,
            "learning_rate": 0.1,
            "input_size": 32,
            "images": None,
            "seed": 0,
            "precision": "fp32",
            "accumulate": None,
            "compile": False,
            "deterministic": False,
        },
    },
    read_facts,
)
YAML = [RECIPE, TRAINING]
JSON_VALUES = values.filter(lambda value: "\ud800" not in json.dumps(value, ensure_ascii=False))


def named(kind: Kind) -> str:
    return kind.name


def corpus(kinds: list[Kind]) -> list[tuple[Kind, Path]]:
    return [(kind, file) for kind in kinds for file in sorted((CORPUS / kind.name.partition(".")[0]).iterdir())]


def put(kind: Kind, folder: Path, content: bytes) -> Path:
    file = folder / kind.name
    file.write_bytes(content)
    (folder / "last.safetensors").touch()
    return file


def refused(kind: Kind, file: Path) -> AcmixError | None:
    """The error of a file, if it is refused; it names the file or what the file is of."""
    try:
        kind.read(file)
    except AcmixError as error:
        return error
    return None


@pytest.mark.parametrize("kind", [*KINDS, *YAML], ids=named)
def test_a_valid_file_is_read(tmp_path, monkeypatch, kind):
    monkeypatch.setenv("ACMIX_STORAGE", "sqlite:///x.db")
    monkeypatch.chdir(tmp_path)
    text = json.dumps(kind.values) if kind in KINDS else yaml.safe_dump(kind.values)
    assert kind.read(put(kind, tmp_path, text.encode())) is not None


@pytest.mark.parametrize(("kind", "file"), corpus([*KINDS, *YAML]), ids=lambda item: getattr(item, "stem", ""))
def test_files_that_are_meant_to_fail(tmp_path, kind, file):
    content = file.read_bytes()
    if kind.anything:
        assert not kind.read(put(kind, tmp_path, content))
        return
    error = refused(kind, put(kind, tmp_path, content))
    assert error is not None, f"{file} was read"
    assert "Traceback" not in str(error)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_file_with_one_value_changed(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("edited")

    @FILES
    @given(path=st.sampled_from(list(leaves(kind.values))), value=values)
    def edited(path, value):
        file = put(kind, folder, json.dumps(changed(kind.values, path, value)).encode())
        law(lambda: kind.read(file))

    edited()


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_file_without_a_field_names_it(tmp_path, kind):
    if kind.anything or kind.name == "trials.jsonl":  # records have tests of their own
        return
    for name in kind.values:
        left = {other: value for other, value in kind.values.items() if other != name}
        error = refused(kind, put(kind, tmp_path, json.dumps(left).encode()))
        assert error is None or name in str(error)
    error = refused(kind, put(kind, tmp_path, json.dumps({**kind.values, "odd": 1}).encode()))
    assert error is not None
    assert "odd" in str(error)


@pytest.mark.parametrize("kind", KINDS, ids=named)
def test_a_file_with_some_bytes_changed(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("damaged")
    text = json.dumps(kind.values).encode()
    if kind.name == "header.json":  # comes out of a database, as JSON that it has parsed
        return

    @FILES
    @given(start=st.integers(0, len(text)), cut=st.integers(0, 20), new=st.binary(max_size=8) | st.just(b"NaN"))
    def damaged(start, cut, new):
        file = put(kind, folder, text[:start] + new + text[start + cut :])
        if kind.name != "trials.jsonl":
            law(lambda: kind.read(file))

    damaged()


@pytest.mark.parametrize("kind", YAML, ids=named)
def test_a_yaml_file_with_one_value_changed(tmp_path_factory, kind):
    folder = tmp_path_factory.mktemp("edited")

    @FILES
    @given(path=st.sampled_from(list(leaves(kind.values))), value=JSON_VALUES)
    def edited(path, value):
        text = yaml.safe_dump(changed(kind.values, path, value), allow_unicode=True)
        file = put(kind, folder, text.encode())
        law(lambda: kind.read(file))

    edited()


@FILES
@given(path=st.sampled_from(list(leaves(json.loads(json.dumps(HEADER.to_dict()))))), value=values)
@example(path=("settings", "latency_table"), value={"": None})
def test_a_study_with_one_header_value_changed_is_rendered_or_refused(tmp_path_factory, path, value):
    law(lambda: _rendered(tmp_path_factory.mktemp("page"), path, value))


def _rendered(folder: Path, path: tuple[Any, ...], value: Any) -> None:
    header = StudyHeader.from_dict(json.loads(json.dumps(changed(HEADER.to_dict(), path, value))))
    _, records = make_search()
    render(folder, header, records[:3])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("job", "soon"),
        ("job", {"number": -1, "until": 1, "twin": None}),
        ("arrived", {"number": 0}),
        ("label", 7),
        ("workers_lost", "x"),
        ("record", 3),
        ("record", {}),
    ],
)
def test_a_trial_with_changed_attributes_is_one_error(tmp_path, monkeypatch, name, value):
    monkeypatch.chdir(tmp_path)
    study = new_study(tmp_path / "reports")
    number = study.start({}, {}, "random")
    study._set(number, name, value)
    for words in (("status", "study"), ("report", "study")):
        done = CliRunner().invoke(acmix, words, standalone_mode=False)
        assert isinstance(done.exception, AcmixError), done.exception
        assert "study" in str(done.exception)
    with pytest.raises(AcmixError):
        Study.open(study.folder)


def test_a_message_names_file_field_and_rule(tmp_path):
    kind = KINDS[0]
    wrong = changed(kind.values, ("candidates", 0, "trial"), "three")
    error = refused(kind, put(kind, tmp_path, json.dumps(wrong).encode()))
    expected = (
        r"finalists\.json, field candidates\[0\]\.trial: null or a whole number from 0 up is needed; it is 'three'"
    )
    assert re.search(expected, str(error))
