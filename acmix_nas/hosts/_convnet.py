"""What hosts of convolutions and batch norms share: how they start, and what autocast must leave in float32."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from timm.models._features_fx import register_notrace_module
from torch import nn


def init_convnet(module: nn.Module, name: str = "", *, needs_reset: bool) -> None:
    """Draws as timm's ResNet. Children come first: a mixer's own `init_weights` has the last word on its layers."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif (init := getattr(module, "init_weights", None)) is not None:
        init()
    elif needs_reset and (reset := getattr(module, "reset_parameters", None)) is not None:
        reset()


@register_notrace_module  # what it does depends on where it is called
class Float32Conv2d(nn.Conv2d):
    """A convolution that autocast leaves in float32.

    It is for what all layers behind it read: a rounding there turns every gradient before it.

    Args:
        args: As of `nn.Conv2d`.
        keeps: Whether its result stays in float32 too, and so do norms behind it; else it has autocast's type.
        options: As of `nn.Conv2d`.
    """

    def __init__(self, *args: Any, keeps: bool = False, **options: Any) -> None:
        super().__init__(*args, **options)
        self.keeps = keeps

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """(B, C_in, H, W) -> (B, C, h, w)."""
        if not autocasts(input):
            return super().forward(input)
        with without_autocast(input):
            y = super().forward(input.to(self.weight.dtype))
        return y if self.keeps else y.to(torch.get_autocast_dtype(input.device.type))


def without_autocast(x: torch.Tensor) -> AbstractContextManager[Any]:
    """A context in which operations compute in the types of their inputs on the device of x."""
    return torch.autocast(x.device.type, enabled=False) if autocasts(x) else nullcontext()


def autocasts(x: torch.Tensor) -> bool:
    """Whether autocast is on where x lies."""
    kind = x.device.type
    return torch.amp.is_autocast_available(kind) and torch.is_autocast_enabled(kind)
