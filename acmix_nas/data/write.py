"""`write_store`: decodes a planned subset into a store; killed half-way, the same call goes on where it was."""

import fcntl
import json
import os
import platform
import shutil
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from math import prod
from pathlib import Path
from typing import Any, NamedTuple, TextIO

import numpy as np
import numpy.typing as npt
import PIL
import torch

from acmix_nas import __version__
from acmix_nas.data.decode import BROKEN_SHARE, Progress, check_broken, decode
from acmix_nas.data.fingerprint import is_former
from acmix_nas.data.pixels import measure_moments
from acmix_nas.data.sources.store import FORMAT, INDEX, PLAN, READ, SPLITS, VERSION, Index, fingerprint_of, read_index
from acmix_nas.data.stored import StoredImages, checksum
from acmix_nas.data.subset import Plan
from acmix_nas.errors import DataError, DiskError
from acmix_nas.fields import COUNT, LIST, MAPPING, TEXT, Origin, mapping_of, one_of, shown
from acmix_nas.files import FULL, replacing
from acmix_nas.sizes import pair

CHUNK = 512
"""Images that are decoded, written and made safe at a time."""
PROGRESS = "progress.jsonl"


def write_store(
    plan: Plan,
    folder: Path,
    *,
    command: str = "acmix data subset",
    allow_broken: float = BROKEN_SHARE,
    progress: Progress | None = None,
    chunk: int = CHUNK,
) -> Index:
    """Decodes a subset into a folder.

    Pixels are written chunk by chunk, each made safe on the disk before a line in progress.jsonl counts it; what a kill
    left behind the last counted chunk is cut off. index.json is written last. A folder that has the whole subset is
    left as it is.

    Args:
        plan: The subset.
        folder: Where to write; made if it is not there.
        command: The command line, for the index.
        allow_broken: Share of the images that may be unreadable.
        progress: Called with (images done, images in all).
        chunk: Images of a chunk.

    Raises:
        DataError: The folder has something else, another process writes there, the disk is full or not writable, or
            too many images are broken.
    """
    with _telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        whole = _find_whole(plan, folder)
        if whole is not None:
            return whole
        with _begin(plan, folder, command) as log:
            _check_space(plan, folder)
            chunks = _Chunks(plan, folder, log, allow_broken)
            for split in plan.splits:
                chunks.write(split, chunk, progress)
            return _finish(plan, folder, command, chunks.lines)


class _Line(NamedTuple):
    """One chunk, as a line of progress.jsonl has it.

    Attributes:
        split: Its split.
        start: First of its images in the plan.
        images: How many it has.
        broken: [place in the plan, file, reason] of those left out.
        traits: Counts of unusual kinds.
    """

    split: str
    start: int
    images: int
    broken: list[tuple[int, str, str]]
    traits: dict[str, int]


LINE = {"split": one_of(*SPLITS), "start": COUNT, "images": COUNT, "broken": LIST, "traits": mapping_of(COUNT)}
BROKEN = {"place": COUNT, "file": TEXT, "reason": TEXT}
AGAIN = "Remove the folder and make the store again."


def _read_line(folder: Path, number: int, text: str) -> _Line:
    origin = Origin(f"{folder / PROGRESS}, line {number}", DataError, AGAIN)
    known = origin.fields(origin.parse(text), LINE)
    for each in known["broken"]:
        named = dict(zip(BROKEN, each, strict=False)) if isinstance(each, list) and len(each) == len(BROKEN) else each
        origin.fields(named, BROKEN, path="broken")
    if len(known["broken"]) > known["images"]:
        raise origin.wrong(f"{known['images']} images cannot have {len(known['broken'])} broken ones", "broken")
    return _Line(**{**known, "broken": [tuple(each) for each in known["broken"]]})


