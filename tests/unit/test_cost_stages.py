"""The paper's cost table: numbers by hand, and formulas evaluated against exact counts."""

import re
from dataclasses import replace
from itertools import pairwise

import pytest

from acmix_nas import registry
from acmix_nas.arch import CONV_IMPL, Arch, Mixer
from acmix_nas.cost import count
from acmix_nas.cost.stages import DENSE, PATHS, PROJECTIONS, PROJECTIONS_ALONE, SYMBOLS, stage_costs
from acmix_nas.models import named_arch, named_model

TINY = "acmix_swin_tiny_patch4_window7_224"
MODES = registry.names("operators.attention")
SITE = {"in_channels": 16, "out_channels": 48, "input_map": (14, 21), "stride": 2}
TOKEN = re.compile(r"\w+|[()+*/>^-]|\S")


def value(formula: str, **symbols: int) -> int:
    """A formula with numbers for its symbols: products are written by a space, powers by ^."""
    words = TOKEN.findall(formula)
    text = words[0]
    for before, word in pairwise(words):
        text += " * " if re.match(r"[\w)]", before[-1]) and re.match(r"[\w(]", word) else " "
        text += {"^": "**"}.get(word, word)
    return int(eval(text, {"__builtins__": {}}, symbols))


def symbols(mixer: Mixer, *, keys: int = 48, reduction: int = 1, f: int = 0, b: int = 0) -> dict[str, int]:
    """Those of `SITE`."""
    heads = mixer.num_heads or 1
    return {
        "HW": 14 * 21, "hw": 7 * 11, "M": -(-14 // reduction) * -(-21 // reduction), "I": 16, "C": 48, "R": keys,
        "N": heads, "d": keys // heads, "P": (2 * keys + 48) * heads // keys, "G": 6,
        "k_a": mixer.attn_kernel or 0, "k_c": mixer.conv_kernel or 0, "sr": reduction, "f": f, "b": b,
    }  # fmt: skip


def counted(mixer: Mixer, **site):
    parts = registry.load("operators", mixer.operator).count(mixer, **{**SITE, **site})
    return {part.op: (part.params, part.macs) for part in parts}


def test_the_legend_holds_exactly_the_symbols_of_the_formulas():
    formulas = [DENSE, PROJECTIONS, PROJECTIONS_ALONE, *PATHS.values()]
    formulas += [registry.load("operators.attention", mode).FORMULAS for mode in MODES]
    used = {word for pair in formulas for formula in pair for word in TOKEN.findall(formula) if word[0].isalpha()}
    assert used == set(SYMBOLS)
    assert set(PATHS) == set(CONV_IMPL)


@pytest.mark.parametrize(("mode", "more"), [(mode, {}) for mode in MODES] + [("global", {"sr_ratio": 3})])
def test_formulas_of_attention_are_its_count(mode, more):
    mixer = Mixer.canonical(attention=mode, attn_kernel=7, num_heads=4, combine="att")
    given = symbols(mixer, reduction=more.get("sr_ratio", 1))
    cost = counted(mixer, **more)
    formulas = registry.load("operators.attention", mode).FORMULAS
    assert cost["attention"] == tuple(
        value(
            formula,
            **given,
        )
        for formula in formulas
    )
    assert cost["projections"] == tuple(value(formula, **given) for formula in PROJECTIONS_ALONE)


@pytest.mark.parametrize("mode", ["patchwise", "pairwise"])
def test_formulas_hold_for_narrow_keys(mode):
    mixer = Mixer.canonical(attention=mode, attn_kernel=5, num_heads=4, combine="learned", conv_kernel=3,
                            conv_impl="full", conv_init="shift")  # fmt: skip
    given, cost = symbols(mixer, keys=12), counted(mixer, key_channels=12)
    formulas = {"projections": PROJECTIONS, "convolution": PATHS["full"]}
    formulas["attention"] = registry.load("operators.attention", mode).FORMULAS
    for op, pair in formulas.items():
        assert cost[op] == tuple(value(formula, **given) for formula in pair)


@pytest.mark.parametrize("impl", CONV_IMPL)
@pytest.mark.parametrize(("f", "b"), [(0, 0), (1, 0), (0, 1)])
def test_formulas_of_the_convolution_path_are_its_count(impl, f, b):
    mixer = Mixer.canonical(num_heads=3, conv_kernel=5, conv_impl=impl, conv_init="shift", combine="conv")
    cost = counted(mixer, fc_bias=bool(f), kernel_bias=bool(b))
    assert cost["convolution"] == tuple(value(formula, **symbols(mixer, f=f, b=b)) for formula in PATHS[impl])
    assert cost["projections"] == tuple(value(formula, **symbols(mixer)) for formula in PROJECTIONS)


def test_the_table_of_swin_tiny():
    """Stage 0: two blocks of 96 channels at 56 x 56 pixels, 3 heads, window 7, kernel 3."""
    convolution, attention, acmix = stage_costs(named_arch(TINY))[:3]
    assert [row.operator for row in (convolution, attention, acmix)] == ["convolution", "self-attention", "ACmix"]
    assert {(row.stage, row.blocks) for row in (convolution, attention, acmix)} == {(0, 2)}
    pixels = 56 * 56
    assert convolution.first[:2] == (2 * 9 * 96**2, 2 * 9 * 96**2 * pixels)
    assert convolution.second[:2] == (0, 0)
    assert attention.first[:2] == acmix.first[:2] == (2 * 3 * 97 * 96, 2 * 3 * 96**2 * pixels)
    assert attention.second[:2] == (2 * (13**2 * 3 + 97 * 96), 2 * (2 * 49 * 96 + 96**2) * pixels)
    path = (2 * (9 * 9 + 9 + 81 * 96), 2 * (9 * 3 * 96 + 81 * 96) * pixels)
    assert acmix.second[:2] == tuple(sum(pair) for pair in zip(attention.second[:2], path, strict=True))
    assert acmix.ratio == pytest.approx(acmix.second.macs / acmix.first.macs)


def test_stage_two_is_not_light_with_large_kernels():
    """At k_c = 7 it takes one and a half to ten times the multiply-adds of stage I."""
    ratios = {}
    for kernel in (3, 7):
        arch = every_mixer(named_arch(TINY), conv_kernel=kernel)
        ratios[kernel] = [row.ratio for row in stage_costs(arch) if row.operator == "ACmix"]
    assert ratios[3] == pytest.approx([1.05, 0.69, 0.51, 0.42], abs=0.01)
    assert ratios[7] == pytest.approx([9.52, 4.93, 2.63, 1.48], abs=0.01)


@pytest.mark.parametrize("name", ["acmix_resnet26", "acmix_pvt_tiny", TINY])
def test_the_rows_are_what_a_network_gains_and_loses(name):
    """A network less the same network of dense convolutions is the rows' difference, and the path weights."""
    arch = named_model(name).arch()
    rows = stage_costs(arch, 95)
    total = {
        operator: sum(row.first.macs + row.second.macs for row in rows if row.operator == operator)
        for operator in ("convolution", "self-attention", "ACmix")
    }
    alone, dense = every_mixer(arch, combine="att"), replace(arch, stages=dense_stages(arch), conv_on=None)
    assert count(arch, 95).macs - count(alone, 95).macs == total["ACmix"] - total["self-attention"]
    if name != "acmix_pvt_tiny":  # without attention over the map PVT has no class token
        assert count(arch, 95).macs - count(dense, 95).macs == total["ACmix"] - total["convolution"]


def test_blocks_without_a_path_are_left_out():
    both = named_arch(TINY).stages[0][0]
    conv = both.having(combine="conv", conv_kernel=5, conv_impl="shift")
    first, second = [both, conv], [both.having(combine="att")] * 2
    arch = Arch.canonical(host="swin", stages=[first, second], conv_on="rolled")
    rows = stage_costs(arch, (64, 95))
    assert [(row.stage, row.operator, row.blocks) for row in rows] == [
        (0, "convolution", 2), (0, "self-attention", 1), (0, "ACmix", 2), (1, "convolution", 2),
        (1, "self-attention", 2),
    ]  # fmt: skip
    assert rows[0].first.params == (9 + 25) * 96**2
    assert rows[2].second.macs_formula.endswith(f" or {PATHS['shift'][1]}")


def every_mixer(arch: Arch, **fields) -> Arch:
    stages = [[mixer.having(**fields) for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


def dense_stages(arch: Arch):
    return tuple((Mixer(operator="conv"),) * depth for depth in arch.depths)
