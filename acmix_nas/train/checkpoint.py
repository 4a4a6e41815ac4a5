"""A training on disk: one safetensors file, tensors by name and the rest as JSON in its metadata. No code is run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeAlias

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

from acmix_nas.errors import AcmixError, DiskError
from acmix_nas.files import replacing

FORMAT = "acmix training 1"

Tensors: TypeAlias = dict[str, torch.Tensor]


class ResumeError(AcmixError):
    """A checkpoint of a training cannot be read, or is that of another training."""


def write_checkpoint(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Writes a checkpoint in one step: a kill leaves the old one or the new one.

    Args:
        path: The file.
        tensors: What is kept bit by bit.
        facts: Plain values for JSON.

    Raises:
        DiskError: It cannot be written; an old one is as it was.
    """
    # safetensors takes neither strides nor shared memory.
    plain = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    metadata = {"format": "pt", "kind": FORMAT, "facts": json.dumps(facts)}
    try:
        with replacing(path) as temporary:
            save_file(plain, temporary, metadata)
    except (OSError, SafetensorError) as error:
        raise DiskError(f"the checkpoint {path} cannot be written: {error}") from error


def read_checkpoint(path: Path) -> tuple[Tensors, dict[str, Any]]:
    """The inverse of `write_checkpoint`.

    Raises:
        ResumeError: The file is missing, damaged, or no checkpoint of a training.
    """
    rule = f"{path} is not read as the checkpoint of a training"
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
    except (OSError, SafetensorError) as error:
        raise ResumeError(f"{rule}: {error}. Give another file, or delete it and train from the start.") from error
    if metadata.get("kind") != FORMAT:
        raise ResumeError(f"{rule}: it says {metadata.get('kind')!r}, not {FORMAT!r}. Give the file that one wrote.")
    try:
        facts = json.loads(metadata["facts"])
    except (KeyError, ValueError, RecursionError) as error:
        raise ResumeError(f"{rule}: {error!r}. Give another file, or delete it and train from the start.") from error
    if not isinstance(facts, dict) or not isinstance(facts.get("key"), dict):
        raise ResumeError(f"{rule}: it does not say of which training. Give another file.")
    return tensors, facts


def trained_weights(path: Path) -> Tensors | None:
    """The weights that a training scores, out of its checkpoint; None if the file is another one."""
    try:
        with safe_open(path, "pt") as file:
            if (file.metadata() or {}).get("kind") != FORMAT:
                return None
    except (OSError, SafetensorError):
        return None
    tensors, _ = read_checkpoint(path)
    return below("average", tensors) or below("model", tensors)


def check_key(path: Path, stored: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    """Refuses the checkpoint of another training.

    Raises:
        ResumeError: The message names what differs.
    """
    then, now = _flat(stored), _flat(expected)
    apart = [
        f"{name} {then.get(name)}, not {now.get(name)}" for name in {**now, **then} if then.get(name) != now.get(name)
    ]
    if apart:
        raise ResumeError(
            f"{path} is the checkpoint of another training: {'; '.join(apart)}. Train with the same settings, or "
            "give another file."
        )


def optimizer_state(optimizer: torch.optim.Optimizer) -> tuple[Tensors, dict[str, Any]]:
    """State of an optimizer: tensors by "PARAMETER.NAME", and everything else."""
    state = optimizer.state_dict()
    items = [(f"{index}.{name}", value) for index, own in state["state"].items() for name, value in own.items()]
    tensors = {name: value for name, value in items if isinstance(value, torch.Tensor)}
    others = {name: value for name, value in items if not isinstance(value, torch.Tensor)}
    return tensors, {"groups": state["param_groups"], "others": others}


def load_optimizer(optimizer: torch.optim.Optimizer, tensors: Tensors, facts: Mapping[str, Any]) -> None:
    """The inverse of `optimizer_state`, for an optimizer of the same parameters."""
    state: dict[int, dict[str, Any]] = {}
    for key, value in {**facts["others"], **tensors}.items():
        index, _, name = key.partition(".")
        state.setdefault(int(index), {})[name] = value
    # JSON has no tuples; an optimizer compares none of its options, but AdamW unpacks betas.
    groups = [{name: tuple(v) if name == "betas" else v for name, v in group.items()} for group in facts["groups"]]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, own in optimizer.state.items():
        for name, value in own.items():
            # Strides as those of a state that grew here, so that fused and foreach kernels take the same path.
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                own[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def prefixed(prefix: str, tensors: Mapping[str, torch.Tensor]) -> Tensors:
    """The tensors with "PREFIX/" before their names."""
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def below(prefix: str, tensors: Tensors) -> Tensors:
    """The inverse of `prefixed`."""
    start = f"{prefix}/"
    return {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}


def load_model(path: Path, model: nn.Module, tensors: Tensors) -> None:
    """Loads the weights and buffers of a model.

    Raises:
        ResumeError: They are those of another network.
    """
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ResumeError(f"{path} is the checkpoint of another network: {reason} Give another file.") from error


def _flat(value: Any, path: str = "") -> dict[str, str]:
    """JSON leaves by their path, so that a difference is named where it is."""
    if isinstance(value, Mapping):
        return {inner: leaf for name, item in value.items() for inner, leaf in _flat(item, f"{path}.{name}").items()}
    return {path.removeprefix("."): json.dumps(value)}
