"""A network written for other programs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from acmix_nas.experiments.networks import Found, find_arch
from acmix_nas.export import Written, write
from acmix_nas.models import build_model
from acmix_nas.reference import load_weights


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
        num_classes: Classes of the head.
        in_chans: Channels of an image.
        input_size: (height, width) in pixels that the network is built for.
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
    num_classes: int = 1000
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
    torch.manual_seed(options.seed)
    model = build_model(
        found.arch, num_classes=options.num_classes, in_chans=options.in_chans, img_size=options.input_size
    ).eval()
    written = write(
        model if options.weights is None else load_weights(model, options.weights),
        options.out,
        format=options.format,
        form=options.form,
        features_only=options.features_only,
        input_size=options.input_size,
        dynamic_size=options.shapes == "dynamic",
        overwrite=options.overwrite,
    )
    return ExportResult(found, written)
