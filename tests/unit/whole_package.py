"""Loads the package and what its commands load late, in the process from which those of tests are forked."""

import pkgutil
from contextlib import suppress
from importlib import import_module

import acmix_nas

LATE = (
    "alembic.command",
    "fvcore.nn",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "optuna.storages._rdb.models",
    "sqlalchemy.dialects.sqlite",
)

for info in pkgutil.walk_packages(acmix_nas.__path__, "acmix_nas."):
    if not info.name.endswith("__main__"):
        with suppress(ImportError):  # an optional library is not there
            import_module(info.name)
for name in LATE:
    import_module(name)
