"""Windows around queries, reflected at the borders: their geometry, positions, and views of all places.

Shapes: B batch, H W map or padded map, h w map of queries, k kernel_size, C channels.
"""

from typing import Any, NamedTuple

import torch


class Window(NamedTuple):
    """Geometry of the windows.

    Attributes:
        kernel_size: Places k along an axis.
        stride: Distance of the queries in pixels.
        dilation: Distance of the places in pixels.
    """

    kernel_size: int
    stride: int
    dilation: int

    @property
    def span(self) -> int:
        """Pixels from the first place to the last."""
        return self.dilation * (self.kernel_size - 1) + 1


class Moments(NamedTuple):
    """Statistics of the `number` > 1 values of each channel.

    Attributes:
        mean: For each channel, float32 at least.
        variance: Likewise; the biased one.
        number: Values of a channel.
    """

    mean: torch.Tensor
    variance: torch.Tensor
    number: int


def padded(x_BHWC: torch.Tensor, window: Window) -> torch.Tensor:
    """Reflected at the borders, so that every place of every window is inside."""
    for dim in (1, 2):
        x_BHWC = x_BHWC.index_select(dim, reflected(x_BHWC.shape[dim], window.span // 2, x_BHWC.device))
    return x_BHWC


def windows(x_BHWC: torch.Tensor, window: Window) -> torch.Tensor:
    """The window of each query, reflected at the borders: (B, h, w, C, K); there may be more axes before C."""
    span, step = window.span, window.stride
    opened = padded(x_BHWC, window).unfold(1, span, step).unfold(2, span, step)
    return opened[..., :: window.dilation, :: window.dilation].flatten(-2)


def queries(x_BHWC: torch.Tensor, window: Window) -> tuple[int, int]:
    """Numbers of queries, h and w."""
    down, across = ((extent - window.span) // window.stride + 1 for extent in x_BHWC.shape[1:3])
    return down, across


def row(x_BHWC: torch.Tensor, window: Window, i: int) -> torch.Tensor:
    """The pixels at row i of the windows, a view (B, h, w, k, C)."""
    first, last = i * window.dilation, (queries(x_BHWC, window)[0] - 1) * window.stride
    x_BhwCX = x_BHWC[:, first : first + last + 1 : window.stride].unfold(2, window.span, window.stride)
    return x_BhwCX[..., :: window.dilation].transpose(-1, -2)


def places(x_BHWC: torch.Tensor, window: Window, i: int) -> list[torch.Tensor]:
    """The same, place by place: k views (B, h, w, C)."""
    down, across = (window.stride * (extent - 1) + 1 for extent in queries(x_BHWC, window))
    rows = x_BHWC[:, i * window.dilation : i * window.dilation + down : window.stride]
    return [rows[:, :, j : j + across : window.stride] for j in range(0, window.span, window.dilation)]


def wide(x: torch.Tensor) -> torch.Tensor:
    """In float32 at least, which sums and statistics are kept in."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def shared(x_BhwSX: torch.Tensor) -> torch.Tensor:
    """The sum over channels that share a weight, (B, h, w, X)."""
    return x_BhwSX.squeeze(3) if x_BhwSX.shape[3] == 1 else x_BhwSX.sum(3)


def locations(height: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(H, W, 2): the column, then the row, each from -1 to 1."""
    columns, rows = _from_minus_one_to_one(width, like), _from_minus_one_to_one(height, like)
    return torch.stack((columns.expand(height, width), rows.unsqueeze(-1).expand(height, width)), -1)


def _from_minus_one_to_one(extent: int, like: torch.Tensor) -> torch.Tensor:
    """As linspace, which torch.export cannot trace with an extent that is a symbol; -1 for extent 1."""
    index = torch.arange(extent, device=like.device).to(torch.promote_types(like.dtype, torch.float32))
    return (2 * index / index.amax(0).clamp(min=1) - 1).to(like.dtype)


def reflected(extent: int, padding: int, device: torch.device) -> torch.Tensor:
    """Indices of a padded axis, as numpy.pad with mode "reflect"."""
    return folded(torch.arange(-padding, extent + padding, device=device), extent)


def folded(index: torch.Tensor, extent: int) -> torch.Tensor:
    """Indices beyond an axis, as numpy.pad with mode "reflect": folded as often as needed; extent 1 repeats."""
    at_least: Any = torch.sym_max if is_symbolic(extent) else max
    period: Any = at_least(2 * (extent - 1), 1)
    if is_symbolic(extent):
        period = torch.full((), period, dtype=index.dtype, device=index.device)  # ONNX has no remainder by a symbol
    index = index % period
    return torch.minimum(index, period - index)


def is_symbolic(*extents: int) -> bool:
    """Whether an extent is still a symbol, as in an export for images of any size."""
    return any(isinstance(extent, torch.SymInt) for extent in extents)