class _Chunks:
    """The chunks of all splits, in order."""

    def __init__(self, plan: Plan, folder: Path, log: TextIO, allow_broken: float) -> None:
        self.plan = plan
        self.folder = folder
        self.log = log
        self.allow_broken = allow_broken
        self.lines = [_read_line(folder, number, text) for number, text in enumerate(_whole_lines(log), 1)]
        self._check()

    def write(self, split: str, chunk: int, progress: Progress | None) -> None:
        """Goes on with a split after its last counted chunk."""
        chosen = self.plan.splits[split].chosen
        done = [line for line in self.lines if line.split == split]
        start = sum(line.images for line in done)
        bytes_done = (start - sum(len(line.broken) for line in done)) * 3 * prod(pair(self.plan.size))
        with (self.folder / f"{split}.images.bin").open("ab") as file:
            if file.tell() < bytes_done:
                raise DataError(f"{file.name} lost what {PROGRESS} counts. Remove {self.folder} and make it again.")
            file.truncate(bytes_done)
            for first in range(start, len(chosen), chunk):
                self._write_chunk(file.fileno(), split, first, min(chunk, len(chosen) - first))
                if progress is not None:
                    progress(sum(line.images for line in self.lines), self.plan.total)

    def _write_chunk(self, file: int, split: str, first: int, count: int) -> None:
        planned = self.plan.splits[split]
        chosen = planned.chosen[first : first + count]
        decoded = decode(planned.part, chosen, input_size=self.plan.size)
        pixels = memoryview(decoded.images[torch.from_numpy(decoded.kept())].numpy().tobytes())
        while pixels:
            pixels = pixels[os.write(file, pixels) :]
        os.fsync(file)
        broken = [(first + i, planned.part.name(int(chosen[i])), why) for i, why in sorted(decoded.broken.items())]
        line = _Line(split, first, count, broken, dict(sorted(decoded.traits.items())))
        self.log.write(json.dumps(line._asdict()) + "\n")
        self.log.flush()
        os.fsync(self.log.fileno())
        self.lines.append(line)
        self._check()

    def _check(self) -> None:
        reasons = [f"{file} ({why})" for line in self.lines for _, file, why in line.broken]
        check_broken(reasons, self.plan.total, self.allow_broken, ", or allow a larger share with --allow-broken")


def _find_whole(plan: Plan, folder: Path) -> Index | None:
    """The index of the same subset that is whole; None where nothing or the half of it is there."""
    if (folder / INDEX).is_file():
        index = read_index(folder)
        _check_same(index.recipe, _recipe(plan, index.recipe), folder)
        _remove_plan(folder)
        return index
    others = sorted(entry.name for entry in folder.iterdir() if not entry.name.startswith("."))
    if others and PLAN not in others:
        raise DataError(
            f"a store is made in an empty folder; {folder} has {', '.join(others[:5])}. Choose another --out."
        )
    return None


@contextmanager
def _begin(plan: Plan, folder: Path, command: str) -> Iterator[TextIO]:
    """Writes plan.json, or compares with the one that is there; then holds and gives progress.jsonl."""
    same = {"format": FORMAT, "version": VERSION, "versions": _versions()}
    if not (folder / PLAN).is_file():
        _write(folder / PLAN, json.dumps({**same, **plan.recipe, "command": command}) + "\n")
    origin = Origin(folder / PLAN, DataError, AGAIN)
    then = origin.read()
    if not MAPPING.fits(then):
        raise origin.wrong(f"{MAPPING.text} is needed; it is {shown(then)}")
    if then.get("version") in READ:  # one that 0.1 began goes on as one of today
        then["version"] = VERSION
    _check_same(then, {**same, **_recipe(plan, then)}, folder)
    with (folder / PROGRESS).open("a+", encoding="utf-8") as log:
        try:
            fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise DataError(f"another process writes the store in {folder}; wait for it or stop it.") from error
        yield log


def _whole_lines(log: TextIO) -> list[str]:
    """The lines of the log; a last one that a kill tore is cut off."""
    log.seek(0)
    text = log.read()
    whole = text[: text.rfind("\n") + 1]
    if whole != text:
        log.truncate(len(whole.encode()))
        log.seek(0, os.SEEK_END)
    return whole.splitlines()


