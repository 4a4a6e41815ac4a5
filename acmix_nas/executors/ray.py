"""The executor `ray`: Ray places the workers on this machine or on those of a cluster; the driver stays here."""

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

from acmix_nas.errors import StudyError
from acmix_nas.executors import Job, Outcome, Place, Work
from acmix_nas.executors._ray_cluster import check_address, check_installed, connected
from acmix_nas.executors._ray_workers import RayPool, RayWorker
from acmix_nas.executors.process import MAX_FAILED_STARTS
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

POLL_S = 0.25
MESSAGES_PER_SECOND = 50
"""Progress messages of all workers together, at most, so that the driver has time for its own work."""
CLOSE_S = 10
ROOM_S = 60
"""A job that waits longer than this for a worker is logged."""


def make(work: Work, places: Sequence[Place], *, address: str | None = None) -> "RayExecutor":
    """The executor, with a worker for each place.

    Args:
        work: What all jobs share.
        places: Threads and GPUs of each worker.
        address: HOST:PORT of a cluster, or "auto"; None starts a Ray on this machine.

    Raises:
        UsageError: Ray is not installed, or nothing listens at the address.
    """
    check_installed()
    check_address(address)
    return RayExecutor(work, places, address)


class RayExecutor:
    """The executor of a Ray cluster.

    A worker whose node is gone is started again, on any node with room; its job is returned as lost, with its last
    epoch in the study's folder. Jobs wait until Ray has placed a worker.

    Args:
        work: What all jobs share.
        places: One for each worker.
        address: The cluster; None starts one.
    """

    def __init__(self, work: Work, places: Sequence[Place], address: str | None = None) -> None:
        self._work = work
        self._places = list(places)
        self._address = address
        self._stack = ExitStack()
        self._workers: list[RayWorker] = []
        self._queue: list[Job] = []
        self._failed_starts = 0
        self._halting = False
        self._idle_since_s = 0.0
        self.workers = len(places)

    def submit(self, job: Job) -> None:
        """Queues a job; it starts when a worker is ready."""
        self._queue.append(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Waits a moment for messages of the workers."""
        if self._halting:
            halted, self._queue = [Outcome(job=job) for job in self._queue], []
            if halted:
                return halted
        self._submit_queued()
        outcomes = []
        for worker in self._ready():
            try:
                outcomes += worker.receive(on_step)
                self._failed_starts = 0 if worker.is_ready else self._failed_starts
            except self._ray.exceptions.RayError as error:
                outcomes += self._replace(worker, error)
        return outcomes

    def halt(self) -> None:
        """Lets every job stop after its running epoch."""
        if not self._halting:
            self._halting = True
            for worker in self._workers:
                worker.halt()

    def __enter__(self) -> Self:
        threads = sum(place.threads for place in self._places)
        self._ray = self._stack.enter_context(connected(self._address, cpus=threads))
        if self._address is not None:
            self._places = _fitted(self._places, self._nodes())
        self._check_room()
        self._pool = RayPool(self._ray, self._work, pace_s=max(1.0, self.workers / MESSAGES_PER_SECOND))
        self._workers = [RayWorker(self._pool, place) for place in self._places]
        self._idle_since_s = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            closing = [ref for worker in self._workers for ref in worker.closing()]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
            for worker in self._workers:
                self._ray.kill(worker.actor)
        finally:
            self._stack.close()

    def _submit_queued(self) -> None:
        """Sends queued jobs to the workers that have none."""
        for worker in self._workers:
            if self._queue and worker.is_ready and worker.job is None:
                worker.begin(self._queue.pop(0))
        if any(worker.is_ready for worker in self._workers):
            self._idle_since_s = time.monotonic()
        elif self._queue and time.monotonic() - self._idle_since_s > ROOM_S:
            log.warning("no worker has started yet; the cluster has no room, or its nodes are slow to start one")
            self._idle_since_s = time.monotonic()

    def _ready(self) -> list[RayWorker]:
        by_ref = {worker.pending: worker for worker in self._workers if worker.pending is not None}
        refs = list(by_ref)
        if not refs:
            time.sleep(POLL_S)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=POLL_S)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [by_ref[ref] for ref in ready]

    def _replace(self, worker: RayWorker, error: Exception) -> list[Outcome]:
        """Starts a new worker in the place of a lost one; returns the job that was lost with it."""
        reason = f"the worker on {worker.node} is gone: {' '.join(str(error).split())[:300]}"
        log.warning("%s", reason)
        self._ray.kill(worker.actor)  # if it is only out of reach, it must not go on training
        self._failed_starts += not worker.is_ready
        if self._failed_starts >= MAX_FAILED_STARTS:
            raise StudyError(f"workers end before they can work: {reason}. Is acmix-nas installed on every node?")
        self._workers[self._workers.index(worker)] = RayWorker(self._pool, worker.place)
        return [Outcome(job=worker.job, lost=reason)] if worker.job else []

    def _nodes(self) -> list[dict[str, float]]:
        """The resources of each living node."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _check_room(self) -> None:
        """Checks that workers can be placed at all, and logs how many can be placed now."""
        place, nodes = self._places[0], self._nodes()
        room = sum(_room(node, place) for node in nodes)
        wanted = f"{place.threads} CPUs" + (f" and {place.gpus:g} GPUs" if place.gpus else "")
        if not room:
            raise StudyError(
                f"no node of the Ray cluster has {wanted}, which a worker needs; `ray status` shows what is there."
            )
        if room < self.workers:
            log.warning("the cluster has room for %d of %d workers with %s each", room, self.workers, wanted)


def _room(node: dict[str, float], place: Place) -> int:
    """Workers that fit on a node."""
    fits = [node.get("CPU", 0.0) / place.threads]
    if place.gpus:
        fits.append(node.get("GPU", 0.0) / place.gpus)
    return int(min(fits) + 1e-6)


def _fitted(places: Sequence[Place], nodes: Sequence[dict[str, float]]) -> list[Place]:
    """The places with the threads that the cluster, not the driver's machine, has for each."""
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    threads = max(1, min(sum(cpus) // len(places), max(cpus, default=1)))
    return [replace(place, threads=threads) for place in places]
