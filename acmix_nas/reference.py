"""Weights of the published ResNet- and Swin-ACmix, by the names they have in public checkpoints.

| here                                       | published, local attention   | published, window attention  |
|--------------------------------------------|------------------------------|------------------------------|
| qkv.{weight,bias}, rows of q, of k, of v   | conv1, conv2, conv3          | qkv                          |
| attention.position.weight                  | conv_p.weight                | -                            |
| -                                          | conv_p.bias, without effect  | -                            |
| attention.relative_position_bias_table     | -                            | relative_position_bias_table |
| attention.proj.{weight,bias}               | -                            | proj                         |
| convolution.fc.{weight,bias}               | fc, a 1x1 convolution        | fc, a 1x1 convolution        |
| convolution.kernels.weight                 | dep_conv.weight              | dep_conv.weight              |
| combine.alpha, combine.beta                | rate1, rate2                 | rate1, rate2                 |

Orders of channels, maps and kernels agree (docs/operator.md), so no weight is permuted. Around the operator a ResNet
has torchvision's names and a Swin those of microsoft/Swin-Transformer, which downsamples at the end of a stage.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import torch
from safetensors.torch import load_file
from torch import nn

from acmix_nas.errors import AcmixError
from acmix_nas.hosts.resnet import ACmixResNet
from acmix_nas.hosts.swin import Swin
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.attention import local, window
from acmix_nas.reference_dense import named_as_ours

IGNORED = ("num_batches_tracked", "relative_position_index", "attn_mask")
"""Last names of keys that a checkpoint may have and that nothing is read from."""

PATHS: dict[str, tuple[str, ...]] = {
    "convolution.fc.weight": ("fc.weight",),
    "convolution.fc.bias": ("fc.bias",),
    "convolution.kernels.weight": ("dep_conv.weight",),
    "combine.alpha": ("rate1",),
    "combine.beta": ("rate2",),
}
LOCAL: dict[str, tuple[str, ...]] = {
    **PATHS,
    "qkv.weight": ("conv1.weight", "conv2.weight", "conv3.weight"),
    "qkv.bias": ("conv1.bias", "conv2.bias", "conv3.bias"),
    "attention.position.weight": ("conv_p.weight",),
}
WINDOW: dict[str, tuple[str, ...]] = {
    **PATHS,
    "qkv.weight": ("qkv.weight",),
    "qkv.bias": ("qkv.bias",),
    "attention.relative_position_bias_table": ("relative_position_bias_table",),
    "attention.proj.weight": ("proj.weight",),
    "attention.proj.bias": ("proj.bias",),
}
POINTWISE = ("conv1.weight", "conv2.weight", "conv3.weight", "conv_p.weight", "fc.weight")
"""Weights of an operator that are linear layers here and may be 1x1 convolutions in a checkpoint."""

Checkpoint = Mapping[str, Any] | str | os.PathLike[str]
Loaded = TypeVar("Loaded", bound=nn.Module)


class CheckpointError(AcmixError, ValueError):
    """A checkpoint cannot be read, or is of another network."""


class Part(NamedTuple):
    """A tensor of a checkpoint that fills rows of one of ours.

    Attributes:
        name: Its key.
        shape: Its shape, which is that of the rows.
        pointwise: The shape that it may have instead, as a 1x1 convolution; `shape` if there is none.
    """

    name: str
    shape: tuple[int, ...]
    pointwise: tuple[int, ...]


def load_reference(module: Loaded, state_dict: Checkpoint) -> Loaded:
    """Loads a checkpoint with the names of the published implementation into a network or an operator.

    With `conv_on="rolled"`, as the named models have it, a network computes what the published one does.

    Args:
        module: A model of the host `resnet` or `swin`, or an `ACmix` with local or window attention.
        state_dict: Names and tensors, or these under the key "model" or "state_dict"; or the path of a .safetensors
            file or of one that `torch.save` wrote, which is read without running code. Keys that end in
            num_batches_tracked, relative_position_index or attn_mask are optional and ignored.

    Returns:
        The module, its weights replaced; each keeps its dtype and device.

    Raises:
        CheckpointError: The file cannot be read, or keys are missing, unknown, or of another shape: the message lists
            all. The module is as it was.
    """
    given = opened(state_dict)
    layout = _layout(module)
    _check([*_unread(module), *(part for parts in layout.values() for part in parts)], given)
    own = module.state_dict()
    for name, parts in layout.items():
        own[name] = torch.cat([given[part.name].reshape(part.shape) for part in parts])
    module.load_state_dict(own)
    return module


def load_weights(module: Loaded, state_dict: Checkpoint) -> Loaded:
    """Loads weights of a network of ours, whether they have our names or those of a published implementation.

    Args:
        module: A network, with or without a head for dense tasks (`acmix_nas.reference_dense`), or an operator.
        state_dict: As of `load_reference`.

    Returns:
        The module, its weights replaced; each keeps its dtype and device.

    Raises:
        CheckpointError: As of `load_reference`.
    """
    given = named_as_ours(opened(state_dict))
    own = {name: value for name, value in module.state_dict().items() if name.rpartition(".")[2] not in IGNORED}
    if _is_published(module, given, own):
        return load_reference(module, given)
    _check([Part(name, tuple(value.shape), tuple(value.shape)) for name, value in own.items()], given)
    module.load_state_dict({name: given[name] for name in own}, strict=False)
    return module


def _is_published(module: nn.Module, given: Mapping[str, Any], own: Mapping[str, Any]) -> bool:
    """Whether the names are more like those of the published implementation than like ours."""
    try:
        published = {part.name for parts in _layout(module).values() for part in parts}
    except CheckpointError:  # it has no published form
        return False
    return len(published & given.keys()) > len(own.keys() & given.keys())


def opened(state_dict: object) -> Mapping[str, Any]:
    """Names and tensors, out of the file and the wrapper they may be in."""
    if isinstance(state_dict, str | os.PathLike):
        state_dict = _read(Path(state_dict))
    for wrapper in ("model", "state_dict"):
        if isinstance(state_dict, Mapping) and isinstance(state_dict.get(wrapper), Mapping):
            state_dict = state_dict[wrapper]
    if not isinstance(state_dict, Mapping):
        raise CheckpointError(
            f"a checkpoint is a mapping of names to tensors, or the path of one; it is a {type(state_dict).__name__}."
        )
    return state_dict


def _read(path: Path) -> object:
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged pickle can raise anything
        reason = str(error).strip().partition("\n")[0] or type(error).__name__
        raise CheckpointError(
            f"{path} cannot be read as a checkpoint: {reason} A checkpoint contains only tensors, from torch.save "
            "or as .safetensors. If the file contains other objects, save only its state dict."
        ) from error


def _layout(module: nn.Module) -> dict[str, list[Part]]:
    """What fills each tensor of a module, by the tensor's name here."""
    operators = _operators(module)
    tensors = {name: value for name, value in module.state_dict().items() if name.rpartition(".")[2] not in IGNORED}
    owners = {f"{prefix}{own}": prefix for prefix in operators for own in operators[prefix].state_dict()}
    layout, ours_alone = {}, []
    for name, tensor in tensors.items():
        if name not in owners:
            shape = tuple(tensor.shape)
            layout[name] = [Part(_published_name(module, name), shape, shape)]
            continue
        prefix = owners[name]
        parts = _names(module, operators[prefix]).get(name.removeprefix(prefix))
        if parts is None:
            ours_alone.append(name)
        else:
            layout[name] = _parts(prefix, parts, tensor, operators[prefix])
    if ours_alone:
        raise CheckpointError(
            f"no published model has {', '.join(ours_alone)}; build the module with local or window attention and "
            "without combine='convex' or 'gated'."
        )
    return layout


