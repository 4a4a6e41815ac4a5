"""`acmix data scenes` and `acmix data score`: masks written and scored without a model."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say

if TYPE_CHECKING:
    from acmix_nas.experiments.stored_scores import StoredScores


@click.command()
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder to write, new or empty.")
@click.option(
    "--layout",
    type=click.Choice(["ade", "coco"]),
    default="ade",
    help="ade: images and annotations as ADE20K's. coco: images and instances_*.json as COCO's.",
)
@_options.count("--train", "Number of scenes to train on.  [default: 4000]")
@_options.count("--val", "Number of scenes to validate on.  [default: 500]")
@_options.json
def scenes(out: Path, layout: str, train: int | None, val: int | None, as_json: bool) -> None:
    """Write the composed scenes, which dense tasks train on by default, as folders.

    A scene is made of embedded garments on drawn grounds, with exact masks and boxes. It is no photograph.

    \b
    Examples:
      acmix data scenes --out scenes
      acmix data scenes --out scenes-coco --layout coco --train 500 --val 100
    """
    from acmix_nas.cli._console import DecodingBar, progress
    from acmix_nas.data.write_scenes import write_scenes

    with DecodingBar(progress()) as on_image:
        folder = write_scenes(out, layout=layout, train=train, validation=val, progress=on_image)
    say(json.dumps({"folder": str(folder), "layout": layout}) if as_json else f"{folder}: composed scenes, {layout}")


@click.command()
@click.argument("results", type=click.Path(path_type=Path))
@_options.source("Source of the images and of their masks. Default: the composed scenes.", "source")
@click.option(
    "--part", type=click.Choice(["validation", "train"]), default="validation", help="Part of the source to score."
)
@_options.json
def score(results: Path, source: str | None, part: str, as_json: bool) -> None:
    """Score stored predictions of a segmentation, the PNG files in RESULTS, without a model.

    A prediction has the name of its image and the numbers of the source's own masks: for ADE20K 1 to 150, 0 for
    nothing. mIoU is the mean over classes that the truth or a prediction has; the other means are shown too.

    \b
    Examples:
      acmix data score predictions --data ADEChallengeData2016
      acmix data score predictions --data my_masks --json | jq .miou
    """
    from acmix_nas.cli._console import DecodingBar, progress
    from acmix_nas.experiments.stored_scores import score_stored

    with DecodingBar(progress()) as on_image:
        found = score_stored(results, source, part=part, progress=on_image)
    if as_json:
        say(json.dumps(found.to_dict(), allow_nan=False))
    else:
        _print(found)


MEANS = {
    "miou": "mIoU over classes that the truth or a prediction has",
    "miou_labelled": "mIoU over classes that the truth has",
    "miou_all": "mIoU over all classes, 0 for one that is nowhere",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean accuracy over classes that the truth has",
}


def _print(found: "StoredScores") -> None:
    say(f"{found.data}, {found.part} part, {found.images:,} images, {len(found.classes)} classes")
    for name, text in MEANS.items():
        say(f"  {100 * found.values[name]:6.2f} %  {text}")
    there = [(name, value) for name, value in zip(found.classes, found.iou, strict=True) if value is not None]
    say(f"IoU by class, {len(there)} of {len(found.classes)} classes are there:")
    for name, value in sorted(there, key=lambda pair: -pair[1]):
        say(f"  {100 * value:6.2f} %  {name}")
