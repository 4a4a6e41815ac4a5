"""`write_masked_subset`: a subset of a source with masks, as folders of images and masks that `pairs` reads."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import PIL
from PIL import Image

from acmix_nas import __version__
from acmix_nas.data.decode import BROKEN_SHARE, Progress, broken_reason, check_broken, upright
from acmix_nas.data.draw import Indices, draw_balanced, draw_held_out
from acmix_nas.data.formats import is_image
from acmix_nas.data.masks import IGNORED, Mask, MaskedPart, check_class_count
from acmix_nas.data.source import Source, first_few
from acmix_nas.data.splits import held_out_size
from acmix_nas.errors import AcmixError, DataError, DiskError
from acmix_nas.fields import Origin
from acmix_nas.files import replacing, write_text

RECIPE, CLASSES = "subset.json", "classes.txt"
SPLITS = ("train", "search", "val")
"""Folders of the splits, below images and masks."""
QUALITY = 95
"""Of the JPEG files that images become."""


class MaskedSubset(NamedTuple):
    """What was written.

    Attributes:
        folder: Where.
        classes: Names of the classes of pixels.
        images: Images of each split.
        shortest: Pixels of the shorter side; None where images keep their sizes.
        broken: (file, reason) of images left out.
        notes: What a user should know.
    """

    folder: str
    classes: tuple[str, ...]
    images: dict[str, int]
    shortest: int | None
    broken: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Split:
    part: MaskedPart
    chosen: Indices


def write_masked_subset(
    source: Source,
    folder: Path,
    *,
    images: int | None = None,
    search_images: int | None = None,
    size: int | None = None,
    seed: int = 0,
    allow_broken: float = BROKEN_SHARE,
    only_shown: bool = False,
    progress: Progress | None = None,
) -> MaskedSubset:
    """Draws images to train on, holds some out for the search, and writes them and the validation part with masks.

    Images become JPEG files and masks PNG files with the classes from 0, 255 where nothing is scored, so what a source
    does to its numbers is done once. classes.txt comes last: without it the folder is no source, and the same call goes
    on where it was.

    Args:
        source: Has masks.
        folder: Where to write; made if it is not there.
        images: Images to train on; None for all.
        search_images: Images to hold out for the search; None for a sixth, 5,000 at most.
        size: Pixels of the shorter side, which larger images are scaled to; None keeps all as they are.
        seed: Seed of the draws.
        allow_broken: Share of the images that may be undecodable.
        only_shown: Whether classes that no drawn image to train on shows are left out: their pixels are not scored.
        progress: Called with images done, and in all.

    Raises:
        DataError: The folder has something else, there are too few images, a mask does not fit its image or its
            classes, too many images are broken, or a file cannot be written.
    """
    for name, value in {"images": images, "search_images": search_images, "size": size}.items():
        if value is not None and value < 1:
            raise DataError(f"{name} is a whole number from 1 up; it is {value}.")
    splits = dict(zip(SPLITS, _drawn(source, images, search_images, seed), strict=True))
    recipe = {
        "source": {"kind": source.kind, "name": source.name, "fingerprint": source.fingerprint},
        "images": {name: len(split.chosen) for name, split in splits.items()},
        "size": size,
        "seed": seed,
        "versions": {"acmix-nas": __version__, "pillow": PIL.__version__},
        **({"only_shown": True} if only_shown else {}),
    }
    classes, numbers = source.pixel_classes, np.arange(256, dtype=np.uint8)
    if only_shown:
        kept_classes = _shown(splits["train"])
        classes = check_class_count([classes[number] for number in kept_classes], folder)
        numbers = np.full(256, IGNORED, dtype=np.uint8)
        numbers[kept_classes] = np.arange(len(kept_classes))
    try:
        _begin(folder, recipe)
        broken = _write(folder, splits, numbers, size, allow_broken, progress)
        names = "\n".join(f"{number}\t{name}" for number, name in enumerate(classes))
        write_text(folder / CLASSES, names + "\n")
    except (OSError, DiskError) as error:
        raise DataError(
            f"the subset in {folder} cannot be written: {error}. Free room, or choose another --out; the same command "
            "goes on where it was."
        ) from error
    kept = {name: sum(1 for _ in (folder / "masks" / name).iterdir()) for name in SPLITS}
    notes = [*source.remarks(), *_unseen(folder, classes)]
    if left_out := [name for name in source.pixel_classes if name not in classes]:
        notes.append(f"{len(left_out)} classes that no image to train on shows are left out: {first_few(left_out)}")
    return MaskedSubset(str(folder), classes, kept, size, tuple(broken), tuple(notes))


def _shown(split: _Split) -> list[int]:
    """The classes that its masks have, rising."""
    seen = np.zeros(256, dtype=np.bool_)
    for place in map(int, split.chosen):
        try:
            seen[np.unique(split.part.mask(place))] = True
        except AcmixError:
            raise
        except Exception:  # the image is damaged; it is named when it would be written
            continue
    seen[IGNORED] = False
    return [int(number) for number in np.flatnonzero(seen)]


def _drawn(source: Source, images: int | None, search_images: int | None, seed: int) -> Iterator[_Split]:
    """Train, search and validation images, disjoint."""
    train, search, validation = source.train, source.search, source.validation
    assert isinstance(train, MaskedPart)
    assert isinstance(validation, MaskedPart)
    if search is None:
        held = draw_held_out(
            train.labels, held_out_size(train.labels) if search_images is None else search_images, seed
        )
        search_split = _Split(train, held)
        rest = np.setdiff1d(np.arange(len(train.labels)), held)
    else:
        assert isinstance(search, MaskedPart)
        search_split = _Split(search, draw_balanced(search.labels, search_images, seed))
        rest = np.arange(len(train.labels))
    yield _Split(train, np.sort(rest[draw_balanced(train.labels[rest], images, seed)]))
    yield search_split
    yield _Split(validation, np.arange(len(validation.labels)))


def _begin(folder: Path, recipe: dict[str, Any]) -> None:
    """Writes the recipe into an empty folder, or compares it with the one that is there."""
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / RECIPE).is_file():
        origin = Origin(folder / RECIPE, DataError, "Remove the folder and make the subset again.")
        then, now = origin.read(), json.loads(json.dumps(recipe))
        if then != now:
            raise DataError(
                f"the subset in {folder} is one of another command: {then}, now {now}. Choose another --out, or remove "
                "that folder."
            )
    elif others := sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith(".")):
        raise DataError(f"a subset is made in an empty folder; {folder} has {first_few(others)}. Choose another --out.")
    else:
        write_text(folder / RECIPE, json.dumps(recipe) + "\n")
    for kind in ("images", "masks"):
        for split in SPLITS:
            (folder / kind / split).mkdir(parents=True, exist_ok=True)


def _write(
    folder: Path,
    splits: dict[str, _Split],
    numbers: Mask,
    size: int | None,
    allowed: float,
    progress: Progress | None,
) -> list[tuple[str, str]]:
    """Writes what is not there yet, the mask of an image last, with new numbers; returns the images left out."""
    total, done, broken = sum(len(split.chosen) for split in splits.values()), 0, list[tuple[str, str]]()
    for kind, split in splits.items():
        for place in map(int, split.chosen):
            stem = _stem(split.part, place)
            image, mask = folder / "images" / kind / f"{stem}.jpg", folder / "masks" / kind / f"{stem}.png"
            if not mask.is_file():
                try:
                    pixels = _decoded(split.part, place)
                except AcmixError:
                    raise
                except Exception as error:  # whatever Pillow raises for a damaged file
                    broken.append((split.part.name(place), broken_reason(error)))
                    reasons = [f"{name} ({reason})" for name, reason in broken]
                    check_broken(reasons, total, allowed, ", or allow a larger share with --allow-broken")
                    continue
                pixels, classes = _at_size(pixels, numbers[split.part.mask(place)], size)
                with replacing(image) as file:
                    pixels.save(file, "JPEG", quality=QUALITY, subsampling=0)
                with replacing(mask) as file:
                    Image.fromarray(classes).save(file, "PNG")
            done += 1
            if progress is not None:
                progress(done, total)
    return broken


def _stem(part: MaskedPart, place: int) -> str:
    """A name of its own for an image, with that of its file."""
    name = part.name(place)
    return f"{place:06d}-{Path(name).stem}" if is_image(name) else f"{place:06d}"


def _decoded(part: MaskedPart, place: int) -> Image.Image:
    with part.open(place) as image:
        return upright(image)


def _at_size(image: Image.Image, mask: Mask, size: int | None) -> tuple[Image.Image, Mask]:
    if size is None or min(image.size) <= size:
        return image, mask
    factor = size / min(image.size)
    extent = (max(1, round(image.width * factor)), max(1, round(image.height * factor)))
    scaled = Image.fromarray(mask).resize(extent, Image.Resampling.NEAREST)
    return image.resize(extent, Image.Resampling.BICUBIC), np.array(scaled)


def _unseen(folder: Path, classes: tuple[str, ...]) -> Iterator[str]:
    """A note on the classes that no pixel of the training images has."""
    seen = np.zeros(256, dtype=np.bool_)
    for file in (folder / "masks" / "train").iterdir():
        with Image.open(file) as mask:
            seen[[value for value, count in enumerate(mask.histogram()) if count]] = True
    seen[IGNORED] = False
    if missing := [name for number, name in enumerate(classes) if not seen[number]]:
        yield f"{len(missing)} of {len(classes)} classes have no pixel in the images to train on: {first_few(missing)}"
