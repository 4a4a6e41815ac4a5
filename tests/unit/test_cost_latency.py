"""Latency tables: what they say, when they refuse, and how they are measured."""

import json
from dataclasses import replace

import pytest
from by_night import nightly_but
from hypothesis import given, settings
from hypothesis import strategies as st

from acmix_nas import files
from acmix_nas.arch import Arch
from acmix_nas.cost import latency_build
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.cost.latency_build import build_table, check, covering_archs, draw
from acmix_nas.errors import CostError, UsageError
from acmix_nas.models import named_arch
from acmix_nas.space import Choice, Space, load_space

SMALL = Space(
    name="small",
    host="swin",
    widths=(96, 192),
    depths=(2, 1),
    input_size=32,
    patch_size=4,
    fixed=(
        {"attention": "window", "attn_kernel": 7, "conv_init": "shift", "num_heads": 3, "conv_kernel": 3},
        {"attention": "window", "attn_kernel": 7, "combine": "att"},
    ),
    choices=(
        Choice("stages.0.combine", ("att", "conv", "learned")),
        Choice("stages.0.conv_impl", ("groupconv", "full"), when={"stages.0.combine": ("conv", "learned")}),
        Choice("stages.1.num_heads", (2, 3), ordered=True),
    ),
    conv_on="rolled",
)


def blocks(arch):
    return {(s, b, mixer) for s, stage in enumerate(arch.stages) for b, mixer in enumerate(stage)}


def table(**changes):
    """Every block takes as many milliseconds as its place among the blocks says, from 1 on."""
    every = sorted(set().union(*map(blocks, covering_archs(SMALL))), key=str)
    values = {
        "space": "small",
        "host": "swin",
        "env": {"device_name": "a", "threads": 2, "torch": "3", "cuda": None},
        "how": Execution().to_dict(),
        "batch_size": 4,
        "input_size": (32, 32),
        "rest_ms": 0.5,
        "mixers_ms": {block: float(place) for place, block in enumerate(every, 1)},
        "check": check([1.0, 2.0, 4.0], [1.0, 2.5, 4.0]),
    }
    return LatencyTable(**{**values, **changes})


