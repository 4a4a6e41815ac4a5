"""Attention modes traced with sizes as symbols, and the gathers that stand for SAN's walks there."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.export import Dim

from acmix_nas import registry
from acmix_nas.export._program import _without_guesses
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.attention import _gathered, _pairwise, _patchwise
from acmix_nas.operators.attention._windows import Window, queries
from acmix_nas.operators.merging import merged


def gathers(graph):
    return sum("index_select" in str(node.target) for node in graph.nodes)


@pytest.mark.parametrize(
    ("attention", "stride", "dilation"),
    [
        ("local", 2, 1),
        pytest.param("patchwise", 1, 2, marks=pytest.mark.nightly),
        pytest.param("pairwise", 2, 1, marks=pytest.mark.nightly),
    ],
)
def test_maps_of_any_size(attention, stride, dilation):
    """Smaller than the window, larger than a block, and neither a multiple of anything."""
    site = {"stride": stride, "dilation": dilation}
    trained = ACmix(8, attention=attention, attn_kernel=3, combine="att", **site).requires_grad_(False)
    operator = merged(trained)
    size = Dim.DYNAMIC(min=3)
    dynamic = ({0: Dim.DYNAMIC, 2: size, 3: size},)
    with _without_guesses(), torch.no_grad():
        program = torch.export.export(operator, (torch.randn(2, 8, 9, 12),), dynamic_shapes=dynamic).module()
    for batch, height, width in ((2, 9, 12), (1, 3, 20), (3, 15, 17), (1, 31, 8)):
        x = torch.randn(batch, 8, height, width)
        torch.testing.assert_close(program(x), operator(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("attention", ["patchwise", "pairwise"])
def test_only_an_export_gathers(attention):
    """Compiled or not, a walk stays a walk; `torch.compiler.is_exporting` alone would not tell."""
    mode = registry.load("operators.attention", attention).Attention(8, 1, 3).eval()
    maps, seen = [torch.randn(1, 5, 4, 8)] * 3, []

    def backend(program, inputs):
        seen.append(gathers(program.graph))
        return program

    torch.compile(mode, fullgraph=True, backend=backend)(*maps)
    padding_of_keys_and_values = 4
    assert seen == [padding_of_keys_and_values]
    assert gathers(torch.export.export(mode, tuple(maps)).graph) > padding_of_keys_and_values


windows = st.builds(Window, st.sampled_from([1, 3, 5]), st.integers(1, 3), st.integers(1, 2))
extents = st.tuples(st.integers(1, 2), st.integers(1, 6), st.integers(1, 6))


def random(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def maps(window, extents, channels):
    """A padded map and how many queries it has."""
    batch, height, width = (extents[0], *(extent + window.span - 1 for extent in extents[1:]))
    padded = random(batch, height, width, channels)
    return padded, (batch, *queries(padded, window))


@settings(max_examples=40, deadline=None)
@given(windows, extents)
def test_gathers_equal_patchwise_window_attention(window, extents):
    (k, at), k_size = maps(window, extents, 3), window.kernel_size
    layer = (random(k_size, k_size, 3), random(k_size, k_size, 3), random(k_size, k_size, 3, 2))
    torch.testing.assert_close(_gathered.reduction(window, k, *layer), _patchwise.reduction(window, k, *layer))
    v, _ = maps(window, extents, 8)
    for width in (1, 8):
        given = (random(*at, 3), v, random(k_size, k_size, 3, width))
        torch.testing.assert_close(_gathered.phi_weighing(window, *given), _patchwise.weighing(window, *given))


@settings(max_examples=40, deadline=None)
@given(windows, extents, st.sampled_from([1, 8]))
def test_gathers_equal_pairwise_window_attention(window, extents, width):
    (k, at), (v, _) = maps(window, extents, 4), maps(window, extents, 8)
    given = (random(*at, 4), k, v, random(3, 4), random(3), random(width, 3), random(width))
    torch.testing.assert_close(_gathered.softmax_weighing(window, *given), _pairwise.weighing(window, *given))
