"""What mattered in a search: hypervolume by trial, importance, effects, alpha and beta over the front."""

import random
from dataclasses import replace
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from report_records import COMBINES, SPACE, make_ablation, make_arch, make_failed, make_record, make_search
from scipy import stats

from acmix_nas.front import beats, point
from acmix_nas.record import Cost, StudyHeader, TrialRecord
from acmix_nas.report import render, render_together
from acmix_nas.report.depth import over_front
from acmix_nas.report.effects import LEAST, chosen, effects, half_width
from acmix_nas.report.mattered import course, mattered, tables
from acmix_nas.search.importance import ped_anova, shares
from acmix_nas.search.objectives import DRAWN, ROOM, Prices, reference
from acmix_nas.space import load_space

HEADER = make_search()[0]


def header_of(objectives: tuple[str, ...] = ("top1", "macs"), **limits: float) -> StudyHeader:
    return replace(HEADER, objectives=objectives, settings={"space": SPACE, "reference": {"top1": 0.0, **limits}})


def trial(number: int, top1: float, macs: int, **changes: Any) -> TrialRecord:
    cost = {"params": 10, "macs_deploy": macs, "input_size": 224, **changes}
    return replace(make_record(number, top1), cost=Cost(macs=macs, **cost), scores=(top1,))


def decided_by_one(count: int = 60, seed: int = 5) -> tuple[StudyHeader, list[TrialRecord]]:
    """A study whose accuracy is that of the rule in stage 2, and a little noise."""
    rng, records = random.Random(seed), []
    for number in range(count):
        combines = tuple(rng.choice(COMBINES) for _ in range(4))
        arch = make_arch(combines, rng.choice((3, 5, 7)))
        top1 = 0.7 + 0.1 * (combines[2] == "learned") + 0.05 * (combines[2] == "beta") + 0.002 * rng.random()
        records.append(make_record(number, top1, arch=arch))
    return HEADER, records


def test_hypervolume_by_hand() -> None:
    """Boxes from (0, 100): 0.5 x 0.4, then 0.2 x 0.4 more above it, nothing, then 0.2 x 0.3 more to its left."""
    records = [
        trial(0, 0.5, 60),
        trial(1, 0.7, 60),
        make_failed(2),
        trial(3, 0.6, 80),
        trial(4, 0.2, 30),
        trial(5, 0.9, 100),
        trial(6, 0.99, 130),
    ]
    expected = (0.2, 0.28, 0.28, 0.28, 0.34, 0.34, 0.34)
    assert course(header_of(macs=100.0), records[::-1]) == pytest.approx(expected)


def test_images_a_second_are_taken_by_their_time() -> None:
    """1 / 50 s of at most 1 / 20 s: six tenths of the box in time."""
    header = header_of(("top1", "throughput"), throughput=20.0)
    records = [trial(0, 0.5, 1, throughput=50.0), trial(1, 0.9, 1, throughput=10.0)]
    assert course(header, records) == pytest.approx((0.3, 0.3))


def test_three_objectives_by_hand() -> None:
    """0.5 x 0.5 x 0.5, and beside it 0.8 x 0.2 x 0.5 of which 0.5 x 0.2 x 0.5 is had."""
    header = header_of(("top1", "macs", "params"), macs=100.0, params=100.0)
    records = [trial(0, 0.5, 50, params=50), trial(1, 0.8, 80, params=50)]
    assert course(header, records) == pytest.approx((0.125, 0.125 + 0.3 * 0.2 * 0.5))


PLACES = st.lists(st.tuples(*[st.integers(0, 9)] * 3), min_size=1, max_size=12)


@given(places=PLACES, data=st.data())
def test_hypervolume_never_falls_and_is_that_of_the_cells_covered(places: list[Any], data: st.DataObject) -> None:
    header = header_of(("top1", "macs", "params"), macs=10.0, params=10.0)
    records = [trial(i, a / 10, 10 - b, params=10 - c) for i, (a, b, c) in enumerate(places)]
    found = course(header, records)
    assert all(before <= after for before, after in pairwise(found))
    cells = {(x, y, z) for a, b, c in places for x in range(a) for y in range(b) for z in range(c)}
    assert found[-1] == pytest.approx(len(cells) / 1000, abs=1e-12)
    points = [point(header.measures, record.score or 0.0, record.cost) for record in records]
    beaten = [record for at, record in zip(points, records, strict=True) if any(beats(other, at) for other in points)]
    kept = [record for record in records if record not in beaten]
    order = kept + data.draw(st.permutations(beaten))
    again = course(header, [replace(record, number=number) for number, record in enumerate(order)])
    assert again[-1] == pytest.approx(found[-1], abs=1e-12)
    assert again[len(kept) - 1 :] == (again[-1],) * (len(beaten) + 1)


