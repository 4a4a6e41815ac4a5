"""The windows of all queries as a few gathers, for programs that `torch.export` traces.

A walk through the places (`_walk`) holds least at once, but takes hundreds of steps, each with extents that are long
terms of the image's; tracing and translating them takes minutes. Here a step takes all places or a row of them.
Shapes: B batch, H W map, h w map of queries, k kernel_size, K = k * k, C channels, G weight channels, S = C / G.
"""

import torch

from acmix_nas.operators.attention._blocked import folded
from acmix_nas.operators.attention._walk import Window


def windows(x_BHWC: torch.Tensor, window: Window) -> torch.Tensor:
    """The window of each query, reflected at the borders: (B, h, w, C, K)."""
    rows_hk, columns_wk = (_pixels(extent, window, x_BHWC.device) for extent in x_BHWC.shape[1:3])
    opened = x_BHWC.index_select(1, rows_hk.flatten()).index_select(2, columns_wk.flatten())
    x_BhkwkC = opened.reshape(x_BHWC.shape[0], *rows_hk.shape, *columns_wk.shape, x_BHWC.shape[3])
    return x_BhkwkC.permute(0, 1, 3, 5, 2, 4).flatten(-2)


def weighed(v_BHWC: torch.Tensor, weights_BhwGK: torch.Tensor, window: Window) -> torch.Tensor:
    """The sum over each window, channel c weighed by weight channel c mod G, row by row: (B, h, w, C)."""
    rows_hk, columns_wk = (_pixels(extent, window, v_BHWC.device) for extent in v_BHWC.shape[1:3])
    v_BHXC = v_BHWC.index_select(2, columns_wk.flatten())
    places = (v_BHWC.shape[0], rows_hk.shape[0], *columns_wk.shape)
    weights_BhwGkk = torch.unflatten(weights_BhwGK, -1, (window.kernel_size, window.kernel_size))
    groups = weights_BhwGK.shape[3]
    sums = []
    for rows_h, weights_BhwkG in zip(rows_hk.unbind(1), weights_BhwGkk.permute(4, 0, 1, 2, 5, 3).unbind(), strict=True):
        v_BhwkSG = v_BHXC.index_select(1, rows_h).reshape(*places, -1, groups)
        sums.append((v_BhwkSG * weights_BhwkG.unsqueeze(4)).sum(3))
    y_BhwSG = sums[0]
    for more in sums[1:]:
        y_BhwSG = y_BhwSG + more
    return y_BhwSG.flatten(3)


def _pixels(extent: int, window: Window, device: torch.device) -> torch.Tensor:
    """Along one axis the pixels that each query sees, (h, k)."""
    query = window.stride * torch.arange((extent + window.stride - 1) // window.stride, device=device)
    offset = window.dilation * (torch.arange(window.kernel_size, device=device) - window.kernel_size // 2)
    return folded(query[:, None] + offset, extent)
