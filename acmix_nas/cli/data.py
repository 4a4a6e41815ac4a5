"""`acmix data`: what a source of images has, and proxy subsets of it."""

import json
from collections import Counter
from dataclasses import asdict
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._masks import scenes, score
from acmix_nas.cli._say import say
from acmix_nas.errors import UsageError
from acmix_nas.sizes import pair, size_text

if TYPE_CHECKING:
    from acmix_nas.data import Description, Index, Source
    from acmix_nas.data.subset_masks import MaskedSubset
    from acmix_nas.experiments.stored_fidelity import Fidelity

ORDERS = {"first_epoch": "first epoch", "ceiling": "large, another seed"}
"""What the table calls what networks are ordered by, where it is another word."""

STORE_SIZE = 144
"""Height and width of a store's images where none is asked for."""
SHOWN = "shown"
"""What --classes says of masks: leave out classes that no image to train on shows."""
MOST_PIXELS = 20
"""Classes of pixels that are listed."""


@click.group()
def data() -> None:
    """Describe images to train on, make proxy subsets, write composed scenes, score stored predictions.

    \b
    Examples:
      acmix data describe ~/imagenet
      acmix data subset --data ~/imagenet --classes 100 --images-per-class 200 --size 144 --out in100
      acmix search --space swin_t --data in100
    """


@data.command()
@click.argument("source", required=False, metavar="[SOURCE]", envvar="ACMIX_DATA", callback=_options.name_modules)
@_options.count("--sample", "Number of images to decode, drawn from all splits.", default=2000)
@_options.seed("Seed of the draw.", default=0)
@_options.json
def describe(source: str | None, sample: int, seed: int, as_json: bool) -> None:
    """Show classes, images of each split, sizes, formats and broken files of SOURCE.

    SOURCE is any source that --data takes: a folder of images, tar or Parquet files, shards, a store, or a name with a
    prefix. The default is the embedded images.

    \b
    Examples:
      acmix data describe ~/imagenet
      acmix data describe ~/imagenet --sample 2000000
      acmix data describe torch/cifar10 --json
    """
    from acmix_nas.cli._console import DecodingBar, progress, spinner
    from acmix_nas.data import describe as look
    from acmix_nas.data import open_source

    console = progress()
    with spinner(console, "listing images"):
        opened = open_source(source)
    with DecodingBar(console) as on_image:
        found = look(opened, sample=sample, seed=seed, progress=on_image)
    if as_json:
        say(json.dumps(asdict(found)))
    else:
        _print_description(found)


@data.command()
@_options.source("Source of the images, as for `acmix data describe`.", "source")
@click.option(
    "--classes",
    metavar="N|NAME|FILE",
    help="Number of classes to draw, or imagenet-100, imagenette or imagewoof, or a file with one class name per "
    "line; with masks shown: those that the images to train on show.  [default: all]",
)
@_options.count("--images-per-class", "Number of training images of each class.  [default: all]")
@_options.count("--images", "Number of training images, of a source with masks.  [default: all]")
@_options.count(
    "--search-images",
    "Number of images to hold out of the training images for the search.  [default: a sixth, 5,000 at most]",
)
@_options.size(
    "Height and width of the images in pixels; with masks the shorter side.  [default: 144; with masks their own]",
    "--size",
)
@_options.seed("Seed of the draws.", default=0)
@click.option(
    "--allow-broken",
    type=click.FloatRange(0, 1),
    default=0.01,
    metavar="SHARE",
    help="Share of the images that may be broken.",
)
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the store.")
@_options.json
def subset(source: str | None, allow_broken: float, out: Path, as_json: bool, images: int | None, **asked: Any) -> None:
    """Decode a subset once into a store, which --data reads without decoding.

    The subset has three disjoint splits: train, search (held out of the training images) and report (the validation
    images). After a kill, the same command continues where it stopped. A source with masks becomes folders of images
    and masks, with the classes as numbers from 0.

    \b
    Examples:
      acmix data subset --data ~/imagenet --classes 100 --images-per-class 200 --size 144 --out in100
      acmix data subset --data ~/imagenet --classes imagenette --size 144 --out imagenette
      acmix data subset --data ~/imagenet --classes my_classes.txt --search-images 2000 --out mine
      acmix data subset --data ADEChallengeData2016 --images 2000 --size 256 --out ade2000
      acmix data subset --data my_masks --classes shown --out mine
    """
    from acmix_nas.cli._console import DecodingBar, progress, spinner
    from acmix_nas.data import open_source, plan_subset, write_store

    console = progress()
    with spinner(console, "listing images"):
        opened = open_source(source)
    if opened.pixel_classes:
        _write_masked(opened, out, images=images, allow_broken=allow_broken, as_json=as_json, **asked)
        return
    if images is not None:
        raise UsageError("--images is for sources with masks; of classes, --images-per-class says how many of each.")
    plan = plan_subset(opened, **{**asked, "size": asked["size"] or STORE_SIZE})
    for note in plan.notes:
        console.print(f"Note: {note}.", soft_wrap=True)
    try:
        with DecodingBar(console) as on_image:
            index = write_store(
                plan, out, command=_options.command_line(), allow_broken=allow_broken, progress=on_image
            )
    except KeyboardInterrupt:
        console.print("interrupted; the same command continues after the last complete chunk.")
        raise
    if as_json:
        say(json.dumps({"folder": str(out), **asdict(index)}))
    else:
        _print_store(out, index)


