"""WebDataset shards: numbered tar files in which KEY.jpg is an image and KEY.cls its class number."""

from itertools import groupby
from pathlib import Path

from acmix_nas.data.source import VALIDATION, Source, digest
from acmix_nas.data.sources._names import natural
from acmix_nas.data.sources._tar import Found, Member, has_class_files, is_image, members
from acmix_nas.errors import DataError

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
        DataError: A part is missing, a shard is damaged, or an image has no class number.
    """
    root = Path(spec.removeprefix(PREFIX))
    train_shards = _shards(root, "train")
    validation_shards = next((found for name in VALIDATION if (found := _shards(root, name))), [])
    if not train_shards or not validation_shards:
        missing = "validate" if train_shards else "train"
        raise DataError(f"a source is {LAYOUT}; {root} has no shards to {missing} on. Check the path.")
    train, validation = _list(train_shards), _list(validation_shards)
    return Source(
        kind="wds",
        name=root.resolve().name,
        classes=_names(root, max(max(found.labels, default=-1) for found in (train, validation)) + 1),
        train=train.part(),
        validation=validation.part(),
        fingerprint=digest(piece for found in (train, validation) for piece in found.facts()),
    )


def _shards(root: Path, part: str) -> list[Path]:
    return natural(root.glob(f"*{part}*.tar")) or natural((root / part).glob("*.tar"))


def _names(root: Path, least: int) -> tuple[str, ...]:
    file = root / "classnames.txt"
    if not file.is_file():
        return tuple(str(number) for number in range(least))
    return tuple(line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip())


def _list(shards: list[Path]) -> Found:
    found = Found()
    for shard in shards:
        found.begin(shard)
        for key, sample in groupby(members(shard), key=lambda member: _key(member[0])):
            files = list(sample)
            image = next((member for member in files if is_image(member[0])), None)
            label = next((member for member in files if member[0].endswith(".cls")), None)
            if image is not None:
                found.add(image, _read_label(shard, key, label))
    return found


def _key(name: str) -> str:
    folder, slash, file = name.rpartition("/")
    return folder + slash + file.partition(".")[0]


def _read_label(shard: Path, key: str, member: Member | None) -> int:
    if member is None:
        raise DataError(f"each image of a shard has its class number beside it; {shard} has no {key}.cls.")
    with shard.open("rb") as file:
        file.seek(member[1])
        content = file.read(member[2])
    try:
        return int(content)
    except ValueError as error:
        raise DataError(f"a .cls file has a class number; {shard}/{key}.cls has {content[:20]!r}.") from error
