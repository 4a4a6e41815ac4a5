"""How hosts of convolutions and batch norms start."""

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
