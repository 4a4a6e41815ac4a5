"""A table of finished trainings is searched as if its networks were trained."""

import gzip
import json
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from search_pieces import Curves, fickle, setting_of

from acmix_nas.errors import RecordError, StudyError, UsageError
from acmix_nas.executors import Job
from acmix_nas.experiments.search import SearchOptions, run
from acmix_nas.space import load_space

EPOCHS = 6
RULES = ["att", "learned"]
SHIPPED = Path(__file__).parents[2] / "search_spaces" / "swin_t.yaml"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A space of 16 networks, its file, and the trainings of all of them with two seeds."""
    file, space = small_space(tmp_path_factory.mktemp("table"))
    executor = Curves(setting_of(EPOCHS), _curve)
    records = [
        executor.record(
            Job(
                number=number,
                label="random",
                arch=space.build(one),
                seeds={"init": seed, "order": seed},
                checkpoint=file,
            )
        )
        for seed in (0, 1)
        for number, one in enumerate(space.completions({}))
    ]
    executor.curve = fickle
    records = [replace(one, scores=fickle(one.arch, EPOCHS)) if one.seeds["init"] else one for one in records]
    return file, space, records


def small_space(folder: Path):
    """A space of 16 networks, and its file."""
    values = yaml.safe_load(SHIPPED.read_text())
    values["choices"] = {"combine": RULES}
    values["mixer"] |= {"conv_kernel": 3, "conv_impl": "full", "head_dim": 32}
    values["first"] = {"plain host": {"combine": "att"}}
    file = folder / "small.yaml"
    file.write_text(yaml.safe_dump(values))
    space = load_space(str(file))
    assert space.size == 16
    return file, space


def _curve(arch, epochs):
    fate = int(arch.id, 16) % 997 / 997
    return tuple(fate * (epoch + 1) / epochs for epoch in range(epochs))


def write(folder: Path, records, name: str = "trials.jsonl") -> Path:
    file = folder / name
    text = "".join(f"{record.to_json()}\n" for record in records).encode()
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


def searched(small, table: Path, out: Path, **options):
    return run(SearchOptions(space=str(small[0]), executor=f"table:{table}", out=out, **options))


@pytest.mark.parametrize("sampler", ["hamming-gp", "tpe"])
def test_each_trial_is_the_tables_training_of_its_network(small, tmp_path, sampler):
    _, _, records = small
    found = searched(small, write(tmp_path, records), tmp_path, trials=12, sampler=sampler, prune="none")
    assert [record.status for record in found.records] == ["complete"] * 12
    by_arch = {record.arch: record for record in records if record.seeds["init"] == 0}
    for record in found.records:
        assert record.scores == by_arch[record.arch].scores
        assert record.seconds == EPOCHS
    assert len({record.arch for record in found.records}) == 12
    assert {"report.html", "trials.jsonl", "best.yaml"} <= {file.name for file in found.files}


def test_a_study_of_another_seed_gets_the_trainings_of_another_seed(small, tmp_path):
    _, _, records = small
    table = write(tmp_path, records, "trials.jsonl.gz")
    for seed in (1, 3):
        found = searched(small, table, tmp_path, study=f"s{seed}", trials=5, seed=seed, prune="none")
        assert all(record.scores == fickle(record.arch, EPOCHS) for record in found.records)


def test_a_pruned_trial_costs_what_it_was_trained(small, tmp_path):
    _, _, records = small
    found = searched(small, write(tmp_path, records), tmp_path, trials=15, prune="asha")
    pruned = [record for record in found.records if record.status == "pruned"]
    assert pruned
    for record in pruned:
        assert 0 < len(record.scores) < EPOCHS
        assert record.seconds == len(record.scores)
        assert record.scores == _curve(record.arch, EPOCHS)[: len(record.scores)]


def test_it_finds_all_networks_and_then_ends(small, tmp_path):
    _, space, records = small
    found = searched(small, write(tmp_path, records), tmp_path, trials=100, prune="none", sampler="random")
    assert len(found.records) == space.size
    best = max(records[: space.size], key=lambda record: record.scores[-1])
    assert max(found.records, key=lambda record: record.scores[-1]).arch == best.arch


def test_a_network_that_the_table_does_not_have_fails_with_the_reason(small, tmp_path):
    _, space, records = small
    plain = space.build(space.first["plain host"])
    table = write(tmp_path, [record for record in records if record.arch != plain])
    found = searched(small, table, tmp_path, trials=3, prune="none")
    assert found.records[0].error == f"{table} has no training of this network"
    assert [record.status for record in found.records[1:]] == ["complete"] * 2


def test_it_resumes_with_its_own_table_alone(small, tmp_path):
    _, _, records = small
    table = write(tmp_path, records)
    whole = searched(small, table, tmp_path, study="whole", trials=11)
    searched(small, table, tmp_path, study="parts", trials=6)
    parts = searched(small, table, tmp_path, study="parts", trials=11, resume=True)
    assert [record.arch for record in parts.records] == [record.arch for record in whole.records]
    changed = write(tmp_path, [replace(record, scores=record.scores[::-1]) for record in records], "other.jsonl")
    with pytest.raises(StudyError, match=r"was replayed from another table of trainings.* Name its own table"):
        searched(small, changed, tmp_path, study="parts", trials=20, resume=True)
    with pytest.raises(StudyError, match="was replayed from a table of trainings; add --executor table:FILE"):
        run(SearchOptions(space=str(small[0]), out=tmp_path, study="parts", trials=20, resume=True))
    same = tmp_path / "windows.jsonl"  # the same trainings, as another editor writes them
    same.write_bytes(b"\xef\xbb\xbf" + table.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
    assert len(searched(small, same, tmp_path, study="parts", trials=12, resume=True).records) == 12


def test_what_cannot_be_replayed_is_refused(small, tmp_path):
    _, _, records = small
    other = replace(records[1], budget={**records[1].budget, "batch_size": 1})
    mixed = write(tmp_path, [records[0], other], "mixed.jsonl")
    failed = write(tmp_path, [replace(records[0], status="failed", error="x")], "failed.jsonl")
    mine = write(tmp_path, [replace(records[0], metric="mine")], "mine.jsonl")
    broken = write(tmp_path, records[:1], "broken.jsonl")
    broken.write_text(broken.read_text() + json.dumps({"number": 1}) + "\n")
    damaged = bytearray(write(tmp_path, records, "damaged.jsonl.gz").read_bytes())
    middle = len(damaged) // 2
    damaged[middle : middle + 24] = bytes(24)
    (tmp_path / "damaged.jsonl.gz").write_bytes(damaged)
    for table, kind, message in (
        (tmp_path / "damaged.jsonl.gz", UsageError, "cannot be read"),
        (tmp_path / "nothing.jsonl", UsageError, r"cannot be read.*trials\.jsonl"),
        ("", UsageError, "names no file"),
        (failed, UsageError, "no complete trial"),
        (mine, UsageError, "scored by mine, not by top1; say --metric"),
        (mixed, RecordError, r"mixes trainings.* has another budget than the first"),
        (broken, UsageError, r"broken\.jsonl is no trials\.jsonl: line 2 is no record"),
    ):
        with pytest.raises(kind, match=message):
            searched(small, table, tmp_path)
    with pytest.raises(UsageError, match="trains nothing; leave out --epochs, --workers"):
        searched(small, write(tmp_path, records), tmp_path, epochs=3, workers=2)
    assert not (tmp_path / "small-001").exists()
