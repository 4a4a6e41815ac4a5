"""`acmix doctor`: what is installed, which devices there are, and whether they and the output folder work."""

import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from acmix_nas.cli._options import json_option, out_option
from acmix_nas.cli._say import say, say_marked

if TYPE_CHECKING:
    import torch

    from acmix_nas.train.gradients import Comparison

LEAST_FREE = 500e6
"""Bytes that a study with its report and log needs, with room to spare."""

NETWORK_FILE_SYSTEMS = (
    "nfs",
    "cifs",
    "smb",
    "9p",
    "afs",
    "beegfs",
    "ceph",
    "fuse.sshfs",
    "glusterfs",
    "gpfs",
    "lustre",
)
"""File systems, by the start of their name, on which SQLite's locks are not to be relied on."""


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


@click.command()
@out_option
@json_option
@click.pass_context
def doctor(context: click.Context, out: Path, as_json: bool) -> None:
    """Show versions, devices and disk, and check that they work. Exit code 1 means that something needed does not.

    \b
    Examples:
      acmix doctor
      acmix doctor --out /scratch/reports --json
    """
    checks = [*_versions(), *_devices(), _bf16_step(), *_gradients(), *_folder(out)]
    if as_json:
        import json

        say(json.dumps({"checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            _print(check)
    if any(check.status == "failed" for check in checks):
        context.exit(1)


def _print(check: Check) -> None:
    color = {"ok": "green", "warning": "yellow", "failed": "red"}[check.status]
    say_marked(f"{check.status:8}", f"{check.name}: {check.detail}", color=color)
    if check.fix:
        say(f"{'':8}fix: {check.fix}")


def _versions() -> Iterator[Check]:
    import platform

    from acmix_nas import __version__
    from acmix_nas.cost.environment import versions

    yield Check(name="acmix-nas", status="ok", detail=__version__)
    yield Check(name="python", status="ok", detail=platform.python_version())
    for name, version in versions().items():
        if version is None:
            yield Check(name=name, status="failed", detail="not installed", fix=f"pip install {name}")
        else:
            yield Check(name=name, status="ok", detail=version)


def _devices() -> Iterator[Check]:
    import torch

    from acmix_nas.cost.environment import device_name, supports_bf16
    from acmix_nas.cost.machine import cores, load

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
    import torch

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


def _train_one_step(device: "torch.device") -> bool:
    import torch

    from acmix_nas import ACmix

    layer = ACmix(16, num_heads=2, attn_kernel=3).to(device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        mixed = layer(torch.randn(2, 16, 7, 7, device=device))
    mixed.float().square().mean().backward()
    return all(bool(p.grad.isfinite().all()) for p in layer.parameters() if p.grad is not None)


def _gradients() -> Iterator[Check]:
    """Compares gradients of convolutions, as training computes them, with float64."""
    import torch

    from acmix_nas.train.gradients import compare_gradients

    for device in ("cpu", *(["cuda"] if torch.cuda.is_available() else [])):
        name = f"gradients on {device}"
        try:
            found = list(compare_gradients(device))
            of_torch = list(compare_gradients(device, guarded=False)) if device == "cpu" else []
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


def _apart(comparison: "Comparison") -> str:
    return f"gradient of a convolution of {comparison.convolution} is {comparison.error:.2g} times its size off"


def _folder(out: Path) -> Iterator[Check]:
    yield _attempt("output folder", lambda: _free_disk(out), fix="choose a folder that you may write to with --out")
    yield _attempt("file system", lambda: _file_system(out), fix="choose another folder with --out")
    fix = "choose a folder on a local disk with --out"
    yield _attempt("sqlite", lambda: _sqlite(out), fix=fix)


def _attempt(name: str, check: Callable[[], Check], *, fix: str) -> Check:
    import sqlite3

    try:
        return check()
    except (OSError, sqlite3.Error) as error:
        return Check(name=name, status="failed", detail=str(error), fix=fix)


def _free_disk(out: Path) -> Check:
    import shutil

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
    kind = file_system_type(_existing(out))
    if kind is not None and kind.startswith(NETWORK_FILE_SYSTEMS):
        detail = f"{kind}, a network file system: SQLite cannot rely on its locks"
        fix = "choose a folder on a local disk with --out"
        return Check(name="file system", status="warning", detail=detail, fix=fix)
    return Check(name="file system", status="ok", detail=kind or "unknown")


def file_system_type(folder: Path, mounts: Path = Path("/proc/mounts")) -> str | None:
    """Type of the file system that holds a folder, for example "ext4"; None where the system does not say."""
    try:
        lines = mounts.read_text().splitlines()
    except OSError:
        return None
    found = [(Path(line.split()[1].replace("\\040", " ")), line.split()[2]) for line in lines]
    holding = [(len(point.parts), kind) for point, kind in found if folder.resolve().is_relative_to(point)]
    return max(holding, key=lambda pair: pair[0])[1] if holding else None


def _sqlite(out: Path) -> Check:
    """Writes a database in the folder and sees that a second writer is locked out."""
    import sqlite3
    import tempfile
    from contextlib import closing

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
