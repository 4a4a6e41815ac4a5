"""Finalists: which networks, fixed beforehand, trained with paired fresh seeds, and what may be said of them."""

from dataclasses import replace

import pytest
from search_pieces import IN_MEMORY, Curves, run, setting_of
from study_pieces import SPACE, Onlooker, new_study

from acmix_nas.errors import RecordError, StudyError
from acmix_nas.experiments.finalists import LEAST, choose, posterior_means, train_finalists
from acmix_nas.front import front
from acmix_nas.metrics import TOP1
from acmix_nas.report.finals import Final, best_final, finals_table, stored_finals
from acmix_nas.report.intervals import Difference
from acmix_nas.search import Stop
from acmix_nas.space.stored import definition
from acmix_nas.study.finals import FINALS, fix_list, load_finals, load_list


@pytest.fixture(scope="module")
def setting():
    return replace(setting_of(1), split="report")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    made = new_study(
        tmp_path_factory.mktemp("out"), storage=IN_MEMORY, starts=11, space=definition(SPACE), first=dict(SPACE.first)
    )
    run(made, Curves(setting_of(1)), trials=14)
    return made


def fresh(study, tmp_path):
    """A folder of its own with the list of the study."""
    return fix_list(tmp_path, lambda: choose(study.header, study.records(), top=2), top=2)


def test_the_list_has_the_best_and_all_baselines(study):
    candidates = choose(study.header, study.records(), top=3)
    names = [name for candidate in candidates for name in candidate.names]
    assert sorted(names) == sorted(
        ["finalist 1", "finalist 2", "finalist 3", "plain host", "paper", "best of 10 random"]
    )
    assert len({candidate.arch.id for candidate in candidates}) == len(candidates)
    random = [record for record in study.records() if record.label == "random"][:10]
    best = next(candidate for candidate in candidates if "best of 10 random" in candidate.names)
    assert best.score == max(record.score for record in random)
    on_front = {record.arch_id for record in front(study.records(), study.header.measures)}
    first = next(candidate for candidate in candidates if "finalist 1" in candidate.names)
    assert first.arch.id in on_front


def test_baselines_that_the_search_never_trained_are_built(study):
    records = [record for record in study.records() if record.label != "paper"]
    candidates = choose(study.header, records, top=1)
    paper = next(candidate for candidate in candidates if "paper" in candidate.names)
    assert paper.arch == SPACE.build(SPACE.first["paper"])
    assert (paper.trial, paper.score) == (None, None)


def test_a_search_without_a_complete_trial_has_none(study):
    with pytest.raises(StudyError, match="no complete trial"):
        choose(study.header, [], top=1)


def test_the_posterior_mean_shrinks_what_was_lucky(study):
    records = study.records()
    means = posterior_means(SPACE, records)
    assert set(means) == {record.number for record in records}
    best = max(records, key=lambda record: record.score)
    assert means[best.number] < best.score + 1e-9
    few = records[: LEAST - 1]
    assert posterior_means(SPACE, few) == {record.number: record.score for record in few}


def test_the_list_is_fixed_before_anything_is_trained(study, tmp_path):
    candidates = fresh(study, tmp_path)
    assert load_list(tmp_path) == candidates
    again = fix_list(tmp_path, lambda: pytest.fail("chosen again"), top=2)
    assert again == candidates
    with pytest.raises(StudyError, match="fixed with --top 2"):
        fix_list(tmp_path, list, top=3)


def train(tmp_path, candidates, executor, seeds, stop=None):
    train_finalists(
        tmp_path,
        candidates,
        executor.setting,
        seeds=seeds,
        executor=executor,
        callbacks=Onlooker(),
        stop=stop or Stop(),
    )


