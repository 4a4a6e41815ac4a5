"""`acmix export`: a network as a file that other programs run, or as a folder that timm builds it from."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas import registry
from acmix_nas.cli import _options
from acmix_nas.cli._say import say

if TYPE_CHECKING:
    from acmix_nas.experiments.export import ExportResult


@click.command(cls=_options.RenamingCommand, renamed={"--size": "--shapes"})
@click.argument("arch")
@click.option(
    "--format",
    type=click.Choice(registry.names("export")),
    required=True,
    help="onnx: one .onnx file. torch: a program for torch.export.load. timm: a folder for timm.create_model.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="File to write, or folder for timm.")
@click.option(
    "--form",
    type=click.Choice(["train", "merged", "paper"]),
    help="train: the network as it is trained. merged: folded for inference. paper: the formulation step by step. "
    "[default: merged; train for timm]",
)
@click.option(
    "--weights",
    type=_options.STORED_FILE,
    help="Checkpoint with our parameter names or the published ones: .safetensors, or a state dict from torch.save. "
    "Default: random weights.",
)
@_options.seed("Seed of random weights.", default=0)
@click.option(
    "--task",
    type=click.Choice(["classification", "segmentation"]),
    help="What the network does.  [default: what --weights say, else classification]",
)
@_options.head
@click.option(
    "--num-classes",
    type=click.IntRange(min=0),
    help="Number of classes of the head.  [default: what --weights say, else 1000, or 150 of a segmentation]",
)
@_options.count("--in-chans", "Number of channels of an image.", default=3)
@_options.size(
    "Height and width in pixels that the network is built for, the size that it was trained at.  [default: what "
    "--weights say, else 224, or 512 of a segmentation]"
)
@click.option(
    "--shapes",
    type=click.Choice(["dynamic", "fixed"]),
    default="dynamic",
    help="dynamic: the file takes images of any size, if the network allows it. fixed: only images of --input-size.",
)
@click.option("--features-only", is_flag=True, help="Output the maps of all stages instead of the logits.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file or folder at --out.")
@_options.reports
@_options.plugin
@_options.json
def export(as_json: bool, **options: Any) -> None:
    """Write the network ARCH to --out in another format and compare the file with the network.

    ARCH is one of our timm names, a study's best.yaml, or STUDY:TRIAL.

    \b
    Examples:
      acmix export acmix_resnet50 --format onnx --out resnet.onnx --weights mine.safetensors
      acmix export reports/swin_t-001/best.yaml --format timm --out backbone
      acmix export swin_t-001:7 --format torch --out maps.pt2 --features-only
      acmix export acmix_pvt_tiny --task segmentation --format onnx --out pixels.onnx --weights best.safetensors
    """
    from acmix_nas.cli._console import progress, spinner
    from acmix_nas.experiments.export import ExportOptions, run

    asked, console = ExportOptions(**options), progress()
    if asked.weights is None:
        console.print(f"Fresh weights of seed {asked.seed}; trained ones are given with --weights.", soft_wrap=True)
    with spinner(console, f"writing {asked.arch} as {asked.format}, and checking it"):
        result = run(asked)
    if result.written.fixed_by and asked.shapes == "dynamic":
        modes = ", ".join(result.written.fixed_by)
        console.print(f"Images of one size only: {modes} is not traced for any.", soft_wrap=True)
    if as_json:
        say(json.dumps(result.to_dict(), allow_nan=False))
    else:
        _print(result)


def _print(result: "ExportResult") -> None:
    found, written = result.found, result.written
    lines = {
        "network": f"{found.name}, arch {found.arch.id}, {written.form} form",
        "size": f"{written.size / 1e6:.1f} MB",
        **{f"input {name}": _shape(shape) for name, shape in written.inputs.items()},
        **{f"output {name}": _shape(shape) for name, shape in written.outputs.items()},
        "images": f"of {written.least} pixels and more" if written.dynamic_size else "of this size only",
        "checked": f"largest difference {written.difference:.1e} of the largest value, at "
        + ", ".join(f"{batch} of {height}x{width}" for batch, height, width in written.checked),
        **{name: str(value) for name, value in written.facts.items()},
    }
    say(str(written.path))
    width = max(map(len, lines))
    for name, text in lines.items():
        say(f"  {name:<{width}}  {text}")


def _shape(shape: list[int | str]) -> str:
    return " x ".join(map(str, shape))
