"""Pairwise attention, row by row of the windows, forward and backward.

Keys k come negated, so that a difference is a sum: q + k_j.
Softmax runs along: a sum so far is scaled down when a larger logit comes. What a row makes is computed again in the
backward pass, from the logarithm of softmax's denominator, so nothing of a window's size is kept or held.
Shapes: B batch, H W padded map, h w map of queries, k kernel_size, C channels of v, D of the differences, R of gamma's
hidden layer, X = C or C / 8 weights at each place, S = C / X, N = B * h * w * k.
"""

import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F

from acmix_nas.operators.attention._rowwise import RowwiseOperator, Tensors
from acmix_nas.operators.attention._windows import Moments, Window, places, shared, wide


def moments(q_BhwD: torch.Tensor, k_BHWD: torch.Tensor, window: Window) -> Moments:
    """Statistics of q + k_j over all queries and places."""
    centre_D = (q_BhwD.mean((0, 1, 2)) + k_BHWD.mean((0, 1, 2))).detach()
    with _without_autocast(q_BhwD):
        mean_D, square_D = products(window, q_BhwD - centre_D, k_BHWD)
    return Moments(mean_D + centre_D, square_D - mean_D.square(), _pairs(q_BhwD, window))


def reduced_moments(q_BhwD: torch.Tensor, k_BHWD: torch.Tensor, weight_RD: torch.Tensor, window: Window) -> Moments:
    """Statistics of weight @ relu(q + k_j) over all queries and places, which follow from those of its input."""
    middle = window.kernel_size // 2
    middle_BhwD = places(k_BHWD, window, middle)[middle]
    centre_D = (q_BhwD + middle_BhwD).relu().mean((0, 1, 2)).detach()
    with _without_autocast(q_BhwD):
        mean_D, products_DD = products(window, q_BhwD - centre_D, k_BHWD, -centre_D)
        variance_R = ((weight_RD @ (products_DD - torch.outer(mean_D, mean_D))) * weight_RD).sum(1)
        mean_R = weight_RD @ (mean_D + centre_D)
    return Moments(mean_R, variance_R, _pairs(q_BhwD, window))


def _multiply(window: Window, q_BhwD: torch.Tensor, k_BHWD: torch.Tensor, *floor_D: torch.Tensor) -> Tensors:
    sums, squares = [], []
    for i in range(window.kernel_size):
        d_ND = _floored(_differences(q_BhwD, k_BHWD, window, i), floor_D).flatten(0, 3)
        sums.append(d_ND.sum(0))
        squares.append(d_ND.T @ d_ND if floor_D else d_ND.square().sum(0))
    pairs = _pairs(q_BhwD, window)
    return torch.stack(sums).sum(0) / pairs, torch.stack(squares).sum(0) / pairs


def _multiply_back(window: Window, inputs: Tensors, _kept: Tensors, grads: Tensors) -> Tensors:
    q_BhwD, k_BHWD, *floor_D = inputs
    gmean_D, gproducts = (grad / _pairs(q_BhwD, window) for grad in grads)
    gq_BhwD, gk_BHWD = torch.zeros_like(q_BhwD), torch.zeros_like(k_BHWD)
    for i in range(window.kernel_size):
        d_kBhwD = _floored(_differences(q_BhwD, k_BHWD, window, i), floor_D)
        if floor_D:
            g_kBhwD = (d_kBhwD @ (gproducts + gproducts.T)).add_(gmean_D).masked_fill_(d_kBhwD <= floor_D[0], 0)
        else:
            g_kBhwD = torch.addcmul(gmean_D, d_kBhwD, 2 * gproducts)
        gq_BhwD += g_kBhwD.sum(0)
        for gk_BhwD, g_BhwD in zip(places(gk_BHWD, window, i), g_kBhwD.unbind(), strict=True):
            gk_BhwD.add_(g_BhwD)
    return gq_BhwD, gk_BHWD, *map(torch.zeros_like, floor_D)


