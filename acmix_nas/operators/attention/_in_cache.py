"""Attention in training on a CPU, a few images at a time, so that their logits stay in the cache.

Kernels that fuse attention give no gradient of biases, and are slow for narrow heads. Autograd of product, sum,
softmax, product writes all logits of a batch to memory six times and reads them ten times; here every step but the last
finds them in the cache. The weights of attention are kept for the backward pass, as autograd keeps them.

Shapes: X = images * windows * heads matrices, T queries and S keys of a window, D head_dim, n windows of an image,
N heads.
"""

from typing import Any

import torch

CHUNK = 450_000
"""Logits that are computed at a time: 1.8 MB of them. From 16 to 256 windows of 49 tokens and 3 heads it makes little
difference."""
NARROW = 16
"""Width of a head, below which a matrix product of T x T and T x D takes up to three times as long as its transpose."""


def serves(q: torch.Tensor, bias: torch.Tensor) -> bool:
    """Whether `attend` may take autograd's place: ordinary tensors on a CPU, in one precision, not traced."""
    return (
        type(q) is torch.Tensor
        and q.device.type == "cpu"
        and q.dtype == bias.dtype in (torch.float32, torch.float64)
        and torch.is_grad_enabled()
        and not torch.is_autocast_enabled("cpu")
        and not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()  # type: ignore[attr-defined, no-untyped-call]
        and q.numel() > 0
    )


def attend(
    q_BnNTD: torch.Tensor, k_BnNSD: torch.Tensor, v_BnNSD: torch.Tensor, bias_nNTS: torch.Tensor, scale: float
) -> torch.Tensor:
    """softmax(scale * q k + bias) v of every window.

    Args:
        q_BnNTD: Queries.
        k_BnNSD: Keys.
        v_BnNSD: Values.
        bias_nNTS: Added to the products; n and N are 1 where all windows or heads have the same.
        scale: Of the products.
    """
    y: torch.Tensor = _Attention.apply(q_BnNTD, k_BnNSD, v_BnNSD, bias_nNTS, scale)
    return y


def _plainly(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float) -> torch.Tensor:
    y: torch.Tensor = ((scale * q) @ k.transpose(-1, -2) + bias).softmax(-1) @ v
    return y


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, bias: torch.Tensor, scale: float
    ) -> torch.Tensor:
        weights, y = q.new_empty(*q.shape[:-1], k.shape[-2]), _room(q)
        for part in _parts(weights):
            weights_XTS = weights[part].copy_(bias).flatten(0, 2)
            torch.baddbmm(weights_XTS, _flat(q[part]), _flat(k[part]).mT, alpha=scale, out=weights_XTS)
            torch.softmax(weights_XTS, -1, out=weights_XTS)
            _product(weights_XTS, _flat(v[part]), y[part])
        ctx.save_for_backward(q, k, v, bias, weights)
        ctx.scale = scale
        return y

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        q, k, v, bias, weights = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradient is to be differentiated again
            q, k, v, bias = leaves = [x if x.requires_grad else x.detach().requires_grad_() for x in (q, k, v, bias)]
            y = _plainly(q, k, v, bias, ctx.scale)
            return *torch.autograd.grad(y, leaves, grads[0], create_graph=True), None
        grad_q, grad_k, grad_v, grad_bias = _room(q), _room(k), _room(v), torch.zeros_like(bias)
        parts = _parts(weights)
        buffer = torch.empty_like(weights[parts[0]])
        for part in parts:
            weights_XTS, grad_XTD = weights[part].flatten(0, 2), _flat(grads[0][part])
            _product(weights_XTS.mT, grad_XTD, grad_v[part])
            grad_BnNTS = buffer[: len(weights[part])]
            grad_XTS = grad_BnNTS.flatten(0, 2)
            torch.bmm(grad_XTD, _flat(v[part]).mT, out=grad_XTS)
            torch._softmax_backward_data(grad_XTS, weights_XTS, -1, q.dtype, grad_input=grad_XTS)
            if ctx.needs_input_grad[3]:
                grad_bias += grad_BnNTS.sum(0).sum_to_size(bias.shape)
            _product(grad_XTS, _flat(k[part]), grad_q[part])
            _product(grad_XTS.mT, _flat(q[part]), grad_k[part])
        return grad_q.mul_(ctx.scale), grad_k.mul_(ctx.scale), grad_v, grad_bias, None


def _parts(weights: torch.Tensor) -> list[slice]:
    """A few images at a time; the last part may be smaller, never larger."""
    images = max(1, CHUNK // weights[0].numel())
    return [slice(start, start + images) for start in range(0, len(weights), images)]


def _room(like_BnNTD: torch.Tensor) -> torch.Tensor:
    """Memory for a result; tokens are next to each other in narrow heads, where it is written so."""
    if like_BnNTD.shape[-1] >= NARROW:
        return torch.empty_like(like_BnNTD, memory_format=torch.contiguous_format)
    return torch.empty_like(like_BnNTD.mT, memory_format=torch.contiguous_format).mT


def _product(x_XTS: torch.Tensor, y_XSD: torch.Tensor, out_BnNTD: torch.Tensor) -> None:
    """Their product (X, T, D), written into room of `_room`."""
    if y_XSD.shape[-1] >= NARROW:
        torch.bmm(x_XTS, y_XSD, out=_flat(out_BnNTD))
    else:
        torch.bmm(y_XSD.mT, x_XTS.mT, out=_flat(out_BnNTD.mT))


def _flat(x_BnNTD: torch.Tensor) -> torch.Tensor:
    return x_BnNTD.flatten(0, 2)
