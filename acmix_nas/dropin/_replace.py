"""Modules of ACmix in the place of others, and the weights that go over."""

from collections.abc import Mapping
from typing import Any

import torch
from timm.layers.attention import Attention
from timm.layers.conv2d_same import Conv2dSame
from timm.layers.std_conv import ScaledStdConv2dSame, StdConv2dSame
from timm.models._features_fx import register_notrace_module
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from acmix_nas.arch import Mixer
from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.operators import acmix

PADDING_AS_NEEDED = (Conv2dSame, StdConv2dSame, ScaledStdConv2dSame)
"""timm's convolutions whose result has ceil(H/s) rows whatever their padding says."""

PLACES = {
    "qkv.weight": "operator.qkv.weight",
    "qkv.bias": "operator.qkv.bias",
    "proj.weight": "operator.attention.proj.weight",
    "proj.bias": "operator.attention.proj.bias",
}
"""Where the parameters of timm's attention go in a `TokenMixer`."""


class ConversionError(AcmixError, ValueError):
    """A module cannot be replaced by ACmix, or none was named."""


def replacement(
    model: nn.Module, name: str, module: nn.Module, given: Mapping[str, Any], *, fc_bias: bool
) -> nn.Module:
    """ACmix for a module of a network, with fresh weights, where the module is and in its dtype and mode.

    Raises:
        ConversionError: ACmix cannot do what the module does; the message names it.
    """
    try:
        if isinstance(module, nn.Conv2d):
            return _placed(_for_convolution(module, given, fc_bias=fc_bias), module)
        return _placed(_for_attention(model, name, module, given, fc_bias=fc_bias), module)
    except (ArchError, ConversionError) as error:
        raise ConversionError(f"{name}, {module_text(module)}: {error}") from error


def _for_convolution(conv: nn.Conv2d, given: Mapping[str, Any], *, fc_bias: bool) -> acmix.ACmix:
    _check_convolution(conv)
    values = {"attention": "local", "num_heads": 4, "conv_kernel": conv.kernel_size[0], **given}
    return acmix.build(
        Mixer.canonical(**values),
        in_channels=conv.in_channels,
        out_channels=conv.out_channels,
        stride=conv.stride[0],
        dilation=conv.dilation[0],
        fc_bias=fc_bias,
        kernel_bias=conv.bias is not None,
    )


def _for_attention(
    model: nn.Module, name: str, module: nn.Module, given: Mapping[str, Any], *, fc_bias: bool
) -> "TokenMixer":
    vit = _transformer(model, name)
    if type(module) is not Attention or vit is None:
        raise ConversionError(
            "the positions of its tokens on the map are known only for timm's VisionTransformer; for Swin and "
            "PVT with ACmix, create acmix_swin_tiny_patch4_window7_224 or acmix_pvt_tiny."
        )
    _check_attention(module, vit)
    values = {"attention": "global", "num_heads": module.num_heads, "conv_kernel": 3, **given}
    if values["num_heads"] != module.num_heads:
        raise ConversionError(f"num_heads stays {module.num_heads} where qkv is carried over; leave it None.")
    if vit.num_prefix_tokens and (values["attention"] != "global" or values["combine"] == "conv"):
        raise ConversionError("a class token works only with global attention; keep attention and combine as they are.")
    channels = module.qkv.in_features
    operator = acmix.build(
        Mixer.canonical(**values), in_channels=channels, out_channels=channels, fc_bias=fc_bias, class_token=True
    )
    return TokenMixer(operator, vit.patch_embed.grid_size, vit.num_prefix_tokens, module.proj_drop.p)


