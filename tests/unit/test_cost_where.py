import pytest
import torch
from torch import nn

from acmix_nas.cost.execution import Execution
from acmix_nas.cost.where import foreign_parts, module_times, shares
from acmix_nas.parts import Part

PARTS = [
    Part("stem", None, "other", 10, 100, 100),
    Part("layers.0.attn.qkv", 0, "projections", 20, 200, 200),
    Part("layers.0.attn.attention", 0, "attention", 30, 300, 300),
    Part("layers.1.mlp", 1, "mlp", 40, 400, 400),
    Part("head.fc", None, "other", 50, 500, 500),
]
TIMES = {
    "": 1.0, "stem": 2.0, "layers": 0.5, "layers.0": 3.0, "layers.0.attn": 4.0, "layers.0.attn.qkv": 5.0,
    "layers.0.attn.attention.softmax": 6.0, "layers.1.mlp": 7.0, "head": 8.0, "head.fc": 9.0,
}  # fmt: skip


class Ticking:
    """A clock whose every stamp is a given time later."""

    def __init__(self, *gaps_ms: float) -> None:
        self.now, self.gaps = 0.0, list(gaps_ms)

    def stamp(self) -> float:
        self.now += self.gaps.pop(0) if self.gaps else 1.0
        return self.now

    def between_ms(self, start: float, end: float) -> float:
        return end - start


def test_by_op_every_time_goes_to_the_path_of_its_module():
    lines = {line.name: line for line in shares("op", PARTS, TIMES)}
    assert {name: line.time_ms for name, line in lines.items()} == {
        "projections": 5.0,
        "attention": 6.0,
        "mlp": 7.0,
        "other": 1 + 2 + 0.5 + 3 + 4 + 8 + 9,
    }
    assert (lines["other"].params, lines["other"].macs) == (60, 600)


def test_by_stage_stem_and_head_are_told_apart():
    lines = {line.name: line for line in shares("stage", PARTS, TIMES)}
    assert {name: line.time_ms for name, line in lines.items()} == {
        "stem": 2.0,
        "stage 0": 18.0,
        "stage 1": 7.0,
        "head": 17.0,
        "other": 1.5,
    }
    assert [line.macs for line in lines.values()] == [100, 500, 400, 500, 0]


@pytest.mark.parametrize("by", ["module", "stage", "op"])
def test_nothing_is_lost_or_counted_twice(by):
    top = [line for line in shares(by, PARTS, TIMES) if line.depth == 0]
    assert sum(line.params for line in top) == 150
    assert sum(line.macs for line in top) == 1500
    assert sum(line.time_ms for line in top) == sum(TIMES.values())


def test_a_module_of_the_tree_holds_what_is_below_it():
    lines = shares("module", PARTS, TIMES)
    assert [(line.depth, line.name) for line in lines] == [
        (0, "network"), (1, "stem"), (1, "layers"), (2, "0"), (3, "attn"), (4, "qkv"), (4, "attention"), (2, "1"),
        (3, "mlp"), (1, "head"), (2, "fc"),
    ]  # fmt: skip
    layers = lines[2]
    assert (layers.params, layers.macs, layers.time_ms) == (90, 900, 25.5)


def test_own_times_leave_out_what_a_module_calls():
    model = nn.Sequential(nn.ReLU(), nn.Sequential(nn.ReLU()))
    # passes: outer begins, relu 2 ms, 3 ms between, inner begins, 4 ms, its relu 5 ms, 6 ms, ends, 7 ms, outer ends
    clock = Ticking(0, 1, 2, 3, 4, 5, 6, 7)
    times = module_times(model, torch.zeros(1, 3, 2, 2), Execution(), clock=clock, passes=1)
    assert times == {"": 1 + 3 + 7, "0": 2, "1": 4 + 6, "1.0": 5}


def test_the_median_over_passes_counts():
    model = nn.Sequential(nn.ReLU())
    before = dict(vars(model[0]))
    clock = Ticking(0, 0, 10, 0, 0, 0, 30, 0, 0, 0, 20, 0)
    times = module_times(model, torch.zeros(1, 3, 2, 2), Execution(), clock=clock, passes=3)
    assert times["0"] == 20
    assert vars(model[0]).keys() == before.keys()


def test_the_fast_paths_of_acmix_are_seen_in_every_form():
    from acmix_nas import ACmix

    model = nn.Sequential(ACmix(16, num_heads=2, attn_kernel=3))
    for form in ("paper", "train"):
        times = module_times(model.eval(), torch.randn(1, 16, 9, 7), Execution(form=form), passes=2)
        assert times["0.attention"] > 0
        assert times["0.convolution"] > 0


def test_parts_of_other_networks_are_by_torchs_counter():
    model = nn.Sequential(nn.Conv2d(3, 5, 3), nn.ReLU(), nn.Sequential(nn.Conv2d(5, 7, 1, bias=False)))
    parts = {part.module: part for part in foreign_parts(model, (9, 8))}
    assert {name: (part.params, part.macs) for name, part in parts.items()} == {
        "0": (3 * 5 * 9 + 5, 3 * 5 * 9 * 7 * 6),
        "2.0": (5 * 7, 5 * 7 * 7 * 6),
    }


def test_without_a_count_the_macs_are_not_known():
    class Refusing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(3, 2)

        def forward(self, images):
            if images.is_meta:
                raise NotImplementedError("no kernel for meta tensors")  # as torch says it
            return self.layer(images.mean((2, 3)))

    parts = foreign_parts(Refusing(), (4, 4))
    assert [(part.module, part.params, part.macs) for part in parts] == [("layer", 8, 0)]
    assert [line.macs for line in shares("module", parts, {"layer": 1.0})] == [None, None]
