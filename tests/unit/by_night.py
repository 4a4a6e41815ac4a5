"""What runs by night of a test with many cases."""

from collections.abc import Iterable
from typing import Any

import pytest
from small_networks import HOSTS


def nightly_but(*chosen: Any, of: Iterable[Any] = HOSTS) -> list[Any]:
    """All cases: the chosen ones in every run, the others by night."""
    return [pytest.param(each, marks=[] if each in chosen else pytest.mark.nightly) for each in of]
