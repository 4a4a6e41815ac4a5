"""Attention a few images at a time: what autograd computes of the formula."""

import pytest
import torch

from acmix_nas.operators.attention import _in_cache

SCALE = 0.3


def formula(q, k, v, bias):
    return ((SCALE * q) @ k.transpose(-1, -2) + bias).softmax(-1) @ v


def attended(q, k, v, bias):
    return _in_cache.attend(q, k, v, bias, SCALE)


def tensors(head_dim: int, biases: int, *, keys: int = 9, heads: int = 3, dtype=torch.float64):
    """5 images of 4 windows, 3 heads, 9 queries, arranged as a map cut into windows is."""
    q, k, v = (torch.randn(5, 4, tokens, 3, head_dim, dtype=dtype).transpose(2, 3) for tokens in (9, keys, keys))
    return [x.requires_grad_() for x in (q, k, v, torch.randn(biases, heads, 9, keys, dtype=dtype))]


def gradients(function, leaves, *, again: bool = False):
    y = function(*leaves)
    weights = torch.linspace(-1, 2, y.numel(), dtype=y.dtype).reshape(y.shape)
    found = torch.autograd.grad(y, leaves, weights, create_graph=again)
    return (y, *found, *(torch.autograd.grad(sum(x.square().sum() for x in found), leaves) if again else ()))


@pytest.mark.parametrize("chunk", [1, 2 * 4 * 3 * 81, 10**9])
@pytest.mark.parametrize("biases", [1, 4])
@pytest.mark.parametrize("head_dim", [4, 16])
@pytest.mark.parametrize("again", [False, True])
def test_values_and_gradients_are_those_of_the_formula(monkeypatch, head_dim, biases, chunk, again):
    monkeypatch.setattr(_in_cache, "CHUNK", chunk)
    leaves = tensors(head_dim, biases)
    for ours, theirs in zip(*(gradients(f, leaves, again=again) for f in (attended, formula)), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("head_dim", [4, 16])
def test_queries_may_be_fewer_than_keys_and_heads_share_a_mask(head_dim):
    *leaves, mask = tensors(head_dim, 1, keys=13, heads=1)
    mask = mask.detach().masked_fill(mask > 0.5, -torch.inf)
    ours, theirs = (gradients(lambda *x, f=f: f(*x, mask), leaves) for f in (attended, formula))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-11)


def test_only_what_needs_a_gradient_gets_one():
    q, k, v, bias = tensors(4, 1)
    y = attended(q.detach(), k, v.detach(), bias)
    k_grad, bias_grad = torch.autograd.grad(y.sum(), (k, bias), create_graph=True)
    expected = torch.autograd.grad(formula(q.detach(), k, v.detach(), bias).sum(), (k, bias))
    torch.testing.assert_close((k_grad, bias_grad), expected)


def test_it_serves_ordinary_training_alone():
    q, _, _, bias = tensors(4, 1, dtype=torch.float32)
    assert _in_cache.serves(q, bias)
    assert not _in_cache.serves(q.bfloat16(), bias)
    assert not _in_cache.serves(q.to("meta"), bias)
    with torch.autocast("cpu", torch.bfloat16):
        assert not _in_cache.serves(q, bias)
    with torch.no_grad():
        assert not _in_cache.serves(q, bias)
