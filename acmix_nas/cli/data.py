"""`acmix data`: what a source of images has, and proxy subsets of it."""

import json
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli._options import command_line, json_option
from acmix_nas.cli._parse import parse_size
from acmix_nas.cli._say import say
from acmix_nas.cli.fidelity import fidelity
from acmix_nas.sizes import pair, size_text

if TYPE_CHECKING:
    from acmix_nas.data import Description, Index


@click.group()
def data() -> None:
    """Look at images to train on, and make proxy subsets of them.

    \b
    Examples:
      acmix data describe ~/imagenet
      acmix data subset --data ~/imagenet --classes 100 --images-per-class 200 --size 144 --out in100
      acmix search --space swin_t --data in100
    """


data.add_command(fidelity)


@data.command()
@click.argument("source", required=False, metavar="[SOURCE]", envvar="ACMIX_DATA")
@click.option(
    "--sample",
    type=click.IntRange(min=1),
    default=2000,
    show_default=True,
    help="Images to decode, drawn from all splits.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of that draw.")
@json_option
def describe(source: str | None, sample: int, seed: int, as_json: bool) -> None:
    """Show classes, images of each split, sizes, formats and broken files of SOURCE.

    SOURCE is what --data takes: a folder of images, tar or Parquet files, shards, a store, or a name with a prefix.
    Without it, the embedded images.

    \b
    Examples:
      acmix data describe ~/imagenet
      acmix data describe ~/imagenet --sample 2000000
      acmix data describe torch/cifar10 --json
    """
    from acmix_nas.cli._console import progress, spinner
    from acmix_nas.cli._decoding import decoding
    from acmix_nas.data import describe as look
    from acmix_nas.data import open_source

    console = progress()
    with spinner(console, "listing images"):
        opened = open_source(source)
    with decoding(console) as on_image:
        found = look(opened, sample=sample, seed=seed, progress=on_image)
    if as_json:
        say(json.dumps(asdict(found)))
    else:
        _print_description(found)


@data.command()
@click.option(
    "--data",
    "source",
    metavar="SOURCE",
    envvar="ACMIX_DATA",
    help="Images to take from, as for `acmix data describe`. Environment: ACMIX_DATA.",
)
@click.option(
    "--classes",
    metavar="N|NAME|FILE",
    help="How many classes to draw; imagenet-100, imagenette or imagewoof; or a file with a class name a line. "
    "[default: all]",
)
@click.option(
    "--images-per-class", type=click.IntRange(min=1), help="Images of each class to train on.  [default: all]"
)
@click.option(
    "--search-images",
    type=click.IntRange(min=1),
    help="Images held out of the training images for search.  [default: a sixth of them, 5,000 at most]",
)
@click.option(
    "--size",
    callback=parse_size,
    default="144",
    show_default=True,
    metavar="H[xW]",
    help="Height and width of the images in pixels.",
)
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True, help="Seed of the draws.")
@click.option(
    "--allow-broken",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    metavar="SHARE",
    help="Share of the images that may be unreadable.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the store.")
@json_option
def subset(source: str | None, allow_broken: float, out: Path, as_json: bool, **asked: Any) -> None:
    """Decode a subset once into a store, which --data takes and reads as it is.

    The subset has three disjoint splits: train, search (held out of the training images) and report (the validation
    images). Killed half-way, the same command goes on where it was.

    \b
    Examples:
      acmix data subset --data ~/imagenet --classes 100 --images-per-class 200 --size 144 --out in100
      acmix data subset --data ~/imagenet --classes imagenette --size 144 --out imagenette
      acmix data subset --data ~/imagenet --classes my_classes.txt --search-images 2000 --out mine
    """
    from acmix_nas.cli._console import progress, spinner
    from acmix_nas.cli._decoding import decoding
    from acmix_nas.data import open_source, plan_subset, write_store

    console = progress()
    with spinner(console, "listing images"):
        plan = plan_subset(open_source(source), **asked)
    for note in plan.notes:
        console.print(f"Note: {note}.", soft_wrap=True)
    try:
        with decoding(console) as on_image:
            index = write_store(plan, out, command=command_line(), allow_broken=allow_broken, progress=on_image)
    except KeyboardInterrupt:
        console.print("interrupted; the same command goes on after the last whole chunk.")
        raise
    if as_json:
        say(json.dumps({"folder": str(out), **asdict(index)}))
    else:
        _print_store(out, index)


def _print_description(found: "Description") -> None:
    from rich.table import Table

    from acmix_nas.cli._console import results

    lines = [f"{found.name}: {found.kind}, {len(found.classes)} classes, fingerprint {found.fingerprint}"]
    shown = ", ".join(found.classes[:10])
    lines.append(f"classes: {shown}{', ...' if len(found.classes) > 10 else ''}")
    table = Table("split", "images", "classes", "least", "median", "most of a class", box=None, header_style="bold")
    for name, counts in found.splits.items():
        numbers = (counts.images, counts.classes, counts.least, counts.median, counts.most)
        table.add_row(name, *(f"{number:,g}" if isinstance(number, float) else f"{number:,}" for number in numbers))
    _say([*lines, *(f"note: {note}" for note in found.notes)])
    results().print(table)
    rows = {"formats": found.formats, "modes": found.modes, "unusual": found.traits}
    below = [f"not read: {_counts(found.passed_over)}"] if found.passed_over else []
    below.append(f"of {found.sampled:,} images looked at:")
    for what, extent in (("width", found.widths), ("height", found.heights)):
        if extent is not None:
            below.append(f"  {what} {extent.least} to {extent.most} px, median {extent.median:g}")
    below += [f"  {name}: {_counts(row)}" for name, row in rows.items() if row]
    below.append(f"  broken: {len(found.broken)}")
    below += [f"    {file}: {reason}" for file, reason in found.broken[:20]]
    if len(found.broken) > 20:
        below.append(f"    ... --json lists all {len(found.broken)}")
    _say(below)


def _print_store(out: Path, index: "Index") -> None:
    images = ", ".join(f"{count:,} {split}" for split, count in index.images.items())
    size = sum(index.images.values()) * 3 * prod(pair(index.size))
    of = f"images of {size_text(index.size)} px, {size / 1e6:,.1f} MB"
    lines = [f"{out}: {len(index.classes)} classes, {images} {of}"]
    traits: dict[str, int] = {}
    for counts in index.traits.values():
        for name, count in counts.items():
            traits[name] = traits.get(name, 0) + count
    if traits:
        lines.append(f"turned into upright 8-bit RGB: {_counts(traits)}")
    if index.broken:
        lines.append(f"left out, as they cannot be decoded: {len(index.broken)}; index.json names them. The first:")
        lines += [f"  {file}: {reason}" for file, reason in index.broken[:5]]
    _say(lines)


def _say(lines: list[str]) -> None:
    say("\n".join(lines))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())
