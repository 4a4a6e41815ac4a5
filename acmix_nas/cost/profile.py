"""Profiles networks: one row for each network, implementation and batch size; rows of a batch size run interleaved."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from acmix_nas.arch import Arch
from acmix_nas.cost.count import count
from acmix_nas.cost.counters import macs_fvcore, macs_torch
from acmix_nas.cost.environment import environment
from acmix_nas.cost.memory import peak_cpu_mb, peak_cuda_mb
from acmix_nas.cost.network import Network
from acmix_nas.cost.timing import Timing, clock_for, measure
from acmix_nas.models import plain_form

Progress = Callable[[str, int, int], None]
"""Called with (what is done now, steps done, steps in all)."""


def profile_rows(
    models: Sequence[Network],
    *,
    impls: Sequence[str] = (),
    batch_sizes: Sequence[int] = (1,),
    input_size: int = 224,
    device: torch.device | str = "cpu",
    limit_s: float = 10.0,
    memory: bool = True,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Counts and times networks in float32, channels_last, evaluation mode, with random weights.

    ACmix computes its named formulation literally (`acmix_nas.models.plain_form`; form "paper"), not its fast form:
    what is compared is what docs/operator.md describes.

    Args:
        models: The networks.
        impls: Implementations of the convolution path that each network is profiled with; none for as it is.
        batch_sizes: Images in a batch, one row for each.
        input_size: Height and width of the image in pixels.
        device: Where latency and memory are measured.
        limit_s: Seconds of timing for each row, about.
        memory: Whether peak memory is measured, on the CPU in a process of its own for each row.
        progress: Told of every step.

    Returns:
        {"device", "env", "rows"}, plain values. A row has model, impl, form, batch_size, params, macs and macs_deploy
        (multiply-adds of one image; None for timm's own models), macs_fvcore and macs_torch (None where the counter
        fails), latency_ms (median of a batch), latency_iqr_ms, throughput (images a second at the median) and
        peak_memory_mb (None where it cannot be measured; so is the latency of a batch that does not fit).

    Raises:
        UsageError: `impls` is given and a network has no convolution path.
    """
    device = torch.device(device)
    tell = _Steps(progress, total=0)
    networks = [network.having_impl(impl) for network in models for impl in impls] if impls else list(models)
    tell.total = len(networks) + len(batch_sizes) * (1 + len(networks))
    setting = {"input_size": input_size, "dtype": "float32", "memory_format": "channels_last"}
    env = {**environment(device), **setting}
    subjects = []
    for network in networks:
        tell(f"counting {_label(network)}")
        subjects.append(_subject(network, input_size, device))
    rows = []
    for batch_size in batch_sizes:
        tell(f"timing batches of {batch_size}")
        images = torch.randn(batch_size, 3, input_size, input_size, device=device)
        images = images.to(memory_format=torch.channels_last)
        timings = _time([subject.model for subject in subjects], images, limit_s)
        for index, subject in enumerate(subjects):
            tell(f"memory of {_label(subject.network)}, batches of {batch_size}")
            peak_mb = _peak_mb(subject, images) if memory and index in timings else None
            rows.append(_row(subject, batch_size, timings.get(index), peak_mb))
    return {"device": str(device), "env": env, "rows": rows}


def throughputs(
    archs: Mapping[str, Arch], *, input_size: int, batch_size: int, device: torch.device | str, limit_s: float = 2.0
) -> dict[str, float]:
    """Images a second of full networks, timed interleaved in float32, channels_last, evaluation mode, plain form.

    Args:
        archs: The networks, by name.
        input_size: Height and width of the image in pixels.
        batch_size: Images in a batch.
        device: Where they are timed.
        limit_s: Seconds of timing for each network, about.

    Returns:
        Name -> images a second at the median latency; a network that does not fit in memory is left out.
    """
    images = torch.randn(batch_size, 3, input_size, input_size, device=device).to(memory_format=torch.channels_last)
    models = [Network(name=name, arch=arch).build(input_size).to(device) for name, arch in archs.items()]
    subjects = [model.to(memory_format=torch.channels_last) for model in models]
    timings = _time(subjects, images, limit_s)
    return {name: batch_size / timings[i].median_ms * 1000 for i, name in enumerate(archs) if i in timings}


@dataclass(frozen=True, slots=True)
class _Subject:
    """A network that was built and counted."""

    network: Network
    model: nn.Module
    counts: dict[str, int | None]


@dataclass(slots=True)
class _Steps:
    progress: Progress | None
    total: int
    done: int = 0

    def __call__(self, text: str) -> None:
        if self.progress is not None:
            self.progress(text, self.done, self.total)
        self.done += 1


def _subject(network: Network, input_size: int, device: torch.device) -> _Subject:
    model = network.build(input_size)
    exact = None if network.arch is None else count(network.arch, input_size)
    counts: dict[str, int | None] = {
        "params": sum(p.numel() for p in model.parameters()) if exact is None else exact.params,
        "macs": None if exact is None else exact.macs,
        "macs_deploy": None if exact is None else exact.macs_deploy,
        "macs_fvcore": _or_none(macs_fvcore, model, input_size),
        "macs_torch": _or_none(macs_torch, model, input_size),
    }
    return _Subject(network, model.to(device).to(memory_format=torch.channels_last), counts)


def _or_none(counter: Callable[[nn.Module, int], int], model: nn.Module, input_size: int) -> int | None:
    try:
        return counter(model, input_size)
    except Exception:  # tracers fail in ways of their own on networks they do not know; the count is a cross-check
        return None


def _time(models: Sequence[nn.Module], images: torch.Tensor, limit_s: float) -> dict[int, Timing]:
    """Timings in plain form by place in `models`; a network that runs out of GPU memory is left out."""
    with torch.inference_mode(), ExitStack() as forms:
        for model in models:
            forms.enter_context(plain_form(model))
        fitting = [index for index, model in enumerate(models) if _fits(model, images)]
        runs = {str(index): _Forward(models[index], images) for index in fitting}
        timings = measure(runs, clock=clock_for(images.device), limit_s=limit_s)
    return {int(index): timing for index, timing in timings.items()}


@dataclass(frozen=True, slots=True)
class _Forward:
    model: nn.Module
    images: torch.Tensor

    def __call__(self) -> object:
        return self.model(self.images)


def _fits(model: nn.Module, images: torch.Tensor) -> bool:
    try:
        model(images)
    except torch.OutOfMemoryError:
        torch.cuda.empty_cache()
        return False
    return True


def _peak_mb(subject: _Subject, images: torch.Tensor) -> float | None:
    if images.device.type == "cuda":
        return peak_cuda_mb(subject.model, images)
    return peak_cpu_mb(subject.network, batch_size=len(images), input_size=images.shape[-1])


def _row(subject: _Subject, batch_size: int, timing: Timing | None, peak_mb: float | None) -> dict[str, Any]:
    return {
        "model": subject.network.name,
        "impl": subject.network.impl,
        "form": "paper",
        "batch_size": batch_size,
        **subject.counts,
        "latency_ms": timing and timing.median_ms,
        "latency_iqr_ms": timing and timing.iqr_ms,
        "throughput": timing and batch_size / timing.median_ms * 1000,
        "peak_memory_mb": peak_mb,
    }


def _label(network: Network) -> str:
    return f"{network.name} ({network.impl})" if network.impl else network.name
