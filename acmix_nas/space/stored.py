"""The space of a search as its header has it."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from acmix_nas.errors import AcmixError, RecordError
from acmix_nas.fields import FLAG, MAPPING, TEXT, Origin, Rule, list_of, mapping_of, maybe, whole
from acmix_nas.record import StudyHeader
from acmix_nas.sizes import size_of, size_rule
from acmix_nas.space.space import Choice, Space


def space_of(header: StudyHeader) -> Space:
    """The space of a search as its header has it: its choices, without proxies.

    Raises:
        RecordError: The header has none, or it is no space.
    """
    origin = Origin(f"the header of the study {header.name}, settings.space", RecordError)
    kept = origin.fields(header.setting("space"), SPACE)
    choices = [origin.fields(choice, CHOICE, path=f"choices.{name}") for name, choice in kept["choices"].items()]
    if not len(kept["widths"]) == len(kept["depths"]) == len(kept["fixed"]):
        raise origin.wrong("one width, depth and mapping for each stage is needed", "fixed")
    try:
        space = Space(
            name=header.space,
            host=kept["host"],
            widths=tuple(kept["widths"]),
            depths=tuple(kept["depths"]),
            input_size=size_of(kept["input_size"]),
            patch_size=1,
            fixed=tuple(kept["fixed"]),
            choices=tuple(
                Choice(**{**choice, "options": tuple(choice["options"]), "when": _tupled(choice["when"])})
                for choice in choices
            ),
            conv_on=kept["conv_on"],
            first=header.settings.get("first", {}),
        )
        for values in space.first.values():
            space.build(values)
    except (AcmixError, LookupError, TypeError) as error:  # a choice of a stage that is not there, a mixer's odd field
        raise origin.wrong(f"no networks are built by it: {error}") from error
    return space


def definition(space: Space) -> dict[str, Any]:
    """What decides the networks of a space: the header of a study keeps it, and `space_of` reads it."""
    return {
        "host": space.host,
        "widths": list(space.widths),
        "depths": list(space.depths),
        "input_size": space.input_size,
        "conv_on": space.conv_on,
        "fixed": [dict(fields) for fields in space.fixed],
        "choices": {choice.name: asdict(choice) for choice in space.choices},
    }


_VALUE = Rule("a word or a whole number", lambda value: type(value) in (str, int))
SPACE: Mapping[str, Rule] = {
    "host": TEXT,
    "widths": list_of(whole(1), 1),
    "depths": list_of(whole(1, 100), 1),
    "input_size": size_rule(most=10**5),
    "conv_on": maybe(TEXT),
    "fixed": list_of(mapping_of(_VALUE)),
    "choices": mapping_of(MAPPING),
}
CHOICE: Mapping[str, Rule] = {
    "name": TEXT,
    "options": list_of(_VALUE, 1),
    "ordered": FLAG,
    "when": mapping_of(list_of(_VALUE)),
}


def _tupled(when: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(values) for name, values in when.items()}
