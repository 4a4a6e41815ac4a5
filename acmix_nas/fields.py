"""JSON of unknown origin against a table of fields: whatever is wrong is one error of file, field and rule."""

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, NamedTuple

from acmix_nas.errors import AcmixError

MOST = 2**63
"""No number of a file is as large; databases and JavaScript could not hold it."""
DEEPEST = 50
"""Lists and objects in one another, at most."""
MOST_BYTES = 256 << 20
SHOWN = 100
"""Characters of a wrong value that a message shows."""


class Rule(NamedTuple):
    """What a field may hold.

    Attributes:
        text: The rule in words, to go before "is needed".
        fits: Whether a value keeps it.
    """

    text: str
    fits: Callable[[Any], bool]


def whole(least: int = 0, most: int = MOST - 1) -> Rule:
    """A whole number in a range."""
    upper = "up" if most == MOST - 1 else f"to {most:,}"
    return Rule(f"a whole number from {least:,} {upper}", lambda value: type(value) is int and least <= value <= most)


def number(least: float = -MOST, most: float = MOST) -> Rule:
    """A finite number in a range."""
    if (least, most) == (-MOST, MOST):
        text = "a number"
    else:
        text = f"a number from {least:g} up" if most == MOST else f"a number from {least:g} to {most:g}"
    return Rule(text, lambda value: type(value) in (int, float) and least <= value <= most and -MOST < value < MOST)


def one_of(*words: str) -> Rule:
    """One of some words."""
    return Rule(f"one of {', '.join(words)}", lambda value: isinstance(value, str) and value in words)


def list_of(each: Rule, least: int = 0, most: int | None = None) -> Rule:
    """A list whose items all keep a rule."""
    several = "a list" if (least, most) == (0, None) else f"a list of {least}{' or more' if most != least else ''}"
    return Rule(
        f"{several}, each {each.text},",
        lambda value: (
            isinstance(value, list | tuple)
            and least <= len(value) <= (len(value) if most is None else most)
            and all(each.fits(item) for item in value)
        ),
    )


def mapping_of(each: Rule) -> Rule:
    """A mapping of names to values that all keep a rule."""
    return Rule(
        f"a mapping of names, each to {each.text},",
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(name, str) and each.fits(item) for name, item in value.items())
        ),
    )


def maybe(rule: Rule) -> Rule:
    """Null, or what another rule says."""
    return Rule(f"null or {rule.text}", lambda value: value is None or rule.fits(value))


def is_plain(value: object, deepest: int = DEEPEST) -> bool:
    """Whether JSON can hold a value: names are text, numbers finite, and nothing is nested deeper than so often."""
    if isinstance(value, Mapping):
        return all(isinstance(name, str) for name in value) and is_plain(list(value.values()), deepest)
    if isinstance(value, list | tuple):
        return deepest > 0 and all(is_plain(inner, deepest - 1) for inner in value)
    return isfinite(value) if isinstance(value, float) else value is None or isinstance(value, str | int)


TEXT = Rule("text", lambda value: isinstance(value, str))
COUNT = whole()
NUMBER = number()
FLAG = Rule("true or false", lambda value: isinstance(value, bool))
LIST = Rule("a list", lambda value: isinstance(value, list | tuple))
MAPPING = Rule("a mapping of names to values", lambda value: isinstance(value, Mapping) and is_plain(value))
PLAIN = Rule("a value that JSON can hold", is_plain)
SHARE = number(0, 1)


@dataclass(frozen=True, slots=True)
class Origin:
    """Where values come from, for messages.

    Attributes:
        name: The file.
        error: The error that is raised for what is wrong.
        fix: What to do about it.
    """

    name: str | Path
    error: type[AcmixError]
    fix: str = ""

    def wrong(self, message: str, field: str = "") -> AcmixError:
        """The error of a field, or of the file."""
        where = f"{self.name}, field {field}" if field else str(self.name)
        return self.error(f"{where}: {message.rstrip('.')}. {self.fix}".rstrip())

    def fields(
        self, values: object, rules: Mapping[str, Rule], *, optional: Collection[str] = (), path: str = ""
    ) -> dict[str, Any]:
        """The values of a mapping that has the fields of a table and no others.

        Args:
            values: What was read.
            rules: A rule for each field.
            optional: Fields that may be left out.
            path: Where the mapping stands, as "candidates[0]".

        Raises:
            AcmixError: It is no such mapping; the message names file, field and rule.
        """
        if not isinstance(values, Mapping):
            raise self.wrong(f"a mapping of names to values is needed; it is {shown(values)}", path)
        before = f"{path}." if path else ""
        for name in [name for name in rules if name not in values and name not in optional]:
            raise self.wrong(f"is missing; {rules[name].text} is needed", before + name)
        for name, value in values.items():
            if name not in rules:
                raise self.wrong(f"is unknown; there are {', '.join(rules)}", before + shown_name(name))
            if not rules[name].fits(value):
                raise self.wrong(f"{rules[name].text} is needed; it is {shown(value)}", before + name)
        return dict(values)

    @contextmanager
    def at(self, field: str) -> Iterator[None]:
        """Errors of what is built from a field as this place's."""
        try:
            yield
        except AcmixError as error:
            raise self.wrong(str(error), field) from error

    def parse(self, text: str) -> Any:
        """The values of JSON.

        Raises:
            AcmixError: It is no JSON; NaN and infinity are none.
        """
        try:
            return json.loads(text, parse_constant=_refuse)
        except (ValueError, RecursionError) as error:
            raise self.wrong(f"JSON is needed: {error}") from error

    def read(self) -> Any:
        """The values of the JSON file of this name.

        Raises:
            AcmixError: It cannot be read, or is none.
        """
        try:
            with Path(self.name).open("rb") as file:
                data = file.read(MOST_BYTES + 1)
            if len(data) > MOST_BYTES:
                raise self.wrong(f"at most {MOST_BYTES:,} bytes are read")
            return self.parse(data.decode())
        except OSError as error:
            raise self.wrong(f"it cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise self.wrong(f"UTF-8 is needed: {error.reason} at byte {error.start}") from error


def shown(value: object) -> str:
    """A value as messages show it."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # a number of too many digits; nested too deep
        text = f"a huge {type(value).__name__}"
    return text if len(text) < SHOWN else f"{text[:SHOWN]}..."


def shown_name(name: object) -> str:
    """The name of a field as messages show it."""
    text = str(name)
    return text if len(text) < SHOWN else f"{text[:SHOWN]}..."


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")
