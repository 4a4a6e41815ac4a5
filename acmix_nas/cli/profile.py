"""`acmix profile`: counts and times networks, one row for each network, implementation and batch size."""

import json
from pathlib import Path
from typing import Any

import click

from acmix_nas.arch import CONV_IMPL
from acmix_nas.cli import _options
from acmix_nas.cli._say import say, say_renamed
from acmix_nas.errors import UsageError

PICTURES = (".svg", ".png", ".pdf")


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


@click.command()
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@click.option("--ablation", metavar="NAME|FILE", help="Profile the rows of an ablation table instead of models.")
@click.option(
    "--impl",
    "impls",
    multiple=True,
    type=click.Choice([*CONV_IMPL, "all"]),
    help="Implementation of ACmix's convolution path. Give several, or all, to compare them. Default: the network's "
    "own.",
)
@click.option(
    "--task",
    type=click.Choice(["classification", "segmentation"]),
    default="classification",
    help="segmentation puts a head on the networks' maps that scores every pixel.",
)
@_options.head
@_options.count("--num-classes", "Classes of --task segmentation.  [default: 150, as ADE20K has]")
@_options.form("  [default: paper with --impl or --ablation, else train]")
@click.option(
    "--batch-size",
    "batch_sizes",
    default="1",
    callback=parse_batch_sizes,
    metavar="N[,N...]",
    help="Images in a batch; halved until the batch fits into memory.",
)
@_options.size("Height and width of an image in pixels.  [default: 224, or the ablation's own; segmentation: 512]")
@_options.execution
@click.option(
    "--train", is_flag=True, help="Time forward and backward instead of inference, without an optimizer step."
)
@click.option(
    "--compile", "compiled", is_flag=True, help="Compile with torch.compile; show compile time and graph breaks."
)
@click.option("--cuda-graph", is_flag=True, help="Replay each network as one CUDA graph.")
@click.option("--flush-l2", is_flag=True, help="Clear the GPU's L2 cache before every run.")
@click.option(
    "--spread",
    type=click.FloatRange(0, 1, min_open=True),
    default=0.05,
    help="Repeat until the interquartile range is below this share of the median.",
)
@click.option(
    "--time-limit",
    "limit_s",
    type=_options.POSITIVE,
    default=10.0,
    metavar="SECONDS",
    help="Stop repeating after about this long for each row.",
)
@click.option("--time/--no-time", default=True, help="Time the networks, or only count them.")
@click.option("--memory/--no-memory", default=True, help="Measure peak memory.")
@click.option("--counters/--no-counters", default=True, help="Also count with fvcore and torch.")
@click.option(
    "--by",
    type=click.Choice(["module", "stage", "op", "paper"]),
    help="Also show params, MACs and time of each part. paper: compare stage I with stage II: formula, count and time.",
)
@click.option("--flops", is_flag=True, help="Also show FLOPs: two for each multiply-add (MAC).")
@click.option(
    "--format",
    "form_at",
    type=click.Choice(["rich", "plain", "markdown", "latex", "csv"]),
    help="Format of the tables on stdout.  [default: rich on a terminal, plain in a pipe]",
)
@click.option(
    "--latency-table",
    type=_options.FILE,
    metavar="FILE",
    help="Also show the latency that this table predicts.",
)
@click.option("--space", hidden=True)
@click.option("--build-table", type=_options.FILE, hidden=True)
@click.option(
    "--plot",
    callback=parse_plot,
    metavar="FILE",
    help="Also draw the latencies as a bar chart: .svg, .png or .pdf.",
)
@_options.reports
@_options.plugin
@_options.json
def profile(form_at: str | None, as_json: bool, space: str | None, build_table: Path | None, **options: Any) -> None:
    """Count and time MODELs: timm names, ours or timm's own, a study's best.yaml, or STUDY:TRIAL.

    Networks of the same batch size run in turns. Latency is the median of a batch with its interquartile range (IQR)
    after warm-up; "time / first" compares it with the first network's, with a 95 % interval. MACs are multiply-adds of
    one image; fvcore and torch are public counters. docs/profile.md explains how each number is measured.

    \b
    Examples:
      acmix profile
      acmix profile --impl all --batch-size 1,8
      acmix profile acmix_resnet50 resnet50 --form merged --input-size 160 --plot latency.svg
      acmix profile --ablation shift --format latex
      acmix profile acmix_swin_tiny_patch4_window7_224 --task segmentation --head upernet --no-time
      acmix profile reports/swin_t-001/best.yaml --by op --json
    """
    if as_json and form_at:
        raise UsageError(f"--json prints one object and --format {form_at} tables; take one of them.")
    if space is not None or build_table is not None:
        _build_table(space, build_table, options, as_json=as_json)
        return
    from acmix_nas.cli._profile import ProfileDisplay, print_result
    from acmix_nas.experiments.profile import ProfileOptions, run

    with ProfileDisplay() as display:
        result = run(ProfileOptions(**options), display)
    if as_json:
        say(json.dumps(result, allow_nan=False))
    else:
        print_result(result, form_at)


def _build_table(space: str | None, file: Path | None, options: dict[str, Any], *, as_json: bool) -> None:
    """What `acmix latency` does, by the options that did it in 0.1."""
    say_renamed("profile --space SPACE --build-table FILE", "acmix latency --space SPACE --out FILE")
    if space is None or file is None:
        raise UsageError("--space names what is measured and --build-table where it is written; give both.")
    alone = {"MODEL": "models", "--ablation": "ablation", "--impl": "impls", "--by": "by", "--plot": "plot"}
    named = [name for name, option in alone.items() if options[option]]
    if named:
        raise UsageError(f"--build-table measures all blocks of a space; leave out {', '.join(named)}.")
    sizes = options["batch_sizes"]
    if len(sizes) > 1:
        raise UsageError(f"a latency table is for one batch size; {', '.join(map(str, sizes))} are given.")
    from acmix_nas.cli._profile import build_latency_table
    from acmix_nas.experiments.latency import LatencyOptions
    from acmix_nas.experiments.profile import ExecutionOptions

    how = {name: options[name] for name in ExecutionOptions.__dataclass_fields__}
    build_latency_table(LatencyOptions(space=space, out=file, batch_size=sizes[0], **how), as_json=as_json)