def _check_convolution(conv: nn.Conv2d) -> None:
    """Whether ACmix has the shape of a convolution's result."""
    for attribute in ("kernel_size", "stride", "dilation"):
        rows, columns = getattr(conv, attribute)
        if rows != columns:
            raise ConversionError(f"{attribute} is the same in both directions; it is {rows} x {columns}.")
    if conv.groups > 1:
        raise ConversionError(
            f"ACmix replaces dense convolutions; this has {conv.groups} groups. Leave it out of the pattern."
        )
    if conv.kernel_size[0] % 2 == 0:
        raise ConversionError(
            f"ACmix replaces convolutions with an odd kernel; this has {conv.kernel_size[0]}. Leave it out of the "
            "pattern."
        )
    same = conv.dilation[0] * (conv.kernel_size[0] // 2)
    if conv.padding not in ((same, same), "same") and not isinstance(conv, PADDING_AS_NEEDED):
        raise ConversionError(
            f"the result of ACmix has ceil(H / stride) rows, as that of a convolution with padding {same}; this has "
            f"{conv.padding}."
        )


def _transformer(model: nn.Module, name: str) -> Any:
    """The nearest VisionTransformer around a module; None if there is none."""
    words = name.split(".")
    around = (model.get_submodule(".".join(words[:end])) for end in reversed(range(len(words))))
    return next((module for module in around if isinstance(module, VisionTransformer)), None)


def _check_attention(module: Any, vit: Any) -> None:
    """Whether ACmix has all that an attention module and its network do."""
    extras = ("q_norm", "k_norm", "norm")
    has = [extra for extra in extras if not isinstance(getattr(module, extra), nn.Identity)]
    has += ["gate"] if module.gate is not None else []
    has += ["attn_drop"] if module.attn_drop.p else []
    has += ["a width of its own"] if module.qkv.out_features != 3 * module.proj.out_features else []
    if has:
        raise ConversionError(f"ACmix has no place for {', '.join(has)}.")
    dynamic = vit.dynamic_img_size or vit.patch_embed.grid_size is None
    if vit.num_prefix_tokens > 1 or dynamic or not isinstance(vit.patch_drop, nn.Identity):
        raise ConversionError(
            "tokens are a map of known size after at most one class token; this network has "
            f"num_prefix_tokens={vit.num_prefix_tokens}, dynamic_img_size={vit.dynamic_img_size}, "
            f"patch_drop={vit.patch_drop}."
        )


def _placed(new: nn.Module, old: nn.Module) -> nn.Module:
    """A module on the device, in the dtype and in the mode of the one that it replaces."""
    like = next(old.parameters())
    return new.to(device=like.device, dtype=like.dtype).train(old.training)


@torch.no_grad()
def carry(old: nn.Module, new: nn.Module) -> tuple[str, ...]:
    """Copies what the new module has a place for; the names of the old parameters that went over."""
    places = PLACES if isinstance(new, TokenMixer) else {"bias": "convolution.bias"}
    values, theirs = dict(old.named_parameters()), dict(new.named_parameters())
    carried = []
    for name, place in places.items():
        if place in theirs and name in values:
            theirs[place].copy_(values[name])
            carried.append(name)
        elif place in theirs:
            theirs[place].zero_()  # a bias that the old module does without
    return tuple(carried)


def module_text(module: nn.Module) -> str:
    """A module in one line."""
    return repr(module) if isinstance(module, nn.Conv2d) else type(module).__name__


@register_notrace_module
class TokenMixer(nn.Module):
    """ACmix over the tokens (B, L, C) of an image: its patches row by row, after a class token if there is one.

    Args:
        operator: The operator, of global attention if there is a class token.
        grid_size: Rows and columns of patches.
        class_tokens: 1 or 0.
        drop: Dropout of the result.
    """

    def __init__(self, operator: nn.Module, grid_size: tuple[int, int], class_tokens: int, drop: float) -> None:
        super().__init__()
        self.operator = operator
        self.grid_size = grid_size
        self.class_tokens = class_tokens
        self.drop = nn.Dropout(drop)

    def forward(self, x: torch.Tensor, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
        """Mixes the tokens.

        Args:
            x: (B, L, C).
            attn_mask: None; tokens of a map are not masked.
            is_causal: False, likewise.

        Returns:
            (B, L, C).

        Raises:
            ConversionError: There is a mask, or L tokens do not fill the grid.
        """
        if attn_mask is not None or is_causal:
            raise ConversionError("ACmix takes no attention mask; call the network without one.")
        if x.shape[1] != self.class_tokens + self.grid_size[0] * self.grid_size[1]:
            raise ConversionError(
                f"the network was converted for {self.grid_size[0]} x {self.grid_size[1]} patches and "
                f"{self.class_tokens} class tokens; it got {x.shape[1]} tokens. Convert it at the size that you "
                "use."
            )
        x_BCHW = torch.unflatten(x[:, self.class_tokens :].transpose(1, 2), 2, self.grid_size)
        if self.class_tokens:
            y_BCHW, token_B1C = self.operator(x_BCHW, x[:, :1])
            y_BLC = torch.cat((token_B1C, y_BCHW.flatten(2).transpose(1, 2)), 1)
        else:
            y_BLC = self.operator(x_BCHW).flatten(2).transpose(1, 2)
        dropped: torch.Tensor = self.drop(y_BLC)
        return dropped
