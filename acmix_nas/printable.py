"""Text of unknown origin made harmless for terminals, logs and files: nothing in it can move a cursor or turn a line.

Everything that the package prints or logs passes `printable` last, in `acmix_nas.cli._say`, `acmix_nas.cli._console`
and the log of a study: names of studies, files and classes, fields of YAML files and reasons of errors come from
elsewhere. What is logged does so in `acmix_nas.log_format`.
"""

import re

CONTROL = (
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # C0 but tab and newline, DEL, C1: escape sequences begin with ESC or CSI
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # marks, embeddings, overrides and isolates of direction
    "\u2028\u2029"  # separators of lines and paragraphs
    "\ud800-\udfff"  # halves of surrogate pairs, which no encoding writes
    "]"
)
"""What a terminal or an editor acts on instead of showing it (https://trojansource.codes, ECMA-48)."""


def printable(text: str) -> str:
    r"""The text with control characters written as Python writes them: ESC becomes the four characters \x1b.

    Tabs and ends of lines stay; a carriage return before an end of line is a part of it.
    """
    return re.sub(CONTROL, _escaped, text.replace("\r\n", "\n"))


def _escaped(match: re.Match[str]) -> str:
    code = ord(match.group())
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
