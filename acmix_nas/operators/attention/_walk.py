"""The windows of all queries, walked through place by place: shifted views of a map that is padded once.

A walk takes hundreds of small steps, so it is one operator to `torch.compile`, which translates each step for seconds.
Shapes: B batch, H W padded map, h w map of queries, k kernel_size, C channels.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import torch

from acmix_nas.operators._second import refuse_second
from acmix_nas.operators.attention.local import _reflected


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


Tensors: TypeAlias = Sequence[torch.Tensor]


class Walk:
    """A walk as a function that autograd and compilers know as one operator, `acmix::NAME`.

    Args:
        name: Of the operator.
        forward: (window, *inputs) -> all that it computes.
        backward: (window, inputs, kept, gradients of the results) -> gradient of each input.
        like: (window, *inputs) -> tensors of the shapes and types that `forward` gives; no value is looked at.
        results: So many of what `forward` computes are results; the rest are kept for `backward`.
        keeps: Whether `backward` reads what `forward` computed; `kept` is empty otherwise.

    Attributes:
        operator: (window, inputs) -> all that `forward` computes.
        forward: What the operator does.
        backward: What its gradient does.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[..., Tensors],
        backward: Callable[[Window, Tensors, Tensors, Tensors], Tensors],
        *,
        like: Callable[..., Tensors],
        results: int = 1,
        keeps: bool = False,
    ) -> None:
        def keep(ctx: Any, inputs: tuple[Sequence[int], Tensors], output: Tensors) -> None:
            ctx.window, given = inputs
            ctx.given = len(given)
            ctx.save_for_backward(*given, *(output if keeps else ()))

        def differentiate(ctx: Any, grads: Tensors) -> tuple[None, list[torch.Tensor]]:
            saved = ctx.saved_tensors  # read once, as checkpointing wants
            return None, self._backward(ctx.window, saved[: ctx.given], saved[ctx.given :], grads[:results])

        self.forward, self.backward, self._results = forward, backward, results
        self.operator = torch.library.custom_op(
            f"acmix::{name}",
            lambda window, inputs: [x.contiguous() for x in self.forward(Window(*window), *inputs)],
            mutates_args=(),
            schema="(int[] window, Tensor[] inputs) -> Tensor[]",
        )
        self._backward = torch.library.custom_op(
            f"acmix::{name}_backward",
            lambda window, *tensors: [x.contiguous() for x in self.backward(Window(*window), *tensors)],
            mutates_args=(),
            schema="(int[] window, Tensor[] inputs, Tensor[] kept, Tensor[] grads) -> Tensor[]",
        )
        self.operator.register_fake(lambda window, inputs: list(like(Window(*window), *inputs)))
        self._backward.register_fake(lambda window, inputs, kept, grads: [x.new_empty(x.shape) for x in inputs])
        self.operator.register_autograd(differentiate, setup_context=keep)
        self._backward.register_autograd(refuse_second)

    def __call__(self, window: Window, *inputs: torch.Tensor) -> Any:
        """The result, or a tuple of several."""
        found = self.operator(window, inputs)[: self._results]
        return found[0] if self._results == 1 else tuple(found)


def padded(x_BHWC: torch.Tensor, window: Window) -> torch.Tensor:
    """Reflected at the borders, so that every place of every window is inside."""
    for dim in (1, 2):
        x_BHWC = x_BHWC.index_select(dim, _reflected(x_BHWC.shape[dim], window.span // 2, x_BHWC.device))
    return x_BHWC


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