@given(places=st.lists(st.tuples(*[st.integers(0, 4)] * 5), min_size=1, max_size=8))
def test_hypervolume_of_five_objectives_is_that_of_the_cells_covered(places: list[tuple[int, ...]]) -> None:
    costs = ("macs", "params", "macs_deploy", "latency_ms")
    header = header_of(("top1", *costs), **dict.fromkeys(costs, 5.0))
    records = []
    for number, (top1, *saved) in enumerate(places):
        cost = dict(zip(costs, (5 - value for value in saved), strict=True))
        records.append(trial(number, top1 / 5, cost.pop("macs"), **cost))
    cells = {cell for place in places for cell in product(*map(range, place))}
    assert course(header, records)[-1] == pytest.approx(len(cells) / 5**5, abs=1e-12)


def test_the_reference_is_known_before_training() -> None:
    space = load_space("swin_t")
    prices = Prices(space.input_size)
    most = max(prices(space.build(values)).macs for values in space.first.values())
    found = reference(space, space.first, ("top1", "macs"), Prices(space.input_size))
    assert found == {"top1": 0.0, "macs": pytest.approx(1.1 * most)}


def test_the_reference_of_throughput_is_below_the_least() -> None:
    space = load_space("swin_t")
    speeds = iter((600.0, 500.0))
    found = reference(
        space,
        space.first,
        ("top1", "throughput"),
        lambda arch: Cost(params=1, macs=2, macs_deploy=2, input_size=224, throughput=next(speeds)),  # type: ignore[arg-type]
    )
    assert found == {"top1": 0.0, "throughput": pytest.approx(500 / ROOM)}


def test_a_space_that_names_no_first_network_has_a_reference_too() -> None:
    space = replace(load_space("swin_t"), first={})
    prices = Prices(space.input_size)
    found = reference(space, {}, ("macs", "top1"), prices)
    assert found == reference(space, {}, ("macs", "top1"), prices)
    assert found["macs"] == pytest.approx(ROOM * max(cost.macs for cost in prices._known.values()))
    assert len(prices._known) == DRAWN


def test_the_choice_that_decides_is_the_most_important() -> None:
    found = chosen(*decided_by_one())
    assert found is not None
    parts = shares(*found)
    assert parts is not None
    assert next(iter(parts.own)) == "stages.2.combine"
    assert list(parts.own.values()) == sorted(parts.own.values(), reverse=True)
    for each in (parts.own, ped_anova(*found)):
        assert sum(each.values()) == pytest.approx(1)
        assert set(each) == set(SPACE["choices"])
    first = effects(*found, parts.own)[: len(COMBINES)]
    assert {effect.choice for effect in first} == {"stages.2.combine"}
    best = max(first, key=lambda effect: effect.gain)
    assert best.option == "learned"
    assert best.half_width is not None
    assert best.gain > best.half_width


def test_a_parent_does_not_lose_its_share_to_its_child(tmp_path: Path) -> None:
    """Whether stage 0 attends alone explains 99.8 % of the variance; Optuna gives most to a child."""
    rng, records = random.Random(0), []
    for number in range(60):
        combines = tuple(rng.choice(COMBINES) for _ in range(4))
        top1 = 0.5 + 0.2 * (combines[0] == "att") + 0.003 * rng.gauss(0, 1)
        records.append(make_record(number, top1, arch=make_arch(combines, rng.choice((3, 5, 7)))))
    told = mattered(HEADER, records)
    parent, child = "stages.0.combine", "stages.0.conv_kernel"
    assert told.importances[parent] > 0.95
    assert told.importances[child] < 0.02
    assert told.explained > 0.9
    (table,) = (each for each in tables(told).values() if each.name == "importance")
    assert [column.key for column in table.columns][1:4] == ["importance", "subtree", "ped_anova"]
    assert table.rows[0][0].text == parent
    assert table.rows[0][3].value == told.ped_anova[parent] < 0.5
    render(tmp_path, HEADER, records)
    assert "Optuna's importance" in (tmp_path / "report.html").read_text().replace("&#39;", "'")


def test_shares_of_a_model_that_predicts_nothing_say_so() -> None:
    rng = random.Random(0)
    header, records = decided_by_one(40)
    noise = [replace(record, scores=(0.5 + 0.1 * rng.random(),)) for record in records]
    (table,) = (each for each in tables(mattered(header, noise)).values() if each.name == "importance")
    assert "ignore the shares" in table.notes[0]
    (table,) = (each for each in tables(mattered(header, records)).values() if each.name == "importance")
    assert "ignore the shares" not in table.notes[0]


def test_a_choice_is_judged_where_it_is_active() -> None:
    found = chosen(*decided_by_one())
    assert found is not None
    with_kernel = [top1 for values, top1 in found[1] if "stages.0.conv_kernel" in values]
    kernels = [effect for effect in effects(*found) if effect.choice == "stages.0.conv_kernel"]
    assert 0 < len(with_kernel) < len(found[1])
    assert sum(effect.trials for effect in kernels) == len(with_kernel)
    assert sum(e.trials * e.mean for e in kernels) == pytest.approx(sum(with_kernel))


