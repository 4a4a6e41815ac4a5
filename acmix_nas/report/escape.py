"""Text of unknown origin, made harmless for each place it is shown in."""

import html
import re
import unicodedata

from acmix_nas.printable import printable

LATEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "{''}",  # the plain sign needs the T1 encoding
    "[": "{[}",  # after \\ it would open an optional argument
    "*": "{*}",  # after \\ it would be the starred form
    "`": "{`}",
    "'": "{'}",
    "±": r"$\pm$",
    "\N{MULTIPLICATION SIGN}": r"$\times$",
    "\N{MINUS SIGN}": "$-$",
    "\N{EN DASH}": r"\textendash{}",
    "\N{GREEK SMALL LETTER ALPHA}": r"$\alpha$",
    "β": r"$\beta$",
    "†": r"$\dagger$",
    "·": r"$\cdot$",
}

FORMULA = re.compile(r"\s*([=@]|[+-].*[(|!])", re.DOTALL)
"""What spreadsheets take for a formula; with a sign alone only where it can call something."""


def plain(text: str) -> str:
    """One line of printable characters; what is not printable becomes a question mark."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.split()))


def markdown(text: str) -> str:
    """The text literally, in a Markdown paragraph or table cell."""
    return re.sub(r"([\\`*_\[\]|#~])", r"\\\1", html.escape(plain(text), quote=False))


def csv(text: str) -> str:
    """The text for a cell of CSV: control characters written out, and nothing that a spreadsheet would compute.

    Such cells get an apostrophe before them (https://owasp.org/www-community/attacks/CSV_Injection); names that begin
    with a sign, as "+ shift", stay.
    """
    shown = printable(text)
    return f"'{shown}" if FORMULA.match(shown) else shown


def latex(text: str) -> str:
    """The text literally, in LaTeX with its default encodings; letters beyond them lose their accents."""
    escaped = "".join(LATEX.get(char) or _ascii(char) for char in plain(text))
    return re.sub(r"-(?=-)", "-{}", escaped)  # two in a row would be a dash


def label(text: str) -> str:
    """A name of letters, digits and dashes, for a label in LaTeX."""
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-") or "table"


def _ascii(char: str) -> str:
    letters = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
    return "".join(LATEX.get(letter, letter) for letter in letters) or "?"
