"""Group convolution of a map that is each pixel of a smaller one repeated over a square, from the smaller one.

Every place inside the squares sees the same few pixels of the small map, so the convolution is one of the small map
with an output for each place: the taps that fall on one pixel are summed beforehand, and nothing is repeated.
Shapes: B batch, h w the small map, r extent of the squares, X channels (depth, map), Y channels (depth, result, place),
O kernels of all depths, M maps they read, k k and u v extents of kernels on the large and on the small map.
"""

import torch
import torch.nn.functional as F


def convolved(x_BhwX: torch.Tensor, weight_YMuv: torch.Tensor, ratio: int, groups: int) -> torch.Tensor:
    """The convolution of the enlarged map at stride 1, zeros outside: (B, r * h, r * w, O).

    Args:
        x_BhwX: The small map.
        weight_YMuv: What `summed` made of the kernels.
        ratio: Extent r of the squares in pixels.
        groups: Number of depths.
    """
    padding = (weight_YMuv.shape[2] // 2, weight_YMuv.shape[3] // 2)
    y_BYhw = F.conv2d(x_BhwX.permute(0, 3, 1, 2), weight_YMuv, None, padding=padding, groups=groups)
    y_BOrrhw = torch.unflatten(y_BYhw, 1, (-1, ratio, ratio))
    return y_BOrrhw.permute(0, 4, 2, 5, 3, 1).flatten(3, 4).flatten(1, 2)


def summed(weight_OMkk: torch.Tensor, ratio: int, dilation: int) -> torch.Tensor:
    """Kernels for the small map, (O * r * r, M, u, u), from those for the large one."""
    place_rku = _places(weight_OMkk.shape[-1], ratio, dilation, weight_OMkk)
    weight_OrrMuv = torch.einsum("omij,aiu,bjv->oabmuv", weight_OMkk, place_rku, place_rku)
    return weight_OrrMuv.flatten(0, 2)


def small_extent(kernel_size: int, ratio: int, dilation: int) -> int:
    """Extent of a kernel on the small map."""
    return 2 * -(-dilation * (kernel_size // 2) // ratio) + 1


def _places(kernel_size: int, ratio: int, dilation: int, like: torch.Tensor) -> torch.Tensor:
    """(r, k, u): 1 where tap k of a kernel at place r in its square falls on pixel u of the small map."""
    place = torch.arange(ratio, device=like.device)[:, None]
    tap = dilation * (torch.arange(kernel_size, device=like.device) - kernel_size // 2)
    extent = small_extent(kernel_size, ratio, dilation)
    pixel_rk = (place + tap).div(ratio, rounding_mode="floor") + extent // 2
    return F.one_hot(pixel_rk, extent).to(like.dtype)
