"""Parts of random networks of every space against the built modules."""

from functools import cache

import pytest
import torch
from by_night import nightly_but
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas import files
from acmix_nas.arch import Arch
from acmix_nas.cost import breakdown, count, total
from acmix_nas.models import build_model, plain_form
from acmix_nas.space import load_space

load = cache(load_space)
SIZES = st.one_of(st.just((224, 224)), st.tuples(st.integers(1, 150), st.integers(1, 150)))


@pytest.mark.parametrize("name", files.space_names())
@given(data=st.data())
def test_parts_add_up_to_the_count(name, data):
    arch, size = _drawn(name, data), data.draw(SIZES)
    cost, sums = count(arch, size), total(breakdown(arch, size))
    assert (cost.params, cost.macs, cost.macs_deploy) == sums[:3]
    assert 0 < sums.macs_deploy <= sums.macs


@pytest.mark.parametrize("name", nightly_but("pvt_tiny", "resnet26", of=files.space_names()))
@settings(max_examples=5)
@given(data=st.data())
def test_parts_are_those_of_the_built_network(name, data):
    arch, size = _drawn(name, data), data.draw(SIZES)
    with torch.device("meta"):
        model = build_model(arch, img_size=size).eval()
        with FlopCounterMode(display=False) as counter, plain_form(model):
            model(torch.empty(1, 3, *size))
    parts = breakdown(arch, size)
    assert parts == breakdown(model, size)
    for part in parts:
        assert part.params == _held(model, part.module)
    assert sum(part.params for part in parts) == _held(model, "")
    for module in _counted_modules(model, parts):
        macs = sum(part.macs - part.unseen_macs for part in parts if _is_below(part.module, module))
        seen = counter.get_flop_counts().get(f"{type(model).__name__}.{module}", {})
        assert 2 * macs == sum(seen.values()), module
    assert counter.get_total_flops() == 2 * sum(part.macs - part.unseen_macs for part in parts)


def _drawn(name: str, data: st.DataObject) -> Arch:
    space = load(name, per=data.draw(st.sampled_from(("stage", "block"))))
    return space.build(space.sample(lambda choice: data.draw(st.sampled_from(choice.options))))


def _held(model: torch.nn.Module, module: str) -> int:
    named = model.named_parameters()
    return sum(parameter.numel() for name, parameter in named if not module or _is_below(name, module))


def _counted_modules(model: torch.nn.Module, parts) -> set[str]:
    """Mixers, which call functions of some of their layers; convolution paths; and every module outside mixers."""
    names = {module: name for name, module in model.named_modules()}
    mixers = [names[mixer] for mixer in model.mixers()]
    paths = {part.module for part in parts if part.op == "convolution"}
    outside = {part.module for part in parts if not any(_is_below(part.module, mixer) for mixer in mixers)}
    return {*mixers, *paths, *outside & set(names.values())}


def _is_below(name: str, module: str) -> bool:
    return name == module or name.startswith(f"{module}.")
