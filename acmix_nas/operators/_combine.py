"""The nine rules of F = alpha * F_att + beta * F_conv (the field `combine`).

Shapes: B batch, H W map, h w its map at stride, I in_channels, C out_channels.
Names of learned weights: `alpha`, `beta`, `alpha_logit`; no host decays parameters of these names.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from acmix_nas.operators.attention import Weight

Mixing = tuple[float, float]


class Sum(nn.Module):
    """alpha * F_att + beta * F_conv, both given; a forward hook on it sees what each path contributes."""

    def forward(self, att: torch.Tensor, conv: torch.Tensor) -> torch.Tensor:
        return att + conv


class Combination(nn.Module, ABC):
    """Base of the rules. All that is combined goes through `sum`."""

    def __init__(self) -> None:
        super().__init__()
        self.sum = Sum()

    @abstractmethod
    def mixing(self) -> Mixing | None:
        """(alpha, beta), the mean over channels; None where they depend on the data."""

    @abstractmethod
    def weights(self) -> tuple[Weight, Weight] | None:
        """(alpha, beta) as F is computed from, each 1 or C wide; None where they depend on the data."""

    def forward(self, att: torch.Tensor, conv: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Combines the paths, by `weights` if they do not depend on the data.

        Args:
            att: Attention path (B, h, w, C).
            conv: Convolution path (B, h, w, C).
            x: Input of the operator (B, H, W, I).

        Returns:
            (B, h, w, C).
        """
        weights = self.weights()
        assert weights is not None
        alpha, beta = weights
        y: torch.Tensor = self.sum(att if isinstance(alpha, float) and alpha == 1 else alpha * att, beta * conv)
        return y


class Fixed(Combination):
    """`att`, `conv`, `sum`, `half`: two constants."""

    def __init__(self, alpha: float, beta: float) -> None:
        super().__init__()
        self.alpha = alpha
        self.beta = beta

    def mixing(self) -> Mixing:
        return self.alpha, self.beta

    def weights(self) -> tuple[Weight, Weight]:
        return self.alpha, self.beta


class Learned(Combination):
    """`beta`, `learned`, `channel`: weights learned from 0.5.

    Args:
        width: 1, or the number of channels for one pair per channel.
        learn_alpha: False to keep alpha at 1.
    """

    def __init__(self, width: int = 1, *, learn_alpha: bool = True) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.empty(width)) if learn_alpha else None
        self.beta = nn.Parameter(torch.empty(width))
        self.init_weights()

    def init_weights(self) -> None:
        """Sets the weights to 0.5."""
        if self.alpha is not None:
            nn.init.constant_(self.alpha, 0.5)
        nn.init.constant_(self.beta, 0.5)

    def mixing(self) -> Mixing:
        return 1.0 if self.alpha is None else self.alpha.mean().item(), self.beta.mean().item()

    def weights(self) -> tuple[Weight, Weight]:
        return 1.0 if self.alpha is None else self.alpha, self.beta


class Convex(Combination):
    """`convex`: alpha = sigmoid(a) from 0.5, beta = 1 - alpha."""

    def __init__(self) -> None:
        super().__init__()
        self.alpha_logit = nn.Parameter(torch.empty(1))
        self.init_weights()

    def init_weights(self) -> None:
        """Sets a to 0."""
        nn.init.zeros_(self.alpha_logit)

    def mixing(self) -> Mixing:
        alpha = self.alpha_logit.sigmoid().item()
        return alpha, 1 - alpha

    def weights(self) -> tuple[Weight, Weight]:
        alpha = self.alpha_logit.sigmoid()
        return alpha, 1 - alpha


class Gate(nn.Module):
    """softmax over the paths of W2 ReLU(W1 mean(x) + b1) + b2, as selective kernels (Li et al. 2019).

    Its output (B, 2, C) holds alpha, then beta; a forward hook on it sees what the data chose.
    """

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.reduce = nn.Linear(in_channels, gate_width(channels))
        self.expand = nn.Linear(gate_width(channels), 2 * channels)
        self.init_weights()

    def init_weights(self) -> None:
        """Sets W2 and b2 to 0, so that both weights start at 0.5."""
        nn.init.zeros_(self.expand.weight)
        nn.init.zeros_(self.expand.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.expand(self.reduce(x.mean((1, 2))).relu())
        return torch.unflatten(logits, -1, (2, -1)).softmax(1)


class Gated(Combination):
    """`gated`: one pair for each image and channel, computed by `gate` from the mean of the input."""

    def __init__(self, in_channels: int, channels: int) -> None:
        super().__init__()
        self.gate = Gate(in_channels, channels)

    def mixing(self) -> None:
        return None

    def weights(self) -> None:
        return None

    def forward(self, att: torch.Tensor, conv: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        alpha_BC, beta_BC = self.gate(x).unbind(1)
        y: torch.Tensor = self.sum(alpha_BC[:, None, None] * att, beta_BC[:, None, None] * conv)
        return y


def gate_width(channels: int) -> int:
    """Hidden width of the gate."""
    return max(channels // 16, 8)


def build(rule: str, in_channels: int, channels: int) -> Combination:
    """The rule of that name."""
    rules: dict[str, Callable[[], Combination]] = {
        "att": lambda: Fixed(1.0, 0.0),
        "conv": lambda: Fixed(0.0, 1.0),
        "sum": lambda: Fixed(1.0, 1.0),
        "half": lambda: Fixed(0.5, 0.5),
        "beta": lambda: Learned(learn_alpha=False),
        "convex": Convex,
        "learned": Learned,
        "channel": lambda: Learned(channels),
        "gated": lambda: Gated(in_channels, channels),
    }
    return rules[rule]()


def count(rule: str, in_channels: int, channels: int) -> tuple[int, int, int]:
    """Parameters, multiply-adds and activations of the rule's own layers."""
    if rule == "gated":
        hidden = gate_width(channels)
        weights, outputs = in_channels * hidden + hidden * 2 * channels, hidden + 2 * channels
        return weights + outputs, weights, outputs
    return {"beta": 1, "convex": 1, "learned": 2, "channel": 2 * channels}.get(rule, 0), 0, 0
