"""A study whose scores are errors in years, lower being better, without a largest one: every report shows them so.

The errors are those of a study of accuracies turned over, so that whatever is ranked must come out the same.
"""

import csv
import json
import re
from dataclasses import replace
from pathlib import Path

import former_trees
import pytest
import yaml
from by_night import nightly_but
from report_records import make_ablation, make_record, make_search
from search_pieces import IN_MEMORY, Curves, pruned_study, run, setting_of, steady, wide_space
from study_pieces import SPACE

from acmix_nas.errors import RecordError, UsageError
from acmix_nas.experiments.finalists import choose
from acmix_nas.experiments.repeat import compare
from acmix_nas.metrics import Metric
from acmix_nas.record import Cost, StudyHeader, TrialRecord
from acmix_nas.report import View, ablation, render, render_together, study_table
from acmix_nas.report.finals import Final, best_final, finals_table
from acmix_nas.report.mattered import course
from acmix_nas.report.pareto import axis_label, front_of
from acmix_nas.report.table import as_json, as_text
from acmix_nas.report.trials import pruning_text
from acmix_nas.space.stored import definition

MAE = Metric("mae", "lower", "years", ".2f", title="MAE", bounds=(0, None))
MISS = Metric("miss", "lower", "%", ".2f", unit_size=0.01, bounds=(0, 1))
YEARS = 100.0
"""Error of a network that is always wrong."""
TOP1 = re.compile(r"top-?1|accurac(y|ies)\b(?![-\"])", re.IGNORECASE)


def turned(header: StudyHeader, records: list[TrialRecord]) -> tuple[StudyHeader, list[TrialRecord]]:
    """The same study with errors for accuracies."""
    objectives = tuple(name.replace("top1", "mae") for name in header.objectives)
    errors = [
        replace(
            record,
            task="my_lab.ages:Ages",
            metric="mae",
            metrics={"r2": record.scores},
            scores=tuple(YEARS * (1 - score) for score in record.scores),
        )
        for record in records
    ]
    return replace(header, metric=MAE, objectives=objectives), errors


def cells(table, row: str) -> dict[str, object]:
    keys = [column.key for column in table.columns]
    return next(dict(zip(keys, found, strict=True)) for found in table.rows if found[0].value == row)


def words(page: str) -> str:
    """What a page says, without its scripts and identifiers."""
    return re.sub(r"<script>.*?</script>|id=\"[^\"]*\"|aria-labelledby=\"[^\"]*\"", "", page, flags=re.DOTALL)


@pytest.mark.parametrize("make", nightly_but(make_ablation, of=(make_search, make_ablation)))
def test_no_file_of_a_report_speaks_of_accuracy(make, tmp_path: Path) -> None:
    header, records = turned(*make())
    render(tmp_path, header, records, figures=("svg",))
    files = [file for file in tmp_path.rglob("*") if file.suffix in (".html", ".md", ".tex", ".csv", ".yaml", ".svg")]
    assert len(files) > 9
    for file in files:
        text = words(file.read_text())
        if make is make_search or file.suffix != ".csv":
            assert not TOP1.search(text), (file.name, TOP1.search(text))
    assert "MAE on " in (tmp_path / "pareto.svg").read_text()
    assert "years (proxy training)" in (tmp_path / "pareto.svg").read_text()
    assert {file.name for file in (tmp_path / "figures").iterdir()} >= {"score-macs.svg", "score-params.svg"}


def test_the_front_is_that_of_the_accuracies(tmp_path: Path) -> None:
    plain, errors = make_search(), turned(*make_search())
    numbers = [record.number for record in front_of(*plain)]
    assert [record.number for record in front_of(*errors)] == numbers
    table = study_table(*errors)
    assert [column.key for column in table.columns][3:5] == ["mae", "params"]  # no sampling error: no share of images
    assert table.columns[3].title == "search MAE (biased downward: chosen as best of 23), years"
    assert table.rows[0][3].text == f"{errors[1][numbers[0]].score:.2f}"
    assert "on the front of MAE against MACs" in as_text(table)
    assert '"mae"' in as_json(table)
    render(tmp_path, *errors)
    stored = yaml.safe_load((tmp_path / "best.yaml").read_text())
    best = errors[1][numbers[0]]
    assert (stored["trial"], stored["score"]["mae"]) == (best.number, pytest.approx(best.score))
    rows = list(csv.DictReader((tmp_path / "trials.csv").read_text().splitlines()))
    assert [row["mae"] for row in rows] == ["" if r.score is None else str(r.score) for r in errors[1]]
    latex = (tmp_path / "table.tex").read_text()
    assert "MAE" in latex
    assert f"{best.score:.2f}" in latex


