"""Chooses the executor, and a place with threads or a GPU for each of its workers."""

import os
from collections.abc import Sequence

import torch

from acmix_nas.cost.memory import free_bytes
from acmix_nas.errors import UsageError
from acmix_nas.executors import Place, TrialLimits
from acmix_nas.executors._ray_cluster import check_address, check_installed
from acmix_nas.executors._watchdog import SHARE, resident_bytes
from acmix_nas.executors.serial import check as check_serial
from acmix_nas.machine import cores
from acmix_nas.parts import area
from acmix_nas.sizes import pair
from acmix_nas.space import Proxy

VISIBLE = "CUDA_VISIBLE_DEVICES"
NO_GPU = "none"
RAY = "ray"
SEVERAL = (None, "process", RAY)
"""Executors that take as many workers as there are threads, where none are asked for."""
NO_LIMITS = TrialLimits()
WORTH_PROCESSES = 10_000
"""Images that a study passes through networks, below which one process ends sooner: others take seconds to start."""
WORKER_BYTES, VALUE_BYTES = 500e6, 100
"""What a worker takes: with torch loaded, and for each value of the first stage's maps, a batch of them for every block
of the network. Measured in float32 with the proxies of the four spaces: 430 MB, and 45 to 91."""


def check_placement(executor: str | None, *, ray_address: str | None, gpus: str | None) -> None:
    """Checks, before a study is made, that its workers can be placed at all.

    Args:
        executor: The user's choice.
        ray_address: Where a Ray cluster is.
        gpus: As in `place_workers`.

    Raises:
        UsageError: The options contradict each other, Ray is not installed, or nothing listens at its address.
    """
    if executor != RAY:
        if ray_address is not None:
            raise UsageError(f"--ray-address {ray_address} is for --executor ray; add that, or leave the address out.")
        return
    if gpus not in (None, NO_GPU):
        raise UsageError(f"--gpus {gpus}: Ray chooses the GPUs of its workers; say how many workers with --workers.")
    check_installed()
    check_address(ray_address)


def usual_workers(proxy: Proxy, widths: Sequence[int], *, trainings: int, at_once: int) -> int:
    """Workers on a CPU where none are asked for: one for each of torch's threads, if memory is enough.

    Networks as small as those of proxies train faster side by side on a thread each than one after another on all: the
    threads of one spend their time waiting for each other.

    Args:
        proxy: With the epochs and images of the study.
        widths: Channels of the space's stages at full size.
        trainings: Trainings of the study.
        at_once: So many of them need no result of another.
    """
    if proxy.images is not None and trainings * proxy.epochs * proxy.images < WORTH_PROCESSES:
        return 1
    values = proxy.batch_size * area(pair(proxy.maps()[0])) * proxy.widths(widths)[0] * sum(proxy.depths)
    free = free_bytes()
    fitting = trainings if free is None else int(SHARE * free / (WORKER_BYTES + VALUE_BYTES * values))
    return max(1, min(torch.get_num_threads(), at_once, fitting))


def workers_text(device: str, places: Sequence[Place]) -> str:
    """What the workers are, in a line."""
    count, first = len(places), places[0]
    if device == "cuda":
        return f"workers: {count} on GPUs" + (f", {first.world_size} for each trial" if first.world_size > 1 else "")
    return f"workers: {count} with {first.threads} {'thread' if first.threads == 1 else 'threads'} each"


def place_workers(
    *,
    device: str,
    executor: str | None,
    workers: int | None,
    gpus: str | None,
    workers_per_gpu: int,
    gpus_per_trial: int = 1,
    limits: TrialLimits = NO_LIMITS,
) -> tuple[str, list[Place]]:
    """The executor's name and the places of its workers.

    Args:
        device: "cpu" or "cuda", where the study trains.
        executor: The user's choice; None takes serial for one worker and process for more.
        workers: Processes on a CPU, which share its threads; 1 if None. With Ray also the workers on GPUs; if None, as
            many as this machine's GPUs have room for.
        gpus: "all", "none", or the numbers of some of the visible GPUs; all if None.
        workers_per_gpu: Processes on each GPU.
        gpus_per_trial: GPUs that train each trial together.
        limits: Of each trial; with limits even one worker is a process, so that it can be killed.

    Raises:
        UsageError: The options do not fit the device or each other, or name a GPU that is not there.
    """
    if gpus_per_trial > 1 < workers_per_gpu:
        raise UsageError(
            f"--gpus-per-trial {gpus_per_trial} gives a trial whole GPUs, --workers-per-gpu {workers_per_gpu} parts of "
            "one; leave one of them out."
        )
    if device == "cpu":
        places = _on_cpu(workers, gpus, gpus_per_trial)
    elif executor == RAY:
        places = _on_cluster(workers, workers_per_gpu, gpus_per_trial)
    elif gpus_per_trial > 1:
        places = _on_groups(workers, gpus, gpus_per_trial)
    else:
        places = _on_gpus(workers, gpus, workers_per_gpu)
    first = places[0]
    is_enough = len(places) == first.world_size == 1 and limits == NO_LIMITS and first.gpu in (None, *_visible()[:1])
    name = executor or ("serial" if is_enough else "process")
    if name == "serial":
        check_serial(places, limits)
    return name, places


