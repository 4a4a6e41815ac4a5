"""`acmix latency`: a latency table of a space on this machine."""

from typing import Any

import click

from acmix_nas.cli import _options


@click.command()
@_options.space
@click.option("--out", type=_options.FILE, required=True, metavar="FILE", help="File to write.")
@_options.form(default="train")
@_options.count("--batch-size", "Images in a batch.", default=1, metavar="N")
@_options.size("Height and width of an image in pixels.  [default: the space's own]")
@_options.execution
@click.option("--flush-l2", is_flag=True, help="Clear the GPU's L2 cache before every run.")
@_options.plugin
@_options.json
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