products = RowwiseOperator(
    "pairwise_products",
    _multiply,
    _multiply_back,
    like=lambda window, q, k, *floor: [q.new_empty(q.shape[-1]), q.new_empty(q.shape[-1:] * (1 + len(floor)))],
    results=2,
)
"""Means over all queries and places of d = max(q + k_j, floor), (D,), and of its products d d^T, (D, D).

Inputs: q (B, h, w, D), k (B, H, W, D), floor (D,), which is no function of the others; without one, d = q + k_j and of
the products only the squares are taken, (D,).
"""


def _weigh(window: Window, *inputs: torch.Tensor) -> Tensors:
    q_BhwD, k_BHWD, v_BHWC, *layers = inputs
    v_BHWSX = torch.unflatten(v_BHWC, -1, (-1, len(layers[-1])))
    y_BhwSX = wide(v_BHWC).new_zeros(*q_BhwD.shape[:3], *v_BHWSX.shape[3:])
    total_BhwX = torch.zeros_like(y_BhwSX[..., 0, :])
    top_BhwX = torch.full_like(total_BhwX, float("-inf"))
    for i in range(window.kernel_size):
        logits_kBhwX = _gamma(q_BhwD, k_BHWD, layers, window, i)[-1]
        before, top_BhwX = top_BhwX, torch.maximum(top_BhwX, logits_kBhwX.amax(0))
        kept_BhwX = (before - top_BhwX).exp()
        weights_kBhwX = logits_kBhwX.sub_(top_BhwX).exp_()
        total_BhwX = kept_BhwX * total_BhwX + weights_kBhwX.sum(0)
        y_BhwSX *= kept_BhwX.unsqueeze(3)
        for v_BhwSX, weights_BhwX in zip(places(v_BHWSX, window, i), weights_kBhwX.unbind(), strict=True):
            y_BhwSX.addcmul_(v_BhwSX, weights_BhwX.unsqueeze(3))
    y_BhwC = (y_BhwSX / total_BhwX.unsqueeze(3)).flatten(3).to(v_BHWC.dtype)
    return y_BhwC, top_BhwX + total_BhwX.log()


def _weigh_back(window: Window, inputs: Tensors, kept: Tensors, grads: Tensors) -> Tensors:
    q_BhwD, k_BHWD, v_BHWC, *layers = inputs
    y_BhwC, total_BhwX = kept
    parted = (torch.unflatten(x, -1, (-1, len(layers[-1]))) for x in (v_BHWC, y_BhwC, *grads))
    v_BHWSX, y_BhwSX, g_BhwSX = parted
    mean_BhwX = shared(wide(g_BhwSX) * y_BhwSX)
    gq_BhwD, gk_BHWD, gv_BHWSX = (torch.zeros_like(wide(x)) for x in (q_BhwD, k_BHWD, v_BHWSX))
    rows = []
    for i in range(window.kernel_size):
        views = (places(x, window, i) for x in (v_BHWSX, gv_BHWSX))
        r_kBhwD, z_kBhwR, logits_kBhwX = _gamma(q_BhwD, k_BHWD, layers, window, i)
        weights_kBhwX = logits_kBhwX.sub_(total_BhwX).exp_()
        gweights_kBhwX = _through_sum(g_BhwSX, weights_kBhwX, *views)
        glogits_kBhwX = weights_kBhwX * gweights_kBhwX.sub_(mean_BhwX)
        g_kBhwD, *glayers = _through_gamma(glogits_kBhwX.to(v_BHWC.dtype), r_kBhwD, z_kBhwR, layers)
        gq_BhwD += g_kBhwD.sum(0)
        for gk_BhwD, g_BhwD in zip(places(gk_BHWD, window, i), g_kBhwD.unbind(), strict=True):
            gk_BhwD.add_(g_BhwD)
        rows.append(glayers)
    gv_BHWC = gv_BHWSX.flatten(3).to(v_BHWC.dtype)
    return gq_BhwD, gk_BHWD, gv_BHWC, *(torch.stack(parts).sum(0) for parts in zip(*rows, strict=True))


