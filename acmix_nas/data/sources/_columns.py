"""What the columns of tables of images are called."""

from collections.abc import Sequence

from acmix_nas.errors import DataError

IMAGE = ("image", "img", "jpg", "png")
LABEL = ("label", "fine_label", "labels", "cls")


def find_columns(columns: Sequence[str], where: str) -> tuple[str, str]:
    """Names of the columns of images and of labels.

    Raises:
        DataError: One of them is missing.
    """
    image = next((name for name in IMAGE if name in columns), None)
    label = next((name for name in LABEL if name in columns), None)
    if image is None or label is None:
        raise DataError(
            f"a table of images has a column {' or '.join(IMAGE)} and a column {' or '.join(LABEL)}; {where} has "
            f"{', '.join(columns)}. Rename them."
        )
    return image, label
