"""Attention of every query to the window around it, through fused kernels: over the whole map, or in blocks.

On a small map every query meets every pixel. Reflection puts a pixel into a window n times, which is log(n) in the
mask: exp(l + log(n)) = n exp(l); a pixel outside the window has n = 0. Nothing is copied.

On a larger map a block of T x T queries shares one patch of S x S keys, S = step * (T - 1) + kernel_size, and a band
in the mask leaves each query its own window. Patches overlap little, so keys and values are held (S / T)^2 times, not
kernel_size^2 times, and logits never leave the fused kernel, in the backward pass neither.
Shapes: B batch, H W map, h w its map at stride, N heads, D head_dim, C = N * D channels, b c blocks down and across.
"""

from math import gcd
from typing import NamedTuple

import torch
import torch.nn.functional as F

from acmix_nas.operators._second import fused_attention
from acmix_nas.operators.attention import _in_cache
from acmix_nas.operators.attention._windows import Window, folded, is_symbolic

BLOCK = 7
"""Extent of a block in queries, at most: at 7 gathering keys and masked-out logits cost about the same."""
SMALL = 196
"""Pixels of a map that is not cut into blocks, at most: a map of 14 x 14 has no more logits at once than in blocks."""
GATHERED = 2**21
"""Numbers of gathered keys that are held at once, about: larger batches go in portions of whole images."""


def attend(
    q_BhwC: torch.Tensor, k_BHWC: torch.Tensor, v_BHWC: torch.Tensor, num_heads: int, window: Window
) -> torch.Tensor:
    """softmax(d^-0.5 * q . k) v over the reflected window of each query, (B, h, w, C)."""
    _, height, width, _ = k_BHWC.shape
    if not is_symbolic(height, width) and height * width <= SMALL:
        return _attend_at_once(q_BhwC, k_BHWC, v_BHWC, num_heads, window)
    down, across = (_axis(extent, *window, k_BHWC.device) for extent in (height, width))
    mask_TS = _band(down, across, q_BhwC)
    images = _portion(k_BHWC, down, across)
    if images is None:
        return _attend_in_blocks(q_BhwC, k_BHWC, v_BHWC, num_heads, down, across, mask_TS)
    portions = zip(*(torch.split(x, images) for x in (q_BhwC, k_BHWC, v_BHWC)), strict=True)
    return torch.cat([_attend_in_blocks(q, k, v, num_heads, down, across, mask_TS) for q, k, v in portions])


def _attend_at_once(
    q_BhwC: torch.Tensor, k_BHWC: torch.Tensor, v_BHWC: torch.Tensor, num_heads: int, window: Window
) -> torch.Tensor:
    down, across = (_times(extent, *window, q_BhwC).log() for extent in (k_BHWC.shape[1], k_BHWC.shape[2]))
    mask_hwHW = down[:, None, :, None] + across[None, :, None, :]
    q, k, v = (torch.unflatten(x.flatten(1, 2), -1, (num_heads, -1)).transpose(1, 2) for x in (q_BhwC, k_BHWC, v_BHWC))
    mask_TS, scale = mask_hwHW.flatten(2).flatten(0, 1), q.shape[-1] ** -0.5
    if q.shape[-1] < _in_cache.NARROW and q.requires_grad and _in_cache.serves(q, mask_TS):
        y_BNXD = _in_cache.attend(q[:, None], k[:, None], v[:, None], mask_TS[None, None], scale)[:, 0]
    else:
        y_BNXD = fused_attention(q, k, v, mask_TS)
    return torch.unflatten(y_BNXD.transpose(1, 2).flatten(2), 1, (q_BhwC.shape[1], q_BhwC.shape[2]))