def _as_weighed(window: Window, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *layers: torch.Tensor) -> Tensors:
    return v.new_empty(*q.shape[:3], v.shape[-1]), wide(v).new_empty(*q.shape[:3], len(layers[-1]))


weighing = RowwiseOperator("pairwise_weighing", _weigh, _weigh_back, like=_as_weighed, keeps=True)
"""The sum over a window of v_j, weighed by the softmax of gamma: (B, h, w, C). Channel c takes channel c mod X.

gamma = relu(relu(q + k_j) @ weight.T + bias) @ last.T + last_bias. Inputs: q (B, h, w, D), k (B, H, W, D),
v (B, H, W, C), weight (R, D), bias (R,), last (X, R), last_bias (X,).
"""


def _gamma(
    q_BhwD: torch.Tensor, k_BHWD: torch.Tensor, layers: Sequence[torch.Tensor], window: Window, i: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The inputs of gamma's two layers (k, B, h, w, ...) at row i of the windows, and its result."""
    weight_RD, bias_R, last_XR, last_bias_X = layers
    r_kBhwD = _differences(q_BhwD, k_BHWD, window, i).relu_().to(weight_RD.dtype)
    z_kBhwR = F.linear(r_kBhwD, weight_RD, bias_R).relu_()
    return r_kBhwD, z_kBhwR, wide(F.linear(z_kBhwR, last_XR, last_bias_X))


def _through_gamma(
    g_kBhwX: torch.Tensor, r_kBhwD: torch.Tensor, z_kBhwR: torch.Tensor, layers: Sequence[torch.Tensor]
) -> tuple[torch.Tensor, ...]:
    """Gradients of the differences and of the layers."""
    weight_RD, _, last_XR, _ = layers
    g_NX, r_ND, z_NR = (x.flatten(0, 3) for x in (g_kBhwX, r_kBhwD, z_kBhwR))
    gz_NR = torch.ops.aten.threshold_backward(g_NX @ last_XR, z_NR, 0)
    gr_ND = torch.ops.aten.threshold_backward(gz_NR @ weight_RD, r_ND, 0)
    return wide(gr_ND).view(r_kBhwD.shape), gz_NR.T @ r_ND, gz_NR.sum(0), g_NX.T @ z_NR, g_NX.sum(0)


def _through_sum(
    g_BhwSX: torch.Tensor, weights_kBhwX: torch.Tensor, v_places: list[torch.Tensor], gv_places: list[torch.Tensor]
) -> torch.Tensor:
    """Gradients of the weights (k, B, h, w, X) of a row of places; those of v are added to `gv_places`."""
    gweights = []
    for weights_BhwX, v_BhwSX, gv_BhwSX in zip(weights_kBhwX.unbind(), v_places, gv_places, strict=True):
        gv_BhwSX.addcmul_(g_BhwSX, weights_BhwX.unsqueeze(3))
        gweights.append(shared(wide(g_BhwSX) * v_BhwSX))
    return torch.stack(gweights)


def _differences(q_BhwD: torch.Tensor, k_BHWD: torch.Tensor, window: Window, i: int) -> torch.Tensor:
    """Sums q + k_j at row i of the windows, (k, B, h, w, D): one place behind the other, as few channels need it."""
    return torch.stack(places(k_BHWD, window, i)).add_(q_BhwD)


def _floored(d_kBhwD: torch.Tensor, floor_D: Tensors) -> torch.Tensor:
    return torch.maximum(d_kBhwD, floor_D[0]) if floor_D else d_kBhwD


def _pairs(q_BhwD: torch.Tensor, window: Window) -> int:
    """Queries times places."""
    return math.prod(q_BhwD.shape[:3]) * window.kernel_size**2


def _without_autocast(x: torch.Tensor) -> AbstractContextManager[Any]:
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext()
