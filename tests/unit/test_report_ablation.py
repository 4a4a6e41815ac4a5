import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import COMBINES, make_ablation, make_arch, make_record

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import ablation, ablation_table
from acmix_nas.report.intervals import Difference, differences, dunnett


def texts(header: StudyHeader, records: list[TrialRecord]) -> dict[str, list[str]]:
    table = ablation.build(header, records)
    return {str(row[0].value): [cell.text for cell in row] for row in table.rows}


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_mean_and_deviation_are_those_of_statistics(scores: list[float]) -> None:
    trials = tuple(make_record(i, score, epochs=1, seeds={"init": i}) for i, score in enumerate(scores))
    row = ablation.Row(name="a", trials=trials, failed=0, shared=False)
    assert row.mean == pytest.approx(statistics.mean(scores))
    assert row.deviation == pytest.approx(statistics.stdev(scores))


def test_rows_keep_their_order_and_count_their_seeds() -> None:
    header, records = make_ablation()
    rows = texts(header, records[::-1])
    assert tuple(rows) == COMBINES
    assert [row[3] for row in rows.values()] == ["5", "5", "5", "4", "5", "5", "5"]
    assert rows["learned"][4] == "baseline"
    assert rows["att"][-1] == "902"
    assert ablation_table(header, records).row_count == len(COMBINES)


def test_one_seed_has_no_spread_and_nothing_is_bold() -> None:
    header, records = make_ablation(seeds=1)
    table = ablation.build(header, [record for record in records if record.status == "complete"])
    assert {row[2].text for row in table.rows} == {"-"}
    assert not any(cell.bold for row in table.rows for cell in row)


def test_nothing_is_bold_below_three_seeds() -> None:
    header, records = make_ablation(seeds=2)
    assert not any(cell.bold for row in ablation.build(header, records).rows for cell in row)
    header, records = make_ablation(seeds=5)
    assert any(cell.bold for row in ablation.build(header, records).rows for cell in row)


def test_a_row_without_a_trial_is_shown_empty() -> None:
    header, records = make_ablation()
    rows = texts(header, [record for record in records if record.label != "half"])
    assert rows["half"][1:] == ["-", "-", "0", "-", "-", "-", "-", "-"]


def test_a_repeated_seed_counts_once() -> None:
    header, records = make_ablation()
    again = replace(records[0], number=99, scores=(0.5,))
    row = ablation.rows(header, [*records, again])[0]
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
    assert rows["conv"][0] == "conv †"
    assert "±" not in rows["conv"][4]
    assert "±" in rows["sum"][4]


def test_differences_are_paired_by_seed() -> None:
    scores = {"base": {0: 0.5, 1: 0.7}, "a": {1: 0.8, 0: 0.6, 2: 0.1}}
    gain = differences(scores, "base")["a"]
    assert gain.mean == pytest.approx(0.1)
    assert gain.pairs == 2


def test_the_half_width_is_dunnetts() -> None:
    scores = {"base": {0: 0.50, 1: 0.52, 2: 0.54}, "a": {0: 0.60, 1: 0.61, 2: 0.65}}
    gain = differences(scores, "base")["a"]
    paired = [0.10, 0.09, 0.11]
    expected = 4.303 * statistics.stdev(paired) / 3**0.5  # one comparison: Student's t with 2 degrees of freedom
    assert gain.half_width == pytest.approx(expected, rel=0.03)
    assert gain.stands_out


@pytest.mark.parametrize(("compared", "freedom", "quantile"), [(1, 10, 2.228), (3, 20, 2.54), (5, 10, 2.99)])
def test_quantiles_agree_with_dunnetts_table(compared: int, freedom: int, quantile: float) -> None:
    assert dunnett(compared, freedom) == pytest.approx(quantile, rel=0.015)


def test_two_seeds_never_stand_out() -> None:
    assert not Difference(mean=1.0, pairs=2, half_width=0.1).stands_out
    assert not Difference(mean=1.0, pairs=9).stands_out
    assert differences({"a": {0: 1.0}}, None) == {}
