"""WebDataset shards: numbered tar files in which KEY.jpg is an image, and KEY.cls or KEY.json has its class."""

import json
from collections import Counter
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from acmix_nas.data.fingerprint import fingerprint
from acmix_nas.data.formats import EXTENSIONS
from acmix_nas.data.source import VALIDATION, Source, digest, first_few
from acmix_nas.data.sources._files import check_files
from acmix_nas.data.sources._labels import check_number, settle
from acmix_nas.data.sources._listed import read_text
from acmix_nas.data.sources._tar import Member, Members, find_tars, has_class_files, members
from acmix_nas.errors import DataError

PREFIX = "wds/"
LAYOUT = (
    "WebDataset shards: a folder with *train*.tar and *val*.tar (or *test*.tar), or with these parts as folders "
    "of tar files, of KEY.jpg and KEY.cls, or KEY.json with a label, and optionally a classnames.txt with one "
    "name per line; also written wds/FOLDER"
)
IN_JSON = ("label", "cls", "class", "class_id", "target")
"""What the class may be called in a sample's JSON file."""

_MOST_JSON = 2**22


@dataclass(slots=True)
class _Labels:
    """The classes of samples, all of them numbers or all of them names.

    Attributes:
        names: Number of each name that was met.
        first: Where the first label was, and what it was.
    """

    names: dict[str, int] = field(default_factory=dict)
    first: tuple[str, int | str] | None = None

    def number(self, value: int | str, where: str) -> int:
        """Number of a label.

        Raises:
            DataError: It is none, or of another kind than those before.
        """
        self.first = self.first or (where, value)
        if isinstance(value, str) is not isinstance(self.first[1], str):
            raise DataError(
                f"labels are all class numbers or all names; {self.first[0]} has {self.first[1]!r}, {where} has "
                f"{value!r}. Write them alike."
            )
        if isinstance(value, int):
            return check_number(value, where)
        if not value.strip():
            raise DataError(f"a class has a name; {where} has {value!r}. Give it one, or leave the sample out.")
        return self.names.setdefault(value, len(self.names))


def matches(spec: str) -> bool:
    """Whether the prefix says so, or a folder's first tar file has labels in files of their own."""
    if spec.startswith(PREFIX):
        return True
    train = _shards(Path(spec), "train")
    return bool(train) and has_class_files(train[0])


def open_source(spec: str) -> Source:
    """Lists the images with Python's tarfile: the format is no more than a tar file.

    Raises:
        DataError: A part is missing, a shard is damaged, or a sample has no class or not one image.
    """
    root = Path(spec.removeprefix(PREFIX))
    train_shards = _shards(root, "train")
    validation_shards = next((found for name in VALIDATION if (found := _shards(root, name))), [])
    if not train_shards or not validation_shards:
        missing = "validate" if train_shards else "train"
        raise DataError(f"a source is {LAYOUT}; {root} has no shards to {missing} on. Check the path.")
    check_files(*train_shards, *validation_shards)
    passed_over: Counter[str] = Counter()
    labels = _Labels()
    train, validation = (_list(shards, labels, passed_over) for shards in (train_shards, validation_shards))
    names = _names(root)
    classes = settle([train, validation], None if labels.names else names, labels.names)
    return Source(
        kind="wds",
        name=root.resolve().name,
        classes=classes,
        train=train,
        validation=validation,
        fingerprint=fingerprint(classes, [part.content(root) for part in (train, validation)]),
        former=digest(fact for part in (train, validation) for fact in part.facts(np.array(part.numbers))),
        passed_over=passed_over,
    )


def _shards(root: Path, part: str) -> list[Path]:
    return find_tars(root, f"*{part}*") or find_tars(root / part, "*")


def _names(root: Path) -> tuple[str, ...]:
    """Names of the classes; none where there is no file of them."""
    file = root / "classnames.txt"
    if not file.is_file():
        return ()
    lines = [line.strip() for line in read_text(file, 2**26).rstrip().splitlines()]
    if "" in lines:
        raise DataError(
            f"{file} has the name of a class on each line; line {lines.index('') + 1} is empty. Fill it in."
        )
    return tuple(lines)


def _list(shards: list[Path], labels: _Labels, passed_over: Counter[str]) -> Members:
    found = Members()
    for shard in shards:
        found.tars.append(shard)
        for key, sample in groupby(members(shard, passed_over), key=lambda member: _split(member[0])[0]):
            _take(found, labels, shard, key, [*sample], passed_over)
    if not found.numbers:
        raise DataError(
            f"a shard has images as KEY.EXTENSION, {', '.join(sorted(EXTENSIONS))}; {shards[0]} has none. Check "
            "the path."
        )
    found.close()
    return found


def _take(
    found: Members, labels: _Labels, shard: Path, key: str, sample: list[Member], passed_over: Counter[str]
) -> None:
    fields = [(_split(member[0])[1], member) for member in sample]
    if key.rpartition("/")[2] == "":
        passed_over["hidden"] += len(fields)
        return
    _check_fields([field for field, _ in fields], f"{shard}/{key}")
    image = next((member for field, member in fields if f".{field}" in EXTENSIONS), None)
    by_field = dict(fields)
    if image is None:
        passed_over.update(f"{field or 'without extension'} without an image" for field, _ in fields)
    else:
        found.add(image, labels.number(*_read_label(shard, key, by_field)))


def _check_fields(fields: list[str], where: str) -> None:
    """Refuses a sample in which more than one file may be the image or the label."""
    unclear = [f for f in fields if "." in f and (f".{f.rpartition('.')[2]}" in EXTENSIONS or f.endswith(".cls"))]
    if unclear:
        raise DataError(
            f"a key has no dots, and what follows its first dot is the field, as jpg or cls; {where} has the fields "
            f"{first_few(unclear)}. Rename the files in the shard."
        )
    for what, several in (
        ("image", [name for name in fields if f".{name}" in EXTENSIONS]),
        ("class number", [name for name in fields if name == "cls"]),
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


def _read_label(shard: Path, key: str, fields: dict[str, Member]) -> tuple[int | str, str]:
    """The label of a sample, and where it is."""
    if "cls" in fields:
        where, content = f"{shard}/{key}.cls", _read(shard, fields["cls"], 100)
        try:
            return int(content), where
        except ValueError as error:
            raise DataError(f"a .cls file has a class number; {where} has {content[:20]!r}.") from error
    if "json" not in fields:
        raise DataError(f"each image of a shard has its class beside it; {shard} has neither {key}.cls nor {key}.json.")
    where, content = f"{shard}/{key}.json", _read(shard, fields["json"], _MOST_JSON)
    try:
        facts = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where} is no JSON: {error}. Write the shard again.") from error
    values = [facts[name] for name in IN_JSON if name in facts] if isinstance(facts, dict) else []
    if not values or isinstance(values[0], bool) or not isinstance(values[0], int | str):
        raise DataError(
            f"a sample without KEY.cls has its class number or name in KEY.json, as one of {', '.join(IN_JSON)}; "
            f"{where} has {content[:60]!r}. Add it."
        )
    return values[0], where


def _read(shard: Path, member: Member, most: int) -> bytes:
    with shard.open("rb") as file:
        file.seek(member[1])
        return file.read(min(member[2], most))
