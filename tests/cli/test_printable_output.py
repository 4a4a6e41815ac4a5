"""No command lets a terminal act on what comes from files: every command is run over names that try."""

import json
import logging
import re
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image
from report_records import make_failed, make_record
from study_pieces import new_study

from acmix_nas import cli
from acmix_nas.files import find_space

pytestmark = pytest.mark.slow

EVIL = "[red]\x1b]0;owned\x07\x1b[2J\u202egpj\u2066\x9b1m\x7f\u2028"
NAME = EVIL.replace("/", "")
ACTS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture
def run(capfd, monkeypatch):
    """Runs the command as its entry point does; what it printed, and its exit code."""
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)

    def call(*words: str) -> tuple[str, int]:
        monkeypatch.setattr(sys, "argv", ["acmix", *words])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        logging.captureWarnings(False)
        logging.setLogRecordFactory(logging.LogRecord)
        shown = capfd.readouterr()
        return shown.out + shown.err, int(ended.value.code or 0)

    return call


@pytest.fixture(scope="module")
def sent(tmp_path_factory) -> Path:
    """A folder with a study whose every text is from somebody else, and files and images of such names and fields."""
    folder = tmp_path_factory.mktemp("sent")
    send_study(folder / "reports")
    send_files(folder)
    return folder


@pytest.fixture
def study(sent, tmp_path, monkeypatch) -> Path:
    """The study in a copy of that folder, which is the working directory."""
    shutil.copytree(sent, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACMIX_STORAGE", raising=False)
    return tmp_path / "reports" / "sent"


def send_study(reports: Path) -> None:
    made = new_study(reports, "sent")
    for number in range(4):
        made.start({}, {}, EVIL)
        record = make_failed(number, error=EVIL) if number == 3 else make_record(number, top1=0.5 + number / 10)
        made.finish(replace(record, label=EVIL, environment={"device": "cpu", "device_name": EVIL, "threads": 1}))
    header = {**made.header.to_dict(), "name": EVIL, "space": EVIL, "command": EVIL, "version": EVIL}
    header["settings"] = {"random_starts": 2, "notes": [EVIL], "sampler": EVIL, "latency_table": {"device_name": EVIL}}
    made.optuna.set_user_attr("header", header)


def send_files(folder: Path) -> None:
    for split, count in (("train", 40), ("val", 3)):
        for name in (f"{NAME}a", f"{NAME}b"):
            images = folder / "images" / split / name
            images.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8), (index, 0, 0)).save(images / f"{NAME}{index}.png")
    (images / f"{NAME}broken.png").write_bytes(b"\x89PNG" + EVIL.encode())
    plain = yaml.safe_load(find_space("swin_t").read_text())
    (folder / f"{NAME}.yaml").write_text(yaml.safe_dump({**plain, "host": EVIL}))
    (folder / "field.yaml").write_text(yaml.safe_dump({**plain, EVIL: 1}))
    (folder / "arch.yaml").write_text(yaml.safe_dump({"arch": {"host": EVIL, "stages": [[{"operator": EVIL}]]}}))
    (folder / "recipe.yaml").write_text(yaml.safe_dump({EVIL: EVIL, "optimizer": EVIL}))
    (folder / "table.json").write_text(json.dumps({EVIL: EVIL}))
    (folder / "summary.yaml").write_text(yaml.safe_dump({**plain, "summary": EVIL}))
    (folder / "classes.txt").write_text(EVIL + "\n")


FORMS = ("rich", "plain", "markdown", "latex", "html", "csv", "json")
CALLS = [
    ("status",),
    ("status", "sent"),
    ("status", "--json"),
    ("status", EVIL),
    ("report", "sent"),
    *(("report", "sent", "--format", form) for form in FORMS),
    ("report", "sent", "--json"),
    ("report", "sent", "--columns", EVIL),
    ("report", EVIL),
    ("stop", "sent"),
    ("stop", EVIL),
    ("finalists", "sent"),
    ("finalists", EVIL),
    ("repeat", "sent:0"),
    ("repeat", "sent:99"),
    ("repeat", EVIL),
    ("repeat", "sent", "0"),
    ("profile", EVIL),
    ("profile", "arch.yaml"),
    ("profile", "sent:99"),
    ("profile", "--latency-table", "table.json"),
    ("latency", "--space", f"{NAME}.yaml", "--out", "x.json"),
    ("export", EVIL, "--format", "torch", "--out", "x"),
    ("export", "arch.yaml", "--format", "torch", "--out", "x"),
    ("train", EVIL),
    ("train", "arch.yaml"),
    ("train", "acmix_resnet26", "--recipe", "recipe.yaml"),
    ("train", "acmix_resnet26", "--recipe", EVIL),
    ("ablate", EVIL),
    ("ablate", f"{NAME}.yaml"),
    ("ablate", "combine", "--base", "arch.yaml"),
    ("search", "--space", EVIL),
    ("search", "--space", f"{NAME}.yaml"),
    ("search", "--space", "field.yaml"),
    ("search", "--space", "swin_t", "--study", EVIL),
    ("search", "--space", "swin_t", "--first", "arch.yaml"),
    ("search", "--space", "swin_t", "--latency-table", "table.json", "--objectives", "top1,latency_ms"),
    ("search", "--space", "swin_t", "--storage", EVIL),
    ("search", "--space", "swin_t", "--plugin", EVIL),
    ("search", "--space", "swin_t", "--data", EVIL),
    ("spaces", "check", f"{NAME}.yaml"),
    ("spaces", "check", "field.yaml"),
    ("spaces", "check", "summary.yaml"),
    ("data", "describe", "images"),
    ("data", "describe", "images", "--json"),
    ("data", "describe", EVIL),
    ("data", "subset", "--data", "images", "--search-images", "4", "--size", "8", "--out", "store"),
    ("data", "subset", "--data", "images", "--classes", "classes.txt", "--out", "store"),
    ("data", "fidelity", "--space", "swin_t", "--data", EVIL),
    ("doctor", "--out", NAME),
    (EVIL,),
    ("report", "--" + EVIL),
]


@pytest.mark.parametrize(
    "words",
    [pytest.param(words, marks=[pytest.mark.nightly] if words[0] == "doctor" else []) for words in CALLS],
    ids=lambda words: re.sub(r"[^a-z_.: -]+", "?", " ".join(words)),
)
def test_no_command_prints_control_characters(study, run, words):
    shown, _ = run(*words)
    assert shown
    assert not ACTS.search(shown), repr(shown)
    assert "Traceback" not in shown, shown


def test_every_command_is_among_them():
    assert {words[0] for words in CALLS} >= set(cli.COMMANDS) - {"models"}  # which reads nothing


def test_no_file_of_a_report_holds_control_characters(study, run):
    shown, code = run("report", "sent")
    assert code == 0, shown
    files = [file for file in study.iterdir() if file.suffix not in (".db", ".json", "")]
    assert {file.name for file in files} >= {"report.md", "table.tex", "trials.csv", "trials.jsonl", "best.yaml"}
    for file in files:
        assert not ACTS.search(file.read_text(encoding="utf-8")), file


def test_a_name_in_brackets_is_shown_literally(study, run):
    shown, _ = run("report", "sent", "--format", "rich")
    assert "[red]" in shown
