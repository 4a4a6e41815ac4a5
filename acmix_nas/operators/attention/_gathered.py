"""SAN's two modes as a few gathers, for programs that `torch.export` traces.

They compute what `_patchwise` and `_pairwise` do. Those hold least memory at once, row by row, but take hundreds of
steps, each with extents that are long terms of the image's: tracing and translating them takes minutes. Here a step
takes all places or a row of them.
Shapes: B batch, H W padded map, h w map of queries, k kernel_size, C channels of v, D of the differences, R of k and of
gamma's hidden layer, G of phi's, X = C or C / 8 weights at each place, S = C / X.
"""

from collections.abc import Iterable

import torch
import torch.nn.functional as F

from acmix_nas.operators.attention._windows import Window, queries, wide


def is_traced() -> bool:
    """Whether `torch.export` traces. Under `torch.compile`, where `is_exporting` holds too, it does not."""
    return torch.compiler.is_exporting() and not torch.compiler.is_dynamo_compiling()


def reduction(
    window: Window, k_BHWR: torch.Tensor, scale_kkR: torch.Tensor, shift_kkR: torch.Tensor, weight_kkRG: torch.Tensor
) -> torch.Tensor:
    """As `_patchwise.reduction`."""
    z_BhwkkR = (scale_kkR * _windows(k_BHWR, window) + shift_kkR).relu()
    return z_BhwkkR.to(k_BHWR.dtype).flatten(3) @ weight_kkRG.flatten(0, 2)


def phi_weighing(
    window: Window, hidden_BhwG: torch.Tensor, v_BHWC: torch.Tensor, weight_kkGX: torch.Tensor
) -> torch.Tensor:
    """As `_patchwise.weighing`."""
    extent, width = weight_kkGX.shape[1], weight_kkGX.shape[3]
    of_rows = (hidden_BhwG @ weight_kGX.movedim(1, 0).flatten(1) for weight_kGX in weight_kkGX)
    return _weighed(v_BHWC, (torch.unflatten(row, -1, (extent, width)) for row in of_rows), window, width)


def softmax_weighing(
    window: Window,
    q_BhwD: torch.Tensor,
    k_BHWD: torch.Tensor,
    v_BHWC: torch.Tensor,
    weight_RD: torch.Tensor,
    bias_R: torch.Tensor,
    last_XR: torch.Tensor,
    last_bias_X: torch.Tensor,
) -> torch.Tensor:
    """As `_pairwise.weighing`."""
    r_BhwkkD = (_windows(k_BHWD, window) + q_BhwD[:, :, :, None, None]).relu().to(weight_RD.dtype)
    logits_BhwkkX = wide(F.linear(F.linear(r_BhwkkD, weight_RD, bias_R).relu(), last_XR, last_bias_X))
    weights_BhwkkX = torch.unflatten(logits_BhwkkX.flatten(3, 4).softmax(3), 3, (window.kernel_size,) * 2)
    return _weighed(v_BHWC, weights_BhwkkX.unbind(3), window, len(last_XR))


def _windows(x_BHWC: torch.Tensor, window: Window) -> torch.Tensor:
    """The window of each query, (B, h, w, k, k, C)."""
    rows_hk, columns_wk = _pixels(x_BHWC, window)
    opened = x_BHWC.index_select(1, rows_hk.flatten()).index_select(2, columns_wk.flatten())
    x_BhkwkC = opened.reshape(x_BHWC.shape[0], *rows_hk.shape, *columns_wk.shape, x_BHWC.shape[3])
    return x_BhkwkC.transpose(2, 3)


def _weighed(v_BHWC: torch.Tensor, weights: Iterable[torch.Tensor], window: Window, width: int) -> torch.Tensor:
    """The sum over a window of v_j times weights, which come by rows of places, (B, h, w, k, X): (B, h, w, C)."""
    rows_hk, columns_wk = _pixels(v_BHWC, window)
    v_BHYC = v_BHWC.index_select(2, columns_wk.flatten())
    places = (v_BHWC.shape[0], rows_hk.shape[0], *columns_wk.shape)
    sums = []
    for rows_h, weights_BhwkX in zip(rows_hk.unbind(1), weights, strict=True):
        v_BhwkSX = v_BHYC.index_select(1, rows_h).reshape(*places, -1, width)
        sums.append((v_BhwkSX * weights_BhwkX.unsqueeze(4)).sum(3))
    return torch.stack(sums).sum(0).flatten(3).to(v_BHWC.dtype)


def _pixels(x_BHWC: torch.Tensor, window: Window) -> list[torch.Tensor]:
    """The rows (h, k) and columns (w, k) that each query sees."""
    offset = window.dilation * torch.arange(window.kernel_size, device=x_BHWC.device)
    counts = queries(x_BHWC, window)
    return [window.stride * torch.arange(count, device=x_BHWC.device)[:, None] + offset for count in counts]