def _finish(plan: Plan, folder: Path, command: str, lines: list[_Line]) -> Index:
    """Writes labels and places, then the index that makes the store a whole one."""
    hashed = sha256(json.dumps([*plan.classes, plan.size]).encode())  # as acmix-nas 0.1 did
    images, traits, marks = {}, {}, []
    for split, planned in plan.splits.items():
        done = [line for line in lines if line.split == split]
        broken = np.array([place for line in done for place, _, _ in line.broken], dtype=np.int64)
        kept = np.setdiff1d(np.arange(len(planned.chosen)), broken)
        if not len(kept):
            raise DataError(f"a split has an image or more; none of {split} can be decoded.")
        _write(folder / f"{split}.labels.npy", planned.labels[kept])
        _write(folder / f"{split}.places.npy", planned.chosen[kept])
        hashed.update(planned.labels[kept].tobytes())
        checksums = np.empty(len(kept), dtype=np.uint64)
        for number, image in enumerate(StoredImages(folder / f"{split}.images.bin", len(kept), plan.size)):
            pixels = image.numpy().tobytes()
            hashed.update(pixels)
            checksums[number] = checksum(pixels)
        _write(folder / f"{split}.checksums.npy", checksums)
        marks.append((planned.labels[kept], checksums))
        images[split] = len(kept)
        traits[split] = dict(sum((Counter(line.traits) for line in done), Counter()))
    index = Index(
        fingerprint=fingerprint_of(plan.classes, plan.size, marks),
        former=hashed.hexdigest()[:16],
        classes=plan.classes,
        size=plan.size,
        images=images,
        moments=measure_moments(StoredImages(folder / "train.images.bin", images["train"], plan.size)),
        recipe=plan.recipe,
        broken=tuple((file, why) for line in lines for _, file, why in line.broken),
        traits=traits,
        notes=plan.notes,
        command=command,
        versions=_versions(),
    )
    _write(folder / INDEX, index.to_json())
    _remove_plan(folder)
    return index


def _recipe(plan: Plan, then: dict[str, Any]) -> dict[str, Any]:
    """The plan's recipe, with its source's fingerprint by the rule that `then` was written by."""
    source = then.get("source")
    stored = source.get("fingerprint") if isinstance(source, dict) else None
    if isinstance(stored, str) and is_former(stored) and plan.former:
        return {**plan.recipe, "source": {**plan.recipe["source"], "fingerprint": plan.former}}
    return plan.recipe


def _check_same(then: dict[str, Any], now: dict[str, Any], folder: Path) -> None:
    now = json.loads(json.dumps(now))
    changes = (f"{name} = {then.get(name)}, now {value}" for name, value in now.items() if then.get(name) != value)
    if different := "; ".join(changes):
        different = different if len(different) < 500 else f"{different[:500]}..."
        raise DataError(
            f"the store in {folder} is one of another command: {different}. Choose another --out, or remove that "
            "folder."
        )


def _check_space(plan: Plan, folder: Path) -> None:
    there = sum(file.stat().st_size for file in folder.glob("*.images.bin"))
    need, free = plan.total * 3 * prod(pair(plan.size)) - there, shutil.disk_usage(folder).free
    if need > free:
        raise DataError(_full(folder, need, free))


@contextmanager
def _telling(folder: Path) -> Iterator[None]:
    """Failures of the disk as one message."""
    try:
        yield
    except (DiskError, OSError) as error:
        cause = error.__cause__ if isinstance(error, DiskError) else error
        if getattr(cause, "errno", None) in FULL:
            raise DataError(_full(folder, None, None)) from error
        raise DataError(f"the store in {folder} cannot be written: {error}. Choose another --out.") from error


def _full(folder: Path, need: int | None, free: int | None) -> str:
    sizes = (
        f"{need / 1e9:.2f} GB are needed, {free / 1e9:.2f} GB free" if need and free is not None else "nothing is free"
    )
    return (
        f"the disk of {folder} is full: {sizes}. Free some and run the same command again, which continues where it "
        "stopped; or choose another --out."
    )


def _versions() -> dict[str, str]:
    return {"python": platform.python_version(), "acmix-nas": __version__, "pillow": PIL.__version__}


def _write(path: Path, content: str | npt.NDArray[Any]) -> None:
    with replacing(path) as temporary, temporary.open("wb") as file:
        if isinstance(content, str):
            file.write(content.encode())
        else:
            np.save(file, content)
        file.flush()
        os.fsync(file.fileno())


def _remove_plan(folder: Path) -> None:
    for name in (PLAN, PROGRESS):
        (folder / name).unlink(missing_ok=True)
