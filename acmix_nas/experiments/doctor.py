"""What is installed, which devices there are, and whether they and the output folder work."""

import os
import platform
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import torch

from acmix_nas import ACmix, __version__
from acmix_nas.cost.environment import device_name, supports_bf16, versions
from acmix_nas.machine import cores, load
from acmix_nas.study.stored import SHARED, file_system
from acmix_nas.train import gradients
from acmix_nas.train.gradients import Comparison

LEAST_FREE = 500e6
"""Bytes that a study with its report and log needs, with room to spare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One line of the report.

    Attributes:
        name: What was looked at.
        status: "ok", "warning" or "failed".
        detail: What was found.
        fix: What to do about it, unless it is ok.
    """

    name: str
    status: str
    detail: str
    fix: str | None = None


def run(out: Path = Path("reports")) -> Iterator[Check]:
    """Looks at versions, devices and disk, one after another.

    Args:
        out: Folder that study folders are to be written to.
    """
    yield from _versions()
    yield from _devices()
    yield _bf16_step()
    yield from _gradients()
    yield from _folder(out)


def _versions() -> Iterator[Check]:
    yield Check(name="acmix-nas", status="ok", detail=__version__)
    yield Check(name="python", status="ok", detail=platform.python_version())
    for name, version in versions().items():
        missing = Check(name=name, status="failed", detail="not installed", fix=f"pip install {name}")
        yield missing if version is None else Check(name=name, status="ok", detail=version)


def _devices() -> Iterator[Check]:
    cpu = torch.device("cpu")
    detail = f"{device_name(cpu)}, {cores()} cores, {torch.get_num_threads()} threads, load {load()}"
    yield Check(name="cpu", status="ok", detail=f"{detail}, bf16 {'in hardware' if supports_bf16(cpu) else 'emulated'}")
    if not torch.cuda.is_available():
        yield Check(name="cuda", status="ok", detail="no GPU that torch can use; everything runs on the CPU")
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        yield Check(name=f"cuda:{index}", status="ok", detail=f"{facts.name}, {facts.total_memory / 1e9:.0f} GB")


def _bf16_step() -> Check:
    """Trains a small ACmix for one step in bf16, on a GPU if there is one."""
    name = "bf16 attention step"
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        finite = _train_one_step(device)
    except Exception as error:  # whatever goes wrong here is the finding
        fix = "install a build of torch that is made for this machine"
        return Check(name=name, status="failed", detail=f"{type(error).__name__} on {device}: {error}", fix=fix)
    if not finite:
        return Check(name=name, status="failed", detail=f"gradients on {device} are not finite", fix="update torch")
    return Check(name=name, status="ok", detail=f"forward and backward on {device}")


def _train_one_step(device: torch.device) -> bool:
    layer = ACmix(16, num_heads=2, attn_kernel=3).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        mixed = layer(torch.randn(2, 16, 7, 7, device=device))
    mixed.float().square().mean().backward()
    return all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)


def _gradients() -> Iterator[Check]:
    """Compares gradients of convolutions, as training computes them, with float64."""
    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        name = f"gradients on {device}"
        try:
            found = list(gradients.compare_gradients(device))
            of_torch = list(gradients.compare_gradients(device, guarded=False)) if device == "cpu" else []
        except Exception as error:  # whatever goes wrong here is the finding
            fix = "install a build of torch that is made for this machine"
            yield Check(name=name, status="failed", detail=f"{type(error).__name__}: {error}", fix=fix)
            continue
        precisions = ", ".join(dict.fromkeys(one.precision for one in found))
        worst = max(found, key=lambda one: (not one.is_right, one.error))
        if not worst.is_right:
            detail = f"{worst.precision}, {worst.memory_format}: {_apart(worst)}"
            fix = "update torch, or train in a precision that is right here (acmix train --precision)"
            yield Check(name=name, status="failed", detail=detail, fix=fix)
            continue
        detail = f"{precisions}, contiguous and channels_last, are float64's up to {worst.error:.1%}"
        mended = [one for one in of_torch if not one.is_right]
        if mended:
            detail += f"; torch's own {_apart(mended[0])} in {mended[0].precision}, so training computes it in fp32"
        yield Check(name=name, status="ok", detail=detail)


def _apart(comparison: Comparison) -> str:
    return f"gradient of a convolution of {comparison.convolution} is {comparison.error:.2g} times its size off"


def _folder(out: Path) -> Iterator[Check]:
    yield _attempt("output folder", lambda: _free_disk(out), fix="choose a folder that you may write to with --out")
    yield _attempt("file system", lambda: _file_system(out), fix="choose another folder with --out")
    yield _attempt("sqlite", lambda: _sqlite(out), fix="choose a folder on a local disk with --out")


def _attempt(name: str, check: Callable[[], Check], *, fix: str) -> Check:
    try:
        return check()
    except (OSError, sqlite3.Error) as error:
        return Check(name=name, status="failed", detail=str(error), fix=fix)


def _free_disk(out: Path) -> Check:
    folder = _existing(out)
    free = shutil.disk_usage(folder).free
    detail = f"{out.resolve()}, {free / 1e9:.1f} GB free"
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"{folder} cannot be written to")
    if free < LEAST_FREE:
        fix = f"free {LEAST_FREE / 1e9:.1f} GB, or choose another disk with --out"
        return Check(name="output folder", status="failed", detail=detail, fix=fix)
    return Check(name="output folder", status="ok", detail=detail)


def _file_system(out: Path) -> Check:
    kind = file_system(_existing(out))
    if kind is not None and SHARED.fullmatch(kind):
        detail = f"{kind}, a network file system: SQLite cannot rely on its locks"
        fix = "choose a folder on a local disk with --out"
        return Check(name="file system", status="warning", detail=detail, fix=fix)
    return Check(name="file system", status="ok", detail=kind or "unknown")


def _sqlite(out: Path) -> Check:
    """Writes a database in the folder and sees that a second writer is locked out."""
    with tempfile.TemporaryDirectory(prefix=".acmix-doctor-", dir=_existing(out)) as folder:
        file = Path(folder) / "locks.db"
        with closing(sqlite3.connect(file)) as first, closing(sqlite3.connect(file, timeout=0)) as second:
            first.execute("CREATE TABLE numbers (value INTEGER)")
            first.execute("BEGIN IMMEDIATE")
            try:
                second.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                return Check(name="sqlite", status="ok", detail=f"{sqlite3.sqlite_version}, writes and locks")
    raise OSError(f"two writers held the lock on a database in {out} at the same time")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    folder = folder.resolve()
    return next(place for place in (folder, *folder.parents) if place.is_dir())
