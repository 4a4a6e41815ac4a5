"""WebDataset shards: numbered tar files in which KEY.jpg is an image and KEY.cls its class number."""

from collections import Counter
from itertools import groupby
from pathlib import Path

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.formats import EXTENSIONS
from acmix_nas.data.source import VALIDATION, Source, digest
from acmix_nas.data.sources._identity import check_files
from acmix_nas.data.sources._labels import check_number, numbered
from acmix_nas.data.sources._tar import Found, Member, find_tars, has_class_files, members
from acmix_nas.errors import DataError, SpaceError
from acmix_nas.space.plain_yaml import read_utf8

PREFIX = "wds/"
LAYOUT = (
    "WebDataset shards: a folder with *train*.tar and *val*.tar (or *test*.tar), or with these parts as folders of tar "
    "files, of KEY.jpg and KEY.cls, and if you like a classnames.txt with a name a line; also written wds/FOLDER"
)


def matches(spec: str) -> bool:
    """Whether the prefix says so, or a folder's first tar file has class numbers in files of their own."""
    if spec.startswith(PREFIX):
        return True
    train = _shards(Path(spec), "train")
    return bool(train) and has_class_files(train[0])


def open_source(spec: str) -> Source:
    """Lists the images with Python's tarfile: the format is no more than a tar file.

    Raises:
        DataError: A part is missing, a shard is damaged, or a sample has no class number or not one image.
    """
    root = Path(spec.removeprefix(PREFIX))
    train_shards = _shards(root, "train")
    validation_shards = next((found for name in VALIDATION if (found := _shards(root, name))), [])
    if not train_shards or not validation_shards:
        missing = "validate" if train_shards else "train"
        raise DataError(f"a source is {LAYOUT}; {root} has no shards to {missing} on. Check the path.")
    check_files({"train": train_shards, "validation": validation_shards})
    passed_over: Counter[str] = Counter()
    listed = [_list(shards, passed_over) for shards in (train_shards, validation_shards)]
    classes = _names(root) or numbered(*(found.labels for found in listed))
    train, validation = (found.part() for found in listed)
    return Source(
        kind="wds",
        name=root.resolve().name,
        classes=classes,
        train=train,
        validation=validation,
        fingerprint=fingerprint(classes, [part.content(root) for part in (train, validation)]),
        former=digest(piece for found in listed for piece in found.facts()),
        passed_over=passed_over,
    )


def _shards(root: Path, part: str) -> list[Path]:
    return find_tars(root, f"*{part}*") or find_tars(root / part, "*")


def _names(root: Path) -> tuple[str, ...]:
    """Names of the classes; none where there is no file of them."""
    file = root / "classnames.txt"
    if not file.is_file():
        return ()
    try:
        lines = [line.strip() for line in read_utf8(file, 2**26).rstrip().splitlines()]
    except SpaceError as error:
        raise DataError(str(error)) from error
    if "" in lines:
        raise DataError(
            f"{file} has the name of a class on each line; line {lines.index('') + 1} is empty. Fill it in."
        )
    return tuple(lines)


def _list(shards: list[Path], passed_over: Counter[str]) -> Found:
    found = Found()
    for shard in shards:
        found.begin(shard)
        for key, sample in groupby(members(shard, passed_over), key=lambda member: _split(member[0])[0]):
            _take(found, shard, key, [*sample], passed_over)
    if not found.labels:
        raise DataError(
            f"a shard has images as KEY.EXTENSION, {', '.join(sorted(EXTENSIONS))}; {shards[0]} has none. Check "
            "the path."
        )
    return found


def _take(found: Found, shard: Path, key: str, sample: list[Member], passed_over: Counter[str]) -> None:
    fields = [(_split(member[0])[1], member) for member in sample]
    if key.rpartition("/")[2] == "":
        passed_over["hidden"] += len(fields)
        return
    _check_fields([field for field, _ in fields], f"{shard}/{key}")
    image = next((member for field, member in fields if f".{field}" in EXTENSIONS), None)
    label = next((member for field, member in fields if field == "cls"), None)
    if image is None:
        passed_over.update(f"{field or 'without extension'} without an image" for field, _ in fields)
    else:
        found.add(image, _read_label(shard, key, label))


def _check_fields(fields: list[str], where: str) -> None:
    """Refuses a sample in which more than one file may be the image or the label."""
    unclear = [f for f in fields if "." in f and (f".{f.rpartition('.')[2]}" in EXTENSIONS or f.endswith(".cls"))]
    if unclear:
        raise DataError(
            f"a key has no dots, and what follows its first dot is the field, as jpg or cls; {where} has the fields "
            f"{', '.join(unclear[:5])}{', ...' if len(unclear) > 5 else ''}. Rename the files in the shard."
        )
    for what, several in (
        ("image", [field for field in fields if f".{field}" in EXTENSIONS]),
        ("class number", [field for field in fields if field == "cls"]),
    ):
        if len(several) > 1:
            raise DataError(
                f"a sample has one {what}; {where} has {', '.join(several)}. Make them samples of their own."
            )


def _split(name: str) -> tuple[str, str]:
    """Key and field of a member, as WebDataset splits its name: at the first dot of the file's name."""
    folder, slash, file = name.rpartition("/")
    key, _, field = file.partition(".")
    return folder + slash + key, field.lower()


def _read_label(shard: Path, key: str, member: Member | None) -> int:
    if member is None:
        raise DataError(f"each image of a shard has its class number beside it; {shard} has no {key}.cls.")
    with shard.open("rb") as file:
        file.seek(member[1])
        content = file.read(min(member[2], 100))
    try:
        label = int(content)
    except ValueError as error:
        raise DataError(f"a .cls file has a class number; {shard}/{key}.cls has {content[:20]!r}.") from error
    return check_number(label, f"{shard}/{key}.cls")
