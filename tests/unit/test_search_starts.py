"""A search begins with networks that scores prefer, where a fidelity record shows that these rank its space."""

import json
import random
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import rankdata
from search_pieces import Curves, setting_of, steady
from study_pieces import SPACE, small_setting

from acmix_nas.cost import count
from acmix_nas.executors import Job
from acmix_nas.experiments import scored_starts as module
from acmix_nas.experiments.rank_correlation import Agreement, Interval
from acmix_nas.experiments.scored_starts import ScoredStarts, scored_starts, signs
from acmix_nas.experiments.search import SearchOptions, run
from acmix_nas.experiments.stored_fidelity import Fidelity, definition, fidelity_folder, plain
from acmix_nas.search.objectives import Prices
from acmix_nas.search.starts import best_by_scores, count_chosen

EPOCHS = 2


def told(low: float, value: float, high: float) -> Agreement:
    return Agreement(spearman=Interval(value=value, low=low, high=high), kendall=Interval(value=0, low=-1, high=1))


def record(setting, space=SPACE, **agreements: Agreement) -> Fidelity:
    usual = dict.fromkeys(("proxy", "params", "macs"), told(-0.3, 0.1, 0.5))
    return Fidelity(
        space=definition(space),
        proxy=plain(setting.proxy.to_dict()),
        fingerprint=setting.splits.fingerprint,
        cheap={"epochs": 2, "images": 10},
        large={"epochs": 6, "images": 10},
        archs=40,
        failed=0,
        seed=0,
        agreements={**usual, **agreements},
    )


def chosen(setting, found, *, starts=10, trials=40, limits=None, has_images=False, space=SPACE, seed=0) -> ScoredStarts:
    return scored_starts(
        space,
        setting,
        found,
        Prices(224),
        limits=limits or {},
        seed=seed,
        starts=starts,
        trials=trials,
        has_images=has_images,
    )


values = st.one_of(st.none(), st.integers(-3, 3).map(float))


@given(rows=st.lists(st.tuples(values, values), min_size=1, max_size=12), count=st.integers(1, 12))
def test_the_best_have_the_best_mean_rank(rows, count):
    found = best_by_scores([dict(zip("ab", row, strict=True)) for row in rows], {"a": 1, "b": -1}, count)
    columns = [
        [sign * (-sign * np.inf if row[side] is None else row[side]) for row in rows]
        for side, sign in ((0, 1), (1, -1))
    ]
    ranks = np.mean([rankdata(column) for column in columns], axis=0)
    assert len(found) == len({*found}) == min(count, len(rows))
    rest = [ranks[place] for place in range(len(rows)) if place not in found]
    assert sorted(ranks[found], reverse=True) == list(ranks[found])
    assert not rest or max(rest) <= min(ranks[found])


def test_a_score_counts_where_its_interval_excludes_zero():
    found = record(
        small_setting(), params=told(-0.6, -0.4, -0.1), synflow=told(0.1, 0.3, 0.5), naswot=told(-0.1, 0.3, 0.6)
    )
    assert signs(found) == {"params": -1, "synflow": 1}


def test_half_of_the_starts_are_the_best_of_many():
    setting = small_setting()
    found = chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7)))
    assert len(found.values) == count_chosen(10) == 5
    assert found.text == "5 of 10 random starts chosen from 1000 by more macs"
    macs = [count(SPACE.build(one), 224).macs for one in found.values]
    assert macs == sorted(macs, reverse=True)
    chance = random.Random(1)
    usual = [count(SPACE.build(SPACE.sample(lambda c: chance.choice(c.options))), 224).macs for _ in range(200)]
    assert min(macs) >= np.quantile(usual, 0.97)
    proxies = {setting.proxy.shrink(SPACE.build(one)) for one in found.values}
    assert len(proxies) == 5
    assert chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7))) == found
    assert chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7)), seed=1) != found


def test_no_start_is_beyond_a_limit(monkeypatch):
    setting = small_setting()
    most = count(SPACE.build(SPACE.first["plain host"]), 224).macs
    monkeypatch.setattr(module, "POOL", 100)
    found = chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7)), limits={"macs": float(most)})
    assert all(count(SPACE.build(one), 224).macs <= most for one in found.values)
    assert chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7)), limits={"macs": 1.0}) == ScoredStarts()


def test_without_a_record_or_a_score_that_ranks_all_starts_are_random():
    setting = small_setting()
    assert chosen(setting, None) == ScoredStarts()
    assert chosen(setting, record(setting)) == ScoredStarts()
    assert chosen(setting, record(setting, macs=told(0.2, 0.5, 0.7)), starts=1) == ScoredStarts()


def test_zero_cost_scores_count_where_training_takes_much_longer(monkeypatch):
    monkeypatch.setattr(module, "POOL", 8)
    monkeypatch.setattr(module, "zero_cost_scores", lambda arch, *_, **__: {"synflow": int(arch.id, 16) % 1000})
    setting = small_setting(images=20)
    found = record(setting, synflow=told(0.2, 0.5, 0.7))
    assert chosen(setting, found, has_images=True) == ScoredStarts()
    long = replace(setting, budget=replace(setting.budget, images=10_000))
    pool = list(module._pool(SPACE, long, Prices(224), {}, 0))
    best = sorted(pool, key=lambda pair: -(int(pair[1].id, 16) % 1000))[:2]
    assert chosen(long, found, has_images=True, starts=4).values == tuple(values for values, _ in best)
    assert chosen(long, found, has_images=False, starts=4) == ScoredStarts()


@pytest.fixture
def table(tmp_path):
    """All networks of a space of 16, its file, and a record that says that few multiply-adds are good."""
    from test_executors_table import small_space

    file, space = small_space(tmp_path)
    setting = setting_of(EPOCHS)
    executor = Curves(setting, steady)
    lines = [
        executor.record(Job(number=n, label="", arch=space.build(one), seeds={"init": 0, "order": 0}, checkpoint=file))
        for n, one in enumerate(space.completions({}))
    ]
    (tmp_path / "all.jsonl").write_text("".join(f"{line.to_json()}\n" for line in lines))
    found = record(setting, space, macs=told(-0.7, -0.5, -0.2))
    folder = fidelity_folder(tmp_path, space, setting.splits.fingerprint)
    folder.mkdir(parents=True)
    (folder / "summary-0.json").write_text(json.dumps(asdict(found)))
    return file, space


def test_a_search_begins_with_them_and_says_so(table, tmp_path):
    file, space = table
    options = SearchOptions(
        space=str(file), executor=f"table:{tmp_path / 'all.jsonl'}", out=tmp_path, trials=14, prune="none", study="it"
    )
    found = run(options)
    labels = [item.label for item in found.records]
    assert labels[:4] == ["plain host", "scored", "random", "random"]
    assert {*labels[4:]} == {"hamming-gp"}
    macs = sorted(count(space.build(one), 224).macs for one in space.completions({}))
    assert [item.cost.macs for item in found.records[:2]] == macs[:2]
    assert found.header.settings["scored_starts"]["by"] == "1 of 3 random starts chosen from 15 by less macs"
    assert ",scored," in (found.folder / "trials.csv").read_text()
    at_random = run(replace(options, study="other", starts="random", trials=4))
    assert "scored" not in {item.label for item in at_random.records}
    first = run(replace(options, study="parts", trials=13))
    again = run(replace(options, study="parts", resume=True))
    assert [item.arch for item in again.records] == [item.arch for item in found.records]
    assert first.header.settings["scored_starts"] == found.header.settings["scored_starts"]
