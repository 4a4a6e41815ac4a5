"""The two forms of an operator's parts: fast, which is what runs, and plain, the named formulation literally."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


class TwoForms(nn.Module):
    """A part with two forms of one function.

    Attributes:
        plain: Whether it computes the formulation of docs/operator.md step by step.
    """

    plain: bool = False


@contextmanager
def plain_form(model: nn.Module) -> Iterator[None]:
    """Inside this context the model computes the formulation of docs/operator.md literally, as counters should see it.

    Both forms are the same function up to rounding, so weights, gradients and outputs stay what they are.

    Args:
        model: Any module; what it holds of ours is switched, and switched back at the end.
    """
    parts = [(part, part.plain) for part in model.modules() if isinstance(part, TwoForms)]
    try:
        for part, _ in parts:
            part.plain = True
        yield
    finally:
        for part, before in parts:
            part.plain = before
