"""`acmix latency`: a latency table of a space on this machine."""

from pathlib import Path
from typing import Any

import click

from acmix_nas.cli._options import execution_options, json_option, plugin_option, space_option
from acmix_nas.cli._parse import parse_size


@click.command()
@space_option
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), required=True, metavar="FILE", help="File to write."
)
@click.option(
    "--form",
    type=click.Choice(["paper", "train", "merged"]),
    default="train",
    show_default=True,
    help="paper: the named implementation, step by step; train: the fast form that a network uses by default; "
    "merged: folded for deployment.",
)
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1, show_default=True, metavar="N", help="Images in a batch."
)
@click.option(
    "--input-size",
    callback=parse_size,
    metavar="H[xW]",
    help="Height and width of an image in pixels.  [default: the space's own]",
)
@execution_options
@click.option(
    "--features-only", is_flag=True, help="Output the maps of the stages, as for detection, without the head."
)
@click.option("--flush-l2", is_flag=True, help="Clear the GPU's L2 cache before every run.")
@plugin_option
@json_option
def latency(as_json: bool, **options: Any) -> None:
    """Measure every block of a space once and write a table that predicts the latency of all its networks.

    The table is checked on other networks of the space, measured as a whole. `acmix search --latency-table` and `acmix
    profile --latency-table` read it.

    \b
    Examples:
      acmix latency --space swin_t --out swin_t.json
      acmix latency --space swin_t --out merged.json --form merged --threads 1
    """
    from acmix_nas.cli._profile import build_latency_table
    from acmix_nas.experiments.latency import LatencyOptions

    build_latency_table(LatencyOptions(**options), as_json=as_json)
