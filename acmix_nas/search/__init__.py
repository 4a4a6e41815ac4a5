"""Search: an Optuna study over a space, networks trained as it proposes them.

A name loads its module when it is first touched: a report reads what of a choice mattered, and needs no torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acmix_nas.executors.callbacks import Callbacks
    from acmix_nas.samplers import HammingGPSampler
    from acmix_nas.samplers.make import SAMPLERS, make_sampler
    from acmix_nas.search.run import search
    from acmix_nas.study import load
    from acmix_nas.study.stop import Stop
    from acmix_nas.study.study import Study

__all__ = ["SAMPLERS", "Callbacks", "HammingGPSampler", "Stop", "Study", "load", "make_sampler", "search"]
_HOME = {
    "SAMPLERS": "acmix_nas.samplers.make",
    "Callbacks": "acmix_nas.executors.callbacks",
    "HammingGPSampler": "acmix_nas.samplers",
    "Stop": "acmix_nas.study.stop",
    "Study": "acmix_nas.study.study",
    "load": "acmix_nas.study",
    "make_sampler": "acmix_nas.samplers.make",
    "search": "acmix_nas.search.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value