def _on_cpu(workers: int | None, gpus: str | None, gpus_per_trial: int) -> list[Place]:
    given = [f"--gpus {gpus}"] if gpus not in (None, NO_GPU) else []
    given += [f"--gpus-per-trial {gpus_per_trial}"] if gpus_per_trial > 1 else []
    if given:
        raise UsageError(f"{' '.join(given)}: this study trains on the CPU; choose --device cuda, or --workers.")
    count = workers or 1
    return [Place(threads=max(1, torch.get_num_threads() // count)) for _ in range(count)]


def _on_cluster(workers: int | None, workers_per_gpu: int, gpus_per_trial: int) -> list[Place]:
    here = max(1, torch.cuda.device_count() * workers_per_gpu // gpus_per_trial)
    place = Place(threads=max(1, cores() // here), gpus=gpus_per_trial / workers_per_gpu, world_size=gpus_per_trial)
    return [place] * (workers or here)


def _on_groups(workers: int | None, gpus: str | None, size: int) -> list[Place]:
    """A worker for each `size` GPUs."""
    chosen = _chosen_gpus(workers, gpus)
    if len(chosen) % size:
        raise UsageError(
            f"--gpus-per-trial {size} does not divide the {len(chosen)} GPUs; choose some of them with --gpus, as "
            f"--gpus {','.join(map(str, range(size)))}."
        )
    groups = [chosen[start : start + size] for start in range(0, len(chosen), size)]
    return [Place(max(1, cores() // len(groups)), ",".join(group), world_size=size) for group in groups]


def _on_gpus(workers: int | None, gpus: str | None, workers_per_gpu: int) -> list[Place]:
    chosen = _chosen_gpus(workers, gpus)
    count = len(chosen) * workers_per_gpu
    threads = torch.get_num_threads() if count == 1 else max(1, cores() // count)
    return [Place(threads, gpu) for gpu in chosen for _ in range(workers_per_gpu)]


def trial_limits(minutes: float | None, memory: float | None) -> TrialLimits:
    """The limits of `--trial-minutes` and `--trial-memory`.

    Raises:
        UsageError: The system has no /proc to read the memory of a process from.
    """
    if memory is not None and resident_bytes(os.getpid()) is None:
        raise UsageError("--trial-memory needs Linux, whose /proc says what memory a process has; leave it out.")
    seconds = None if minutes is None else 60 * minutes
    return TrialLimits(seconds=seconds, memory=None if memory is None else round(memory))


def chosen_device(device: str, gpus: str | None) -> str:
    """The device by `--device` and `--gpus`.

    Raises:
        UsageError: They contradict each other.
    """
    if gpus == NO_GPU and device == "cuda":
        raise UsageError("--gpus none leaves no GPU for --device cuda; leave one of them out.")
    return "cpu" if gpus == NO_GPU else device


def _chosen_gpus(workers: int | None, gpus: str | None) -> list[str]:
    if workers is not None:
        raise UsageError("--workers is for CPUs; with GPUs it is --gpus and --workers-per-gpu, or --executor ray.")
    visible = _visible()
    if not gpus or gpus == "all":
        return visible
    try:
        return [dict(enumerate(visible))[int(number)] for number in gpus.split(",")]
    except (ValueError, KeyError):
        raise UsageError(
            f"--gpus is all, none, or numbers from 0 to {len(visible) - 1} with commas between; it is {gpus!r}."
        ) from None


def _visible() -> list[str]:
    """The GPUs that this process sees, as CUDA_VISIBLE_DEVICES names them."""
    named = [name.strip() for name in os.environ.get(VISIBLE, "").split(",") if name.strip()]
    return named[: torch.cuda.device_count()] or [str(index) for index in range(torch.cuda.device_count())]