def test_every_network_has_every_seed_once(study, setting, tmp_path):
    candidates = fresh(study, tmp_path)
    train(tmp_path, candidates, Curves(setting), [1, 2])
    records = load_finals(tmp_path)
    ids = [candidate.arch.id for candidate in candidates]
    assert [(r.arch_id, r.seeds["init"]) for r in records] == [(id_, seed) for seed in (1, 2) for id_ in ids]
    assert all(record.split == "report" and record.seeds["order"] == record.seeds["init"] for record in records)
    more = Curves(setting, lose=(2,))
    train(tmp_path, candidates, more, [1, 2, 3])
    assert len(load_finals(tmp_path)) == 3 * len(ids)
    assert len(more.done) == len(ids)


def test_a_checkpoint_that_a_kill_left_of_a_stored_cell_is_removed(study, setting, tmp_path):
    candidates = fresh(study, tmp_path)
    train(tmp_path, candidates, Curves(setting), [1])
    folder = tmp_path / "checkpoints"
    folder.mkdir()
    names = [f"final-{candidates[0].arch.id}-{seed}.ckpt" for seed in (1, 2)]
    for name in names:
        (folder / name).touch()
    train(tmp_path, candidates, Curves(setting), [1])
    assert [path.name for path in folder.iterdir()] == names[1:]


def test_a_torn_last_line_is_trained_again_and_another_is_an_error(study, setting, tmp_path):
    candidates = fresh(study, tmp_path)
    train(tmp_path, candidates, Curves(setting), [1])
    path = tmp_path / FINALS
    whole = path.read_text()
    path.write_text(whole[:-30])
    executor = Curves(setting)
    train(tmp_path, candidates, executor, [1])
    assert len(executor.done) == 1
    assert path.read_text() == whole
    path.write_text("{}\n" + whole)
    with pytest.raises(RecordError):
        load_finals(tmp_path)


def test_a_stop_leaves_the_rest(study, setting, tmp_path):
    candidates, stop = fresh(study, tmp_path), Stop()
    stop.reason = "enough"
    executor = Curves(setting)
    train(tmp_path, candidates, executor, [1], stop)
    assert executor.done == []
    assert stored_finals(tmp_path, study.header) is None


def finals(*rows: tuple[str, float | None, tuple[float, ...]]) -> list[Final]:
    from report_records import make_record

    made = []
    for name, search, scores in rows:
        records = [
            make_record(seed, top1, seeds={"init": seed, "order": seed}, split="report")
            for seed, top1 in enumerate(scores, 1)
        ]
        made.append(Final(name=name, arch_id=name, trial=1, search_score=search, records=tuple(records)))
    return made


def test_the_table_says_bias_and_differences(study):
    rows = finals(
        ("finalist 1", 0.9, (0.80, 0.81, 0.82, 0.80)),
        ("plain host", 0.7, (0.60, 0.61, 0.61, 0.60)),
        ("paper", None, (0.795, 0.812, 0.81, 0.801)),
    )
    table = finals_table(study.header, rows, {"plain host": "plain host", "paper": "paper"})
    keys = [column.key for column in table.columns]
    cells = {row[0].text: dict(zip(keys, row, strict=True)) for row in table.rows}
    assert cells["finalist 1"]["bias"].value == pytest.approx(0.9 - 0.8075)
    assert "(better)" in cells["finalist 1"]["against plain host"].text
    assert "(not distinguishable)" in cells["finalist 1"]["against paper"].text
    assert cells["paper"]["against paper"].text == "baseline"
    assert cells["paper"]["bias"].text == "-"
    assert "fixed before" in table.notes[0]
    best = best_final(TOP1, rows)
    assert best is not None
    assert best.name == "finalist 1"


@pytest.mark.parametrize(
    ("difference", "said"),
    [
        (Difference(mean=0.1, pairs=2, half_width=0.01), "needs n >= 3"),
        (Difference(mean=0.1, pairs=5, half_width=None), "no interval"),
        (Difference(mean=0.1, pairs=3, half_width=0.1), "not distinguishable"),
        (Difference(mean=0.1, pairs=3, half_width=0.09), "better"),
        (Difference(mean=-0.1, pairs=3, half_width=0.09), "worse"),
    ],
)
def test_nothing_is_claimed_that_is_not_seen(difference, said):
    assert difference.verdict == said
