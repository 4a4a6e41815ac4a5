"""`acmix data fidelity`: whether a proxy ranks networks as longer training does."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli._options import data_option, device_option, json_option, out_option, plugin_option
from acmix_nas.cli._say import say

if TYPE_CHECKING:
    from rich.console import Console

    from acmix_nas.experiments.fidelity import Fidelity, Trainings


@click.command()
@click.option(
    "--space", "space_name", required=True, metavar="NAME|FILE", help="A name of `acmix spaces`, or a YAML file."
)
@data_option
@click.option(
    "--archs", type=click.IntRange(min=4), default=16, show_default=True, help="Networks to draw and train twice."
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of everything.")
@click.option("--proxy", help="Proxy of the space; default by device: gpu or cpu.")
@click.option("--epochs", type=click.IntRange(min=1), help="Epochs of the cheap training; the proxy's own by default.")
@click.option("--proxy-images", type=click.IntRange(min=1), help="Its training images; the proxy's own by default.")
@click.option("--epochs-large", type=click.IntRange(min=1), help="Epochs of the large one.  [default: three times]")
@click.option("--images-large", type=click.IntRange(min=1), help="Its training images.  [default: the same]")
@out_option
@device_option
@plugin_option
@json_option
def fidelity(
    space_name: str,
    data: str | None,
    archs: int,
    seed: int,
    proxy: str | None,
    epochs: int | None,
    proxy_images: int | None,
    epochs_large: int | None,
    images_large: int | None,
    out: Path,
    device: str,
    as_json: bool,
) -> None:
    """Measure how well a proxy ranks the networks of a space.

    Trains a seeded sample of networks at the proxy's budget and at a larger one, both scored on the search split, and
    shows the rank correlation of the cheap score with the large one, beside that of parameters and of MACs, each with a
    95 % bootstrap interval. What was trained before is not trained again. A search on the same space, proxy and images
    finds the result.

    \b
    Examples:
      acmix data fidelity --space swin_t --data in100 --archs 16
      acmix data fidelity --space swin_t --data in100 --archs 32 --epochs-large 60
    """
    from acmix_nas.space import load_space

    space = load_space(space_name)

    # What follows loads torch, which takes seconds: a wrong file is told before.
    from acmix_nas.cli._console import progress
    from acmix_nas.cli._decoding import decoding, image_remarks
    from acmix_nas.experiments.fidelity import LARGE, prepare_fidelity
    from acmix_nas.experiments.setup import Asked, pick_device, pick_proxy

    console, place = progress(), pick_device(device)
    asked = Asked(out=out, proxy=proxy, epochs=epochs, proxy_images=proxy_images)
    with decoding(console) as on_image:
        trainings = prepare_fidelity(
            space,
            pick_proxy(space, asked, place),
            data=data,
            out=out,
            device=place,
            seed=seed,
            epochs_large=epochs_large,
            images_large=images_large,
            progress=on_image,
        )
    for line in image_remarks(trainings.settings[LARGE].splits):
        console.print(line, soft_wrap=True)
    found = _measure(trainings, archs, console)
    if as_json:
        say(json.dumps({"folder": str(trainings.folder), **asdict(found)}))
    else:
        _print(found, trainings)


def _measure(trainings: "Trainings", archs: int, console: "Console") -> "Fidelity":
    from rich.progress import BarColumn, Progress, TimeRemainingColumn

    from acmix_nas.cli._console import text_column
    from acmix_nas.experiments.fidelity import measure_fidelity

    columns = (text_column("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("training")

        def begin(number: int, count: int, name: str) -> None:
            bar.reset(task, description=f"training {number + 1} of {count}: {name}")

        return measure_fidelity(
            trainings,
            archs=archs,
            begin=begin,
            on_step=lambda done: bar.update(task, completed=done.step, total=done.steps),
        )


def _print(found: "Fidelity", trainings: "Trainings") -> None:
    from rich.table import Table

    from acmix_nas.cli._console import results

    cheap, large = found.cheap, found.large
    say(
        f"{trainings.space.name}, proxy {found.proxy['name']}: {found.archs} networks at {cheap['epochs']} epochs of "
        f"{cheap['images']:,} images against {large['epochs']} of {large['images']:,}, search split, seed {found.seed}"
    )
    table = Table("order by", "Spearman [95 %]", "Kendall [95 %]", box=None, header_style="bold")
    for name, pair in found.agreements.items():
        cells = [f"{part.value:+.2f} [{part.low:+.2f}, {part.high:+.2f}]" for part in (pair.spearman, pair.kendall)]
        table.add_row(name, *cells)
    results().print(table)
    if found.failed:
        say(f"{found.failed} further networks failed; {trainings.folder} has their records.")
