"""Row-wise window attention: functions that go through the places of all windows row by row, over shifted views.

One takes hundreds of small steps, so it is one operator to `torch.compile`, which translates each step for seconds.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import torch

from acmix_nas.operators._second import refuse_second
from acmix_nas.operators.attention._windows import Window

Tensors: TypeAlias = Sequence[torch.Tensor]


class RowwiseOperator:
    """A row-wise function that autograd and compilers know as one operator, `acmix::NAME`.

    Args:
        name: Of the operator.
        forward: (window, *inputs) -> all tensors that it computes.
        backward: (window, inputs, kept, gradients of the results) -> gradient of each input.
        like: (window, *inputs) -> tensors of the shapes and dtypes that `forward` returns; reads no values.
        results: Number of tensors of `forward` that are results; the rest are kept for `backward`.
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
