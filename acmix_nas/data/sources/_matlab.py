"""Reads variables of a MATLAB file and writes them as JSON: a script that `_listed.read_matlab` runs.

It runs in a process of its own because SciPy's reader can end the process on a damaged file. It imports nothing of the
package.
"""

import json
import sys
from typing import Any

import numpy as np
from scipy.io import loadmat


def plain(value: Any) -> Any:
    """A variable as JSON has it: structures as objects, arrays as lists, single elements as they are."""
    if hasattr(value, "_fieldnames"):
        return {name: plain(getattr(value, name)) for name in value._fieldnames}
    if isinstance(value, np.ndarray):
        return [plain(item) for item in value.tolist()] if value.ndim else plain(value.item())
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value.item() if isinstance(value, np.generic) else value


def main() -> None:
    """Takes the file and the names of variables; ends with 1 and a line of text where they cannot be had."""
    file, *names = sys.argv[1:]
    try:
        content = loadmat(file, squeeze_me=True, struct_as_record=False, variable_names=names)
        text = json.dumps([plain(content[name]) for name in names])
    except Exception as error:  # it lets through whatever a damaged file makes NumPy and zlib raise
        sys.stdout.write(f"{type(error).__name__}: {error}\n")
        raise SystemExit(1) from None
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
