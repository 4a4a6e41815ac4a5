"""Images and files of their masks, paired by name."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.formats import extension_of, is_image
from acmix_nas.data.masks import MaskedShare, MaskFiles, check_class_count
from acmix_nas.data.source import Part, Share, Source, divided, first_few
from acmix_nas.data.sources._files import in_order
from acmix_nas.errors import DataError

NameOf = Callable[[Path], str]


def images_below(folder: Path, *, deep: bool = False, passed_over: Counter[str] | None = None) -> list[Path]:
    """The images of a folder, in natural order.

    Args:
        folder: The folder.
        deep: Whether those of the folders inside are taken too.
        passed_over: Counts the files that are no images, by extension.
    """
    files = [file for file in (folder.rglob("*") if deep else folder.iterdir()) if file.is_file()]
    if passed_over is not None:
        others = [file.name for file in files if not is_image(file.name) and not file.name.startswith(".")]
        passed_over.update(extension_of(name) or "without extension" for name in others)
    return sorted((file for file in files if is_image(file.name)), key=lambda file: in_order(str(file)))


def check_folders(layout: str, *folders: Path) -> None:
    """Refuses a source that lacks a folder of its layout.

    Raises:
        DataError: The message names those that are missing.
    """
    if missing := [str(folder) for folder in folders if not folder.is_dir()]:
        raise DataError(f"{layout} has the folders {', '.join(map(str, folders))}; {' and '.join(missing)} is missing.")


def paired(
    root: Path,
    images: Sequence[Path],
    masks: Sequence[Path],
    numbers: Mapping[int, int],
    *,
    image_name: NameOf = lambda file: file.stem,
    mask_name: NameOf = lambda file: file.stem,
    passed_over: Counter[str] | None = None,
) -> MaskFiles:
    """A part of a source: each image with the mask of its name.

    Args:
        root: Folder that all lie in.
        images: Images.
        masks: Masks, of other images too.
        numbers: Number in a mask -> class.
        image_name: What of an image's path names the pair.
        mask_name: What of a mask's path does.
        passed_over: Counts the masks without an image.

    Raises:
        DataError: An image has no mask, or two.
    """
    by_name: dict[str, Path] = {}
    for mask in masks:
        other = by_name.setdefault(mask_name(mask), mask)
        if other != mask:
            raise DataError(f"an image has one mask; {other} and {mask} are of the same name. Remove one of them.")
    missing = [image for image in images if image_name(image) not in by_name]
    if missing:
        raise DataError(
            f"each image has a mask of its name; {len(missing)} of {len(images)} have none: "
            f"{first_few([str(image) for image in missing], 3)}. Add the masks, or leave the images out."
        )
    if passed_over is not None and len(by_name) > len(images):
        passed_over["masks without an image"] += len(by_name) - len(images)
    return MaskFiles(
        root=root, images=list(images), masks=[by_name[image_name(image)] for image in images], numbers=numbers
    )


def masked_source(
    kind: str,
    spec: str,
    names: Sequence[str],
    train: MaskFiles,
    validation: MaskFiles | None,
    *,
    search: MaskFiles | None = None,
    notes: Sequence[str] = (),
    passed_over: Mapping[str, int] | None = None,
) -> Source:
    """The source of two parts; where there is none to validate on, a share of the other is held out.

    Raises:
        DataError: There are too few classes, or too many, or no images.
    """
    root = Path(spec)
    classes = check_class_count(names, root)
    for part, what in ((train, "train"), (validation, "validation"), (search, "search")):
        if part is not None and not len(part.labels):
            raise DataError(f"each part of a source has images; {root}, read as {kind}, has no {what} image.")
    contents = [part.content() for part in (train, validation, search) if part is not None]
    kept, held, held_notes = divided(train, validation, root.resolve().name)
    return Source(
        kind=kind,
        name=root.resolve().name,
        classes=(),
        pixel_classes=classes,
        train=_with_masks(kept),
        validation=_with_masks(held),
        search=search,
        fingerprint=fingerprint(classes, contents),
        passed_over=passed_over or {},
        notes=(*notes, *held_notes),
    )


def _with_masks(part: Part) -> Part:
    return MaskedShare(part=part.part, places=part.places) if isinstance(part, Share) else part


def read_names(file: Path) -> tuple[str, ...]:
    """Names of classes, one a line, in the order of their numbers from 0; a number and a tab may stand before each.

    Raises:
        DataError: The file cannot be read, or its numbers are not 0, 1, 2 and so on.
    """
    try:
        lines = [line.rstrip("\r") for line in file.read_text(encoding="utf-8-sig").split("\n")]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the names of the classes, {file}, cannot be read: {error}.") from error
    pairs = [line.split("\t", 1) for line in lines if line.strip()]
    if pairs and all(len(pair) == 2 and pair[0].strip().isdecimal() for pair in pairs):
        numbers = [int(number) for number, _ in pairs]
        if numbers != list(range(len(numbers))):
            raise DataError(
                f"classes are numbered 0, 1, 2 and so on; {file} has {first_few([str(number) for number in numbers])}. "
                "Add the missing ones: a number that is never scored is 255 in a mask, and has no line."
            )
        return tuple(name.strip() for _, name in pairs)
    return tuple(" ".join(pair).strip() for pair in pairs)
