"""Small sources of images that tests of data make, each image with pixels of its own."""

import io
import os
import signal
import tarfile
from pathlib import Path

import numpy as np
from PIL import Image

CLASSES = ("ant", "bee", "cow")


def picture(seed: int, size: tuple[int, int] = (11, 7), mode: str = "RGB") -> Image.Image:
    """Noise that no other seed gives."""
    noise = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(noise).convert(mode)


def packed(seed: int, **values) -> bytes:
    """The bytes of a PNG file."""
    buffer = io.BytesIO()
    picture(seed, **values).save(buffer, "PNG")
    return buffer.getvalue()


def files(train: int = 12, validation: int = 2, classes: tuple[str, ...] = CLASSES) -> dict[str, bytes]:
    """{"train/ant/0.png": bytes, ...}; the seed of an image depends on its path alone."""
    return {
        f"{part}/{name}/{index}.png": packed(10_000 * (part == "val") + 1000 * number + index)
        for part, count in (("train", train), ("val", validation))
        for number, name in enumerate(classes)
        for index in range(count)
    }


def make_folder(root: Path, content: dict[str, bytes] | None = None) -> Path:
    """A folder of class folders."""
    for name, value in (files() if content is None else content).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(value)
    return root


def make_tar(path: Path, content: dict[str, bytes]) -> Path:
    """A tar file of these members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for name, value in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(value)
            archive.addfile(info, io.BytesIO(value))
    return path


def write_or_die(source: Path, folder: Path, chunks: int = 5) -> None:
    """Writes a store of a folder; the process is killed after so many chunks."""
    from acmix_nas.data import open_source, plan_subset, write_store

    left = iter(range(chunks))

    def progress(done: int, total: int) -> None:
        if next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    write_store(plan_subset(open_source(source), size=5), folder, chunk=4, progress=progress)
