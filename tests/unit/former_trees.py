"""Small sources whose bytes depend on no library, and what acmix-nas 0.1 (a97df8f) made of them."""

import io
import struct
import tarfile
import zlib
from pathlib import Path

FOLDER = Path(__file__).parent / "former"
"""A study's header and first record, and a store, as acmix-nas 0.1 wrote them for `write_folder`."""
CLASSES = ("ant", "bee", "cow")
FORMER = {
    "folder": "7f2ad5811a759ef4",
    "tar": "fa4d688a00944c36",
    "shards": "a4b688b5e02bac03",
}
"""Fingerprints by the rule of acmix-nas 0.1."""


def plain_png(seed: int, extent: int = 8) -> bytes:
    """A PNG file without compression."""
    rows = b"".join(
        b"\0" + bytes((37 * seed + 11 * row + 3 * place) % 256 for place in range(3 * extent)) for row in range(extent)
    )
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", extent, extent, 8, 2, 0, 0, 0),
        b"IDAT": zlib.compress(rows, 0),
        b"IEND": b"",
    }
    packed = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks.items()
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def files() -> dict[str, bytes]:
    """{"train/ant/0.png": bytes, ...}."""
    return {
        f"{part}/{name}/{index}.png": plain_png(100 * number + index + 50 * (part == "val"))
        for part, count in (("train", 12), ("val", 2))
        for number, name in enumerate(CLASSES)
        for index in range(count)
    }


def write_folder(root: Path) -> Path:
    """The images as a folder of class folders."""
    for name, content in files().items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def write_tars(root: Path) -> Path:
    """As train.tar and val.tar."""
    for part in ("train", "val"):
        write_tar(
            root / f"{part}.tar", {n.removeprefix(f"{part}/"): c for n, c in files().items() if n.startswith(part)}
        )
    return root


def write_shards(root: Path) -> Path:
    """As WebDataset shards."""
    for part in ("train", "val"):
        members = {}
        for number, (name, content) in enumerate(item for item in files().items() if item[0].startswith(part)):
            members[f"{number:04d}.png"] = content
            members[f"{number:04d}.cls"] = b"%d" % CLASSES.index(name.split("/")[1])
        write_tar(root / f"{part}-0000.tar", members)
    return root


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    """A tar file of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


MAKERS = {"folder": write_folder, "tar": write_tars, "shards": write_shards}