def test_less_is_better_in_an_ablation(tmp_path: Path) -> None:
    header, records = make_ablation()
    middle = replace(header, baseline="beta")
    plain, errors = ablation.build(middle, records), ablation.build(*turned(middle, records))
    assert {cells(plain, row[0].value)["verdict"].text for row in plain.rows} >= {"better", "worse"}
    for row in plain.rows:
        there, here = cells(plain, row[0].value), cells(errors, row[0].value)
        assert here["verdict"].text == there["verdict"].text
        assert here["mean"].bold == there["mean"].bold
        assert here["p"].text == there["p"].text
        if there["difference"].value is not None:
            assert here["difference"].value == pytest.approx(-YEARS * there["difference"].value)
    assert "in years of MAE" in errors.notes[0]
    assert not any("sampling error" in note for note in errors.notes)
    render(tmp_path / "plain", *make_ablation())
    render(tmp_path / "errors", *turned(*make_ablation()))
    trials = [yaml.safe_load((tmp_path / name / "best.yaml").read_text())["trial"] for name in ("plain", "errors")]
    assert trials[0] == trials[1]


def test_finalists_are_ranked_by_the_lowest_error() -> None:
    header = turned(*make_search())[0]
    rows = [
        Final(
            name=name,
            arch_id=name,
            trial=1,
            search_score=14.0,
            records=tuple(
                turned(header, [make_record(seed, score, seeds={"init": seed, "order": seed}, split="report")])[1][0]
                for seed, score in enumerate(scores)
            ),
        )
        for name, scores in {"plain host": (0.60, 0.61, 0.61, 0.60), "finalist 1": (0.80, 0.81, 0.82, 0.80)}.items()
    ]
    table = finals_table(header, rows, {"plain host": "plain host"})
    assert (best := best_final(MAE, rows)) is not None
    assert best.name == "finalist 1"
    found = cells(table, "finalist 1")
    assert "(better)" in found["against plain host"].text
    assert found["against plain host"].value == pytest.approx(-20.25)
    assert found["fresh"].text.startswith("19.25 ± ")
    assert found["bias"].text == "\N{MINUS SIGN}5.25"
    assert [column.title for column in table.columns[2:4]] == ["search MAE, years", "fresh report MAE, years"]


def test_rungs_keep_the_lowest_and_finalists_are_the_same(tmp_path: Path) -> None:
    setting, space = setting_of(9), wide_space()
    studies = []
    for metric, curve in ((None, steady), (MAE, lambda *of: tuple(YEARS * (1 - score) for score in steady(*of)))):
        options = {} if metric is None else {"metric": metric}
        study = pruned_study(tmp_path, metric.name if metric else "top1", starts=27, **options)
        run(study, Curves(setting, curve, metric=metric.name if metric else "top1"), trials=27, space=space)
        studies.append(study)
    plain, errors = studies
    assert [record.status for record in errors.records()] == [record.status for record in plain.records()]
    assert any(record.status == "pruned" for record in errors.records())
    assert pruning_text(errors.records()) == pruning_text(plain.records())
    assert errors.optuna.directions[0].name == "MINIMIZE"
    best = {trial.number for trial in errors.optuna.best_trials}
    assert best == {record.number for record in front_of(errors.header, errors.records())}


def test_finalists_come_from_the_front_of_errors(tmp_path: Path) -> None:
    plain = pruned_study(tmp_path, starts=11, space=definition(SPACE), first=dict(SPACE.first), storage=IN_MEMORY)
    run(plain, Curves(setting_of(1)), trials=14)
    header, errors = turned(plain.header, plain.records())
    there, here = choose(plain.header, plain.records(), top=3), choose(header, errors, top=3)
    assert [candidate.names for candidate in here] == [candidate.names for candidate in there]
    assert [candidate.arch.id for candidate in here] == [candidate.arch.id for candidate in there]


def test_an_effect_and_an_importance_are_of_errors() -> None:
    from acmix_nas.report.mattered import mattered, tables

    plain, errors = mattered(*make_search()), mattered(*turned(*make_search()))
    assert [effect.trials for effect in errors.effects] == [effect.trials for effect in plain.effects] != []
    by_option = {(effect.choice, effect.option): effect.gain for effect in plain.effects}
    for effect in errors.effects:
        assert effect.gain == pytest.approx(-YEARS * by_option[effect.choice, effect.option])
    assert errors.ped_anova == pytest.approx(plain.ped_anova)
    assert errors.course == ()  # no largest error, so no box
    titles = [column.title for column in tables(errors)["effects"].columns]
    assert titles[3:5] == ["mean MAE years", "effect, years"]


