"""`acmix profile`: counts and times networks, one row for each network, implementation and batch size."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.arch import CONV_IMPL
from acmix_nas.cli._busy import find_device, warn_when_busy
from acmix_nas.cli._options import device_option, json_option, plugin_option, reports_option
from acmix_nas.cli._parse import FORMATS, parse_batch_sizes, parse_plot, parse_size
from acmix_nas.cli._say import say
from acmix_nas.cli.latency import add_told, build_file, load_table, print_built
from acmix_nas.errors import UsageError
from acmix_nas.experiments.networks import ablation_networks, find_network
from acmix_nas.sizes import Size, pair

if TYPE_CHECKING:
    from acmix_nas.cost.execution import Execution
    from acmix_nas.cost.network import Network

DEFAULT_MODEL = "acmix_swin_tiny_patch4_window7_224"
DEFAULT_SIZE = 224


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--ablation", metavar="NAME|FILE", help="Profile the rows of an ablation table instead of models.")
@click.option(
    "--impl",
    "impls",
    multiple=True,
    type=click.Choice([*CONV_IMPL, "all"]),
    help="Implementation of ACmix's convolution path; several, or all, are compared. Default: as it is.",
)
@click.option(
    "--form",
    type=click.Choice(["paper", "train", "merged"]),
    help="paper: the named implementation, literally; train: the fast form that a network has by itself; merged: "
    "folded for deployment.  [default: paper with --impl or --ablation, else train]",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    default="1",
    show_default=True,
    callback=parse_batch_sizes,
    metavar="N[,N...]",
    help="Images in a batch; halved until it fits into memory.",
)
@click.option(
    "--input-size",
    callback=parse_size,
    metavar="H[xW]",
    help="Height and width of an image in pixels.  [default: 224, or the ablation's own]",
)
@click.option(
    "--dtype",
    type=click.Choice(["float32", "bfloat16", "float16"]),
    default="float32",
    show_default=True,
    help="Weights are converted to it; with --train they stay in float32 and autocast computes in it.",
)
@click.option("--channels-last/--no-channels-last", default=True, show_default=True, help="Memory format.")
@click.option("--threads", type=click.IntRange(1), help="Threads of the CPU.  [default: torch's own choice]")
@click.option("--features-only", is_flag=True, help="Stages' maps as for detection, without the head.")
@click.option("--train", is_flag=True, help="Forward and backward instead of inference; no optimizer step.")
@click.option("--compile", "compiled", is_flag=True, help="With torch.compile; says compile seconds and graph breaks.")
@click.option("--cuda-graph", is_flag=True, help="Replay each network as one CUDA graph.")
@click.option("--flush-l2", is_flag=True, help="Empty the GPU's second-level cache before every run.")
@click.option(
    "--spread",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    show_default=True,
    help="Repeat until the interquartile range is below this share of the median,",
)
@click.option(
    "--time-limit",
    "limit_s",
    type=click.FloatRange(0, min_open=True),
    default=10.0,
    show_default=True,
    metavar="SECONDS",
    help="or for about so long for each row.",
)
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure peak memory.")
@click.option("--counters/--no-counters", default=True, show_default=True, help="Ask fvcore's and torch's counter too.")
@click.option(
    "--by",
    type=click.Choice(["module", "stage", "op", "paper"]),
    help="Also show where params, MACs and time go; paper: stage I against stage II, formula beside count and time.",
)
@click.option("--flops", is_flag=True, help="Also show FLOPs, which are 2 for each multiply-add (MAC).")
@click.option(
    "--format",
    "form_at",
    type=click.Choice(FORMATS),
    help="How tables are printed.  [default: rich on a terminal, plain in a pipe]",
)
@click.option("--space", metavar="NAME|FILE", help="The space that --build-table measures.")
@click.option(
    "--build-table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Measure every block of --space once and write a latency table.",
)
@click.option(
    "--latency-table",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Also show what a latency table says.",
)
@click.option("--plot", callback=parse_plot, metavar="FILE", help="Also draw latencies as bars: .svg, .png or .pdf.")
@reports_option
@device_option
@plugin_option
@json_option
def profile(
    models: tuple[str, ...],
    ablation: str | None,
    impls: tuple[str, ...],
    form: str | None,
    batch_sizes: tuple[int, ...],
    input_size: tuple[int, int] | None,
    threads: int | None,
    spread: float,
    limit_s: float,
    memory: bool,
    counters: bool,
    by: str | None,
    flops: bool,
    form_at: str | None,
    space: str | None,
    build_table: Path | None,
    latency_table: Path | None,
    plot: Path | None,
    reports: Path,
    device: str,
    as_json: bool,
    **how: Any,
) -> None:
    """Count and time MODELs: timm names, ours or timm's own, a study's best.yaml, or STUDY:TRIAL.

    Networks of a batch size run in turns. Latency is the median of a batch with its interquartile range (IQR) after
    warm-up; "time / first" compares it with the first network's, with a 95 % interval. MACs are multiply-adds of one
    image; fvcore and torch are public counters. docs/profile.md tells how each number is measured.

    \b
    Examples:
      acmix profile
      acmix profile --impl all --batch-size 1,8
      acmix profile acmix_resnet50 resnet50 --form merged --input-size 160 --plot latency.svg
      acmix profile --ablation shift --format latex
      acmix profile reports/swin_t-001/best.yaml --by op --json
      acmix profile --space swin_t --build-table swin_t.json
    """
    if as_json and form_at:
        raise UsageError(f"--json prints one object and --format {form_at} tables; take one of them.")
    from acmix_nas.cost.execution import Execution
    from acmix_nas.cost.profile import Effort, profile_rows

    form = form or ("paper" if impls or ablation else "train")
    run = Execution(device=find_device(device), form=form, **how)
    if space is not None or build_table is not None:
        _refuse_beside_a_space(space, build_table, models=models, ablation=ablation, impl=impls, by=by, plot=plot)
        _build_table(space or "", build_table or Path(), run, threads, batch_sizes, input_size, as_json=as_json)
        return
    networks, baseline, usual, summary = _subjects(models, ablation, impls, reports)
    with _threads(threads):
        table = latency_table and load_table(latency_table, run, batch_sizes, input_size or pair(usual))
    busy = warn_when_busy(run.device)
    with _Progress() as progress, _threads(threads):
        result = profile_rows(
            networks,
            how=run,
            batch_sizes=batch_sizes,
            input_size=input_size or pair(usual),
            baseline=baseline,
            by=by,
            effort=Effort(spread=spread, limit_s=limit_s, memory=memory, counters=counters),
            progress=progress,
        )
    result["env"] |= busy
    result["summary"] = summary
    if table:
        add_told(result["rows"], networks, table)
    if flops:
        for row in result["rows"]:
            row["flops"] = row["macs"] and 2 * row["macs"]
    if plot is not None:
        from acmix_nas.report.profile.bars import draw_bars

        draw_bars(result, plot)
    if as_json:
        say(json.dumps(result, allow_nan=False))
    else:
        from acmix_nas.cli._profile_table import print_result

        print_result(result, form_at)


def _refuse_beside_a_space(space: str | None, build_table: Path | None, **given: object) -> None:
    if space is None or build_table is None:
        raise UsageError("--space names what is measured and --build-table where it is written; give both.")
    named = ["MODEL" if name == "models" else f"--{name}" for name, value in given.items() if value]
    if named:
        raise UsageError(f"--build-table measures all blocks of a space; leave out {', '.join(named)}.")


def _build_table(
    space: str,
    file: Path,
    run: "Execution",
    threads: int | None,
    batch_sizes: Sequence[int],
    input_size: tuple[int, int] | None,
    *,
    as_json: bool,
) -> None:
    warn_when_busy(run.device)
    with _Progress() as progress, _threads(threads):
        built = build_file(space, file, how=run, batch_sizes=batch_sizes, input_size=input_size, progress=progress)
    if as_json:
        say(json.dumps(built, allow_nan=False))
    else:
        print_built(built)


def _subjects(
    models: Sequence[str], ablation: str | None, impls: Sequence[str], reports: Path
) -> tuple[list["Network"], int, Size, str]:
    """The networks, the place of the baseline among them, the usual extent of their images, and what they are."""
    if ablation is not None:
        if models or impls:
            raise UsageError("--ablation names its networks and how they convolve; leave MODEL and --impl out.")
        return ablation_networks(ablation)
    networks = [find_network(model, reports) for model in models or (DEFAULT_MODEL,)]
    chosen = CONV_IMPL if "all" in impls else tuple(dict.fromkeys(impls))
    if chosen:
        networks = [network.having_impl(impl) for network in networks for impl in chosen]
    return networks, 0, DEFAULT_SIZE, ""


@contextmanager
def _threads(number: int | None) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Progress:
    """A bar on stderr with the time left; silent where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

        from acmix_nas.cli._console import progress, text_column

        console = progress()
        columns = (text_column("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("building", total=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, text: str, done: float, total: float) -> None:
        self._bar.update(self._task, description=text, completed=done, total=total)
