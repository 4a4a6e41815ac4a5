"""Values of options that need more than click's own types."""

from pathlib import Path

import click

from acmix_nas.plugins import is_plug_in

FORMATS = ("rich", "plain", "markdown", "latex", "csv")
PICTURES = (".svg", ".png", ".pdf")


class ChoiceOrPath(click.Choice[str]):
    """One of some names, or the dotted path of something in a module of the user's own."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The name or the path."""
        return value if is_plug_in(value.partition(":")[0]) else super().convert(value, param, ctx)


def parse_batch_sizes(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter(
            f"batch sizes are whole numbers from 1 up, separated by commas, e.g. 1,8,32; not {text!r}."
        )
    return sizes


def parse_size(context: click.Context, parameter: click.Parameter, text: str | None) -> tuple[int, int] | None:
    """(height, width) of "224" or "224x160"."""
    if text is None:
        return None
    try:
        sizes = [int(part) for part in text.lower().split("x")]
    except ValueError:
        sizes = []
    if len(sizes) not in (1, 2) or min(sizes) < 1:
        raise click.BadParameter(
            f"an input size is a height, or a height and a width, e.g. 224 or 224x160; not {text!r}."
        )
    return sizes[0], sizes[-1]


def parse_plot(context: click.Context, parameter: click.Parameter, text: str | None) -> Path | None:
    """The path of a picture that can be written."""
    if text is None:
        return None
    path = Path(text)
    if path.suffix.lower() not in PICTURES:
        raise click.BadParameter(f"a picture's name ends in {', '.join(PICTURES)}; {text!r} does not.")
    if not path.parent.is_dir():
        raise click.BadParameter(f"there is no folder {str(path.parent)!r} to write {path.name} in.")
    return path


def parse_amount(context: click.Context, parameter: click.Parameter, text: str | None) -> float | None:
    """A positive count as 5G, 28.5M or 4500000000."""
    if text is None:
        return None
    units = {"K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    try:
        value = float(text[:-1]) * units[text[-1].upper()] if text[-1:].upper() in units else float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise click.BadParameter(f"a number above 0, optionally followed by K, M, G or T, e.g. 5G; not {text!r}.")
    return value


def parse_space(context: click.Context, parameter: click.Parameter, text: str) -> str:
    """The name of a space that can be read: a wrong file is reported before torch is loaded, which takes seconds."""
    from acmix_nas.space import load_space

    load_space(text)
    return text
