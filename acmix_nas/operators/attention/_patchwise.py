"""Both ends of patchwise attention's phi, row by row of the windows, forward and backward.

What a row makes is computed again in the backward pass, so nothing of a window's size is kept or held.
Shapes: B batch, H W padded map, h w map of queries, k kernel_size, R channels of k, C of v, G of the result of the
first layer, X = C or C / 8 weights at each place, S = C / X, N = B * h * w.
"""

import torch

from acmix_nas.operators.attention._rowwise import RowwiseOperator, Tensors
from acmix_nas.operators.attention._windows import Moments, Window, places, queries, row, shared, wide


def moments(x_BHWR: torch.Tensor, window: Window) -> Moments:
    """Statistics of each place of the windows over all queries, (k, k, R): a place sees a map shifted by its offset.

    The places of a row of windows see the same rows of the map, so sums over the batch, then rows, then columns do.
    """
    x_BHWR = wide(x_BHWR)
    centre_R = x_BHWR.detach().mean((0, 1, 2))
    x_BHWR = x_BHWR - centre_R
    sums = torch.stack((x_BHWR.sum(0), x_BHWR.square().sum(0)))
    count = len(x_BHWR)
    for extent in queries(x_BHWR, window):
        length, offsets = window.stride * (extent - 1) + 1, range(0, window.span, window.dilation)
        sums = torch.stack([sums[:, first : first + length : window.stride].sum(1) for first in offsets], 2)
        count *= extent
    mean_kkR, square_kkR = sums / count
    return Moments(mean_kkR + centre_R, square_kkR - mean_kkR.square(), count)


def _reduce(
    window: Window, k_BHWR: torch.Tensor, scale_kkR: torch.Tensor, shift_kkR: torch.Tensor, weight_kkRG: torch.Tensor
) -> Tensors:
    sums = []
    for i, weight_kRG in enumerate(weight_kkRG):
        z_BhwkR = torch.addcmul(shift_kkR[i], row(k_BHWR, window, i), scale_kkR[i]).relu_()
        sums.append(z_BhwkR.to(k_BHWR.dtype).flatten(-2) @ weight_kRG.flatten(0, 1))
    return (torch.stack(sums).sum(0),)


def _reduce_back(window: Window, inputs: Tensors, _kept: Tensors, grads: Tensors) -> Tensors:
    k_BHWR, scale_kkR, shift_kkR, weight_kkRG = inputs
    (g_BhwG,) = grads
    g_NG = g_BhwG.flatten(0, 2)
    gk_BHWR = torch.zeros_like(wide(k_BHWR))
    rows = []
    for i, weight_kRG in enumerate(weight_kkRG):
        k_BhwkR = row(k_BHWR, window, i)
        z_BhwkR = torch.addcmul(shift_kkR[i], k_BhwkR, scale_kkR[i]).relu_()
        gweight_GX = g_NG.T @ z_BhwkR.to(k_BHWR.dtype).flatten(-2).flatten(0, 2)
        gz_BhwX = wide(g_BhwG @ weight_kRG.flatten(0, 1).T)
        gz_BhwkR = torch.ops.aten.threshold_backward(gz_BhwX.view(z_BhwkR.shape), z_BhwkR, 0)
        for gk, gz, scale_R in zip(places(gk_BHWR, window, i), gz_BhwkR.unbind(3), scale_kkR[i], strict=True):
            gk.addcmul_(gz, scale_R)
        gscale_kR, gshift_kR = ((gz_BhwkR * k_BhwkR).sum((0, 1, 2)), gz_BhwkR.sum((0, 1, 2)))
        rows.append((gscale_kR, gshift_kR, torch.unflatten(gweight_GX.T, 0, weight_kRG.shape[:2])))
    gscale, gshift, gweight = (torch.stack(parts) for parts in zip(*rows, strict=True))
    return gk_BHWR.to(k_BHWR.dtype), gscale, gshift, gweight


reduction = RowwiseOperator(
    "patchwise_reduction",
    _reduce,
    _reduce_back,
    like=lambda window, k, scale, shift, weight: [k.new_empty(*k.shape[:1], *queries(k, window), weight.shape[-1])],
)
"""The sum over a window of relu(scale_j * k_j + shift_j) @ weight_j: (B, h, w, G).

Inputs: k (B, H, W, R), scale and shift (k, k, R), weight (k, k, R, G).
"""


def _weigh(window: Window, hidden_BhwG: torch.Tensor, v_BHWC: torch.Tensor, weight_kkGX: torch.Tensor) -> Tensors:
    v_BHWSX = torch.unflatten(v_BHWC, -1, (-1, weight_kkGX.shape[-1]))
    y_BhwSX = wide(hidden_BhwG).new_zeros(*hidden_BhwG.shape[:3], *v_BHWSX.shape[3:])
    for i, weight_kGX in enumerate(weight_kkGX):
        for weight_GX, v_BhwSX in zip(weight_kGX, places(v_BHWSX, window, i), strict=True):
            y_BhwSX.addcmul_(v_BhwSX, (hidden_BhwG @ weight_GX).unsqueeze(3))
    return (y_BhwSX.flatten(3).to(v_BHWC.dtype),)


def _weigh_back(window: Window, inputs: Tensors, _kept: Tensors, grads: Tensors) -> Tensors:
    hidden_BhwG, v_BHWC, weight_kkGX = inputs
    v_BHWSX, g_BhwSX = (torch.unflatten(x, -1, (-1, weight_kkGX.shape[-1])) for x in (v_BHWC, *grads))
    hidden_NG = hidden_BhwG.flatten(0, 2)
    gv_BHWSX, ghidden_NG = torch.zeros_like(wide(v_BHWSX)), torch.zeros_like(wide(hidden_NG))
    gweights = []
    for i, weight_kGX in enumerate(weight_kkGX):
        views = (places(x, window, i) for x in (v_BHWSX, gv_BHWSX))
        for weight_GX, v_BhwSX, gv_BhwSX in zip(weight_kGX, *views, strict=True):
            gv_BhwSX.addcmul_(g_BhwSX, (hidden_BhwG @ weight_GX).unsqueeze(3))
            g_NX = shared(g_BhwSX * v_BhwSX).flatten(0, 2)
            gweights.append(hidden_NG.T @ g_NX)
            ghidden_NG += g_NX @ weight_GX.T
    ghidden_BhwG = ghidden_NG.view(hidden_BhwG.shape).to(hidden_BhwG.dtype)
    return ghidden_BhwG, gv_BHWSX.flatten(3).to(v_BHWC.dtype), torch.stack(gweights).view(weight_kkGX.shape)


weighing = RowwiseOperator(
    "patchwise_weighing",
    _weigh,
    _weigh_back,
    like=lambda window, hidden, v, weight: [v.new_empty(*hidden.shape[:3], v.shape[-1])],
)
"""The sum over a window of v_j times hidden @ weight_j: (B, h, w, C). Channel c takes weight channel c mod X.

Inputs: hidden (B, h, w, G), v (B, H, W, C), weight (k, k, G, X).
"""
