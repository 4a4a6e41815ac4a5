"""Data sets that torchvision knows by name and downloads."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acmix_nas.data.fingerprint import blocks_of_array, fingerprint
from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source, digest
from acmix_nas.data.sources import folder
from acmix_nas.data.sources._labels import needed
from acmix_nas.errors import DataError

PREFIX = "torch/"
ARRAYS = {"cifar10": "CIFAR10", "cifar100": "CIFAR100", "fashion_mnist": "FashionMNIST", "mnist": "MNIST"}
"""Data sets that torchvision holds in memory, with its names of them."""
IMAGENETTE = {"imagenette": "full", "imagenette_320": "320px", "imagenette_160": "160px"}
"""Data sets that torchvision unpacks as folders, with its names of their sizes."""
LAYOUT = (
    f"torch/NAME of torchvision, one of {', '.join([*ARRAYS, *IMAGENETTE])}, downloaded to torch's cache; "
    "torch/NAME:FOLDER for another place"
)


def matches(spec: str) -> bool:
    """Whether the prefix says so."""
    return spec.startswith(PREFIX)


def open_source(spec: str) -> Source:
    """Finds or downloads a data set of torchvision.

    Raises:
        DataError: There is no such name, torchvision is missing, or the download failed.
    """
    name, _, place = spec.removeprefix(PREFIX).partition(":")
    root = Path(place) if place else Path(torch.hub.get_dir()).parent / "datasets"
    datasets = needed("torchvision.datasets", f"--data {spec}")
    if name in ARRAYS:
        return _open_arrays(name, getattr(datasets, ARRAYS[name]), root)
    if name in IMAGENETTE:
        size = IMAGENETTE[name]
        _fetch(partial(datasets.Imagenette, root, "train", size=size), spec, root)
        unpacked = root / ("imagenette2" if size == "full" else f"imagenette2-{size.removesuffix('px')}")
        return replace(folder.open_source(str(unpacked)), kind="torch", name=name)
    raise DataError(f"a data set of torchvision is one of {', '.join([*ARRAYS, *IMAGENETTE])}; {name!r} is none.")


def _open_arrays(name: str, dataset: Callable[..., Any], root: Path) -> Source:
    parts, contents, former = [], [], list[str | bytes]([name])
    for part, is_train in (("train", True), ("test", False)):
        found = _fetch(partial(dataset, root, train=is_train), PREFIX + name, root)
        images = torch.as_tensor(found.data)
        images = images.unsqueeze(1) if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
        labels = np.asarray(found.targets, dtype=np.int64)
        parts.append(Pixels(images=images, labels=labels, where=f"{name} {part}"))
        contents.append(blocks_of_array(np.asarray(found.data), labels))
        former += [images.numpy().tobytes(), labels.tobytes()]
    return Source(
        kind="torch",
        name=name,
        classes=tuple(found.classes),
        train=parts[0],
        validation=parts[1],
        fingerprint=fingerprint(found.classes, contents),
        former=digest(former),
    )


def _fetch(make: Callable[..., Any], spec: str, root: Path) -> Any:
    """The data set from `root`, downloaded if it is not there."""
    try:
        return make(download=False)
    except RuntimeError:
        try:
            return make(download=True)
        except (OSError, RuntimeError) as error:
            raise DataError(
                f"{spec} is neither in {root} nor can it be downloaded: {error}. It needs a network, or the files that "
                "torchvision would download."
            ) from error
