"""Spaces: sampling, building, the inverse, neighbours and size are laws over any space."""

from functools import cache
from itertools import islice
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from acmix_nas import files
from acmix_nas.errors import SpaceError
from acmix_nas.space import Choice, Space, load_space

SPACES = [(name, per) for name in files.space_names() for per in ("stage", "block")]


@pytest.fixture(params=SPACES, ids=lambda pair: "-".join(pair))
def space(request):
    return load_space(request.param[0], per=request.param[1])


def small_space(**changes) -> Space:
    """A space with conditions, small enough to list."""
    choices = (
        Choice("stages.0.combine", ("att", "conv", "learned")),
        Choice("stages.0.conv_kernel", (3, 5), ordered=True, when={"stages.0.combine": ("conv", "learned")}),
        Choice("stages.0.conv_impl", ("groupconv", "full"), when={"stages.0.combine": ("learned",)}),
        Choice("stages.1.num_heads", (2, 3), ordered=True),
    )
    fixed = {"attention": "window", "attn_kernel": 7, "conv_init": "shift"}
    first = {**fixed, "num_heads": 2, "conv_impl": "groupconv"}
    second = {**fixed, "combine": "learned", "conv_kernel": 3, "conv_impl": "full"}
    settings = {
        "name": "small",
        "host": "swin",
        "widths": (12, 24),
        "depths": (2, 2),
        "input_size": 32,
        "patch_size": 4,
        "fixed": (first, second),
        "choices": choices,
        "conv_on": "rolled",
    }
    return Space(**{**settings, **changes})


load = cache(load_space)


@given(data=st.data())
@pytest.mark.parametrize(("name", "per"), SPACES)
def test_every_sample_builds_and_the_inverse_gives_it_back(name, per, data):
    space = load(name, per=per)
    values = space.sample(lambda choice: data.draw(st.sampled_from(choice.options)))
    arch = space.build(values)
    assert space.values(arch) == values
    assert arch.depths == space.depths


@settings(max_examples=5)
@given(data=st.data())
@pytest.mark.parametrize(("name", "per"), SPACES)
def test_neighbours_are_other_networks_and_the_relation_is_symmetric(name, per, data):
    space = load(name, per=per)
    values = space.sample(lambda choice: data.draw(st.sampled_from(choice.options)))
    around = list(space.neighbours(values))
    assert values not in around
    assert len({space.build(other).id for other in around}) == len(around)
    for other in around[:: max(1, len(around) // 3)]:
        assert values in list(space.neighbours(other))


def test_the_size_is_the_number_of_distinct_networks():
    space = small_space()
    everything = list(space.completions({}))
    assert len(everything) == (1 + 2 + 2 * 2) * 2 == space.size
    assert len({space.build(values).id for values in everything}) == space.size


def test_the_size_of_swin_t_is_that_of_its_stages():
    """84 settings a stage: 3 head widths with attention alone, else 3 rules, 3 heads, 3 kernels, 3 implementations."""
    assert load_space("swin_t").size == (3 + 3 * 27) ** 4
    assert load_space("swin_t", per="block").size == (3 + 3 * 27) ** 12


def test_one_word_unties_the_blocks(space):
    tied = {choice.block is None for choice in space.choices}
    assert len(tied) == 1


def test_an_arch_of_another_space_is_refused():
    untied, tied = load_space("swin_t", per="block"), load_space("swin_t")
    values = untied.first["paper"] | {"stages.2.blocks.3.head_dim": 16}
    with pytest.raises(SpaceError, match="unties"):
        tied.values(untied.build(values))
    with pytest.raises(SpaceError, match="holds swin networks of depths"):
        tied.values(small_space().build(next(small_space().completions({}))))


def test_values_without_effect_are_refused():
    space = small_space()
    values = {"stages.0.combine": "att", "stages.1.num_heads": 2}
    assert space.build(values)
    with pytest.raises(SpaceError, match="without effect"):
        space.build({**values, "stages.0.conv_kernel": 3})
    with pytest.raises(SpaceError, match="has no value"):
        space.build({"stages.0.combine": "att"})
    with pytest.raises(SpaceError, match="is one of"):
        space.build({**values, "stages.1.num_heads": 5})


def test_first_trials_of_swin_t_are_the_plain_host_and_the_paper():
    from acmix_nas.models import named_arch

    space = load_space("swin_t")
    assert list(space.first) == ["plain host", "paper"]
    assert {mixer.combine for mixer in space.build(space.first["plain host"]).mixers} == {"att"}
    assert space.build(space.first["paper"]) == named_arch("acmix_swin_tiny_patch4_window7_224")


def test_a_proxy_keeps_blocks_spread_over_the_stage():
    space = load_space("swin_t", per="block")
    values = dict(space.first["paper"])
    values["stages.2.blocks.5.head_dim"] = 16
    proxy = space.proxies["gpu"]
    small = proxy.shrink(space.build(values))
    assert small.depths == proxy.depths
    assert [mixer.num_heads for mixer in small.stages[2]] == [12, 24]


def test_networks_that_differ_only_in_dropped_blocks_shrink_alike():
    space = load_space("swin_t", per="block")
    paper = dict(space.first["paper"])
    other = {**paper, "stages.2.blocks.2.head_dim": 16}
    proxy = space.proxies["gpu"]
    assert space.build(paper) != space.build(other)
    assert proxy.shrink(space.build(paper)) == proxy.shrink(space.build(other))


def test_spaces_state_what_their_files_promise(space):
    head = (files.search_spaces() / f"{space.name}.yaml").read_text(encoding="utf-8").splitlines()
    comment = "\n".join(line for line in head if line.startswith("#"))
    assert f"acmix search --space {space.name}" in comment
    assert f"{load_space(space.name).size:,}" in comment
    assert list(islice(space.completions({}), 1))
    assert Path(files.find_space(space.name)).is_file()
