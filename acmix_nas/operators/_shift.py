"""The four implementations of shift-and-sum (the field `conv_impl`), each (B, D*M, H, W) -> (B, C, h, w).

Shapes: B batch, H W map, h w its map at stride, N heads, D head_dim, C = N * D channels, M = kernel_size ** 2 maps.
The channel of depth j and map p on the way in is j * M + p; of depth j and head n on the way out j * N + n.
"""

import torch
import torch.nn.functional as F
from torch import nn


class TensorShift(nn.Module):
    """`shift`: map p moves by (p // k - k // 2, p % k - k // 2) * dilation, zeros come in, all maps are summed."""

    def __init__(self, num_heads: int, kernel_size: int, stride: int, dilation: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.dilation = dilation

    def taps(self, like: torch.Tensor) -> torch.Tensor:
        """The shifts as kernels (1, M, k, k), the same at every depth; of the dtype and on the device of `like`."""
        one_hot = torch.eye(self.kernel_size**2, dtype=like.dtype, device=like.device)
        return one_hot.reshape(1, -1, self.kernel_size, self.kernel_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        height, width = x.shape[-2:]
        k, r, s = self.kernel_size, self.dilation, self.stride
        maps_BDMHW = F.pad(torch.unflatten(x, 1, (-1, k**2)), (r * (k // 2),) * 4)
        moved = (
            maps_BDMHW[:, :, p, top : top + height : s, left : left + width : s]
            for p in range(k**2)
            for top, left in [(r * (p // k), r * (p % k))]
        )
        total = next(moved)
        for shifted in moved:
            total = total + shifted
        return total.repeat_interleave(self.num_heads, 1)


class ShiftKernels(nn.Module):
    """`groupconv`, `learnable` and `full`: the same sum as a group convolution over the M maps of each depth.

    Args:
        head_dim: Depths D, the groups.
        kernels: Kernels of each depth: N for `full`, else 1.
        repeats: How often each result map is repeated: 1 for `full`, else N.
        kernel_size: Odd extent k.
        stride: Of the convolution.
        dilation: Of the convolution.
        trainable: False for `groupconv`, whose kernels stay one-hot.
        init: "shift" for one-hot kernels at the start, or "kaiming".
    """

    weight: torch.Tensor

    def __init__(
        self,
        head_dim: int,
        kernels: int,
        repeats: int,
        kernel_size: int,
        *,
        stride: int,
        dilation: int,
        trainable: bool = True,
        init: str = "shift",
    ) -> None:
        super().__init__()
        self.groups = head_dim
        self.repeats = repeats
        self.stride = stride
        self.dilation = dilation
        self.padding = dilation * (kernel_size // 2)
        self.init = init
        weight = torch.empty(head_dim * kernels, kernel_size**2, kernel_size, kernel_size)
        if trainable:
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight, persistent=False)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the kernels; a host calls it after its own initialisation."""
        with torch.no_grad():
            if self.init == "kaiming":
                nn.init.kaiming_uniform_(self.weight, a=5**0.5)
            else:
                maps = self.weight.shape[1]
                one_hot = torch.eye(maps, dtype=self.weight.dtype, device=self.weight.device)
                self.weight.copy_(one_hot.reshape(self.weight.shape[1:]).expand_as(self.weight))

    def init_non_persistent_buffers(self) -> None:
        """Fills what a checkpoint does not hold; timm calls it after a model left the meta device."""
        if not isinstance(self.weight, nn.Parameter):
            self.init_weights()

    def taps(self, like: torch.Tensor) -> torch.Tensor:
        """The kernels (D * N, M, k, k) or (D, M, k, k)."""
        return self.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = F.conv2d(x, self.weight, None, self.stride, self.padding, self.dilation, self.groups)
        return y.repeat_interleave(self.repeats, 1) if self.repeats > 1 else y


def build(
    impl: str, head_dim: int, num_heads: int, kernel_size: int, *, stride: int, dilation: int, init: str
) -> TensorShift | ShiftKernels:
    """The implementation of that name (the field `conv_impl`)."""
    if impl == "shift":
        return TensorShift(num_heads, kernel_size, stride, dilation)
    kernels, trainable = num_heads if impl == "full" else 1, impl != "groupconv"
    return ShiftKernels(
        head_dim,
        kernels,
        num_heads // kernels,
        kernel_size,
        stride=stride,
        dilation=dilation,
        trainable=trainable,
        init=init if trainable else "shift",
    )
