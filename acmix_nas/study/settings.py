"""Whether a study still is what it was begun as."""

import json
from collections.abc import Mapping
from typing import Any

from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader

UNSAID = {"task": "classification"}
"""Settings of the studies of 0.1, which do not say them."""


def check_same(header: StudyHeader, settings: Mapping[str, Any]) -> None:
    """Refuses to continue a study whose settings are no longer the same.

    Raises:
        StudyError: The message names what differs.
    """
    for name, now in settings.items():
        for path, then, here in differences(name, header.settings.get(name, UNSAID.get(name)), now):
            raise StudyError(
                f"the study {header.name!r} was made with {path} = {then}, now it is {here}; results of the two "
                "cannot be mixed in one study. Leave the option out, or start a new --study."
            )


def differences(name: str, then: Any, now: Any) -> list[tuple[str, str | None, str | None]]:
    """(path, value then, value now) of every leaf in which two JSON values differ."""
    old, new = _flat(name, then), _flat(name, now)
    return [(path, old.get(path), new.get(path)) for path in sorted({*old, *new}) if old.get(path) != new.get(path)]


def _flat(path: str, value: Any) -> dict[str, str]:
    """JSON leaves by their path, so that a difference is named where it is."""
    if isinstance(value, Mapping):
        return {inner: leaf for name, item in value.items() for inner, leaf in _flat(f"{path}.{name}", item).items()}
    return {path: json.dumps(value)}
