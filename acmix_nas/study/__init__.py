"""A study on disk: its folder, its Optuna storage, its header and records; the one truth.

Its names are loaded when they are touched: who asks for the folder alone needs no Optuna.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acmix_nas.study.stop import Stop
    from acmix_nas.study.study import Study, load

__all__ = ["Stop", "Study", "load"]
_HOME = {"Stop": "acmix_nas.study.stop", "Study": "acmix_nas.study.study", "load": "acmix_nas.study.study"}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)