def _times(extent: int, kernel_size: int, stride: int, dilation: int, like: torch.Tensor) -> torch.Tensor:
    """(h, H): how often a pixel of one axis lies in the window of a query."""
    pixels = torch.arange(extent, device=like.device)
    offset = dilation * (torch.arange(kernel_size, device=like.device) - kernel_size // 2)
    window_hK = folded(pixels[::stride, None] + offset, extent)
    return (window_hK.unsqueeze(-1) == pixels).sum(1).to(like.dtype)


def _attend_in_blocks(
    q_BhwC: torch.Tensor,
    k_BHWC: torch.Tensor,
    v_BHWC: torch.Tensor,
    num_heads: int,
    down: "_Axis",
    across: "_Axis",
    mask_TS: torch.Tensor,
) -> torch.Tensor:
    query_index, key_index = _pixels(down.queries, across.queries, q_BhwC), _pixels(down.keys, across.keys, k_BHWC)
    y_XNTD = fused_attention(
        _gathered(q_BhwC, query_index, num_heads),
        _gathered(k_BHWC, key_index, num_heads),
        _gathered(v_BHWC, key_index, num_heads),
        mask_TS,
    )
    blocks = (down.queries.shape[0], across.queries.shape[0], down.queries.shape[1], across.queries.shape[1])
    y_BbcTTC = y_XNTD.transpose(1, 2).reshape(k_BHWC.shape[0], *blocks, k_BHWC.shape[3])
    y_BbTcTC = y_BbcTTC.transpose(2, 3)
    if is_symbolic(*k_BHWC.shape):
        y_BbTcTC = y_BbTcTC.clone(memory_format=torch.contiguous_format)  # strides then depend on no guess about sizes
    y_BhwC = _in_order(y_BbTcTC.flatten(3, 4).flatten(1, 2), down.phases, across.phases)
    if is_symbolic(*k_BHWC.shape):  # not known: without it the map that is left has an extent that compares with none
        torch._check(y_BhwC.shape[1] >= q_BhwC.shape[1])
        torch._check(y_BhwC.shape[2] >= q_BhwC.shape[2])
    return y_BhwC[:, : q_BhwC.shape[1], : q_BhwC.shape[2]]


def _band(down: "_Axis", across: "_Axis", like: torch.Tensor) -> torch.Tensor:
    """(T * T, S * S): 0 where a key of a block's patch lies in the window of a query, else -inf."""
    allowed = down.band[:, None, :, None] & across.band[None, :, None, :]
    mask = torch.zeros(allowed.shape, dtype=like.dtype, device=like.device).masked_fill(~allowed, float("-inf"))
    return mask.flatten(2).flatten(0, 1)


def _portion(k_BHWC: torch.Tensor, down: "_Axis", across: "_Axis") -> int | None:
    """Images that are attended at once, in equal portions; None for all, as while sizes are symbols."""
    batch, height, width, channels = k_BHWC.shape
    if is_symbolic(batch, height, width):
        return None
    at_most = max(GATHERED // (down.keys.numel() * across.keys.numel() * channels), 1)
    return None if batch <= at_most else -(-batch // -(-batch // at_most))


class _Axis(NamedTuple):
    """Blocks along one axis.

    Attributes:
        queries: (blocks, T) indices of queries.
        keys: (blocks, S) indices of pixels.
        band: (T, S), whether a key lies in the window of a query.
        phases: Number of classes of queries, `i % phases`; only those of one class share dilated keys. Blocks
            are ordered by class.
    """

    queries: torch.Tensor
    keys: torch.Tensor
    band: torch.Tensor
    phases: int


def _axis(extent: int, kernel_size: int, stride: int, dilation: int, device: torch.device) -> _Axis:
    """Query m of phase i stands at pixel stride * i + dilation * step * m; its keys lie a dilation apart."""
    queries = (extent + stride - 1) // stride  # ONNX divides whole numbers towards 0, so none is negative
    phases, step = dilation // gcd(dilation, stride), stride // gcd(dilation, stride)
    in_phase = (queries + phases - 1) // phases
    blocks = (in_phase + BLOCK - 1) // BLOCK
    size = BLOCK if is_symbolic(extent) else -(-in_phase // blocks)
    phase = torch.arange(phases, device=device)[:, None, None]
    first = size * torch.arange(blocks, device=device)[:, None]
    place, offset = torch.arange(size, device=device), torch.arange(step * (size - 1) + kernel_size, device=device)
    query = (phase + phases * (first + place)).flatten(0, 1)
    pixel = (stride * phase + dilation * (step * first + offset - kernel_size // 2)).flatten(0, 1)
    ahead = offset - step * place[:, None]
    return _Axis(query.clamp(max=queries - 1), folded(pixel, extent), (ahead >= 0) & (ahead < kernel_size), phases)


def _pixels(rows_bT: torch.Tensor, columns_cT: torch.Tensor, x_BHWC: torch.Tensor) -> torch.Tensor:
    """Indices into the pixels of all images, one row for each block: (B * b * c, T * T)."""
    batch, height, width = x_BHWC.shape[:3]
    image = height * width * torch.arange(batch, device=rows_bT.device)[:, None, None, None, None]
    index_BbcTT = image + width * rows_bT[:, None, :, None] + columns_cT[:, None, :]
    return index_BbcTT.flatten(3).flatten(0, 2)


def _gathered(x_BHWC: torch.Tensor, index_XT: torch.Tensor, num_heads: int) -> torch.Tensor:
    """(X, N, T, D). An embedding: whole rows are copied, and its backward pass adds whole rows."""
    x_XTC = F.embedding(index_XT, x_BHWC.reshape(-1, x_BHWC.shape[-1]))
    return torch.unflatten(x_XTC, -1, (num_heads, -1)).transpose(1, 2)


def _in_order(y_BhwC: torch.Tensor, phases_down: int, phases_across: int) -> torch.Tensor:
    """Queries of all phases in the order of the map."""
    for dim, phases in ((1, phases_down), (2, phases_across)):
        if phases > 1:
            y_BhwC = torch.unflatten(y_BhwC, dim, (phases, -1)).transpose(dim, dim + 1).flatten(dim, dim + 1)
    return y_BhwC
