"""ACmix vision backbones: built, counted, timed, searched over and ablated.

Importing this package loads nothing heavy. A public name loads its module when it is first touched.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0.dev0"

_HOME = {
    "ACmix": "acmix_nas.operators.acmix",
    "Arch": "acmix_nas.arch",
    "Mixer": "acmix_nas.arch",
    "Space": "acmix_nas.space",
    "build_model": "acmix_nas.models",
    "convert": "acmix_nas.dropin",
    "load_reference": "acmix_nas.reference",
    "load_space": "acmix_nas.space",
    "merge": "acmix_nas.models",
    "plain_form": "acmix_nas.models",
}
_REGISTERING = ("ACmix", "build_model", "convert", "load_reference", "merge", "plain_form")
"""Touching one of these also gives timm the names of our models."""

_MODULES = ("cost", "data", "export", "models", "report", "search", "train")
"""Modules that are reached as attributes without an import statement of their own."""

__all__ = [
    "ACmix",
    "Arch",
    "Mixer",
    "Space",
    "__version__",
    "build_model",
    "convert",
    "load_reference",
    "load_space",
    "merge",
    "plain_form",
]

if TYPE_CHECKING:
    from acmix_nas.arch import Arch, Mixer
    from acmix_nas.dropin import convert
    from acmix_nas.models import build_model, merge, plain_form
    from acmix_nas.operators.acmix import ACmix
    from acmix_nas.reference import load_reference
    from acmix_nas.space import Space, load_space


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return import_module(f"acmix_nas.{name}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name in _REGISTERING:
        import_module("acmix_nas.models")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
