"""Weights of published dense networks by mmsegmentation's names: Swin with UPerNet, PVT with Semantic-FPN.

| here                                     | Swin                                      | PVT                     |
|------------------------------------------|-------------------------------------------|-------------------------|
| backbone.net.model.patch_embed           | patch_embed, `proj` called projection     | -                       |
| ...layers.I.blocks.J                     | stages.I.blocks.J, or layers.I.blocks.J   | -                       |
| ...layers.(I + 1).downsample             | stages.I.downsample                       | -                       |
| ...stages.I.blocks.J                     | -                                         | block(I + 1).J          |
| ...stages.I.patch_embed, pos_embed       | -                                         | patch_embed(I + 1), ... |
| ...attn.qkv                              | attn.w_msa.qkv                            | attn.q, attn.kv         |
| ...attn.attention.proj                   | attn.w_msa.proj                           | attn.proj               |
| ...attn.attention.reduction, norm        | -                                         | attn.sr, attn.norm      |
| ...mlp.fc1, mlp.fc2                      | ffn.layers.0.0, ffn.layers.1              | mlp.fc1, mlp.fc2        |
| backbone.norms.I                         | normI                                     | -                       |

Both the names of mmsegmentation 1 and those of the papers' own repositories, which build on mmsegmentation 0.11, are
read. Of the first, the channels of a downsampling are in the order of torch's unfold, which ours are not.
"""

import re
from collections.abc import Mapping
from math import isqrt
from typing import Any

import torch

BACKBONE = "backbone.net.model."
CONVOLUTIONS = {"conv": "0", "bn": "1"}
"""Parts of a convolution with its norm."""

NAMES: tuple[tuple[str, str], ...] = (
    # Swin
    (r"backbone\.patch_embed\.(?:projection|proj)\.", f"{BACKBONE}patch_embed.proj."),
    (r"backbone\.patch_embed\.norm\.", f"{BACKBONE}patch_embed.norm."),
    (r"backbone\.(?:stages|layers)\.(\d+)\.blocks\.(\d+)\.", f"{BACKBONE}layers.{{0}}.blocks.{{1}}."),
    (r"backbone\.(?:stages|layers)\.(\d+)\.downsample\.", f"{BACKBONE}layers.{{next}}.downsample."),
    (r"backbone\.norm(\d)\.", "backbone.norms.{0}."),
    # PVT
    (r"backbone\.pos_embed(\d)$", f"{BACKBONE}stages.{{before}}.pos_embed"),
    (r"backbone\.patch_embed(\d)\.", f"{BACKBONE}stages.{{before}}.patch_embed."),
    (r"backbone\.block(\d)\.(\d+)\.", f"{BACKBONE}stages.{{before}}.blocks.{{1}}."),
    # Semantic-FPN
    (r"neck\.lateral_convs\.(\d)\.conv\.", "head.pyramid.laterals.{0}."),
    (r"neck\.fpn_convs\.(\d)\.conv\.", "head.pyramid.outputs.{0}."),
    (r"decode_head\.scale_heads\.(\d)\.(\d)\.(conv|bn)\.", "head.levels.{0}.{half}.{part}."),
    # UPerNet
    (r"decode_head\.psp_modules\.(\d)\.1\.(conv|bn)\.", "head.pools.{0}.{part}."),
    (r"decode_head\.lateral_convs\.(\d)\.(conv|bn)\.", "head.laterals.{0}.{part}."),
    (r"decode_head\.fpn_convs\.(\d)\.(conv|bn)\.", "head.outputs.{0}.{part}."),
    (r"decode_head\.bottleneck\.(conv|bn)\.", "head.bottleneck.{part}."),
    (r"decode_head\.fpn_bottleneck\.(conv|bn)\.", "head.fusion.{part}."),
    (r"auxiliary_head\.convs\.0\.(conv|bn)\.", "head.auxiliary.0.{part}."),
    (r"auxiliary_head\.conv_seg\.", "head.auxiliary.2."),
    (r"decode_head\.conv_seg\.", "head.classifier."),
)
"""What a name begins with -> what ours does; levels of a head lie between its doublings, hence the half."""
INSIDE: tuple[tuple[str, str], ...] = (
    (r"\.attn\.w_msa\.", ".attn."),
    (r"\.attn\.(proj\.|norm\.|relative_position_bias_table$)", r".attn.attention.\1"),
    (r"\.attn\.sr\.", ".attn.attention.reduction."),
    (r"\.ffn\.layers\.0\.0\.", ".mlp.fc1."),
    (r"\.ffn\.layers\.1\.", ".mlp.fc2."),
)
"""What differs within a block."""


def named_as_ours(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights of a published dense network by our names; others as they are.

    Args:
        given: Names and tensors. Names that no such network has stay, for the error that lists them.
    """
    if not any(str(name).startswith("decode_head.") for name in given):
        return given
    unfolded = any(str(name).startswith("backbone.stages.") for name in given)
    ours = {}
    for name, value in given.items():
        own = _ours(str(name))
        if unfolded and ".downsample." in own and _is_of_patches(value):
            value = _in_patches(value)
        elif own.endswith("pos_embed") and _has_token(value):
            value = value[:, 1:]
        ours[own] = value
    for query in [name for name in ours if ".attn.q." in name]:
        key_value = query.replace(".q.", ".kv.")
        parts = [ours[query], ours.get(key_value)]
        if all(isinstance(part, torch.Tensor) for part in parts) and parts[0].shape[1:] == parts[1].shape[1:]:
            ours[query.replace(".q.", ".qkv.")] = torch.cat([ours.pop(query), ours.pop(key_value)])
    return ours


def _ours(name: str) -> str:
    for pattern, form in NAMES:
        if found := re.match(pattern, name):
            parts = found.groups()
            numbers = [int(part) for part in parts if part.isdecimal()]
            first, last = (numbers[0], numbers[-1]) if numbers else (0, 0)
            part = CONVOLUTIONS.get(parts[-1], "") if parts else ""
            start = form.format(*parts, next=first + 1, before=first - 1, half=last // 2, part=part)
            name = start + name[found.end() :]
            break
    for pattern, form in INSIDE:
        name = re.sub(pattern, form, name)
    return name


def _is_of_patches(value: Any) -> bool:
    """Whether the last axis has the channels of 2 x 2 pixels."""
    return isinstance(value, torch.Tensor) and value.ndim > 0 and value.shape[-1] % 4 == 0


def _in_patches(value: torch.Tensor) -> torch.Tensor:
    """Channels of 2 x 2 pixels in our order, column, row, channel, from that of unfold: channel, row, column."""
    apart = value.reshape(*value.shape[:-1], -1, 2, 2)
    return apart.transpose(-3, -1).flatten(-3)


def _has_token(positions: Any) -> bool:
    """Whether a class token, which a dense network has not, comes before the positions of a square map."""
    if not isinstance(positions, torch.Tensor) or positions.ndim != 3 or positions.shape[1] < 1:
        return False
    count = positions.shape[1]
    return isqrt(count - 1) ** 2 == count - 1 and isqrt(count) ** 2 != count
