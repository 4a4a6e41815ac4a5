"""`plain_form` switches what a model holds of ours, and switches it back."""

import copy

import pytest
import torch
from by_night import nightly_but
from torch import nn

from acmix_nas.arch import Mixer
from acmix_nas.cost.counters import count_fvcore, macs_torch
from acmix_nas.models import plain_form
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.acmix import count as count_acmix
from acmix_nas.operators.forms import TwoForms
from acmix_nas.parts import total


def parts(model):
    return [module for module in model.modules() if isinstance(module, TwoForms)]


def test_it_holds_for_the_model_given_and_ends_with_the_context():
    inside, outside = nn.Sequential(ACmix(8), nn.ReLU()), ACmix(8)
    with plain_form(inside):
        assert len(parts(inside)) == 3
        assert all(part.plain for part in parts(inside))
        assert not any(part.plain for part in parts(outside))
    assert not any(part.plain for part in parts(inside))


def test_contexts_nest_and_end_with_errors():
    model = ACmix(8)
    with plain_form(model):
        with pytest.raises(ZeroDivisionError), plain_form(model):
            raise ZeroDivisionError
        assert all(part.plain for part in parts(model))
    assert not any(part.plain for part in parts(model))


def test_it_is_no_part_of_the_weights():
    model = ACmix(8)
    with plain_form(model):
        names = model.state_dict().keys()
        assert not any(part.plain for part in parts(ACmix(8)))
        assert all(part.plain for part in parts(copy.deepcopy(model)))
    assert names == model.state_dict().keys()


@pytest.mark.parametrize("counter", [lambda *given: count_fvcore(*given).macs, macs_torch])
@pytest.mark.parametrize("impl", ["shift", "groupconv", "learnable", "full"])
def test_counters_see_the_named_formulation(counter, impl):
    mixer = Mixer(
        attention="local", attn_kernel=7, conv_kernel=3, num_heads=4, conv_impl=impl,
        conv_init=None if impl in ("shift", "groupconv") else "shift", combine="learned",
    )  # fmt: skip
    model = ACmix(3, 16, conv_impl=impl)
    expected = total(count_acmix(mixer, in_channels=3, out_channels=16, input_map=(19, 19)))
    assert expected.unseen_macs == 2 * 16 * 49 * 19 * 19
    assert counter(model, 19) == expected.macs - expected.unseen_macs


@pytest.mark.parametrize("attention", nightly_but("local", of=("local", "window", "global", "patchwise", "pairwise")))
def test_both_forms_compile_without_breaks(attention):
    torch.manual_seed(0)
    model = ACmix(8, attention=attention, attn_kernel=3, combine="learned").eval()
    x = torch.randn(1, 8, 17, 15)
    explained = torch._dynamo.explain(model)(x)
    assert explained.graph_break_count == 0
    compiled = torch.compile(model, fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    with plain_form(model):
        torch.testing.assert_close(compiled(x), model(x))


@pytest.mark.parametrize("attention", nightly_but("patchwise", of=("patchwise", "pairwise")))
@pytest.mark.parametrize("stride", [1, 2])
def test_training_of_window_attention_compiles_without_breaks(attention, stride):
    torch.manual_seed(0)
    model = ACmix(8, attention=attention, attn_kernel=3, stride=stride, combine="att").double().train()
    compiled = copy.deepcopy(model)
    x = torch.randn(2, 8, 9, 7, dtype=torch.float64)
    assert torch._dynamo.explain(copy.deepcopy(model))(x).graph_break_count == 0
    for run in (model, torch.compile(compiled, fullgraph=True, backend="eager")):
        run(x).square().sum().backward()
    for ours, theirs in zip(model.parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(ours.grad, theirs.grad)
    for ours, theirs in zip(model.buffers(), compiled.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("attention", ["patchwise", "pairwise"])
def test_window_attention_is_exported_for_any_batch(attention):
    torch.manual_seed(0)
    model = ACmix(8, attention=attention, attn_kernel=3).eval()
    batch = torch.export.Dim("batch", min=2, max=64)
    exported = torch.export.export(model, (torch.randn(2, 8, 9, 7),), dynamic_shapes=({0: batch},))
    x = torch.randn(5, 8, 9, 7)
    torch.testing.assert_close(exported.module()(x), model(x))