def _write_masked(
    opened: "Source", out: Path, *, classes: str | None, images_per_class: int | None, as_json: bool, **asked: Any
) -> None:
    """The subset of a source with masks."""
    from acmix_nas.cli._console import DecodingBar, progress
    from acmix_nas.data.subset_masks import write_masked_subset

    only_shown = classes == SHOWN
    for option, value in {"--classes": None if only_shown else classes, "--images-per-class": images_per_class}.items():
        if value is not None:
            raise UsageError(
                f"{option} chooses by the class of an image; {opened.name} has masks. Give --images, or "
                f"--classes {SHOWN} to leave out the classes that no image to train on shows."
            )
    height, width = asked.pop("size") or (None, None)
    if height != width:
        raise UsageError("--size is one number where there are masks: pixels of the shorter side.")
    with DecodingBar(progress()) as on_image:
        found = write_masked_subset(opened, out, size=height, only_shown=only_shown, progress=on_image, **asked)
    say(json.dumps(found._asdict()) if as_json else _masked_text(found))


def _masked_text(found: "MaskedSubset") -> str:
    images = ", ".join(f"{count:,} {split}" for split, count in found.images.items())
    of = "of their own sizes" if found.shortest is None else f"with a shorter side of {found.shortest} px at most"
    lines = [f"{found.folder}: {len(found.classes)} classes of pixels, {images} images {of}"]
    lines += [f"note: {note}" for note in found.notes]
    lines += [f"left out because they cannot be decoded: {len(found.broken)}"] if found.broken else []
    return "\n".join([*lines, *(f"  {file}: {reason}" for file, reason in found.broken[:5])])


@data.command()
@_options.space
@_options.data
@_options.task
@_options.head
@_options.metric
@click.option("--archs", type=click.IntRange(min=4), default=16, help="Number of networks to draw and train twice.")
@_options.seed("Seed of the draws and of all trainings.", default=0)
@_options.proxy
@_options.count("--epochs", "Epochs of the cheap training.  [default: the proxy's]")
@_options.count("--proxy-images", "Images of the cheap training.  [default: the proxy's]")
@_options.count("--epochs-large", "Epochs of the large training.  [default: three times those of the cheap one]")
@_options.count("--images-large", "Images of the large training.  [default: the same]")
@click.option(
    "--ceiling",
    is_flag=True,
    help="Train the large one again with another seed, and show how well the two agree: no proxy can agree better.",
)
@_options.places
@_options.out
@_options.device
@_options.plugin
@_options.json
def fidelity(as_json: bool, **options: Any) -> None:
    """Measure how well a proxy ranks the networks of a space.

    The command trains a seeded sample of networks at the proxy's budget and at a larger one, and scores both on the
    search split. It shows the rank correlation of the cheap score with the large one, beside those of parameters, MACs
    and zero-cost scores of the untrained networks, over all networks and over the better half, each with a 95 %
    bootstrap interval. Stored trainings are not repeated. A search on the same space, proxy and images uses the result.

    \b
    Examples:
      acmix data fidelity --space swin_t --data in100 --archs 16
      acmix data fidelity --space swin_t --data in100 --archs 32 --epochs-large 60
      acmix data fidelity --space pvt_tiny --task segmentation --data ADEChallengeData2016
    """
    from acmix_nas.cli._display import FidelityDisplay
    from acmix_nas.experiments.fidelity import FidelityOptions, run

    with FidelityDisplay() as display:
        found, folder = run(FidelityOptions(**options), display)
    if as_json:
        say(json.dumps({"folder": str(folder), **asdict(found)}))
    else:
        _print_fidelity(found, folder)


