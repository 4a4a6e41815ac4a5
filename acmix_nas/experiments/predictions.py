"""Predictions of a segmentation as PNG files, with the numbers of the source's own masks."""

from collections.abc import Callable
from itertools import count
from pathlib import Path
from typing import Any

from PIL import Image

from acmix_nas.data import Samples
from acmix_nas.errors import DiskError, UsageError
from acmix_nas.experiments.stored_scores import in_coding, stem_of
from acmix_nas.tasks.segmentation import classes_of


class Predictions:
    """A folder for predictions.

    Args:
        folder: Where to write; made if it is not there.

    Raises:
        UsageError: It has something.
    """

    def __init__(self, folder: Path) -> None:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"--predictions {folder}: it already has something; choose an empty folder, or a new one.")
        self.folder = folder

    def writer(self, samples: Samples) -> Callable[[Any, Any], None]:
        """A function that writes what is predicted for a batch, each file under the name of its image.

        It takes outputs and masks as `acmix_nas.tasks.segmentation.classes_of` does, batch after batch in the order of
        the images, and raises a `DiskError` where a file cannot be written.

        Args:
            samples: The scored images.
        """
        numbers = count()

        def write(outputs: Any, masks: Any) -> None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for classes in classes_of(outputs, masks):
                    file = self.folder / f"{stem_of(samples.name(next(numbers)))}.png"
                    Image.fromarray(in_coding(classes, samples.part)).save(file)
            except OSError as error:
                raise DiskError(f"the predictions in {self.folder} cannot be written: {error}.") from error

        return write
