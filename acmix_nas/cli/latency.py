"""`acmix latency`: a latency table of a space on this machine."""

from typing import Any

import click

from acmix_nas.cli._options import (
    COUNT,
    FILE,
    execution_options,
    form_option,
    json_option,
    plugin_option,
    size_option,
    space_option,
)


@click.command()
@space_option
@click.option("--out", type=FILE, required=True, metavar="FILE", help="File to write.")
@form_option(default="train")
@click.option("--batch-size", type=COUNT, default=1, metavar="N", help="Images in a batch.")
@size_option("Height and width of an image in pixels.  [default: the space's own]")
@execution_options
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
