"""ACmix's convolution path.

Shapes: B batch, H W map, h w its map at stride, N heads, D head_dim, C channels, M = kernel_size ** 2 maps.
"""

import torch
from torch import nn

from acmix_nas.operators import _shift


class ConvolutionPath(nn.Module):
    """The 3N projected maps of each depth, mixed into k^2 maps by one light layer, shifted and summed.

    Input map number part * N + head, parts in the order q, k, v; output channel depth * N + head, not head * D + depth
    as in attention: the learned weights absorb it and checkpoints rely on it (docs/operator.md). Where q and k are
    narrower than v, D is that of the keys, v gives C / D maps at each depth, and so many outputs are made there.

    Args:
        channels: Channels C of v and of the result.
        num_heads: Heads N that q and k are cut into.
        kernel_size: Odd extent k of the kernels.
        stride: Of the result.
        dilation: Distance of the shifts.
        impl: Implementation of shift-and-sum.
        init: "shift" or "kaiming" kernels at the start.
        fc_bias: Whether the light layer has a bias.
        key_channels: Channels of q and k; C if None.
        kernel_bias: Whether the result has a bias.
    """

    def __init__(
        self,
        channels: int,
        num_heads: int,
        kernel_size: int,
        *,
        stride: int,
        dilation: int,
        impl: str,
        init: str,
        fc_bias: bool,
        key_channels: int | None = None,
        kernel_bias: bool = False,
    ) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.head_dim = (key_channels or channels) // num_heads
        outputs = channels // self.head_dim
        self.fc = nn.Linear(2 * num_heads + outputs, kernel_size**2, bias=fc_bias)
        self.kernels = _shift.build(
            impl, self.head_dim, outputs, kernel_size, stride=stride, dilation=dilation, init=init
        )
        self.bias = nn.Parameter(torch.empty(channels)) if kernel_bias else None
        self.init_weights()

    def init_weights(self) -> None:
        """Sets `fc` and the kernels; a host calls it after its own initialisation, which must not reach them."""
        self.fc.reset_parameters()
        if self.fc.bias is not None:
            nn.init.zeros_(self.fc.bias)
        if isinstance(self.kernels, _shift.ShiftKernels):
            self.kernels.init_weights()
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, qkv: torch.Tensor) -> torch.Tensor:
        """Convolves.

        Args:
            qkv: Projections q, k, v side by side, (B, H, W, 3C) if all are C wide.

        Returns:
            (B, h, w, C).
        """
        maps_BHWDP = torch.unflatten(qkv, -1, (-1, self.head_dim)).transpose(-1, -2)
        mixed_BHWX = self.fc(maps_BHWDP).flatten(-2)
        y_BChw: torch.Tensor = self.kernels(mixed_BHWX.permute(0, 3, 1, 2))
        y_BhwC = y_BChw.permute(0, 2, 3, 1)
        return y_BhwC if self.bias is None else y_BhwC + self.bias
