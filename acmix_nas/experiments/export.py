"""A network written for other programs."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError
from acmix_nas.experiments.networks import Found, find_arch
from acmix_nas.experiments.options import CLASSIFICATION
from acmix_nas.export import Written, write
from acmix_nas.models import build_model
from acmix_nas.reference import load_weights
from acmix_nas.segmentor import build_segmentor
from acmix_nas.tasks.segmentation import USUAL_HEAD
from acmix_nas.train.fit import DESCRIBED

USUAL_CLASSES = {CLASSIFICATION: 1000, "segmentation": 150}
"""Task -> classes of its usual data set, ImageNet and ADE20K."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """The options of `acmix export`.

    Attributes:
        arch: A timm name of ours, the path of a file of an arch, or STUDY:TRIAL.
        format: "onnx", "torch" or "timm".
        out: File to write, or folder for timm.
        form: "train", "merged" or "paper"; None for that of the format.
        weights: Checkpoint; None for fresh weights.
        seed: Seed of fresh weights.
        task: "classification", or "segmentation" for a network that scores every pixel; None for what the weights say.
        head: Head of a segmentation.
        num_classes: Classes of the head; None for what the weights say, else 1,000, or 150 of a segmentation.
        in_chans: Channels of an image.
        input_size: (height, width) in pixels that the network is built for; None for what the weights say, else the
            usual one.
        shapes: "dynamic", where images of other sizes are taken too, or "fixed".
        features_only: Whether the maps of all stages are the outputs, instead of logits.
        overwrite: Whether what is at `out` is replaced.
        reports: Folder of study folders, for STUDY:TRIAL.
    """

    arch: str
    format: str
    out: Path
    form: str | None = None
    weights: Path | None = None
    seed: int = 0
    task: str | None = None
    head: str | None = None
    num_classes: int | None = None
    in_chans: int = 3
    input_size: tuple[int, int] | None = None
    shapes: str = "dynamic"
    features_only: bool = False
    overwrite: bool = False
    reports: Path = Path("reports")


@dataclass(frozen=True, slots=True)
class ExportResult:
    """What was written of which network."""

    found: Found
    written: Written

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"network": self.found.name, "arch_id": self.found.arch.id, **self.written.to_dict()}


def run(options: ExportOptions) -> ExportResult:
    """Writes a network in another format, and checks it there against the network itself.

    Args:
        options: What is asked for, by the names of the command's options.

    Raises:
        UsageError: There is no such network or format, or something is at `options.out`.
        ExportError: The network cannot be written in this format, or what was written computes something else.
    """
    found = find_arch(options.arch, options.reports)
    described = _described(options.weights)
    torch.manual_seed(options.seed)
    model = _model(options, found.arch, described).eval()
    written = write(
        model if options.weights is None else load_weights(model, options.weights),
        options.out,
        format=options.format,
        form=options.form,
        features_only=options.features_only,
        input_size=_built_for(options, described),
        dynamic_size=options.shapes == "dynamic",
        overwrite=options.overwrite,
        described=described,
    )
    return ExportResult(found, written)


def _model(options: ExportOptions, arch: Arch, described: Mapping[str, Any]) -> nn.Module:
    """The network with the head of its task.

    Raises:
        UsageError: There is no such task here, or the format cannot hold its networks.
    """
    task = options.task or described.get("task") or CLASSIFICATION
    if task not in USUAL_CLASSES:
        raise UsageError(f"networks of {', '.join(USUAL_CLASSES)} are exported, not of {task}.")
    classes = options.num_classes if options.num_classes is not None else len(described.get("classes") or ())
    size: dict[str, Any] = {"in_chans": options.in_chans, "img_size": _built_for(options, described)}
    if task == CLASSIFICATION:
        if options.head is not None:
            raise UsageError("--head is the head of a dense task; add --task segmentation.")
        wanted = options.num_classes if options.num_classes is not None else classes or USUAL_CLASSES[task]
        return build_model(arch, num_classes=wanted, **size)
    head = options.head or described.get("head") or USUAL_HEAD
    return build_segmentor(arch, head=head, num_classes=classes or USUAL_CLASSES[task], **size)


def _built_for(options: ExportOptions, described: Mapping[str, Any]) -> tuple[int, int] | None:
    """Height and width that the network is built for: those that its weights were trained at, if nothing is said."""
    size = options.input_size or described.get("input_size")
    return None if size is None else (size[0], size[1])


def _described(weights: Path | None) -> dict[str, Any]:
    """What a file of weights of a training says of itself; nothing of other files."""
    if weights is None or weights.suffix != ".safetensors":
        return {}
    try:
        with safe_open(weights, "pt") as file:
            found = json.loads((file.metadata() or {}).get(DESCRIBED, "{}"))
    except (OSError, SafetensorError, ValueError):  # loading the weights says what is wrong
        return {}
    return found if isinstance(found, dict) else {}