def _operators(module: nn.Module) -> dict[str, ACmix]:
    """The operators of a module by the prefix of their tensors' names."""
    if not isinstance(module, ACmix | ACmixResNet | Swin):
        raise CheckpointError(
            "published checkpoints fit models of the hosts resnet and swin, and an ACmix; the module is a "
            f"{type(module).__name__}."
        )
    named = module.named_modules()
    return {f"{name}." if name else "": operator for name, operator in named if isinstance(operator, ACmix)}


def _names(module: nn.Module, operator: ACmix) -> dict[str, tuple[str, ...]]:
    """Published names by ours, for an operator in a module."""
    if operator.attention is None:
        return WINDOW if isinstance(module, Swin) else LOCAL
    if isinstance(operator.attention, local.Attention | window.Attention):
        return LOCAL if isinstance(operator.attention, local.Attention) else WINDOW
    return {}


def _parts(prefix: str, names: tuple[str, ...], tensor: torch.Tensor, operator: ACmix) -> list[Part]:
    rows = operator.widths if len(names) > 1 else [len(tensor)]
    shapes = [(count, *tensor.shape[1:]) for count in rows]
    return [
        Part(prefix + name, shape, (*shape, 1, 1) if name in POINTWISE else shape)
        for name, shape in zip(names, shapes, strict=True)
    ]


def _published_name(module: nn.Module, name: str) -> str:
    """The name of a tensor outside operators."""
    if not isinstance(module, Swin):
        return name
    words = name.split(".")
    if words[0] == "layers" and words[2] == "downsample":
        words[1] = str(int(words[1]) - 1)
    return ".".join(words).replace("head.fc.", "head.")


def _unread(module: nn.Module) -> list[Part]:
    """What a published checkpoint has without an effect: softmax removes the bias of the positions."""
    shapes = {
        f"{prefix}conv_p.bias": (len(operator.attention.position.weight),)
        for prefix, operator in _operators(module).items()
        if isinstance(operator.attention, local.Attention)
    }
    return [Part(name, shape, shape) for name, shape in shapes.items()]


def _check(parts: list[Part], given: Mapping[str, Any]) -> None:
    """Raises one error that lists all that does not fit."""
    known = {part.name for part in parts}
    missing = [part.name for part in parts if part.name not in given]
    unknown = [str(name) for name in given if name not in known and str(name).rpartition(".")[2] not in IGNORED]
    wrong = [_misfit(part, given[part.name]) for part in parts if part.name in given]
    found = {"missing": missing, "unknown": unknown, "wrong": [text for text in wrong if text]}
    lines = [f"  {what}: {', '.join(texts)}" for what, texts in found.items() if texts]
    if lines:
        raise CheckpointError(
            "the checkpoint is not of this module; nothing was loaded.\n"
            + "\n".join(lines)
            + "\nBuild the module with the arch, num_classes and img_size that the checkpoint was trained with."
        )


def _misfit(part: Part, value: object) -> str:
    """What is wrong with a tensor of a checkpoint; empty if nothing is."""
    if not isinstance(value, torch.Tensor):
        return f"{part.name} is a {type(value).__name__}, not a tensor"
    if not value.is_floating_point():
        return f"{part.name} is {value.dtype}, not floating-point"
    if tuple(value.shape) not in (part.shape, part.pointwise):
        return f"{part.name} is {tuple(value.shape)}, not {part.pointwise}"
    return ""
