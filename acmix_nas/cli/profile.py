"""`acmix profile`: counts and times networks, one row for each implementation and batch size."""

from typing import TYPE_CHECKING, Any

import click

from acmix_nas.arch import CONV_IMPL
from acmix_nas.cli.options import device_option, json_option

if TYPE_CHECKING:
    import torch

    from acmix_nas.cost.network import Network

DEFAULT_MODEL = "acmix_swin_tiny_patch4_window7_224"
BUSY = 0.5
"""Load for each core above which times are not to be trusted."""


def _parse_batch_sizes(context: click.Context, parameter: click.Parameter, text: str) -> tuple[int, ...]:
    try:
        sizes = tuple(int(part) for part in text.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise click.BadParameter(
            f"batch sizes are whole numbers from 1 up with commas between, as 1,8,32; not {text!r}."
        )
    return sizes


@click.command()
@click.argument("model", default=DEFAULT_MODEL)
@click.option(
    "--impl",
    "impls",
    multiple=True,
    type=click.Choice([*CONV_IMPL, "all"]),
    help="Implementation of ACmix's convolution path; several, or all, are compared in one run. Default: as it is.",
)
@click.option(
    "--form",
    type=click.Choice(["paper"]),
    default="paper",
    show_default=True,
    help="paper: the named implementation, literally.",
)
@click.option(
    "--batch-size",
    "batch_sizes",
    default="1",
    show_default=True,
    callback=_parse_batch_sizes,
    metavar="N[,N...]",
    help="Images in a batch.",
)
@click.option(
    "--input-size",
    type=click.IntRange(1),
    default=224,
    show_default=True,
    help="Height and width of an image in pixels.",
)
@device_option
@json_option
def profile(
    model: str,
    impls: tuple[str, ...],
    form: str,
    batch_sizes: tuple[int, ...],
    input_size: int,
    device: str,
    as_json: bool,
) -> None:
    """Count and time MODEL: a timm name, ours or timm's own, or a study's best.yaml.

    Latency is the median of a batch with its interquartile range (IQR), measured after warm-up, the rows of a batch
    size in turn. MACs are multiply-adds of one image; fvcore and torch are public counters that leave some out. Memory
    is the peak of one forward pass: weights, images and activations.

    \b
    Examples:
      acmix profile
      acmix profile --impl all --batch-size 1,8
      acmix profile resnet50 --input-size 160 --json
      acmix profile reports/swin_t-001/best.yaml
    """
    from acmix_nas.cost.profile import profile_rows

    network = _find_network(model)
    chosen = CONV_IMPL if "all" in impls else tuple(dict.fromkeys(impls))
    where = _find_device(device)
    _warn_when_busy()
    with _Progress() as progress:
        result = profile_rows(
            [network], impls=chosen, batch_sizes=batch_sizes, input_size=input_size, device=where, progress=progress
        )
    if as_json:
        import json

        click.echo(json.dumps(result, allow_nan=False))
    else:
        _print_table(result)


def _find_network(model: str) -> "Network":
    from pathlib import Path

    from acmix_nas.cost.network import Network
    from acmix_nas.space.arch_file import load_arch

    path = Path(model)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return Network(
            name=path.stem if path.stem != "best" else f"{path.resolve().parent.name}/best", arch=load_arch(path)
        )
    import timm

    from acmix_nas.models import model_names, named_arch

    if model in model_names():
        return Network(name=model, arch=named_arch(model))
    if timm.is_model(model):
        return Network(name=model)
    raise _unknown_model(model)


def _unknown_model(model: str) -> Exception:
    from difflib import get_close_matches

    import timm

    from acmix_nas.errors import UsageError

    close = get_close_matches(model, timm.list_models(), n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`acmix models` lists ours."
    return UsageError(f"there is no model {model!r}; {hint} A file is given by its path, ending in .yaml.")


def _find_device(device: str) -> "torch.device":
    import torch

    from acmix_nas.errors import UsageError

    if device == "cuda" and not torch.cuda.is_available():
        raise UsageError(
            "--device cuda needs a GPU that torch can use; there is none. Take --device cpu, or see `acmix doctor`."
        )
    return torch.device("cuda" if device != "cpu" and torch.cuda.is_available() else "cpu")


def _warn_when_busy() -> None:
    from acmix_nas.cost.environment import cores, load

    busy, have = load(), cores()
    if busy is not None and busy > BUSY * have:
        click.echo(
            f"Warning: the machine is busy: {busy} running processes on {have} cores in the last minute. "
            "Times will be too long and spread; stop other work and measure again.",
            err=True,
        )


class _Progress:
    """A bar on stderr with the time left; silent where stderr is no terminal."""

    def __init__(self) -> None:
        from rich.progress import Progress

        from acmix_nas.cli.console import progress

        console = progress()
        self._bar = Progress(
            *Progress.get_default_columns(), console=console, transient=True, disable=not console.is_terminal
        )
        self._task = self._bar.add_task("building", total=None)

    def __enter__(self) -> "_Progress":
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def __call__(self, text: str, done: int, total: int) -> None:
        self._bar.update(self._task, description=text, completed=done, total=total)


COLUMNS: tuple[tuple[str, str, float, str], ...] = (
    ("params (M)", "params", 1e6, ".2f"),
    ("MACs (G)", "macs", 1e9, ".3f"),
    ("deploy MACs (G)", "macs_deploy", 1e9, ".3f"),
    ("fvcore MACs (G)", "macs_fvcore", 1e9, ".3f"),
    ("torch MACs (G)", "macs_torch", 1e9, ".3f"),
    ("latency (ms)", "latency_ms", 1, ".2f"),
    ("IQR (ms)", "latency_iqr_ms", 1, ".2f"),
    ("throughput (img/s)", "throughput", 1, ".1f"),
    ("peak memory (MB)", "peak_memory_mb", 1, ".1f"),
)
"""Heading, key of a row, unit, format."""


def _print_table(result: dict[str, Any]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from acmix_nas.cli.console import results

    env, rows, console = result["env"], result["rows"], results()
    table = Table(box=SIMPLE_HEAD)
    table.add_column("impl")
    for heading in ("batch", *(heading for heading, _, _, _ in COLUMNS)):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row["impl"] or "-", str(row["batch_size"]), *(_cell(row[k], unit, f) for _, k, unit, f in COLUMNS)
        )
    console.print(
        f"{rows[0]['model']}, {env['input_size']} px, {rows[0]['form']} form, {env['dtype']}, {env['memory_format']}",
        highlight=False,
    )
    console.print(table)
    console.print(_where(env), soft_wrap=True)


def _where(env: dict[str, Any]) -> str:
    """The line that a number cannot be read without."""
    return (
        f"{env['device']}: {env['device_name']}, {env['threads']} threads, load {env['load']}; torch {env['torch']}, "
        f"timm {env['timm']}, acmix-nas {env['acmix_nas']}, Python {env['python']}"
    )


def _cell(value: float | None, unit: float, form: str) -> str:
    return "-" if value is None else format(value / unit, form)
