"""One function renders a study folder, all of it: biased scores never come back once there are fresh ones."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from search_pieces import Curves, run, setting_of
from study_pieces import SPACE, Onlooker, new_study

from acmix_nas.errors import AcmixError
from acmix_nas.executors.callbacks import ExperimentCallbacks
from acmix_nas.experiments import monitor
from acmix_nas.experiments.finalists import choose, train_finalists
from acmix_nas.experiments.running import StudyResult, run_study
from acmix_nas.report import View, render, rendered
from acmix_nas.search import Stop, Study
from acmix_nas.space.stored import definition
from acmix_nas.study.finals import FINALS, fix_list

BIASED = "biased upward"


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """The folder of a search whose finalists were trained again."""
    made = new_study(tmp_path_factory.mktemp("reports"), starts=4, space=definition(SPACE), first=dict(SPACE.first))
    run(made, Curves(setting_of(1)), trials=4)
    render(made.folder, made.header, made.records())
    assert BIASED in (made.folder / "best.yaml").read_text()
    listed = fix_list(made.folder, lambda: choose(made.header, made.records(), top=2), top=2)
    setting = replace(setting_of(1), split="report")
    facts = {"seeds": [1, 2], "executor": Curves(setting), "callbacks": Onlooker(), "stop": Stop()}
    train_finalists(made.folder, listed, setting, **facts)
    return made.folder


@pytest.fixture
def study(finished, tmp_path) -> Study:
    return Study.open(shutil.copytree(finished, tmp_path / "reports" / "study"))


@pytest.fixture
def written(monkeypatch) -> list[tuple[str, str]]:
    """(name, content) of every file that takes its place."""
    found: list[tuple[str, str]] = []
    place = Path.replace

    def note(self: Path, target: Path) -> Path:
        found.append((Path(target).name, self.read_text(errors="replace")))
        return place(self, target)

    monkeypatch.setattr(Path, "replace", note)
    return found


def go_on(study, *, trials: int, view: View | None = None) -> StudyResult:
    """What `acmix search --resume` does once the study is open."""
    setting = setting_of(1)
    stop = Stop(study.folder)
    with study.at_work():
        return run_study(
            study,
            setting,
            ExperimentCallbacks(),
            asked={"trials": trials},
            total=trials,
            run=lambda callbacks: run(study, Curves(setting), trials=trials, callbacks=callbacks, stop=stop),
            stop=stop,
            view=view,
        )


def test_a_resumed_search_never_falls_back_to_biased_scores(study, written, monkeypatch, capsys):
    monkeypatch.setattr(monitor, "RENDERED_EVERY_S", -1.0)  # after every trial
    result = go_on(study, trials=7)
    assert (result.stopped, result.failed) == (None, [])
    best = [yaml.safe_load(content) for name, content in written if name == "best.yaml"]
    tables = [content for name, content in written if name == "table.tex"]
    assert len(best) == len(tables) == 3  # at the end of the search its files are there
    assert all((values["score"]["split"], values["score"]["seeds"]) == ("report", 2) for values in best)
    assert all("fresh" in text and BIASED not in text for text in tables)


def test_a_render_replaces_each_file_once(study, written):
    files = render(study.folder, study.header, study.records(), figures=("svg",))
    names = [name for name, _ in written if name != rendered.NAME]
    assert len(names) == len(set(names)) == len(files)
    assert {"report.html", "report.md", "table.tex", "trials.csv", "trials.jsonl", "pareto.svg", "best.yaml"} < {*names}
    for page in ("report.html", "report.md"):
        assert "trained again with fresh seeds" in (study.folder / page).read_text()


def test_files_that_are_there_are_not_computed_again(study, written):
    records = study.records()
    first = render(study.folder, study.header, records)
    contents = {file: file.read_bytes() for file in first}
    written.clear()
    assert render(study.folder, study.header, records[::-1]) == first
    assert written == []
    changed = {
        "a file changed": lambda: (study.folder / "report.md").write_text("mine"),
        "a file is gone": (study.folder / "table.tex").unlink,
        "the note is damaged": lambda: (study.folder / rendered.NAME).write_text("[]"),
        "the note is gone": (study.folder / rendered.NAME).unlink,
    }
    for what, change in changed.items():
        change()
        written.clear()
        render(study.folder, study.header, records)
        assert {"report.html", "report.md", "table.tex"} < {name for name, _ in written}, what
        assert {file: file.read_bytes() for file in first} == contents
    others = {
        "another view": (study.header, records, View(columns=("label", "params"))),
        "another header": (replace(study.header, command="acmix search --seed 5"), records, None),
        "fewer trials": (study.header, records[:-1], None),
    }
    for what, (header, some, view) in others.items():
        written.clear()
        render(study.folder, header, some, view)
        assert "report.html" in {name for name, _ in written}, what


def test_another_source_of_the_package_computes_again(study, written, tmp_path, monkeypatch):
    render(study.folder, study.header, study.records())
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "__init__.py").write_text("")
    monkeypatch.setattr(rendered.acmix_nas, "__file__", str(tmp_path / "package" / "__init__.py"))
    written.clear()
    render(study.folder, study.header, study.records())
    assert "report.html" in {name for name, _ in written}


@pytest.mark.nightly
def test_pictures_that_are_there_are_drawn_again(study, written):
    render(study.folder, study.header, study.records(), figures=("svg",))
    old = (study.folder / "figures" / "accuracy-macs.svg").read_text()
    run(study, Curves(setting_of(1)), trials=6)
    written.clear()
    render(study.folder, study.header, study.records())
    assert "accuracy-macs.svg" in {name for name, _ in written}
    assert (study.folder / "figures" / "accuracy-macs.svg").read_text() != old
    written.clear()
    render(study.folder, study.header, study.records(), figures=())
    assert "accuracy-macs.svg" not in {name for name, _ in written}


@pytest.mark.parametrize("fault", ["finals", "columns", "pictures"])
def test_nothing_is_written_before_all_is_computed(study, written, monkeypatch, fault):
    view, forms = View(), ()
    if fault == "finals":
        (study.folder / FINALS).write_text("{}\n{}\n")
    elif fault == "columns":
        view = View(columns=("no such",))
    else:
        forms = ("svg",)
        monkeypatch.setattr("acmix_nas.report.figures.curves.draw", _fails)
    before = {path: path.read_bytes() for path in study.folder.glob("*") if path.suffix != ".db"}
    with pytest.raises(AcmixError):
        render(study.folder, study.header, study.records(), view, figures=forms)
    assert written == []
    assert {path: path.read_bytes() for path in study.folder.glob("*") if path.suffix != ".db"} == before


def test_unreadable_finals_stop_no_search(study, written, monkeypatch):
    monkeypatch.setattr(monitor, "RENDERED_EVERY_S", -1.0)
    (study.folder / FINALS).write_text("{}\n{}\n")
    with pytest.raises(AcmixError, match="All 6 trials are stored"):
        go_on(study, trials=6)
    assert len(study.records()) == 6
    assert not [name for name, _ in written if name in ("best.yaml", "table.tex")]


def _fails(*_: object) -> None:
    raise AcmixError("no")
