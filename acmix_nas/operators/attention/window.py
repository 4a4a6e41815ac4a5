"""Self-attention in windows that may be shifted (Swin, Liu et al. 2021, arXiv 2103.14030).

Shapes: B batch, H W map, n windows of one image, T tokens of a window, N heads, D head_dim, C = N * D channels.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import nn

from acmix_nas.operators._second import fused_attention
from acmix_nas.operators.attention import MapMode, ModeCount, Weight, _in_cache, scaled_linear
from acmix_nas.operators.attention._windows import is_symbolic
from acmix_nas.operators.forms import Kinds
from acmix_nas.parts import area
from acmix_nas.sizes import Pair

MASKED = -100.0
"""Added to the logits of two pixels that only the rolling made neighbours; the value of Swin and timm."""

FORMULAS = ("(2 k_a - 1)^2 N + C^2 + C", "2 k_a^2 C HW + C^2 hw")
"""Parameters and multiply-adds in the symbols of `acmix_nas.cost.stages`."""


class Attention(MapMode):
    """proj(softmax(d^-0.5 * q k + relative position bias) v) in windows of kernel_size x kernel_size pixels.

    Maps that the window does not divide are padded with zeros at the right and the bottom before q, k and v are
    projected, as in timm. With a stride, the queries between are left out of the result. Windows are never dilated.

    Args:
        channels: Channels C of q, k and v.
        num_heads: Heads N.
        kernel_size: Extent of the window in pixels.
        stride: Distance of the queries in pixels.
        dilation: Without effect here.
    """

    relative_position_index: torch.Tensor
    mask: torch.Tensor | None
    frozen: torch.Tensor | None
    READ: ClassVar[Mapping[str, Kinds]] = {"proj": (nn.Linear,)}

    def __init__(self, channels: int, num_heads: int, kernel_size: int, *, stride: int = 1, dilation: int = 1) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.kernel_size = kernel_size
        self.stride = stride
        self.scale = (channels // num_heads) ** -0.5
        self.window_size = (kernel_size, kernel_size)
        self.shift_size = (0, 0)
        self.map_size: tuple[int, int] | None = None
        self.relative_position_bias_table = nn.Parameter(torch.empty(_table_length(self.window_size), num_heads))
        self.proj = nn.Linear(channels, channels)
        self.register_buffer("relative_position_index", None, persistent=False)
        self.register_buffer("mask", None, persistent=False)
        self.register_buffer("frozen", None)
        self.init_weights()

    def init_weights(self) -> None:
        """Draws the relative position biases; a host calls it after its own initialisation."""
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Fills what a checkpoint does not hold; timm calls it after a model left the meta device."""
        device = self.relative_position_bias_table.device
        self.relative_position_index = _relative_positions(self.window_size, device)
        self.mask = None
        if any(self.shift_size) and self.map_size is not None:
            self.mask = self._mask(self._padded(*self.map_size), self.relative_position_bias_table)
        if self.frozen is not None:
            self.freeze()

    def freeze(self) -> None:
        """Adds up biases and mask, once and for all maps of the size that is known."""
        biases = self._bias().detach().unsqueeze(0)
        self.frozen = biases if self.mask is None else biases + self.mask

    def place(self, map_size: tuple[int, int] | None, *, shifted: bool = False) -> None:
        """Clamps the window to the map and shifts it by half, as timm: not where one window covers the map."""
        old = self.window_size
        extents = map_size or (self.kernel_size + 1, self.kernel_size + 1)
        self.map_size = map_size
        self.window_size = (min(extents[0], self.kernel_size), min(extents[1], self.kernel_size))
        half = self.kernel_size // 2 if shifted else 0
        self.shift_size = (0 if extents[0] <= self.kernel_size else half, 0 if extents[1] <= self.kernel_size else half)
        if self.window_size != old:
            table = _resized(self.relative_position_bias_table.detach(), old, self.window_size)
            self.relative_position_bias_table = nn.Parameter(table)
        self.init_non_persistent_buffers()

    def arrange(self, x: torch.Tensor) -> torch.Tensor:
        """Rolls by the shift and pads to whole windows."""
        if any(self.shift_size):
            x = torch.roll(x, (-self.shift_size[0], -self.shift_size[1]), (1, 2))
        height, width = x.shape[1], x.shape[2]
        rows, columns = self._padded(height, width)
        if is_symbolic(rows, columns):
            torch._check(rows >= height)  # so that cropping is known to give the old size
            torch._check(columns >= width)
        elif (rows, columns) == (height, width):
            return x
        return F.pad(x, (0, 0, 0, columns - width, 0, rows - height))

    def restore(self, x: torch.Tensor) -> torch.Tensor:
        """Rolls back."""
        return torch.roll(x, self.shift_size, (1, 2)) if any(self.shift_size) else x

    def weighed(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, alpha: Weight) -> torch.Tensor:
        """Alpha times `forward`: alpha rides on proj."""
        return scaled_linear(self._attended(q, k, v), self.proj, alpha)

    def weighed_map(self, x: torch.Tensor, qkv: nn.Linear, alpha: Weight) -> torch.Tensor:
        """The map is cut into windows before it is projected: a third of what is moved after it."""
        windows_BnTC = self._cut(x)
        parts_BnT3ND = torch.unflatten(qkv(windows_BnTC), -1, (3, self.num_heads, -1))
        q, k, v = parts_BnT3ND.permute(3, 0, 1, 4, 2, 5).flatten(1, 2).unbind()
        bias_nNTT = self._biases(x).to(x.dtype)
        if any(self.shift_size):
            bias_nNTT = repeated(bias_nNTT.unsqueeze(0), x.shape[0])
        y_XNTD = fused_attention(q, k, v, bias_nNTT)
        y_BnNTD = torch.unflatten(y_XNTD, 0, windows_BnTC.shape[:2])
        return scaled_linear(self._merged(y_BnNTD, x.shape[1], x.shape[2]), self.proj, alpha)

    def forward(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attends; see `AttentionMode.forward`."""
        return self.weighed(q, k, v, 1.0)

    def _attended(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """What proj reads, at stride."""
        if self.stride > 1:
            q = self._spread(q, k)
        bias_nNTT = self._biases(k)
        windows = (self._windows(q), self._windows(k), self._windows(v))
        if self.in_plain_form() or (bias_nNTT.requires_grad and not _in_cache.serves(windows[0], bias_nNTT)):
            x_BnNTD = self._attend_plainly(*windows, bias_nNTT)
        elif bias_nNTT.requires_grad:
            x_BnNTD = _in_cache.attend(*windows, bias_nNTT, self.scale)
        else:
            x_BnNTD = self._attend_fused(*windows, bias_nNTT)
        return self._merged(x_BnNTD, k.shape[1], k.shape[2])[:, :: self.stride, :: self.stride]

    def _attend_plainly(
        self, q_BnNTD: torch.Tensor, k_BnNTD: torch.Tensor, v_BnNTD: torch.Tensor, bias_nNTT: torch.Tensor
    ) -> torch.Tensor:
        """Product, sum, softmax, product: also the fastest where the biases learn, which fused kernels do not serve."""
        logits_BnNTT = (self.scale * q_BnNTD) @ k_BnNTD.transpose(-1, -2) + bias_nNTT
        y: torch.Tensor = logits_BnNTT.softmax(-1) @ v_BnNTD
        return y

    def _attend_fused(
        self, q_BnNTD: torch.Tensor, k_BnNTD: torch.Tensor, v_BnNTD: torch.Tensor, bias_nNTT: torch.Tensor
    ) -> torch.Tensor:
        """One kernel; the windows of an image count as heads, so that one mask serves the batch."""
        windows = q_BnNTD.shape[1]
        bias_XTT = repeated(bias_nNTT, windows).to(q_BnNTD.dtype)
        q, k, v = (x.flatten(1, 2) for x in (q_BnNTD, k_BnNTD, v_BnNTD))
        y_BXTD = fused_attention(q, k, v, bias_XTT.unsqueeze(0))
        return torch.unflatten(y_BXTD, 1, (windows, self.num_heads))

    def _spread(self, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
        """Queries at stride as a map of full size, zeros between: windows hold unequal numbers of them."""
        spread = torch.zeros_like(k)
        spread[:, :: self.stride, :: self.stride] = q
        return spread

    def _windows(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, n, N, T, D)."""
        (batch, height, width, channels), (rows, columns) = x_BHWC.shape, self.window_size
        shape = (batch, height // rows, rows, width // columns, columns, self.num_heads, channels // self.num_heads)
        return x_BHWC.reshape(shape).permute(0, 1, 3, 5, 2, 4, 6).flatten(4, 5).flatten(1, 2)

    def _cut(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """(B, H, W, C) -> (B, n, T, C)."""
        (batch, height, width, channels), (rows, columns) = x_BHWC.shape, self.window_size
        x = x_BHWC.reshape(batch, height // rows, rows, width // columns, columns, channels)
        # Copied also where there is one window: an exported program must not ask how many there are.
        windows = x.permute(0, 1, 3, 2, 4, 5).clone(memory_format=torch.contiguous_format)
        return windows.flatten(3, 4).flatten(1, 2)

    def _merged(self, x_BnNTD: torch.Tensor, height: int, width: int) -> torch.Tensor:
        """The inverse of `_windows`."""
        rows, columns = self.window_size
        n_BhwNTD = torch.unflatten(x_BnNTD, 1, (height // rows, width // columns))
        x = torch.unflatten(n_BhwNTD, 4, (rows, columns))
        return x.permute(0, 1, 4, 2, 5, 3, 6).flatten(5, 6).flatten(3, 4).flatten(1, 2)

    def _biases(self, k: torch.Tensor) -> torch.Tensor:
        """(n, N, T, T): biases, and where windows are shifted the mask; n is 1 if all windows have the same."""
        shifted = any(self.shift_size)
        if self.frozen is not None and (not shifted or self._is_known(k)):
            return self.frozen
        bias_1NTT = self._bias().unsqueeze(0)
        return bias_1NTT + self._mask_for(k) if shifted else bias_1NTT

    def _bias(self) -> torch.Tensor:
        return self.relative_position_bias_table[self.relative_position_index].permute(2, 0, 1)

    def _mask_for(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        if self.mask is None or not self._is_known(x_BHWC):
            return self._mask((x_BHWC.shape[1], x_BHWC.shape[2]), x_BHWC)
        return self.mask.to(x_BHWC.dtype)

    def _is_known(self, x_BHWC: torch.Tensor) -> bool:
        """Whether it is the padded map that the mode was placed on."""
        size = (x_BHWC.shape[1], x_BHWC.shape[2])
        return self.map_size is not None and not is_symbolic(*size) and size == self._padded(*self.map_size)

    def _mask(self, size: tuple[int, int], like: torch.Tensor) -> torch.Tensor:
        """(n, 1, T, T): MASKED between pixels of one window that come from opposite edges of the image."""
        rows_aR, columns_bS = (
            torch.unflatten((index >= extent - window).long() + (index >= extent - shift).long(), 0, (-1, window))
            for extent, window, shift in zip(size, self.window_size, self.shift_size, strict=True)
            for index in [torch.arange(extent, device=like.device)]
        )
        region_abRS = 3 * rows_aR[:, None, :, None] + columns_bS[None, :, None, :]
        region_nT = region_abRS.flatten(2).flatten(0, 1)
        apart = region_nT[:, None, :, None] != region_nT[:, None, None, :]
        return apart.to(like.dtype) * MASKED

    def _padded(self, height: int, width: int) -> tuple[int, int]:
        rows, columns = self.window_size
        return (height + rows - 1) // rows * rows, (width + columns - 1) // columns * columns


def count(
    *,
    channels: int,
    num_heads: int,
    kernel_size: int,
    input_map: Pair,
    stride: int = 1,
    map_size: Pair | None = None,
    **_: object,
) -> ModeCount:
    """Cost of `Attention`: 2 C T for each pixel of the padded map, and proj."""
    rows, columns = (min(kernel_size, extent) for extent in map_size or (kernel_size, kernel_size))
    arranged = (-(-input_map[0] // rows) * rows, -(-input_map[1] // columns) * columns)
    tokens, pixels, queries = rows * columns, area(arranged), area(arranged, stride)
    params = _table_length((rows, columns)) * num_heads + channels**2 + channels
    macs = 2 * channels * tokens * pixels + channels**2 * queries
    return ModeCount(params, macs, (num_heads * tokens + channels) * pixels + channels * queries, arranged)


def repeated(bias_nX: torch.Tensor, count: int) -> torch.Tensor:
    """(n, N, ...) -> (count N, ...): the biases as often as needed, where n is 1 or the count itself.

    Copied also where the count is 1: an exported program must not ask what it is.
    """
    wide = bias_nX.expand(count, *bias_nX.shape[1:]).clone(memory_format=torch.contiguous_format)
    return wide.flatten(0, 1)


def _table_length(window_size: tuple[int, int]) -> int:
    return (2 * window_size[0] - 1) * (2 * window_size[1] - 1)


def _relative_positions(window_size: tuple[int, int], device: torch.device) -> torch.Tensor:
    """(T, T) rows of the bias table: (row difference, column difference), each counted from its least."""
    rows, columns = window_size
    row = torch.arange(rows * columns, device=device) // columns
    column = torch.arange(rows * columns, device=device) % columns
    down = row[:, None] - row + rows - 1
    right = column[:, None] - column + columns - 1
    return down * (2 * columns - 1) + right


def _resized(table: torch.Tensor, old: tuple[int, int], new: tuple[int, int]) -> torch.Tensor:
    image = table.T.reshape(1, -1, 2 * old[0] - 1, 2 * old[1] - 1)
    image = F.interpolate(image, (2 * new[0] - 1, 2 * new[1] - 1), mode="bicubic", align_corners=False)
    return image.flatten(2)[0].T.contiguous()
