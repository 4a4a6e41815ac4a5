"""The command as a user has it: from an installed wheel, in an empty folder."""

import json
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest
import warm_commands

from acmix_nas.arch import Arch
from acmix_nas.cost import count

QUICK = ["--epochs", "1", "--proxy-images", "64"]
FILES = [
    "study.db",
    "report.html",
    "report.md",
    "table.tex",
    "trials.csv",
    "trials.jsonl",
    "best.yaml",
    "pareto.svg",
    "log.txt",
]

pytestmark = pytest.mark.slow


@pytest.fixture
def acmix(installed, on_few_images, tmp_path):
    """Runs the command from the installed wheel in an empty folder; README's search takes the embedded images."""
    env = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}

    def run(*words: str, start: bool = False):
        line = [sys.executable, "-m", "acmix_nas", *words]
        if start:
            return subprocess.Popen(
                line, cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts
            )
        return subprocess.run(line, cwd=tmp_path, env=env, capture_output=True, text=True)

    return run


def hear_interrupts() -> None:
    """Undoes what a shell does to its background jobs, whose children would never hear Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def records(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def essence(folder: Path) -> list[dict]:
    return [{k: v for k, v in row.items() if k not in ("started", "seconds", "environment")} for row in records(folder)]


def test_it_is_the_wheel_that_runs(acmix, installed, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(installed)}
    code = "import acmix_nas; from acmix_nas.files import search_spaces; print(acmix_nas.__file__, search_spaces())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True)
    assert all(Path(path).is_relative_to(installed) for path in done.stdout.split())
    assert acmix("--version").stdout.startswith("acmix, version ")
    assert not list(tmp_path.iterdir())


def test_a_search_leaves_its_files_and_repeats(acmix, tmp_path):
    line = ["search", "--space", "swin_t", "--trials", "3", "--seed", "1", *QUICK]
    done = acmix(*line, "--study", "demo")
    assert done.returncode == 0, done.stderr
    demo = tmp_path / "reports" / "demo"
    assert all((demo / name).stat().st_size > 0 for name in FILES)
    assert sorted(FILES) == sorted(path.name for path in demo.iterdir() if path.name != ".rendered.json")
    assert "Pareto front" in done.stdout

    warm = partial(warm_commands.run, cwd=tmp_path, env={"COLUMNS": "200"})  # what is said next needs no wheel
    as_json = warm(*line, "--study", "again", "--json")
    told = json.loads(as_json.stdout)
    assert [trial["arch_id"] for trial in told["trials"]] == [row["arch_id"] for row in records(demo)]
    assert essence(tmp_path / "reports" / "again") == essence(demo)

    taken = warm(*line, "--study", "demo")
    assert taken.returncode == 1
    assert "add --resume" in taken.stderr
    assert "Traceback" not in taken.stderr

    given = warm("search", "--space", "swin_t", "--trials", "1", "--first", demo / "best.yaml", *QUICK)
    assert given.returncode == 0, given.stderr
    best = [row for row in records(demo) if row["label"] == records(demo)[told["front"][0]]["label"]]
    assert records(tmp_path / "reports" / "swin_t-001")[0]["arch_id"] == best[0]["arch_id"]

    profiled = warm("profile", demo / "best.yaml", "--input-size", "64", "--time-limit", "0.2", "--no-memory", "--json")
    assert profiled.returncode == 0, profiled.stderr
    assert json.loads(profiled.stdout)["rows"][0]["params"] == count(Arch.from_dict(best[0]["arch"]), 64).params


@pytest.mark.nightly  # test_next_command.py interrupts and resumes every command
def test_ctrl_c_keeps_what_is_finished_and_resume_goes_on(acmix, tmp_path):
    line = ["search", "--space", "swin_t", "--trials", "3", "--seed", "2", "--study", "cut", *QUICK]
    running = acmix(*line, start=True)
    lines = tmp_path / "reports" / "cut" / "trials.jsonl"
    deadline = time.monotonic() + 120
    while not (lines.exists() and lines.read_text().count("\n")) and time.monotonic() < deadline:
        time.sleep(0.05)
    running.send_signal(signal.SIGINT)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    finished = records(lines.parent)
    assert 1 <= len(finished) < 3
    assert all((lines.parent / name).is_file() for name in FILES)

    line = ["search", "--space", "swin_t", "--trials", "3", "--study", "cut", "--resume"]
    resumed = warm_commands.run(*line, cwd=tmp_path)
    assert resumed.returncode == 0, resumed.stderr
    assert records(lines.parent)[: len(finished)] == finished
    assert [row["number"] for row in records(lines.parent)] == [0, 1, 2]
    assert {row["budget"]["images"] for row in records(lines.parent)} == {64}


@pytest.mark.nightly
def test_an_ablation_is_timed_and_rendered(acmix, tmp_path):
    table = "space: swin_t\nbase: paper\nbaseline: att\naxes: {combine: [att, conv]}\nseeds: 1\n"
    (tmp_path / "rules.yaml").write_text(table)
    done = acmix("ablate", "rules.yaml", "--study", "ab", *QUICK)
    assert done.returncode == 0, done.stderr
    assert {row["split"] for row in records(tmp_path / "reports" / "ab")} == {"report"}
    assert all(row["environment"]["throughput_img_per_s"] > 0 for row in records(tmp_path / "reports" / "ab"))
    assert len([text for text in done.stdout.splitlines() if text.startswith(("att", "conv"))]) == 2
    again = warm_commands.run("report", "ab", cwd=tmp_path, env={"COLUMNS": "200"})
    assert again.stdout.splitlines()[:9] == done.stdout.splitlines()[:9]


MISTAKES = [
    (["search", "--space", "swin_x"], 2, "there is no space 'swin_x'"),
    (["search", "--space", "swin_t", "--data", "nowhere"], 1, "nowhere"),
    (["search", "--space", "swin_t", "--proxy", "tpu"], 2, "proxies cpu, gpu"),
    (["search", "--space", "swin_t", "--resume"], 1, "no study swin_t-NNN"),
    (["search", "--space", "swin_t", "--study", "../up"], 1, "name"),
    (["search", "--space", "swin_t", "--trials", "0"], 2, "trials"),
    (["search", "--space", "swin_t", "--proxy-images", "5"], 1, "classes"),
    (["search", "--space", "swin_t", "--proxy-images", "99999"], 1, "99999"),
    (["ablate", "nothing"], 2, "no ablation 'nothing'"),
    (["report", "nothing"], 1, "nothing"),
    (["profile", "acmix_swin_tiny_patch4_window7_24"], 2, "did you mean acmix_swin_tiny_patch4_window7_224"),
    (["profile", "--impl", "fft"], 2, "fft"),
]
DRIVER = """
import contextlib, io, json, os, sys
from acmix_nas.cli import main

for words in json.load(sys.stdin):
    sys.argv, said, code = ["acmix", *words], io.StringIO(), None
    with contextlib.redirect_stderr(said), contextlib.redirect_stdout(io.StringIO()):
        try:
            main()
        except SystemExit as left:
            code = left.code
    print(json.dumps([code, said.getvalue(), os.listdir()]))
"""


@pytest.fixture(scope="module")
def told(installed, tmp_path_factory) -> list[list]:
    """What the installed command says to each mistake, in one process: importing torch takes longer than they do."""
    env, folder = {**os.environ, "PYTHONPATH": str(installed), "COLUMNS": "200"}, tmp_path_factory.mktemp("empty")
    asked = json.dumps([words for words, _, _ in MISTAKES])
    run = [sys.executable, "-c", DRIVER]
    done = subprocess.run(run, cwd=folder, env=env, input=asked, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("index", range(len(MISTAKES)), ids=lambda index: " ".join(MISTAKES[index][0]))
def test_a_mistake_is_one_clear_message(told, index):
    words, code, expected = MISTAKES[index]
    left, said, made = told[index]
    assert left == code, said
    assert expected in said
    assert "Traceback" not in said
    assert "reports" not in made, words
