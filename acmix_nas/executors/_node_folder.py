"""A folder on a node that the workers of one run share; it goes when the last of them is gone, killed or not."""

import fcntl
import io
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acmix_nas.data import Images, Samples, Splits, Targets
from acmix_nas.errors import DataError

ALIVE, WHOLE, LOCK = "alive", "whole", "lock"
PARTS = ("train", "search", "report")

Arrays = Mapping[str, np.ndarray[Any, Any]]


class NodeFolder:
    """The folder of a run on this node, made by whoever comes first.

    Args:
        run: Name of the run, the same on all nodes.
        base: Where the folders of runs are; by default one of this user's own among the temporary files.

    Raises:
        DataError: That place is another user's.
    """

    def __init__(self, run: str, base: Path | None = None) -> None:
        self._base = base or Path(tempfile.gettempdir()) / f"acmix-{os.getuid()}"
        self._base.mkdir(mode=0o700, exist_ok=True)
        if self._base.is_symlink() or self._base.stat().st_uid != os.getuid():
            raise DataError(
                f"{self._base} is not a folder of this user's own; remove it, or set TMPDIR to another place."
            )
        self.path = self._base / run
        with _alone(self._base / LOCK):
            self._sweep()
            self.path.mkdir(exist_ok=True)
            self._alive = (self.path / ALIVE).open("a")
            fcntl.flock(self._alive, fcntl.LOCK_SH)

    def keep(self, fetch: Callable[[], Arrays]) -> Path:
        """The folder with arrays in files that can be mapped; only the first to ask fetches and writes them."""
        folder = self.path / "images"
        folder.mkdir(exist_ok=True)
        with _alone(folder / LOCK):
            if not (folder / WHOLE).exists():
                for name, array in fetch().items():
                    np.save(folder / f"{name}.npy", array)
                (folder / WHOLE).touch()
        return folder

    def leave(self) -> None:
        """Says that this process is done with the folder; the last one removes it."""
        self._alive.close()
        with _alone(self._base / LOCK):
            self._sweep()

    def _sweep(self) -> None:
        """Removes the folders that no living process holds."""
        for folder in self._base.iterdir():
            if folder.is_dir() and not _held(folder / ALIVE):
                shutil.rmtree(folder, ignore_errors=True)


def arrays_of(splits: Splits) -> dict[str, np.ndarray[Any, Any]]:
    """The images and targets of splits, by the names of their files."""
    parts = {name: part for name in PARTS if (part := getattr(splits, name)) is not None}
    if isinstance(splits.train.images, Samples):
        raise DataError(
            f"the images of {splits.name} keep their sizes and are not sent to other nodes; put them at the same place "
            "on every node, where --data names them."
        )
    images = {f"{name}.images": part.pixels.numpy() for name, part in parts.items()}
    return images | {f"{name}.targets": _packed(part.targets) for name, part in parts.items()}


def facts_of(splits: Splits) -> Splits:
    """Splits without their images."""
    none = Images(images=torch.empty(0, dtype=torch.uint8), targets=torch.empty(0, dtype=torch.int64))
    return replace(splits, train=none, search=none, report=None if splits.report is None else none)


def load_kept(folder: Path, facts: Splits) -> Splits:
    """The splits whose arrays `NodeFolder.keep` wrote, images mapped from their files."""
    parts: dict[str, Any] = {}
    for name in PARTS:
        if getattr(facts, name) is not None:
            images = np.load(
                folder / f"{name}.images.npy", mmap_mode="c"
            )  # copy-on-write: torch has no read-only tensors
            packed = io.BytesIO(np.load(folder / f"{name}.targets.npy").tobytes())
            targets: Targets = torch.load(packed, weights_only=True)
            parts[name] = Images(images=torch.from_numpy(images), targets=targets)
    return replace(facts, **parts)


def load_same(load: Callable[[], Splits], fingerprint: str) -> Splits:
    """Loads splits and sees that they are those of the driver.

    Raises:
        DataError: They are others.
    """
    splits = load()
    if splits.fingerprint != fingerprint:
        raise DataError(
            f"on this node the images are others than the driver's: their fingerprint is {splits.fingerprint}, not "
            f"{fingerprint}. Copy them here again, or move them away, and they are sent."
        )
    return splits


def _packed(targets: Targets) -> np.ndarray[Any, Any]:
    """Targets as bytes that torch reads again without running code."""
    content = io.BytesIO()
    torch.save(targets, content)
    return np.frombuffer(content.getvalue(), np.uint8)


def _held(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    """Waits until no other process is in the block of this file."""
    with file.open("a") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
