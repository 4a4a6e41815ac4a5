"""Operator `acmix`: self-attention and convolution over shared projections (Pan et al. 2022, arXiv 2111.14556).

The paper's symbols: N is num_heads, d is head_dim = out_channels / num_heads, k_a is attn_kernel, k_c is conv_kernel,
s is stride, r is dilation.
Shapes: B batch, I in_channels, C out_channels, H W the input map, h w the map at stride.
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Self

import torch
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import COMBINE, CONV_IMPL, CONV_INIT, Mixer, check_extent, check_option
from acmix_nas.errors import ArchError
from acmix_nas.operators import _combine
from acmix_nas.operators._acmix_count import check_head_width
from acmix_nas.operators._acmix_count import count as count
from acmix_nas.operators._convolution import ConvolutionPath, Maps, Reduced
from acmix_nas.operators.attention import AttentionMode, MapMode, TokenMode, Weight
from acmix_nas.operators.forms import Kinds, TwoForms, change_of

_Weights = tuple[Weight, Weight] | None
"""alpha and beta for all images; None where each path is computed unweighed and `combine` weighs them."""


class ACmix(TwoForms):
    """F = alpha * F_att + beta * F_conv, both computed from the same q, k, v = W x + b (Pan et al. 2022, section 4).

    F_att is the attention of the chosen mode. F_conv mixes the 3N projected maps of each depth into k_c^2 maps, shifts
    each by its place in the kernel and sums them. A path that `combine` gives no weight is not built, and the values
    that describe it have no effect. Any map from 1 x 1 up is accepted, in any floating-point type and memory format.

    Args:
        in_channels: Channels of the input.
        out_channels: Channels C of the output; `in_channels` if None.
        num_heads: Heads N; divides C.
        attention: Attention mode: "local", "window", "global", "patchwise", "pairwise", or the dotted path of
            a module of your own.
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

    READ: ClassVar[Mapping[str, Kinds]] = {
        "qkv": (nn.Linear,),
        "attention": AttentionMode,
        "convolution": ConvolutionPath,
        "combine": _combine.Combination,
    }

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
        described = {"num_heads": num_heads, "attention": attention, "attn_kernel": attn_kernel, "combine": combine}
        described |= {"conv_kernel": conv_kernel, "conv_impl": conv_impl, "conv_init": conv_init}
        site: dict[str, Any] = {"stride": stride, "dilation": dilation, "fc_bias": fc_bias}
        self._assemble(in_channels, in_channels if out_channels is None else out_channels, described, site)

    @classmethod
    def _hosted(cls, mixer: Mixer, in_channels: int, out_channels: int, site: Mapping[str, Any]) -> Self:
        """The operator at its place in a host, which knows more about it than the constructor takes."""
        operator = cls.__new__(cls)
        nn.Module.__init__(operator)
        operator._assemble(in_channels, out_channels, {"num_heads": 1, **mixer.to_dict()}, site)
        return operator

    def _assemble(
        self, in_channels: int, out_channels: int, described: Mapping[str, Any], site: Mapping[str, Any]
    ) -> None:
        num_heads, combine = described["num_heads"], described["combine"]
        extents = {"in_channels": in_channels, "out_channels": out_channels, "num_heads": num_heads}
        for name, value in {**extents, "stride": site["stride"], "dilation": site["dilation"]}.items():
            check_extent(name, value)
        _check_heads(out_channels, num_heads)
        check_option("combine", combine, COMBINE)
        self.stride = site["stride"]
        self.conv_on = "rolled"
        mode = None if combine == "conv" else registry.load("operators.attention", described["attention"]).Attention
        keys = _key_channels(mode, out_channels, site)
        self.widths = [keys, keys, out_channels]
        self.qkv = nn.Linear(in_channels, sum(self.widths))
        self.mixed: nn.Linear | None = None  # what the light layer makes of x at once; `merging` may set it
        self.attention = None if mode is None else _attention(mode, out_channels, described, site)
        self.convolution = None if combine == "att" else _convolution(keys, out_channels, described, site)
        self.combine = _combine.build(combine, in_channels, out_channels)

    def mixing(self) -> tuple[float, float] | None:
        """(alpha, beta) now, the mean over channels; None with `gated`, whose `combine.gate` computes (B, 2, C)."""
        return self.combine.mixing()

    def set_input_size(self, map_size: tuple[int, int] | None, *, shifted: bool = False) -> None:
        """Fits the attention windows to the map (height, width) of a host; None for any map."""
        if self.attention is not None:
            self.attention.place(map_size, shifted=shifted)

    def forward(
        self, x: torch.Tensor, token: torch.Tensor | None = None
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Mixes the pixels of a map.

        Args:
            x: (B, C_in, H, W).
            token: Class token (B, 1, C_in) that attends with the pixels at stride 1; for modes that take one.

        Returns:
            (B, C, ceil(H/s), ceil(W/s)); with a token, this and the token (B, 1, C), which is not convolved.
        """
        x_BHWI = x.permute(0, 2, 3, 1)
        if token is not None:
            return self._mix_with_token(x_BHWI, token)
        if self.attention is None:
            y_BhwC = self._convolve(self.qkv(x_BHWI))
        elif self.convolution is None:
            y_BhwC = self.attention.restore(self._attend_only(self.attention, x_BHWI))
        else:
            y_BhwC = self._mix(self.attention, x_BHWI)
        return y_BhwC.permute(0, 3, 1, 2)

    def _mix(self, attention: AttentionMode, x_BHWI: torch.Tensor) -> torch.Tensor:
        weights = self._known_weights()
        if self.mixed is not None and weights is not None and self.stride == 1 and isinstance(attention, MapMode):
            arranged = attention.arrange(x_BHWI)
            conv = self._convolve(self._mixed_maps(attention, arranged, x_BHWI), weights)
            att = attention.weighed_map(arranged, self.qkv, weights[0])
        else:
            q, k, v, maps = self._project(attention, x_BHWI)
            # Convolved first, so that the backward pass, which goes the other way, frees what attention saved before
            # it holds the gradients of all 3N maps.
            conv = self._convolve(maps, weights)
            qkv = (q[:, :: self.stride, :: self.stride], k, v)
            att = attention(*qkv) if weights is None else attention.weighed(*qkv, weights[0])
        att = self._crop(att, x_BHWI)
        if self.conv_on == "image":
            return self._combined(attention.restore(att), conv, x_BHWI, weights)
        return attention.restore(self._combined(att, conv, x_BHWI, weights))

    def _known_weights(self) -> _Weights:
        """Alpha and beta beforehand, if both paths may be weighed within: then their modules are not called."""
        for part in (self, self.attention, self.convolution):
            if part is not None and part.in_plain_form():
                return None
        return self.combine.weights()

    def _mix_with_token(self, x_BHWI: torch.Tensor, token_B1I: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        assert isinstance(self.attention, TokenMode)
        q, k, v, maps = self._project(self.attention, x_BHWI)
        token = torch.split(self.qkv(token_B1I), self.widths, -1)
        pairs = zip(token, (q, k, v), strict=True)
        y_BLC = self._attend_sequences(*(torch.cat((first, rest.flatten(1, 2)), 1) for first, rest in pairs))
        if self.convolution is not None:
            conv_BLC = nn.functional.pad(self._convolve(maps).flatten(1, 2), (0, 0, 1, 0))
            y_BLC = self._combined(y_BLC[:, None], conv_BLC[:, None], x_BHWI)[:, 0]
        y_BHWC = torch.unflatten(y_BLC[:, 1:], 1, (x_BHWI.shape[1], x_BHWI.shape[2]))
        return y_BHWC.permute(0, 3, 1, 2), y_BLC[:, :1]

    def _attend_sequences(self, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
        """Attention over sequences (B, L, C); as maps of one row where the module itself has to be called."""
        assert isinstance(self.attention, TokenMode)
        if change_of(self.attention, AttentionMode) is None:
            return self.attention.attend(q, k, v)
        y: torch.Tensor = self.attention(q[:, None], k[:, None], v[:, None])
        return y[:, 0]

    def _project(
        self, attention: AttentionMode, x_BHWI: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, Maps]:
        """Queries of every pixel, k and v as attention reads them, and what the convolution path reads."""
        arranged = attention.arrange(x_BHWI)
        reduced = attention.reduce(arranged)
        if reduced is arranged:
            qkv = self.qkv(arranged)
            q, k, v = torch.split(qkv, self.widths, -1)
            if self.mixed is not None:
                return q, k, v, self._mixed_maps(attention, arranged, x_BHWI)
            return q, k, v, self._placed(attention, qkv, x_BHWI)
        q, k, v = self._project_apart(arranged, reduced)
        kv, ratio = torch.cat((k, v), -1), attention.enlargement(arranged)
        if ratio and self.convolution is not None and not self.in_plain_form() and self.convolution.takes_reduced:
            return q, k, v, Reduced(q, kv, ratio)
        return q, k, v, self._placed(attention, torch.cat((q, attention.expand(kv, arranged)), -1), x_BHWI)

    def _placed(self, attention: AttentionMode, qkv: torch.Tensor, x_BHWI: torch.Tensor) -> torch.Tensor:
        """An arranged map as the convolution path sees it: cut to the input, rolled back if `conv_on` says so."""
        qkv = qkv[:, : x_BHWI.shape[1], : x_BHWI.shape[2]]
        return attention.restore(qkv) if self.conv_on == "image" else qkv

    def _mixed_maps(self, attention: AttentionMode, arranged: torch.Tensor, x_BHWI: torch.Tensor) -> torch.Tensor:
        """What the light layer makes of the arranged map, placed as `_placed` does."""
        assert self.mixed is not None
        (height, width), (rows, columns) = x_BHWI.shape[1:3], arranged.shape[1:3]
        if any(type(extent) is not int for extent in (rows, columns)) or (rows, columns) != (height, width):
            # Cut by padding, which copies: strides of a view would tie an exported program to the sizes of its example.
            arranged = nn.functional.pad(arranged, (0, 0, 0, width - columns, 0, height - rows))
        y: torch.Tensor = self.mixed(self._placed(attention, arranged, x_BHWI))
        return y

    def _combined(
        self, att_BhwC: torch.Tensor, conv_BhwC: torch.Tensor, x_BHWI: torch.Tensor, weights: _Weights = None
    ) -> torch.Tensor:
        if weights is None:
            y: torch.Tensor = self.combine(att_BhwC, conv_BhwC, x_BHWI)
        else:
            y = self.combine.sum(att_BhwC, conv_BhwC)
        return y

    def _convolve(self, maps: Maps, weights: _Weights = None) -> torch.Tensor:
        """The convolution path, times beta where the weights of the paths are known beforehand."""
        assert self.convolution is not None
        if weights is not None:
            return self.convolution.weighed(maps, weights[1])
        y: torch.Tensor = self.convolution(maps)
        return y

    def _attend_only(self, attention: AttentionMode, x_BHWI: torch.Tensor) -> torch.Tensor:
        """Attention alone reads q at stride only, so that is where it is projected."""
        arranged = attention.arrange(x_BHWI)
        reduced = attention.reduce(arranged)
        if self.stride == 1 and reduced is arranged:
            q, k, v = torch.split(self.qkv(arranged), self.widths, -1)
        else:
            q, k, v = self._project_apart(arranged[:, :: self.stride, :: self.stride], reduced)
        return self._crop(attention(q, k, v), x_BHWI)

    def _project_apart(self, queries: torch.Tensor, others: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Queries of one map, keys and values of another."""
        keys = self.widths[0]
        if change_of(self.qkv, (nn.Linear,)) is not None:
            k, v = torch.split(self.qkv(others)[..., keys:], self.widths[1:], -1)
            return self.qkv(queries)[..., :keys], k, v
        weight, bias = self.qkv.weight, self.qkv.bias
        q = nn.functional.linear(queries, weight[:keys], bias[:keys])
        k, v = torch.split(nn.functional.linear(others, weight[keys:], bias[keys:]), self.widths[1:], -1)
        return q, k, v

    def _crop(self, y_BhwC: torch.Tensor, x_BHWI: torch.Tensor) -> torch.Tensor:
        """Cuts off what `arrange` padded."""
        height, width = ((extent + self.stride - 1) // self.stride for extent in x_BHWI.shape[1:3])
        return y_BhwC[:, :height, :width]


def build(
    mixer: Mixer,
    *,
    in_channels: int,
    out_channels: int,
    map_size: tuple[int, int] | None = None,
    shifted: bool = False,
    conv_on: str | None = None,
    **site: Any,
) -> ACmix:
    """The operator that a mixer describes, at its place in a host (`acmix_nas.operators` lists the arguments)."""
    operator = ACmix._hosted(mixer, in_channels, out_channels, {"stride": 1, "dilation": 1, "fc_bias": False} | site)
    operator.set_input_size(map_size, shifted=shifted)
    operator.conv_on = conv_on or operator.conv_on
    return operator


def _check_heads(out_channels: int, num_heads: int) -> None:
    if out_channels % num_heads:
        fits = [n for n in range(1, out_channels + 1) if out_channels % n == 0]
        near = sorted(sorted(fits, key=lambda n: abs(n - num_heads))[:3])
        raise ArchError(
            f"num_heads divides out_channels; {num_heads} does not divide {out_channels}. "
            f"Take {', '.join(map(str, near))}, or other channels."
        )


def _key_channels(mode: type[AttentionMode] | None, channels: int, site: Mapping[str, Any]) -> int:
    """Channels of q and k: the host's, unless the mode wants as many as v has."""
    keys: int = site.get("key_channels") or channels
    return keys if mode is None or "key_channels" in mode.SITE else channels


def _attention(
    mode: type[AttentionMode], channels: int, described: Mapping[str, Any], site: Mapping[str, Any]
) -> AttentionMode:
    if "attn_kernel" in described:
        check_extent("attn_kernel", described["attn_kernel"])
    given = {name: site[name] for name in ("stride", "dilation", *mode.SITE) if name in site}
    return mode(channels, described["num_heads"], described.get("attn_kernel"), **given)


def _convolution(keys: int, channels: int, described: Mapping[str, Any], site: Mapping[str, Any]) -> ConvolutionPath:
    kernel, impl, init = described["conv_kernel"], described["conv_impl"], described.get("conv_init", "shift")
    check_extent("conv_kernel", kernel)
    if kernel % 2 == 0:
        raise ArchError(f"conv_kernel is odd; it is {kernel}. Take {kernel - 1} or {kernel + 1}.")
    check_option("conv_impl", impl, CONV_IMPL)
    check_option("conv_init", init, CONV_INIT)
    num_heads = described["num_heads"]
    check_head_width(keys, channels, num_heads)
    return ConvolutionPath(
        channels,
        num_heads,
        kernel,
        impl=impl,
        init=init,
        stride=site["stride"],
        dilation=site["dilation"],
        fc_bias=site["fc_bias"],
        key_channels=keys,
        kernel_bias=site.get("kernel_bias", False),
    )
