"""Predictions of a segmentation as PNG files, with the numbers of the source's own masks."""

from collections.abc import Callable
from pathlib import Path

from PIL import Image
from torch import nn

from acmix_nas.data import Samples
from acmix_nas.errors import DiskError, UsageError
from acmix_nas.experiments.stored_scores import in_coding, stem_of
from acmix_nas.tasks.segmentation import predicted
from acmix_nas.train import Training


def check_folder(folder: Path) -> None:
    """Refuses a folder for predictions that has something.

    Raises:
        UsageError: It has.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"--predictions {folder}: it already has something; choose an empty folder, or a new one.")


def write_predictions(
    training: Training, samples: Samples, folder: Path, how: Callable[[nn.Module], nn.Module]
) -> None:
    """Writes what a network predicts for its scored images, each under the name of its image.

    Args:
        training: Holds the network.
        samples: The scored images.
        folder: Where to write; made if it is not there.
        how: Makes of the network what is applied to the images.

    Raises:
        DiskError: A file cannot be written.
    """
    index = 0
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for outputs, masks in training.outputs(how):
            for scores, mask in zip(outputs, masks, strict=True):
                classes = predicted(scores, (mask.shape[-2], mask.shape[-1]))
                file = folder / f"{stem_of(samples.name(index))}.png"
                Image.fromarray(in_coding(classes, samples.part)).save(file)
                index += 1
    except OSError as error:
        raise DiskError(f"the predictions in {folder} cannot be written: {error}.") from error
