"""MATLAB files, in which publishers of the 2010s have their lists."""

from pathlib import Path
from typing import Any

from acmix_nas.errors import DataError


def read_matlab(file: Path, *names: str) -> list[Any]:
    """Variables of a MATLAB file, as NumPy arrays without axes of length one.

    Raises:
        DataError: The file cannot be read, or lacks one of them.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(file, squeeze_me=True, struct_as_record=False)
        return [content[name] for name in names]
    except Exception as error:  # it lets through whatever a damaged file makes NumPy and zlib raise
        raise DataError(
            f"{file} cannot be read as a MATLAB file with {', '.join(names)}: {type(error).__name__}: {error}. Is "
            "it complete? Download it again."
        ) from error
