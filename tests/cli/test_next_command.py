"""What was asked is finished by --resume alone, and every command that is printed is run as it stands."""

import json
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from acmix_nas.cli import _display as display
from acmix_nas.cli._next_command import PLACES, command, out_words, storage_words, study_words, typed
from acmix_nas.cli.search import search
from acmix_nas.experiments import monitor
from acmix_nas.experiments.ablation import cells

TINY = Path(__file__).parent.parent / "faults" / "tiny.yaml"
QUICK = ["--epochs", "1", "--proxy-images", "20", "--device", "cpu"]
BRIEF = ("--no-memory", "--no-counters", "--batch-size", "1", "--time-limit", "0.1")
"""A profile of every implementation takes a minute; with this less."""
ODD = "my 'own' $reports & #1 %41? é"


@pytest.fixture
def acmix(monkeypatch, tmp_path, capsys):
    """Runs the command in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)
    for name in ("ACMIX_OUT", "ACMIX_STORAGE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(cells, "throughputs", lambda archs, **_: (4, dict.fromkeys(archs, 10.0)))

    def run(*words: object) -> tuple[int, str, str]:
        from acmix_nas.cli import main

        monkeypatch.setattr(sys, "argv", ["acmix", *map(str, words)])
        with pytest.raises(SystemExit) as caught:
            main()
        said = capsys.readouterr()
        return int(caught.value.code or 0), said.out, said.err

    return run


@pytest.fixture
def interrupted(monkeypatch):
    """Whatever runs is interrupted once, after its first trial, cell or epoch."""
    with monkeypatch.context() as patch:

        def once(owner: type, name: str) -> None:
            before = getattr(owner, name)

            def then(self, *words) -> None:
                before(self, *words)
                patch.undo()
                raise KeyboardInterrupt

            patch.setattr(owner, name, then)

        yield once


def printed(text: str) -> list[list[str]]:
    """The words of every command that was printed, as a shell reads them."""
    return [shlex.split(line) for line in text.splitlines() if line.startswith("  acmix ")]


def lines(folder: Path, name: str = "trials.jsonl") -> list[dict]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_an_interrupted_search_is_finished_by_the_line_it_prints(acmix, interrupted, tmp_path):
    space, out = tmp_path / "a space's.yaml", tmp_path / ODD
    shutil.copy(TINY, space)
    asked = ("search", "--space", space.name, "--out", ODD, "--study", "it", *QUICK, "--trial-memory", "8.5G")
    interrupted(monitor.Monitor, "end")
    code, _, err = acmix(*asked, "--trials", 2, "--executor", "process")
    assert code == 130, err
    (again,) = printed(err)
    assert "--executor process" in " ".join(again)
    assert "--trial-memory 8500000000.0" in " ".join(again)
    assert "trials  1 of 2" in acmix("status", "it", "--out", ODD)[1]
    assert "Unfinished: 1 of 2 trials" in (out / "it" / "report.md").read_text()
    code, _, err = acmix(*again[1:])
    assert code == 0, err
    assert len(lines(out / "it")) == 2
    assert "done" in acmix("status", "it", "--out", ODD)[1]
    assert "Unfinished" not in (out / "it" / "report.md").read_text()
    for words in printed(err):
        if words[1] != "profile":  # which takes long; the next test has it
            done = acmix(*words[1:])
            assert done[0] == 0, done
    assert len(lines(out / "it")) == 4
    assert {path.name for path in tmp_path.iterdir()} == {space.name, ODD}


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_renamed_and_moved_study_is_named_as_it_is_now(acmix, tmp_path):
    asked = ("search", "--space", TINY, *QUICK, "--trials", 1, "--study", "before")
    assert acmix(*asked)[0] == 0
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "reports" / "before").rename(tmp_path / "elsewhere" / "a new name")
    words = ("search", "--space", TINY, "--study", "a new name", "--out", "elsewhere", "--resume")
    code, _, err = acmix(*words, "--trials", 2)
    assert code == 0, err
    found = printed(err)
    assert all("a new name" in " ".join(words) and "before" not in words for words in found)
    for words in found:
        done = acmix(*words[1:], *(BRIEF if words[1] == "profile" else ()))
        assert done[0] == 0, done
    folder = tmp_path / "elsewhere" / "a new name"
    assert len(lines(folder)) == 4
    assert "acmix repeat 'a new name:0' --reports" in (folder / "report.html").read_text().replace("\\u0027", "'")
    assert not list((tmp_path / "reports").iterdir())


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_hours_are_kept_too(acmix, tmp_path):
    asked = ("search", "--space", TINY, *QUICK, "--trials", 1, "--study", "it", "--hours", "1e-9")
    for words in (asked, ("search", "--space", TINY, "--study", "it", "--resume")):
        code, _, err = acmix(*words)
        assert code == 0, err
        assert "stopped (the time is up)" in err
        assert lines(tmp_path / "reports" / "it") == []
    code, _, err = acmix("search", "--space", TINY, "--study", "it", "--resume", "--hours", 1)
    assert (code, len(lines(tmp_path / "reports" / "it"))) == (0, 1), err


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_an_interrupted_table_is_not_enlarged_by_the_line_it_prints(acmix, interrupted, tmp_path):
    table = tmp_path / "my table.yaml"
    table.write_text("space: swin_t\nbase: paper\nbaseline: att\naxes: {combine: [att, conv]}\nseeds: 3\n")
    interrupted(monitor.Monitor, "end")
    code, _, err = acmix("ablate", table.name, *QUICK, "--seeds", 2, "--columns", "row,n", "--format", "csv")
    assert code == 130, err
    (again,) = printed(err)
    folder = tmp_path / "reports" / "my-table-001"
    assert "trials  1 of 4" in acmix("status", folder.name)[1]
    assert "Unfinished: 1 of 4 cells" in (folder / "report.md").read_text()
    code, out, err = acmix(*again[1:])
    assert code == 0, err
    assert len(lines(folder)) == 4
    assert out.splitlines()[0] == "row,n"
    assert "done" in acmix("status", folder.name)[1]
    for words in printed(err)[:1]:
        assert acmix(*words[1:])[0] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_interrupted_finalists_are_finished_by_the_line_they_print(acmix, interrupted, tmp_path):
    assert acmix("search", "--space", TINY, *QUICK, "--trials", 3, "--study", "it", "--out", ODD)[0] == 0
    interrupted(display.StudyDisplay, "end")
    code, _, err = acmix("finalists", "it", "--out", ODD, "--top", 1, "--seeds", 2, "--device", "cpu")
    assert code == 130, err
    assert len(lines(tmp_path / ODD / "it", "finals.jsonl")) == 1
    (again,) = printed(err)
    code, _, err = acmix(*again[1:])
    assert code == 0, err
    cells = {(row["arch_id"], row["seeds"]["init"]) for row in lines(tmp_path / ODD / "it", "finals.jsonl")}
    assert {seed for _, seed in cells} == {1, 2}
    assert len(cells) % 2 == 0
    assert acmix("finalists", "it", "--out", ODD, "--device", "cpu")[0] == 0  # nothing is left
    assert len(lines(tmp_path / ODD / "it", "finals.jsonl")) == len(cells)


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_an_interrupted_training_is_finished_by_the_printed_command(acmix, interrupted, tmp_path):
    asked = ["--images", 32, "--batch-size", 16, "--input-size", 32, "--device", "cpu", "--out", ODD]
    interrupted(display.TrainingDisplay, "epoch")
    code, _, err = acmix("train", "acmix_resnet26", *asked, "--epochs", 2)
    assert code == 130, err
    (again,) = printed(err)
    code, _, err = acmix(*again[1:])
    assert code == 0, err
    (scored,) = printed(err)
    code, out, err = acmix(*scored[1:])
    assert code == 0, err
    assert "top-1" in out


NAMES = ("it", "a b", "-x", "it's", '"q"', "$HOME", "a;b", "é", "#1", "*", "a\nb", "~", "x%41?")


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_shell_reads_the_words_that_were_meant(name, tmp_path):
    words = ["report", *study_words(Path(name) / name), "--out", name]
    done = subprocess.run(["bash", "-c", f'acmix() {{ printf "%s\\0" "$@"; }}; {command(*words)}'], capture_output=True)
    assert done.stdout.decode().split("\0")[:-1] == words


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_study_is_found_by_the_words_that_name_it(name, tmp_path, monkeypatch):
    from acmix_nas.cli.report import report
    from acmix_nas.study.folder import find_folder

    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ACMIX_OUT", raising=False)
    for folder in (Path("reports") / name, Path(name) / name):
        folder.mkdir(parents=True)
        (folder / "study.db").touch()
        told = report.make_context("report", study_words(folder)).params
        assert find_folder(told["studies"][0], told["out"]).resolve() == folder.resolve()


def test_the_default_folder_is_named_where_the_environment_has_another(monkeypatch):
    monkeypatch.delenv("ACMIX_OUT", raising=False)
    assert out_words(Path("reports")) == []
    assert out_words(Path("x")) == ["--out", "x"]
    monkeypatch.setenv("ACMIX_OUT", "x")
    assert out_words(Path("reports")) == ["--out", "reports"]


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--workers", "3", "--executor", "process", "--trial-minutes", "1.5", "--trial-memory", "28.3M"],
        ["--gpus", "0,1", "--workers-per-gpu", "2", "--device", "cuda", "--trials", "4"],
        ["--ray-address", "auto", "--executor", "ray"],
    ],
)
def test_placement_options_are_printed_again(words, monkeypatch):
    monkeypatch.setenv("ACMIX_OUT", "from the environment")
    asked = ["--space", "swin_t", *words]
    with search.make_context("search", list(asked)) as context:
        again = typed(PLACES)
    told = search.make_context("search", ["--space", "swin_t", *again]).params
    assert {name: told.get(name) for name in PLACES} == {name: context.params.get(name) for name in PLACES}
    assert "--trials" not in again
    assert "--out" not in again


def test_no_password_is_printed(monkeypatch):
    for url, words in (
        ("postgresql://me:secret@host/db", []),
        ("sqlite:///x y.db", ["--storage", "sqlite:///x y.db"]),
    ):
        with search.make_context("search", ["--space", "swin_t", "--storage", url]):
            assert storage_words() == words
    monkeypatch.setenv("ACMIX_STORAGE", "sqlite:///x.db")
    with search.make_context("search", ["--space", "swin_t"]):
        assert storage_words() == []


@pytest.mark.slow
@pytest.mark.usefixtures("on_few_images")
def test_a_switch_that_was_turned_off_stays_off_in_the_line_it_prints(acmix, tmp_path):
    code, _, err = acmix("ablate", "path", *QUICK, "--seeds", 1, "--study", "it", "--no-throughput")
    assert code == 0, err
    again = [words for words in printed(err) if words[1] == "ablate"]
    assert again
    assert all("--no-throughput" in words for words in again)
