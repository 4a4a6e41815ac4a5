"""Local self-attention over a window around each pixel (Ramachandran et al. 2019, arXiv 1906.05909).

Shapes: B batch, H W map, h w its map at stride, N heads, D head_dim, C = N * D channels, K = kernel_size ** 2.
"""

import torch
from torch import nn

from acmix_nas.errors import ArchError
from acmix_nas.operators.attention import AttentionMode, ModeCount, _blocked
from acmix_nas.operators.attention._windows import Window, locations, windows
from acmix_nas.parts import area
from acmix_nas.sizes import Pair

FORMULAS = ("2 d", "2 k_a^2 C hw + 2 d HW")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""


class Attention(AttentionMode):
    """softmax(d^-0.5 * q . (k - W loc)) v over the window of each query, reflected at the borders.

    The positional term of the paper is q . (p_q - p_k) with p = W loc. Softmax removes what depends on the query
    alone, so only p_k is left (docs/operator.md); loc holds the column, then the row, each from -1 to 1.

    Args:
        channels: Channels C of q, k and v.
        num_heads: Heads N.
        kernel_size: Odd extent of the window in pixels.
        stride: Distance of the queries in pixels.
        dilation: Distance of the window's pixels.

    Raises:
        ArchError: The window is even.
    """

    def __init__(self, channels: int, num_heads: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        if kernel_size % 2 == 0:
            raise ArchError(f"attn_kernel of local attention is odd; it is {kernel_size}.")
        self.num_heads = num_heads
        self.window = Window(kernel_size, stride, dilation)
        self.scale = (channels // num_heads) ** -0.5
        self.position = nn.Linear(2, channels // num_heads, bias=False)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends; see `AttentionMode.forward`."""
        return self._attend_plainly(q, k, v) if self.in_plain_form() else self._attend_in_blocks(q, k, v)

    def _attend_in_blocks(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        p_HWC = self.position(locations(k.shape[1], k.shape[2], k)).repeat(1, 1, self.num_heads)
        return _blocked.attend(q, k - p_HWC, v, self.num_heads, self.window)

    def _attend_plainly(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Both products elementwise, then summed: over the depth, and over the window."""
        heads = (self.num_heads, q.shape[-1] // self.num_heads)
        q_BhwND1 = torch.unflatten(q, -1, heads).unsqueeze(-1)
        p_HW1D = self.position(locations(k.shape[1], k.shape[2], k)).unsqueeze(-2)
        k_BhwNDK = windows(torch.unflatten(k, -1, heads) - p_HW1D, self.window)
        v_BhwNDK = windows(torch.unflatten(v, -1, heads), self.window)
        weights_BhwN1K = (self.scale * q_BhwND1 * k_BhwNDK).sum(-2, keepdim=True).softmax(-1)
        y_BhwND: torch.Tensor = (weights_BhwN1K * v_BhwNDK).sum(-1)
        return y_BhwND.flatten(-2)


def count(
    *, channels: int, num_heads: int, kernel_size: int, input_map: Pair, stride: int = 1, **_: object
) -> ModeCount:
    """Cost of `Attention`: 2 C K for each query, elementwise, and 2 d for each pixel's position."""
    queries, pixels, head_dim = area(input_map, stride), area(input_map), channels // num_heads
    attended = 2 * channels * kernel_size**2 * queries
    position = 2 * head_dim
    macs = attended + position * pixels
    return ModeCount(position, macs, head_dim * pixels, input_map, unseen_macs=attended)
