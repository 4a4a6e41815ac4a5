"""Weights of a classification training in the backbone of a dense network."""

from collections.abc import Mapping
from math import isqrt
from pathlib import Path
from typing import Any

import torch
from timm.layers.pos_embed_rel import resize_rel_pos_bias_table_simple
from torch import nn
from torch.nn import functional as F

from acmix_nas.models import build_model
from acmix_nas.reference import IGNORED, CheckpointError, load_reference, opened
from acmix_nas.reference_dense import named_as_ours
from acmix_nas.segmentor import Segmentor

CLASSIFIERS = ("head.weight", "head.fc.weight", "fc.weight", "classifier.weight")
POSITIONS, BIASES = "pos_embed", "relative_position_bias_table"
DENSE = "backbone.net.model."
"""What the names of the backbone begin with in a dense network of ours."""
PUBLISHED = ("resnet", "swin")
"""Hosts whose published checkpoints have names of their own."""
SHOWN = 5
"""Names that a message lists."""


def load_backbone(model: nn.Module, file: Path) -> str:
    """Loads what a checkpoint has of the backbone of a dense network of ours.

    Positions of another image size and bias tables of another window are resampled. The classifier of the checkpoint is
    left out; the head, and the norms on the maps, stay as they are.

    Args:
        model: A segmentor.
        file: A .safetensors file, or one that `torch.save` wrote: of a classification training of ours, with the names
            of the published ResNet and Swin with ACmix, or of a published dense network (`acmix_nas.reference_dense`).

    Returns:
        What was loaded, in a sentence.

    Raises:
        CheckpointError: The file cannot be read, or has less than half of the backbone.
    """
    assert isinstance(model, Segmentor)
    backbone: Any = model.backbone.net
    own: dict[str, torch.Tensor] = backbone.model.state_dict()
    given = _named_as_ours(model, _of_backbone(named_as_ours(opened(file))), own, file)
    loaded, resampled, misfits = {}, [], []
    for name, there in own.items():
        value = given.get(name)
        if not isinstance(value, torch.Tensor):
            continue
        fitted = value if value.shape == there.shape else _resampled(name, value, there, backbone.model)
        if fitted is None:
            misfits.append(f"{name} {tuple(value.shape)} for {tuple(there.shape)}")
            continue
        loaded[name] = fitted
        resampled += [name] if fitted is not value else []
    missing = [name for name in own if name not in loaded]
    if 2 * len(loaded) < len(own) or misfits:
        wrong = misfits or missing
        raise CheckpointError(
            f"{file} is no checkpoint of this backbone: {len(loaded)} of its {len(own)} tensors fit; "
            f"{_few(wrong)} {'do not' if misfits else 'are missing'}. Give weights of the same network."
        )
    backbone.model.load_state_dict(loaded, strict=False)
    left = [name for name in given if name not in own and str(name).rpartition(".")[2] not in IGNORED]
    parts = [f"{len(loaded)} of {len(own)} tensors of the backbone are from {file}"]
    parts += [f"{len(resampled)} were resampled ({_few(resampled)})"] if resampled else []
    parts += [f"{len(missing)} are fresh ({_few(missing)})"] if missing else []
    parts += [f"{len(left)} of the file are not used ({_few(left)})"] if left else []
    return "; ".join(parts)


def _of_backbone(given: Mapping[str, Any]) -> Mapping[str, Any]:
    """The weights of the backbone, also where they are those of a whole dense network."""
    inside = {name.removeprefix(DENSE): value for name, value in given.items() if str(name).startswith(DENSE)}
    return inside or given


def _named_as_ours(model: Segmentor, given: Mapping[str, Any], own: Mapping[str, Any], file: Path) -> Mapping[str, Any]:
    """The weights by our names; those of a published checkpoint by way of a classifier with them."""
    if 2 * len(own.keys() & given.keys()) >= len(own) or model.backbone.arch is None:
        return given
    rows = next((len(given[name]) for name in CLASSIFIERS if isinstance(given.get(name), torch.Tensor)), 1000)
    if model.backbone.arch.host not in PUBLISHED:
        raise CheckpointError(f"{file} has under half of this backbone's tensors. Give weights of the same network.")
    twin = load_reference(build_model(model.backbone.arch, num_classes=rows), given)
    return twin.state_dict()


def _resampled(name: str, value: torch.Tensor, there: torch.Tensor, net: nn.Module) -> torch.Tensor | None:
    """A tensor at the backbone's size; None of one that cannot be."""
    last = name.rpartition(".")[2]
    if last == BIASES and value.shape[1:] == there.shape[1:]:
        window = (isqrt(len(there)) + 1) // 2
        bias: torch.Tensor = resize_rel_pos_bias_table_simple(value.float(), (window, window), tuple(there.shape))
        return bias if bias.shape == there.shape else None
    if last == POSITIONS and value.shape[-1] == there.shape[-1]:
        tokens = value.shape[1]
        side = isqrt(tokens)
        prefix = tokens - side**2  # a class token comes first
        new: Any = getattr(net.get_submodule(name.rpartition(".")[0]), "map_size", (isqrt(there.shape[1]),) * 2)
        if prefix > 1 or new[0] * new[1] != there.shape[1]:
            return None
        grid = value[:, prefix:].transpose(1, 2).reshape(1, -1, side, side)
        return F.interpolate(grid.float(), tuple(new), mode="bicubic", antialias=True).flatten(2).transpose(1, 2)
    return None


def _few(names: list[str]) -> str:
    return f"{', '.join(names[:SHOWN])}{', ...' if len(names) > SHOWN else ''}"
