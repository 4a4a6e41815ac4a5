import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import COMBINES, make_ablation, make_arch, make_failed, make_record

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import ablation
from acmix_nas.report.claims import Row, rows
from acmix_nas.report.intervals import Difference, best_rows, differences, quantile, seed_correlation


def texts(header: StudyHeader, records: list[TrialRecord]) -> dict[str, dict[str, str]]:
    table = ablation.build(header, records)
    keys = [column.key for column in table.columns]
    return {str(row[0].value): dict(zip(keys, (cell.text for cell in row), strict=True)) for row in table.rows}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_mean_and_deviation_are_those_of_statistics(scores: list[float]) -> None:
    trials = tuple(make_record(i, score, epochs=1, seeds={"init": i}) for i, score in enumerate(scores))
    row = Row(name="a", trials=trials, failed=0, shared=False)
    assert row.mean == pytest.approx(statistics.mean(scores))
    assert row.deviation == pytest.approx(statistics.stdev(scores))


def test_rows_keep_their_order_and_count_their_seeds() -> None:
    header, records = make_ablation()
    rows = texts(header, records[::-1])
    assert tuple(rows) == COMBINES
    assert [row["n"] for row in rows.values()] == ["5", "5", "5", "4", "5", "5", "5"]
    assert rows["learned"]["difference"] == "baseline"
    assert rows["att"]["throughput"] == "902"


def test_one_seed_has_no_spread_and_nothing_is_claimed() -> None:
    header, records = make_ablation(seeds=1)
    table = ablation.build(header, [record for record in records if record.status == "complete"])
    rows = {str(row[0].value): row for row in table.rows}
    assert {row[2].text for row in table.rows} == {"-"}
    assert {row[5].text for name, row in rows.items() if name not in ("learned", "half")} == {"needs n >= 3"}
    assert not any(cell.bold for row in table.rows for cell in row)
    assert any("Nothing is bold" in note for note in table.notes)


def test_nothing_is_bold_below_three_seeds() -> None:
    header, records = make_ablation(seeds=2)
    assert not any(cell.bold for row in ablation.build(header, records).rows for cell in row)
    header, records = make_ablation(seeds=5)
    bold = {str(row[0].value) for row in ablation.build(header, records).rows if row[1].bold}
    assert "learned" in bold
    assert "att" not in bold


def test_a_failed_seed_blocks_the_claim_of_its_row_alone() -> None:
    header, records = make_ablation()
    rows = texts(header, records)
    assert rows["half"]["verdict"] == "no claim: failed seeds"
    assert "±" not in rows["half"]["difference"]
    assert rows["att"]["verdict"] == "worse"
    assert rows["half"]["failed"] == "1"
    notes = ablation.build(header, records).notes
    assert "Failed seeds: half (1). These rows get no verdict." in notes


def test_a_failed_seed_of_the_baseline_blocks_all_claims() -> None:
    header, records = make_ablation()
    broken = [
        make_failed(r.number, arch=r.arch, label=r.label, split=r.split, seeds=r.seeds)
        if r.label == "learned" and r.seeds["init"] == 2
        else r
        for r in records
    ]
    verdicts = {row["verdict"] for name, row in texts(header, broken).items() if name not in ("learned", "half")}
    assert verdicts == {"no claim: baseline failed"}


def test_the_sampling_error_of_the_images_is_stated() -> None:
    header, records = make_ablation()
    counted = [replace(r, data={**r.data, "counts": {"train": 1, "report": 2000}}) for r in records]
    (note,) = [note for note in ablation.build(header, counted).notes if "sampling error" in note]
    assert "2,000 images" in note
    assert "0.81 points" in note  # sqrt(.846 * .154 / 2000)


def test_p_is_there_once_seeds_suffice() -> None:
    header, records = make_ablation(seeds=5)
    assert any("p unavailable" in note and "n >= 8" in note for note in ablation.build(header, records).notes)
    header, records = make_ablation(seeds=10)
    whole = [record for record in records if record.status == "complete" or record.label != "half"]
    table = ablation.build(header, [r for r in whole if r.label != "half"])
    column = [column.key for column in table.columns].index("p")
    assert table.columns[column].usual
    values = [row[column].value for row in table.rows if row[0].value not in ("learned", "half")]
    assert all(isinstance(value, float) and 0 < value <= 1 for value in values)
    assert min(values) == pytest.approx(5 * 2 / 2**10)


def test_a_row_without_a_trial_is_shown_empty() -> None:
    header, records = make_ablation()
    half = texts(header, [record for record in records if record.label != "half"])["half"]
    assert half["verdict"] == "no trial"
    assert {half[key] for key in ("mean", "std", "difference", "params", "macs", "throughput")} == {"-"}


def test_a_repeated_seed_counts_once() -> None:
    header, records = make_ablation()
    again = replace(records[0], number=99, scores=(0.5,))
    row = rows(header, [*records, again])[0]
    assert len(row.trials) == 5
    assert 0.5 in row.scores.values()


def test_one_row_is_one_network() -> None:
    header, records = make_ablation()
    with pytest.raises(RecordError, match="different networks"):
        ablation.build(header, [replace(records[0], arch=make_arch()), *records[1:]])


def test_splits_are_not_mixed() -> None:
    header, records = make_ablation()
    with pytest.raises(RecordError, match="search images"):
        ablation.build(header, [*records, make_record(99)])


