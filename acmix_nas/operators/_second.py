"""Second derivatives: fused kernels and row-wise operators have none, the plain form has."""

from typing import Any, NoReturn

import torch
import torch.nn.functional as F

from acmix_nas.errors import DerivativeError


def refuse_second(*_: object) -> NoReturn:
    """Stands where a second derivative would be computed.

    Raises:
        DerivativeError: Always.
    """
    raise DerivativeError(
        "the fast form of ACmix has no second derivatives, its plain form has; compute the loss inside "
        "`with acmix_nas.plain_form(model):`."
    )


def fused_attention(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, mask: torch.Tensor | None = None) -> Any:
    """`scaled_dot_product_attention`, whose gradient says what to do where it has no derivative itself.

    Args:
        q: Queries (..., L, D), no leaf of autograd's graph.
        k: Keys (..., M, D), likewise.
        v: Values (..., M, D), likewise.
        mask: What is added to the logits, (..., L, M).

    Returns:
        (..., L, D).
    """
    if torch.is_grad_enabled() and not torch.compiler.is_compiling():
        for x in (q, k, v):
            if x.requires_grad:
                x.register_hook(_guarded)  # type: ignore[no-untyped-call]
    return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)


def _guarded(grad: torch.Tensor | None) -> torch.Tensor | None:
    """Puts `refuse_second` before a derivative that is not there; some backends have one, and it stays."""
    if grad is None or grad.grad_fn is None or not grad.grad_fn.name().endswith("NotImplemented"):
        return None
    guarded: torch.Tensor = _Guard.apply(grad)
    return guarded


class _Guard(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, grad: torch.Tensor) -> torch.Tensor:
        return grad.view_as(grad)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> NoReturn:
        refuse_second()
