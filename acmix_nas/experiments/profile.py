"""Counts and times networks, from their names to the rows of a table."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import torch

from acmix_nas import registry
from acmix_nas.arch import CONV_IMPL
from acmix_nas.cost.environment import environment
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.cost.network import DenseHead, Network
from acmix_nas.cost.profile import Effort, profile_rows
from acmix_nas.errors import UsageError
from acmix_nas.experiments.ablation import load_ablation
from acmix_nas.experiments.busy import warn_when_busy
from acmix_nas.experiments.networks import find_network
from acmix_nas.experiments.setup import pick_device
from acmix_nas.report.profile.bars import draw_bars
from acmix_nas.sizes import Size, pair

DEFAULT_MODEL = "acmix_swin_tiny_patch4_window7_224"
DEFAULT_SIZE = 224
CLASSIFICATION, SEGMENTATION = "classification", "segmentation"
TASKS = (CLASSIFICATION, SEGMENTATION)
SEGMENTED_SIZE, SEGMENTED_CLASSES, SEGMENTED_HEAD = 512, 150, "semantic_fpn"
"""Usual image extent in pixels, classes (those of ADE20K) and head of a segmentation."""


@dataclass(frozen=True, kw_only=True)
class ExecutionOptions:
    """How networks are run.

    Attributes:
        form: "paper", "train" or "merged".
        input_size: (height, width) of an image in pixels.
        dtype: "float32", "bfloat16" or "float16".
        channels_last: Memory format of weights and images.
        threads: Threads of the CPU; None for torch's own choice.
        features_only: Stages' maps as for detection, without the head.
        train: Forward and backward instead of inference.
        compiled: With torch.compile.
        cuda_graph: Replay each network as one CUDA graph.
        flush_l2: Empty the GPU's second-level cache before every run.
        device: "auto", "cpu" or "cuda".
    """

    form: str | None = None
    input_size: tuple[int, int] | None = None
    dtype: str = "float32"
    channels_last: bool = True
    threads: int | None = None
    features_only: bool = False
    train: bool = False
    compiled: bool = False
    cuda_graph: bool = False
    flush_l2: bool = False
    device: str = "auto"

    def execution(self, form: str = "train") -> Execution:
        """The same on the device that is here, by default in this form.

        Raises:
            UsageError: The options do not go together, or there is no such device.
        """
        return Execution(
            device=pick_device(self.device),
            dtype=self.dtype,
            form=self.form or form,
            channels_last=self.channels_last,
            train=self.train,
            features_only=self.features_only,
            compiled=self.compiled,
            cuda_graph=self.cuda_graph,
            flush_l2=self.flush_l2,
        )


@dataclass(frozen=True, kw_only=True)
class ProfileOptions(ExecutionOptions):
    """The options of `acmix profile`.

    Attributes:
        models: timm names, files of an arch, or STUDY:TRIAL.
        ablation: Name or file of an ablation table whose rows are profiled instead.
        impls: Implementations of ACmix's convolution path that are compared; "all" for all.
        batch_sizes: Images in a batch.
        spread: Measured until the interquartile range is below this share of the median,
        limit_s: or for about this many seconds for each row.
        memory: Whether peak memory is measured.
        counters: Whether the counters of fvcore and torch are asked too.
        by: "module", "stage", "op" or "paper": also says where params, MACs and time go.
        flops: Whether rows have FLOPs, two for each multiply-add.
        time: Whether they are timed; else they are only counted.
        task: What they do: one of `TASKS`.
        head: Head of a dense task: a file of `acmix_nas.heads`, or the dotted path of one's own.
        num_classes: Classes of a dense task.
        latency_table: File of a latency table whose values are added.
        plot: File of a picture of the latencies.
        reports: Folder of study folders, for STUDY:TRIAL.
    """

    models: tuple[str, ...] = ()
    ablation: str | None = None
    impls: tuple[str, ...] = ()
    batch_sizes: tuple[int, ...] = (1,)
    spread: float = 0.05
    limit_s: float = 10.0
    memory: bool = True
    counters: bool = True
    by: str | None = None
    flops: bool = False
    time: bool = True
    task: str = CLASSIFICATION
    head: str | None = None
    num_classes: int | None = None
    latency_table: Path | None = None
    plot: Path | None = None
    reports: Path = Path("reports")


class ProfileCallbacks:
    """Shows nothing; a subclass overrides what it wants to see."""

    def warn(self, text: str) -> None:
        """Something makes the numbers worse than they could be."""

    def progress(self, text: str, done: float, total: float) -> None:
        """What is done now, and how much of all."""


def run(options: ProfileOptions, callbacks: ProfileCallbacks | None = None) -> dict[str, Any]:
    """Counts and times networks.

    Args:
        options: What is asked for, by the names of the command's options.
        callbacks: What the caller is shown while it runs.

    Returns:
        {"device", "env", "summary", "rows"}, and "where" with `by`: plain values; docs/profile.md explains the keys.

    Raises:
        UsageError: Options do not go together, or there is no such network.
    """
    callbacks = callbacks or ProfileCallbacks()
    how = options.execution("paper" if options.impls or options.ablation else "train")
    networks, baseline, usual, summary = _subjects(options)
    head = _dense_head(options)
    if head is not None:
        networks, usual = [replace(network, head=head) for network in networks], SEGMENTED_SIZE
    size = options.input_size or pair(usual)
    with threads(options.threads):
        table = _load_table(options, how, size, callbacks)
        busy = warn_when_busy(how.device, callbacks.warn) if options.time else {}
        result = profile_rows(
            networks,
            how=how,
            batch_sizes=options.batch_sizes,
            input_size=size,
            baseline=baseline,
            by=options.by,
            effort=Effort(
                spread=options.spread,
                limit_s=options.limit_s,
                memory=options.memory,
                counters=options.counters,
                time=options.time,
            ),
            progress=callbacks.progress,
        )
    result["env"] |= busy
    result["summary"] = summary
    for row, network in zip(result["rows"], cycle(networks), strict=False):
        if table:
            row["latency_table_ms"] = None if network.arch is None else table.latency_ms(network.arch)
        if options.flops:
            row["flops"] = row["macs"] and 2 * row["macs"]
    if options.plot is not None:
        draw_bars(result, options.plot)
    return result


def _dense_head(options: ProfileOptions) -> DenseHead | None:
    """The head that was asked for; None for classification.

    Raises:
        UsageError: Options do not go together.
    """
    timed = [f"--{name}" for name in ("by", "plot") if getattr(options, name) is not None]
    if timed and not options.time:
        raise UsageError(f"{' and '.join(timed)} shows times, and --no-time takes none; leave one of them out.")
    if options.task == CLASSIFICATION:
        if options.head is not None or options.num_classes is not None:
            raise UsageError("--head and --num-classes are those of a dense task; add --task segmentation.")
        return None
    alone = {
        "--features-only": options.features_only,
        "--by paper": options.by == "paper",
        "--latency-table": options.latency_table is not None,
    }
    for name in [name for name, given in alone.items() if given]:
        raise UsageError(f"{name} is of the backbone alone; leave out --task {options.task}, or {name}.")
    name = options.head or SEGMENTED_HEAD
    registry.load("heads", name)
    return DenseHead(name=name, num_classes=options.num_classes or SEGMENTED_CLASSES)


@contextmanager
def threads(number: int | None) -> Iterator[None]:
    """A block in which torch has this many threads; unchanged for None."""
    before = torch.get_num_threads()
    torch.set_num_threads(number or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _subjects(options: ProfileOptions) -> tuple[list[Network], int, Size, str]:
    """The networks, the place of the baseline among them, the usual size of their images, and what they are."""
    if options.ablation is not None:
        if options.models or options.impls:
            raise UsageError("--ablation names its networks and how they convolve; leave MODEL and --impl out.")
        table = load_ablation(options.ablation)
        networks = [Network(name=name, arch=arch) for name, arch in table.rows.items()]
        return networks, list(table.rows).index(table.baseline), table.space.input_size, table.summary
    networks = [find_network(model, options.reports) for model in options.models or (DEFAULT_MODEL,)]
    chosen: Sequence[str] = CONV_IMPL if "all" in options.impls else tuple(dict.fromkeys(options.impls))
    if chosen:
        networks = [network.having_impl(impl) for network in networks for impl in chosen]
    return networks, 0, DEFAULT_SIZE, ""


def _load_table(
    options: ProfileOptions, how: Execution, size: tuple[int, int], callbacks: ProfileCallbacks
) -> LatencyTable | None:
    """The table that is shown beside the profile; warns if it is another machine's.

    Raises:
        UsageError: It was measured in another way than the profile is.
    """
    if options.latency_table is None:
        return None
    file, table = options.latency_table, LatencyTable.load(options.latency_table)
    here = {**how.to_dict(), "batch size": list(options.batch_sizes), "input size": size}
    there = {**table.how, "batch size": [table.batch_size], "input size": table.input_size}
    apart = [
        f"{name} {there.get(name)} there, {value} here" for name, value in here.items() if there.get(name) != value
    ]
    if apart:
        raise UsageError(
            f"{file} was measured in another way: {'; '.join(apart)}. Profile in the same way, or build another table."
        )
    differences = table.differences(environment(how.device))
    if differences:
        callbacks.warn(f"{file} is another machine's table: {'; '.join(differences)}.")
    return table