def test_shared_rows_are_marked_and_get_no_interval() -> None:
    header, records = make_ablation()
    shared = [replace(record, shared_with=0) if record.label == "conv" else record for record in records]
    rows = texts(header, shared)
    assert rows["conv"]["row"] == "conv †"
    assert rows["conv"]["verdict"] == "same proxy network"
    assert "±" not in rows["conv"]["difference"]
    assert "±" in rows["sum"]["difference"]


def test_a_baseline_that_shares_its_scores_stays_the_baseline() -> None:
    header, records = make_ablation()
    twin = {r.seeds["init"]: r.number for r in records if r.label == "att"}
    shared = [replace(r, shared_with=twin[r.seeds["init"]]) if r.label == "learned" else r for r in records]
    rows = texts(header, shared)
    assert rows["att"]["verdict"] == "same proxy network"
    assert rows["conv"]["verdict"] in ("worse", "not distinguishable")


def test_cells_of_other_studies_are_marked() -> None:
    header, records = make_ablation()
    taken = [
        replace(r, environment={**r.environment, "reused_from": "kernel-002:4"}) if r.label == "sum" else r
        for r in records
    ]
    assert texts(header, taken)["sum"]["row"] == "sum ‡"
    assert any("taken from kernel-002," in note for note in ablation.build(header, taken).notes)


def test_notes_of_the_study_are_kept() -> None:
    header, records = make_ablation()
    assert "told" in ablation.build(replace(header, settings={"notes": ["told"]}), records).notes


def test_differences_are_paired_by_seed() -> None:
    scores = {"base": {0: 0.5, 1: 0.7}, "a": {1: 0.8, 0: 0.6, 2: 0.1}}
    gain = differences(scores, "base")["a"]
    assert gain.mean == pytest.approx(0.1)
    assert gain.pairs == 2


def test_the_half_width_of_one_comparison_is_students() -> None:
    scores = {"base": {0: 0.50, 1: 0.52, 2: 0.54}, "a": {0: 0.60, 1: 0.61, 2: 0.65}}
    gain = differences(scores, "base")["a"]
    paired = [0.10, 0.09, 0.11]
    expected = 4.303 * statistics.stdev(paired) / 3**0.5  # Student's t with 2 degrees of freedom
    assert gain.half_width == pytest.approx(expected, rel=0.03)
    assert gain.verdict == "better"


@given(st.lists(st.lists(st.floats(0, 1), min_size=3, max_size=3), min_size=2, max_size=5), st.floats(-0.5, 0.5))
def test_what_a_seed_does_to_all_rows_changes_nothing(rows: list[list[float]], effect: float) -> None:
    before = {f"row {i}": dict(enumerate(row)) for i, row in enumerate(rows)}
    after = {name: {**cells, 1: cells[1] + effect} for name, cells in before.items()}
    old, new = differences(before, "row 0"), differences(after, "row 0")
    for row, gain in old.items():
        assert new[row].mean == pytest.approx(gain.mean, abs=1e-9)
        assert new[row].half_width == pytest.approx(gain.half_width, abs=1e-6)


def test_rows_with_more_seeds_are_told_apart_better() -> None:
    """The residual variance is that of the least-squares fit, computed here from the normal equations by hand."""
    scores = {"base": {0: 0.5, 1: 0.6, 2: 0.7}, "a": {0: 0.61, 1: 0.69, 2: 0.80}, "b": {0: 0.55, 1: 0.66}}
    gains = differences(scores, "base")
    assert gains["b"].half_width > gains["a"].half_width
    assert (gains["a"].pairs, gains["b"].pairs) == (3, 2)
    assert gains["b"].verdict == "needs n >= 3"


DUNNETT = [(1, 10, 2.228), (3, 20, 2.54), (5, 10, 2.99), (9, 30, 2.85)]
"""Comparisons, degrees of freedom, two-sided 5 % quantile: Dunnett (1964), table 2a."""


@pytest.mark.parametrize(("compared", "freedom", "value"), DUNNETT)
def test_quantiles_agree_with_dunnetts_table(compared: int, freedom: int, value: float) -> None:
    halves = tuple(tuple(1.0 if i == j else 0.5 for j in range(compared)) for i in range(compared))
    assert quantile(halves, freedom) == pytest.approx(value, rel=0.015)


def test_rows_near_the_best_are_kept_and_far_ones_not() -> None:
    near = {
        name: {i: 0.8 + shift + 0.01 * i + 0.001 * ((i * k) % 3) for i in range(5)}
        for k, (name, shift) in enumerate([("a", 0.0), ("b", 0.0005), ("c", -0.05)], start=1)
    }
    assert best_rows(near) == {"a", "b"}
    assert best_rows({name: {0: 0.1, 1: 0.2} for name in "ab"}) == frozenset()


def test_the_correlation_of_seeds_is_the_share_of_their_variance() -> None:
    alike = {name: {i: 0.1 * i + shift for i in range(4)} for name, shift in (("a", 0.0), ("b", 0.3))}
    assert seed_correlation(alike) == pytest.approx(1.0)
    opposite = {"a": {0: 0.1, 1: 0.2}, "b": {0: 0.2, 1: 0.1}}
    assert seed_correlation(opposite) == pytest.approx(-1.0)
    assert seed_correlation({"a": {0: 0.1}, "b": {0: 0.2}}) is None
    assert seed_correlation({"a": {0: 0.5, 1: 0.5}, "b": {0: 0.5, 1: 0.5}}) is None


def test_two_seeds_claim_nothing() -> None:
    assert Difference(mean=1.0, pairs=2, half_width=0.1).verdict == "needs n >= 3"
    assert Difference(mean=1.0, pairs=9).verdict == "no interval"
    assert differences({"a": {0: 1.0}}, None) == {}