@settings(max_examples=settings.default.max_examples // 4)
@given(data=st.data())
@pytest.mark.parametrize("name", nightly_but("swin_t", of=files.space_names()))
@pytest.mark.parametrize("per", ["stage", "block"])
def test_few_networks_hold_every_block_of_a_space(name, per, data):
    space = load_space(name, per=per)
    covering = covering_archs(space)
    arch = space.build(space.sample(lambda choice: data.draw(st.sampled_from(choice.options))))
    assert blocks(arch) <= set().union(*map(blocks, covering))
    assert len(covering) == max(len(space.mixers(s, b)) for s, depth in enumerate(space.depths) for b in range(depth))


def test_the_mixers_of_a_block_are_those_of_all_networks():
    archs = [SMALL.build(values) for values in SMALL.completions({})]
    for stage, depth in enumerate(SMALL.depths):
        for block in range(depth):
            mixers = SMALL.mixers(stage, block)
            assert len(mixers) == len(set(mixers)) == (5, 2)[stage]
            assert set(mixers) == {arch.stages[stage][block] for arch in archs}


def test_a_latency_is_the_rest_and_the_sum_of_the_blocks():
    told = table()
    for arch in covering_archs(SMALL):
        assert told.latency_ms(arch) == 0.5 + sum(told.mixers_ms[block] for block in blocks(arch))


def test_a_table_is_what_was_saved(tmp_path):
    table().save(tmp_path / "table.json")
    assert LatencyTable.load(tmp_path / "table.json") == table()


def test_a_table_for_another_space_says_so():
    with pytest.raises(CostError, match=r"whose networks are swin; .* is resnet"):
        table().latency_ms(named_arch("acmix_resnet26"))
    (one, other), last = covering_archs(SMALL)[0].stages
    foreign = Arch.canonical(host="swin", stages=[[one, other.having(attn_kernel=9)], last], conv_on="rolled")
    with pytest.raises(CostError, match=r"no block 1 of stage 0 with .*'attn_kernel': 9"):
        table().latency_ms(foreign)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', "\x00", '{"format": 1, "blocks": 3}'])
def test_a_malformed_table_is_one_error(tmp_path, text):
    (tmp_path / "table.json").write_text(text)
    with pytest.raises(CostError, match="is no latency table"):
        LatencyTable.load(tmp_path / "table.json")


def test_a_missing_file_and_a_later_format_are_refused(tmp_path):
    with pytest.raises(CostError, match="cannot be read"):
        LatencyTable.load(tmp_path / "none.json")
    table().save(tmp_path / "table.json")
    values = json.loads((tmp_path / "table.json").read_text())
    (tmp_path / "table.json").write_text(json.dumps(values | {"format": 2}))
    with pytest.raises(CostError, match="format 2; this version reads 1"):
        LatencyTable.load(tmp_path / "table.json")


def test_another_machine_is_reported_by_its_differences():
    here = {"device_name": "a", "threads": 1, "torch": "3", "cuda": None, "load": 7}
    assert table().differences(here) == ["threads 2 there, 1 here"]
    assert table().differences(table().env) == []


def test_a_check_by_hand():
    found = check([1.0, 2.0, 4.0, 3.0], [1.0, 2.5, 4.0, 8.0])
    assert found.spearman == pytest.approx(0.8)
    assert found.median_error == pytest.approx(0.1)
    assert found.worst_error == pytest.approx(0.625)


def test_networks_are_drawn_once_each_and_by_seed():
    archs = draw(SMALL, 6, seed=1)
    assert len(set(archs)) == 6
    assert draw(SMALL, 6, seed=1) == archs != draw(SMALL, 6, seed=2)
    assert len(draw(SMALL, 1000, seed=0)) == SMALL.size


class FakeClock:
    """A mixer takes 1 ms for each of its parameters, the rest of a network 7 ms; the machine slows down in between."""

    def __init__(self):
        self.time_ms_now, self.speed, self.runs = 0.0, 1.0, 0

    def time_ms(self, run):
        self.runs += 1
        self.speed = 1.0 if self.runs <= 3 * 8 else 2.0  # after the third network: four rounds, with a reference each
        start = self.time_ms_now
        self.time_ms_now += 7 * self.speed
        hooks = [m.register_forward_pre_hook(self._work) for m in run.model.mixers()]
        run()
        for hook in hooks:
            hook.remove()
        return self.time_ms_now - start

    def _work(self, module, inputs):
        self.time_ms_now += self.speed * sum(p.numel() for p in module.parameters())

    def stamp(self):
        return self.time_ms_now

    def between_ms(self, start, end):
        return end - start


def test_blocks_are_timed_in_their_place_and_slow_minutes_divided_out(monkeypatch):
    monkeypatch.setattr(latency_build, "clock_for", lambda device, flush: FakeClock())
    steps = []
    built = build_table(
        SMALL, how=Execution(), rounds=4, held_out=3, progress=lambda text, done, total: steps.append((done, total))
    )
    assert built.rest_ms == pytest.approx(7)
    assert built.check.spearman == pytest.approx(1)
    assert built.check.worst_error < 1e-9
    assert len(built.mixers_ms) == 2 * 5 + 2
    assert steps == [(done, 5 + 3) for done in range(5 + 3)]


def test_a_real_table_is_measured(tmp_path):
    built = build_table(replace(SMALL, depths=(1, 1)), how=Execution(form="merged"), rounds=2, held_out=1)
    assert all(time_ms > 0 for time_ms in built.mixers_ms.values())
    assert built.input_size == (32, 32)
    assert built.env["device"] == "cpu"


@pytest.mark.parametrize("option", ["train", "compiled", "features_only"])
def test_runs_that_hide_a_blocks_time_are_refused(option):
    with pytest.raises(UsageError, match="hides them"):
        build_table(SMALL, how=Execution(**{option: True}))
