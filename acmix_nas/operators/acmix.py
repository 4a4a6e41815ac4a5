"""Operator `acmix`: self-attention and convolution over shared projections (Pan et al. 2022, arXiv 2111.14556).

The paper's symbols: N is num_heads, d is head_dim = out_channels / num_heads, k_a is attn_kernel, k_c is conv_kernel,
s is stride, r is dilation.
Shapes: B batch, I in_channels, C out_channels, H W the input map, h w the map at stride.
"""

import torch
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import COMBINE, CONV_IMPL, CONV_INIT, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.operators import _combine
from acmix_nas.operators._acmix_count import count as count
from acmix_nas.operators._convolution import ConvolutionPath
from acmix_nas.operators.attention import AttentionMode


class ACmix(nn.Module):
    """F = alpha * F_att + beta * F_conv, both computed from the same q, k, v = W x + b (Pan et al. 2022, section 4).

    F_att is the attention of the chosen mode. F_conv mixes the 3N projected maps of each depth into k_c^2 maps, shifts
    each by its place in the kernel and sums them. A path that `combine` gives no weight is not built, and the values
    that describe it have no effect. Any map from 1 x 1 up is accepted, in any floating-point type and memory format.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels C of the output; `in_channels` if None.
        num_heads: Heads N; divides C.
        attention: Attention mode: "local", "window", or the dotted path of a module of your own.
        attn_kernel: Extent k_a of the attention window in pixels.
        conv_kernel: Odd extent k_c of the convolution path in pixels.
        stride: Distance of the output's pixels: queries are taken and kernels applied there.
        dilation: Distance of the pixels in a local window and in a kernel.
        conv_impl: Shift-and-sum as "shift", "groupconv", "learnable" or "full".
        conv_init: Trained kernels start as "shift" or "kaiming".
        combine: Rule for alpha and beta: "att", "conv", "sum", "half", "beta", "convex", "learned", "channel", "gated".
        fc_bias: Whether the light layer before the shifts has a bias.

    Raises:
        ArchError: A value builds no operator; the message says which, and what it may be.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int | None = None,
        *,
        num_heads: int = 4,
        attention: str = "local",
        attn_kernel: int = 7,
        conv_kernel: int = 3,
        stride: int = 1,
        dilation: int = 1,
        conv_impl: str = "full",
        conv_init: str = "shift",
        combine: str = "learned",
        fc_bias: bool = False,
    ) -> None:
        super().__init__()
        out_channels = in_channels if out_channels is None else out_channels
        _check_extents(in_channels=in_channels, out_channels=out_channels, num_heads=num_heads)
        _check_extents(stride=stride, dilation=dilation)
        _check_heads(out_channels, num_heads)
        _check_option("combine", combine, COMBINE)
        self.stride = stride
        self.conv_on = "rolled"
        self.qkv = nn.Linear(in_channels, 3 * out_channels)
        self.attention: AttentionMode | None = None
        self.convolution: ConvolutionPath | None = None
        at = {"stride": stride, "dilation": dilation}
        if combine != "conv":
            _check_extents(attn_kernel=attn_kernel)
            mode = registry.load("operators.attention", attention)
            self.attention = mode.Attention(out_channels, num_heads, attn_kernel, **at)
        if combine != "att":
            _check_convolution(conv_kernel, conv_impl, conv_init)
            self.convolution = ConvolutionPath(
                out_channels, num_heads, conv_kernel, impl=conv_impl, init=conv_init, fc_bias=fc_bias, **at
            )
        self.combine = _combine.build(combine, in_channels, out_channels)

    def mixing(self) -> tuple[float, float] | None:
        """(alpha, beta) now, the mean over channels; None with `gated`, whose `combine.gate` computes (B, 2, C)."""
        return self.combine.mixing()

    def set_input_size(self, map_size: tuple[int, int] | None, *, shifted: bool = False) -> None:
        """Fits the attention windows to the map (height, width) of a host; None for any map."""
        if self.attention is not None:
            self.attention.place(map_size, shifted=shifted)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Mixes the pixels of a map.

        Args:
            x: (B, C_in, H, W).

        Returns:
            (B, C, ceil(H/s), ceil(W/s)).
        """
        x_BHWI = x.permute(0, 2, 3, 1)
        if self.attention is None:
            y_BhwC = self._convolve(self.qkv(x_BHWI))
        elif self.convolution is None:
            y_BhwC = self.attention.restore(self._attend_only(x_BHWI))
        else:
            y_BhwC = self._mix(x_BHWI)
        return y_BhwC.permute(0, 3, 1, 2)

    def _mix(self, x_BHWI: torch.Tensor) -> torch.Tensor:
        assert self.attention is not None
        qkv = self.qkv(self.attention.arrange(x_BHWI))
        q, k, v = qkv.chunk(3, -1)
        att = self._crop(self.attention(q[:, :: self.stride, :: self.stride], k, v), x_BHWI)
        qkv = qkv[:, : x_BHWI.shape[1], : x_BHWI.shape[2]]
        if self.conv_on == "image":
            conv = self._convolve(self.attention.restore(qkv))
            return self._combined(self.attention.restore(att), conv, x_BHWI)
        return self.attention.restore(self._combined(att, self._convolve(qkv), x_BHWI))

    def _combined(self, att_BhwC: torch.Tensor, conv_BhwC: torch.Tensor, x_BHWI: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.combine(att_BhwC, conv_BhwC, x_BHWI)
        return y

    def _convolve(self, qkv_BHWX: torch.Tensor) -> torch.Tensor:
        assert self.convolution is not None
        y: torch.Tensor = self.convolution(qkv_BHWX)
        return y

    def _attend_only(self, x_BHWI: torch.Tensor) -> torch.Tensor:
        """Attention alone reads q at stride only, so that is where it is projected."""
        assert self.attention is not None
        arranged = self.attention.arrange(x_BHWI)
        if self.stride == 1:
            q, k, v = self.qkv(arranged).chunk(3, -1)
        else:
            channels = self.qkv.out_features // 3
            weight, bias = self.qkv.weight, self.qkv.bias
            q = nn.functional.linear(arranged[:, :: self.stride, :: self.stride], weight[:channels], bias[:channels])
            k, v = nn.functional.linear(arranged, weight[channels:], bias[channels:]).chunk(2, -1)
        return self._crop(self.attention(q, k, v), x_BHWI)

    def _crop(self, y_BhwC: torch.Tensor, x_BHWI: torch.Tensor) -> torch.Tensor:
        """Cuts off what `arrange` padded."""
        return y_BhwC[:, : -(-x_BHWI.shape[1] // self.stride), : -(-x_BHWI.shape[2] // self.stride)]


def build(
    mixer: Mixer,
    *,
    in_channels: int,
    out_channels: int,
    stride: int = 1,
    dilation: int = 1,
    fc_bias: bool = False,
    map_size: tuple[int, int] | None = None,
    shifted: bool = False,
    conv_on: str | None = None,
) -> ACmix:
    """The operator that a mixer describes, at its place in a host (`acmix_nas.operators` lists the arguments)."""
    described = {name: value for name, value in mixer.to_dict().items() if name != "operator"}
    operator = ACmix(in_channels, out_channels, stride=stride, dilation=dilation, fc_bias=fc_bias, **described)
    operator.set_input_size(map_size, shifted=shifted)
    operator.conv_on = conv_on or operator.conv_on
    return operator


def _check_extents(**extents: object) -> None:
    for name, value in extents.items():
        if type(value) is not int or value < 1:
            raise ArchError(f"{name} is a whole number from 1 up; it is {value!r}.")


def _check_heads(out_channels: int, num_heads: int) -> None:
    if out_channels % num_heads:
        fits = [n for n in range(1, out_channels + 1) if out_channels % n == 0]
        near = sorted(sorted(fits, key=lambda n: abs(n - num_heads))[:3])
        raise ArchError(
            f"num_heads divides out_channels; {num_heads} does not divide {out_channels}. "
            f"Take {', '.join(map(str, near))}, or other channels."
        )


def _check_convolution(conv_kernel: int, conv_impl: str, conv_init: str) -> None:
    _check_extents(conv_kernel=conv_kernel)
    if conv_kernel % 2 == 0:
        raise ArchError(f"conv_kernel is odd; it is {conv_kernel}. Take {conv_kernel - 1} or {conv_kernel + 1}.")
    _check_option("conv_impl", conv_impl, CONV_IMPL)
    _check_option("conv_init", conv_init, CONV_INIT)


def _check_option(name: str, value: object, options: tuple[str, ...]) -> None:
    if value not in options:
        raise ArchError(f"{name} is one of {', '.join(options)}; it is {value!r}.")