def test_a_bounded_error_spans_the_volume_of_its_accuracy() -> None:
    header, records = make_search()
    missed = [
        replace(record, metric="miss", metrics={}, scores=tuple(1 - s for s in record.scores)) for record in records
    ]
    reference = {"miss": 1.0, "macs": header.settings["reference"]["macs"]}
    turned_over = replace(
        header, metric=MISS, objectives=("miss", "macs"), settings={**header.settings, "reference": reference}
    )
    assert course(turned_over, missed) == pytest.approx(course(header, records))


def test_what_was_published_is_no_error_in_years() -> None:
    with pytest.raises(UsageError, match="published scores are top1"):
        study_table(*turned(*make_search()), View(compare="published"))


def test_two_metrics_stand_in_no_table(tmp_path: Path) -> None:
    plain, errors = make_search(), turned(*make_search())
    with pytest.raises(RecordError, match=r"scores of trial 0 are mae and those of study .* are top1"):
        study_table(plain[0], errors[1])
    with pytest.raises(RecordError, match="differ in metric: top1 and mae"):
        render_together(tmp_path, [plain, (replace(errors[0], name="other"), errors[1])])
    folder, header, _ = render_together(tmp_path, [errors, (replace(errors[0], name="other"), errors[1])])
    assert header.metric == MAE
    assert not TOP1.search(words((folder / "report.html").read_text()))


def test_a_training_again_is_told_in_years() -> None:
    first, second = (turned(*make_search())[1][number] for number in (0, 1))
    told = compare(first, second, (), MAE)
    assert "MAE " in told.message
    assert re.search(r"the difference [+-]\d+\.\d\d years is", told.message)


def test_header_and_records_keep_all_that_a_report_needs() -> None:
    header, records = turned(*make_search())
    again = StudyHeader.from_dict(header.to_dict())
    assert (again, again.metric) == (header, MAE)
    assert [TrialRecord.from_json(record.to_json()) for record in records] == records
    assert records[0].to_dict()["metrics"] == {"r2": make_search()[1][0].scores, "mae": records[0].scores}
    with pytest.raises(RecordError, match="an objective is one of mae, macs"):
        replace(header, objectives=("top1", "macs"))


def test_what_was_stored_before_metrics_is_top1_of_classification() -> None:
    header, records = make_search()
    former = {name: value for name, value in header.to_dict().items() if name != "metric"}
    assert StudyHeader.from_dict(former) == header
    stored = (json.loads((former_trees.FOLDER / f"{name}.json").read_text()) for name in ("header", "record"))
    assert StudyHeader.from_dict(next(stored)).metric.name == TrialRecord.from_dict(next(stored)).metric == "top1"
    line = {n: v for n, v in records[0].to_dict().items() if n not in ("task", "metric", "metrics")}
    assert TrialRecord.from_dict(line) == records[0]
    assert (records[0].task, records[0].metric, dict(records[0].metrics)) == (
        "classification",
        "top1",
        {"top1": records[0].scores},
    )


def test_a_size_may_be_a_pair(tmp_path: Path) -> None:
    header, records = turned(*make_search())
    wide = [replace(record, cost=replace(record.cost, input_size=(800, 1280))) for record in records]
    assert [TrialRecord.from_json(record.to_json()) for record in wide] == wide
    assert Cost(params=1, macs=1, macs_deploy=1, input_size=(224, 224)).input_size == 224
    assert axis_label("macs", wide) == "MACs of the full network at 800 x 1280 px (G)"
    assert axis_label("macs", [records[0], *wide]) == "MACs of the full network at 224 and 800 x 1280 px (G)"
    assert "MACs G @800 x 1280" in [column.title for column in study_table(header, wide).columns]
    render(tmp_path, header, wide)
    assert {row["input_size"] for row in csv.DictReader((tmp_path / "trials.csv").read_text().splitlines())} == {
        "800 x 1280"
    }
    assert yaml.safe_load((tmp_path / "best.yaml").read_text())["cost"]["input_size"] == [800, 1280]
    stored = records[0].to_dict()
    for size in (0.5, [800], [800, 1280, 3], "800x1280"):
        with pytest.raises(RecordError, match=r"input_size|a size"):
            TrialRecord.from_dict({**stored, "cost": {**stored["cost"], "input_size": size}})
