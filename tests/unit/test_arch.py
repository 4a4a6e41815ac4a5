"""`Arch` and `Mixer`: one network has one description."""

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas.arch import COMBINE, CONV_IMPL, CONV_INIT, Arch, Mixer
from acmix_nas.errors import ArchError

PAPER = Mixer(
    attention="window",
    attn_kernel=7,
    conv_kernel=3,
    num_heads=3,
    conv_impl="full",
    conv_init="shift",
    combine="learned",
)

mixers = st.builds(
    Mixer.canonical,
    attention=st.sampled_from(["local", "window", "patchwise", "pairwise", "global"]),
    attn_kernel=st.sampled_from([3, 5, 7]),
    conv_kernel=st.sampled_from([1, 3, 5, 7]),
    num_heads=st.integers(1, 12),
    conv_impl=st.sampled_from(CONV_IMPL),
    conv_init=st.sampled_from(CONV_INIT),
    combine=st.sampled_from(COMBINE),
) | st.just(Mixer(operator="conv"))
archs = st.builds(
    Arch.canonical,
    host=st.just("swin"),
    stages=st.lists(st.lists(mixers, min_size=1, max_size=3), min_size=1, max_size=3),
    conv_on=st.sampled_from(["rolled", "image"]),
)


@given(archs)
def test_an_arch_survives_json(arch):
    assert Arch.from_dict(json.loads(json.dumps(arch.to_dict()))) == arch


@given(archs, archs)
def test_equality_and_id_agree(one, other):
    assert (one == other) == (one.id == other.id)
    assert (one == other) == (hash(one) == hash(other))


@given(mixers)
def test_dropping_what_has_no_effect_changes_nothing_twice(mixer):
    assert mixer.having() == mixer


def test_the_id_is_the_same_in_every_process():
    arch = Arch(host="swin", stages=((PAPER, PAPER),), conv_on="rolled")
    code = f"from acmix_nas import Arch; print(Arch.from_dict({arch.to_dict()!r}).id)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == arch.id


def test_the_id_is_pinned():
    """Stored studies name networks by it: it never changes."""
    assert Arch(host="swin", stages=((PAPER, PAPER), (PAPER, PAPER)), conv_on="rolled").id == "e80b7d428f55e8de"


@pytest.mark.parametrize(
    ("changes", "inert"),
    [
        ({"combine": "att"}, {"conv_kernel", "conv_impl", "conv_init"}),
        ({"combine": "conv"}, {"attention", "attn_kernel"}),
        ({"combine": "att", "attention": "patchwise"}, {"num_heads", "conv_kernel", "conv_impl", "conv_init"}),
        ({"combine": "learned", "attention": "pairwise"}, set()),
        ({"attention": "global"}, {"attn_kernel"}),
        ({"conv_impl": "shift"}, {"conv_init"}),
        ({"conv_impl": "groupconv"}, {"conv_init"}),
        (
            {"operator": "conv"},
            {"attention", "attn_kernel", "conv_kernel", "num_heads", "conv_impl", "conv_init", "combine"},
        ),
    ],
)
def test_fields_without_effect_are_none(changes, inert):
    mixer = PAPER.having(**changes)
    assert {name for name in Mixer.__slots__ if getattr(mixer, name) is None} == inert


@pytest.mark.parametrize("name", ["conv_kernel", "conv_impl", "conv_init"])
def test_a_field_without_effect_is_refused(name):
    values = {**PAPER.having(combine="att").to_dict(), name: getattr(PAPER, name)}
    with pytest.raises(ArchError, match=f"{name}=.* has no effect"):
        Mixer(**values)


@pytest.mark.parametrize(
    "changes",
    [
        {"operator": "pool"},
        {"combine": "both"},
        {"attention": "axial"},
        {"attn_kernel": 0},
        {"attention": "local", "attn_kernel": 4},
        {"conv_kernel": 4},
        {"conv_kernel": None},
        {"num_heads": 0},
        {"num_heads": True},
        {"num_heads": 2.0},
        {"conv_impl": "fft"},
        {"conv_init": "zeros"},
    ],
)
def test_wrong_values_are_named(changes):
    (name,) = list(changes)[-1:]
    with pytest.raises(ArchError, match=name):
        PAPER.having(**changes)


def test_conv_on_is_none_unless_a_shifted_block_convolves():
    att = PAPER.having(combine="att")
    assert Arch.canonical(host="swin", stages=((PAPER, att),), conv_on="image").conv_on is None
    with pytest.raises(ArchError, match="conv_on"):
        Arch(host="swin", stages=((PAPER, att),), conv_on="image")
    with pytest.raises(ArchError, match="conv_on"):
        Arch(host="swin", stages=((att, PAPER),))
    assert Arch(host="swin", stages=((att, PAPER),), conv_on="image").conv_on == "image"


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"host": "swin"},
        {"host": "swin", "stages": [[]]},
        {"host": "swin", "stages": [3]},
        {"host": "swin", "stages": [[PAPER.to_dict()]], "width": 2},
        {"host": "swin", "stages": [[{**PAPER.to_dict(), "width": 2}]]},
        {"host": "none", "stages": [[PAPER.to_dict()]]},
        [],
    ],
)
def test_a_wrong_dict_is_one_clear_error(values):
    with pytest.raises(ArchError):
        Arch.from_dict(values)