def test_effects_by_hand() -> None:
    """att 0.1, 0.3 against conv 0.4, 0.6, 0.8 and one half: means 0.2 and 0.575."""
    space, _ = chosen(*decided_by_one())  # type: ignore[misc]
    name = "stages.0.combine"
    scores = [("att", 0.1), ("att", 0.3), ("conv", 0.4), ("conv", 0.6), ("conv", 0.8), ("half", 0.5)]
    att, conv, half = effects(space, [({name: value}, top1) for value, top1 in scores])
    assert (att.option, att.trials, conv.trials, half.trials) == ("att", 2, 3, 1)
    assert (att.mean, att.gain) == pytest.approx((0.2, 0.2 - 0.575))
    assert conv.gain == pytest.approx(0.6 - 0.3)
    assert half.gain == pytest.approx(0.5 - 0.44)
    assert half.half_width is None
    alike = [({name: value}, 0.5) for value, _ in scores]
    assert {(effect.gain, effect.half_width) for effect in effects(space, alike)} == {(0.0, None)}


@pytest.mark.filterwarnings("ignore:Precision loss")  # of SciPy's, where one side has no spread
@given(st.lists(st.integers(0, 1000), min_size=2, max_size=9), st.lists(st.integers(0, 1000), min_size=2, max_size=9))
def test_the_interval_is_welchs(one: list[int], other: list[int]) -> None:
    if len({*one}) == 1 and len({*other}) == 1:
        assert half_width(one, other) is None
        return
    interval = stats.ttest_ind(one, other, equal_var=False).confidence_interval(0.95)
    assert half_width(one, other) == pytest.approx((interval.high - interval.low) / 2, rel=1e-6)


def test_few_trials_tell_nothing_of_choices() -> None:
    header, records = decided_by_one(LEAST)
    assert mattered(header, records).importances
    told = mattered(header, records[1:])
    assert not told.importances
    assert not told.effects
    assert told.course
    assert chosen(header, [*records[1:], replace(records[0], shared_with=1)]) is None


def test_trials_that_are_all_alike_are_no_tale() -> None:
    header, records = decided_by_one(12)
    same = [replace(record, arch=records[0].arch, scores=(0.5,)) for record in records]
    assert mattered(header, same).importances == {}
    assert mattered(header, same).effects == ()


def test_weights_over_the_front_have_mean_and_range() -> None:
    records = [trial(0, 0.5, 50), trial(1, 0.7, 70), trial(2, 0.4, 90)]
    weights = [(0.2, -0.4), (0.6, 0.8), (9.0, 9.0)]
    arch = make_arch(("att", "learned", "learned", "half"))
    records = [
        replace(record, arch=arch, mixing=((None, None, *[pair] * 8, (0.5, 0.5), (0.5, 0.5)),))
        for record, pair in zip(records, weights, strict=True)
    ]
    blocks = over_front(header_of(), records)
    assert [block.number for block in blocks] == list(range(3, 11))  # half learns nothing, att has none
    assert {block.trials for block in blocks} == {2}
    assert blocks[0].alpha == pytest.approx((0.4, 0.2, 0.6))
    assert blocks[0].beta == pytest.approx((0.6, 0.4, 0.8))


def test_report_and_page_have_the_section(tmp_path: Path) -> None:
    header, records = decided_by_one()
    render(tmp_path, header, records)
    text, page = (tmp_path / "report.md").read_text(), (tmp_path / "report.html").read_text()
    for table in tables(mattered(header, records)).values():
        assert f"### {table.title}".replace("|", "\\|") in text
        assert f"{table.title}</h3>" in page
    assert "confounded" in text
    assert "| stages.2.combine | learned |" in text
    assert page.count('class="rail"') == len(SPACE["choices"]) + len(mattered(header, records).effects)


@pytest.mark.parametrize("settings", [{}, {"space": SPACE}, {"reference": {"top1": 0.0}}])
def test_a_study_without_a_reference_is_rendered_without(settings: dict[str, Any], tmp_path: Path) -> None:
    header, records = make_search()
    render(tmp_path, replace(header, settings=settings), records)
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text()
        assert "Hypervolume of the front against" not in text
        assert ("Importance of the choices for" in text) == ("space" in settings)


def test_ablations_and_studies_together_tell_less(tmp_path: Path) -> None:
    assert not mattered(*make_ablation())
    header, records = make_search()
    folder, *_ = render_together(tmp_path, [(header, records), (replace(header, name="other"), records)])
    text = (folder / "report.md").read_text()
    assert "Hypervolume" not in text
    assert "Importance" not in text
