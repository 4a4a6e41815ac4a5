"""Where a network's parameters, multiply-adds and time go: by module, by stage, by path of ACmix.

Time is taken in passes of their own, with a stamp at the begin and the end of every module. Stamping costs time, mostly
where modules are small, so these times are for their shares, not for the latency.
"""

import copy
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import wraps
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas.cost.clock import Clock, clock_for
from acmix_nas.cost.execution import Execution, conditions, make_step
from acmix_nas.operators.forms import observing
from acmix_nas.parts import OPS, Part

PASSES = 7
METHODS = ("forward", "weighed", "attend", "reduce")
"""What does a module's work: `forward`, and what ACmix calls instead of it on its two paths."""
BY = ("module", "stage", "op", "paper")
"""`acmix_nas.cost.stages` answers the last."""
DEPTH = 4
"""Names in a module's path that are distinguished."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """A line of the answer.

    Attributes:
        name: Module, stage or path.
        depth: How deep it stands in the tree.
        params: Its parameters.
        macs: Its multiply-adds for one image; None where they are not known.
        time_ms: Its time for a batch, with what it calls.
    """

    name: str
    depth: int
    params: int
    macs: int | None
    time_ms: float


def module_times(
    model: nn.Module,
    images: torch.Tensor,
    how: Execution,
    *,
    core: nn.Module | None = None,
    clock: Clock | None = None,
    passes: int = PASSES,
) -> dict[str, float]:
    """Milliseconds that a forward pass spends in each module itself, not in those that it calls; medians.

    Args:
        model: The network, on its device.
        images: The batch.
        how: How it runs; never compiled or as a CUDA graph, and of a training step the forward pass only.
        core: The module within it whose modules are timed; itself if None.
        clock: Of the device.
        passes: How often, after one more to warm up.

    Returns:
        Dotted path of the module -> milliseconds; "" for the network itself.
    """
    step = make_step(model, images, replace(how, compiled=False, cuda_graph=False))
    clock = clock or clock_for(images.device)
    found: dict[str, list[float]] = defaultdict(list)
    with conditions([model], step.how):
        step()
        for _ in range(passes):
            with _stamped(core or model, clock) as spans:
                step()
            for name, time_ms in _own_times(spans, clock).items():
                found[name].append(time_ms)
    return {name: statistics.median(times) for name, times in found.items()}


def shares(by: str, parts: Sequence[Part], times: Mapping[str, float]) -> list[Share]:
    """Sums parts and times.

    Args:
        by: "module" (a tree of the modules), "stage" or "op" (the paths of ACmix: `acmix_nas.parts.OPS`).
        parts: The network's parts.
        times: Of `module_times`.

    Returns:
        Lines in the order of the network; a module's are followed by those of its own modules.
    """
    times = _named_projections(parts, times)
    if by == "module":
        return _tree(parts, times)
    group = _stages(parts) if by == "stage" else {part.module: part.op for part in parts}
    names = dict.fromkeys(group.values()) if by == "stage" else OPS
    spent: dict[str, float] = defaultdict(float)
    for name, time_ms in times.items():
        spent[_group(name, group) or "other"] += time_ms
    lines = []
    for name in dict.fromkeys((*names, *spent)):
        own = [part for part in parts if group[part.module] == name]
        line = Share(
            name=name, depth=0, params=sum(p.params for p in own), macs=sum(p.macs for p in own), time_ms=spent[name]
        )
        if own or line.time_ms:
            lines.append(line)
    return lines


def op_times(parts: Sequence[Part], times: Mapping[str, float]) -> dict[tuple[int | str | None, str], float]:
    """(stage, op) -> milliseconds, of the modules that belong to one of `parts`; times as of `module_times`."""
    group = {part.module: (part.stage, part.op) for part in parts}
    spent: dict[tuple[int | str | None, str], float] = defaultdict(float)
    for name, time_ms in _named_projections(parts, times).items():
        held = _holder(name, group)
        if held is not None:
            spent[group[held]] += time_ms
    return dict(spent)


def foreign_parts(model: nn.Module, size: tuple[int, int]) -> list[Part]:
    """The modules of a network that is not ours: their parameters, and multiply-adds by torch's counter.

    Args:
        model: The network; it is not changed.
        size: (height, width) of the image in pixels.

    Returns:
        A part for each module with parameters or multiply-adds of its own; no multiply-adds where the counter fails.
    """
    inclusive = _torch_macs(model, size)
    parts = []
    for name, module in model.named_modules():
        inner = sum(_counted_within(name, module, inclusive))
        params = sum(weight.numel() for weight in module.parameters(recurse=False))
        macs = max(0, inclusive.get(name, 0) - inner)
        if params or macs:
            parts.append(Part(name, None, "other", params=params, macs=macs))
    return parts


def _counted_within(name: str, module: nn.Module, inclusive: Mapping[str, int]) -> Iterator[int]:
    """Multiply-adds of the nearest modules within one that were called: a list of modules never is."""
    for child, part in module.named_children():
        path = f"{name}.{child}" if name else child
        if path in inclusive:
            yield inclusive[path]
        else:
            yield from _counted_within(path, part, inclusive)


def _torch_macs(model: nn.Module, size: tuple[int, int]) -> dict[str, int]:
    """Module -> multiply-adds with those of its own modules; empty where the network does not run on meta tensors."""
    shadow = copy.deepcopy(model).float().to("meta").eval()
    try:
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            shadow(torch.empty(1, 3, *size, device="meta"))
    except Exception:  # networks fail in ways of their own on tensors without values
        return {}
    return {name.partition(".")[2]: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}


def _tree(parts: Sequence[Part], times: Mapping[str, float]) -> list[Share]:
    paths = dict.fromkeys(
        ".".join(words[:depth])
        for words in ([*part.module.split(".")] for part in parts)
        for depth in range(min(len(words), DEPTH) + 1)
    )
    known = any(part.macs for part in parts)
    lines = []
    for path in paths:
        inside = [part for part in parts if _below(part.module, path)]
        lines.append(
            Share(
                name=path.rsplit(".", 1)[-1] or "network",
                depth=len(path.split(".")) if path else 0,
                params=sum(part.params for part in inside),
                macs=sum(part.macs for part in inside) if known else None,
                time_ms=sum(time_ms for name, time_ms in times.items() if _below(name, path)),
            )
        )
    return lines


def _stages(parts: Sequence[Part]) -> dict[str, str]:
    """Module -> its stage; what comes before the first is the stem, what comes after the last is the head."""
    staged = [index for index, part in enumerate(parts) if part.stage is not None]
    first = staged[0] if staged else len(parts)

    def named(index: int, stage: int | str | None) -> str:
        if isinstance(stage, str):
            return stage
        return f"stage {stage}" if stage is not None else ("stem" if index < first else "head")

    return {part.module: named(index, part.stage) for index, part in enumerate(parts)}


def _group(name: str, group: Mapping[str, str]) -> str | None:
    """The group of the module itself, of the one that holds it, or that all within it have."""
    held = _holder(name, group)
    if held is not None:
        return group[held]
    within = {value for path, value in group.items() if _below(path, name)}
    return within.pop() if len(within) == 1 else None


def _holder(name: str, group: Mapping[str, Any]) -> str | None:
    """The nearest of the named modules that is the module or holds it."""
    words = name.split(".")
    paths = (".".join(words[:length]) for length in range(len(words), 0, -1))
    return next((path for path in paths if path in group), None)


def _named_projections(parts: Sequence[Part], times: Mapping[str, float]) -> dict[str, float]:
    """The times, those of projections under their own name.

    Where q comes from another map than k and v, ACmix applies the weights of its projections itself, without calling
    their module, and its own time is theirs.
    """
    named = dict(times)
    for part in parts:
        operator = part.module.rpartition(".")[0]
        if part.op == "projections" and part.module not in named and operator in named:
            named[part.module] = named.pop(operator)
    return named


def _below(path: str, root: str) -> bool:
    return not root or path == root or path.startswith(root + ".")


@dataclass(slots=True)
class _Span:
    name: str
    start: Any
    end: Any = None
    parent: "_Span | None" = None


@contextmanager
def _stamped(model: nn.Module, clock: Clock) -> Iterator[list[_Span]]:
    """Inside this context every module's work leaves a span."""
    spans: list[_Span] = []
    running: list[_Span] = []

    def stamped(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(work)
        def wrapper(*args: Any, **options: Any) -> Any:
            span = _Span(name, clock.stamp(), parent=running[-1] if running else None)
            spans.append(span)
            running.append(span)
            try:
                return work(*args, **options)
            finally:
                running.pop()
                span.end = clock.stamp()

        return observing(wrapper)

    with ExitStack() as undo:
        for name, module in model.named_modules():
            for method in METHODS:
                work = getattr(module, method, None)
                if callable(work):
                    setattr(module, method, stamped(name, work))
                    undo.callback(delattr, module, method)
        yield spans


def _own_times(spans: Sequence[_Span], clock: Clock) -> dict[str, float]:
    own: dict[str, float] = defaultdict(float)
    for span in spans:
        time_ms = clock.between_ms(span.start, span.end)
        own[span.name] += time_ms
        if span.parent is not None:
            own[span.parent.name] -= time_ms
    return own