data.add_command(scenes)
data.add_command(score)


def _print_description(found: "Description") -> None:
    from acmix_nas.cli._console import plain_table, results

    of = " of pixels" if found.pixels else ""
    lines = [f"{found.name}: {found.kind}, {len(found.classes)} classes{of}, fingerprint {found.fingerprint}"]
    shown = ", ".join(found.classes[:10])
    lines.append(f"classes: {shown}{', ...' if len(found.classes) > 10 else ''}")
    table = plain_table("split", "images", "classes", "least", "median", "most of a class")
    for name, counts in found.splits.items():
        numbers = (counts.images, counts.classes, counts.least, counts.median, counts.most)
        table.add_row(name, *(f"{number:,g}" if isinstance(number, float) else f"{number:,}" for number in numbers))
    say("\n".join([*lines, *(f"note: {note}" for note in found.notes)]))
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
    say("\n".join([*below, *_pixel_lines(found)]))


def _pixel_lines(found: "Description") -> list[str]:
    """What the masks hold, the classes with the most pixels first."""
    if not found.pixels:
        return []
    total = max(1, sum(found.pixels.values()) + found.unscored)
    lines = [f"of the pixels of their masks, {found.unscored / total:.1%} are of no class:"]
    there = [(name, count) for name, count in found.pixels.items() if count]
    lines += [f"  {count / total:7.2%}  {name}" for name, count in there[:MOST_PIXELS]]
    lines += [f"  ... and {len(there) - MOST_PIXELS} more classes"] if len(there) > MOST_PIXELS else []
    if missing := [name for name, count in found.pixels.items() if not count]:
        lines.append(f"  {len(missing)} classes have no pixel there: {', '.join(missing[:10])}")
    lines.append(f"  masks that do not fit: {len(found.misfits)}")
    return lines + [f"    {reason}" for _, reason in found.misfits[:20]]


def _print_store(out: Path, index: "Index") -> None:
    images = ", ".join(f"{count:,} {split}" for split, count in index.images.items())
    size = sum(index.images.values()) * 3 * prod(pair(index.size))
    of = f"images of {size_text(index.size)} px, {size / 1e6:,.1f} MB"
    lines = [f"{out}: {len(index.classes)} classes, {images} {of}"]
    if traits := sum((Counter(counts) for counts in index.traits.values()), Counter()):
        lines.append(f"converted to upright 8-bit RGB: {_counts(traits)}")
    if index.broken:
        lines.append(f"left out because they cannot be decoded: {len(index.broken)}; index.json names them. The first:")
        lines += [f"  {file}: {reason}" for file, reason in index.broken[:5]]
    say("\n".join(lines))


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


def _print_fidelity(found: "Fidelity", folder: Path) -> None:
    from acmix_nas.cli._console import plain_table, results

    cheap, large = found.cheap, found.large
    say(
        f"{found.space['name']}, proxy {found.proxy['name']}: {found.archs} networks at {cheap['epochs']} epochs of "
        f"{cheap['images']:,} images against {large['epochs']} of {large['images']:,}, search split, seed {found.seed}"
    )
    table = plain_table("order by", "Spearman [95 %]", "Kendall [95 %]", "Spearman, better half")
    for name, agreement in found.agreements.items():
        parts = [agreement.spearman, agreement.kendall]
        parts += [found.better_half[name].spearman] if name in found.better_half else []
        cells = [f"{part.value:+.2f} [{part.low:+.2f}, {part.high:+.2f}]" for part in parts]
        table.add_row(ORDERS.get(name, name), *cells)
    results().print(table)
    if found.failed:
        say(f"{found.failed} further networks failed; {folder} has their records.")
