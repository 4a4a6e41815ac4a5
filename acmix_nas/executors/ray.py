"""Trains on a Ray cluster: on this machine, or on all that joined one. Ray places the workers; the driver is here."""

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
from acmix_nas.executors._ray_workers import Crew, Slot
from acmix_nas.executors.process import STILLBORN
from acmix_nas.train import Progress

log = logging.getLogger(__name__)

PATIENCE_S = 0.25
MESSAGES_A_SECOND = 50
"""So many at most: what the workers together say of running epochs must not keep the driver from its work."""
CLOSE_S = 10
ROOM_S = 60
"""So long a job waits for room before the log says so."""


def make(work: Work, places: Sequence[Place], *, address: str | None = None) -> "OnRay":
    """The executor, with a worker for each place.

    Args:
        work: What all jobs share.
        places: Threads and GPUs of each worker.
        address: HOST:PORT of a cluster, or "auto"; None for a Ray of this process's own, on this machine.

    Raises:
        UsageError: Ray is not installed, or nobody answers at the address.
    """
    check_installed()
    check_address(address)
    return OnRay(work, places, address)


class OnRay:
    """The executor of a Ray cluster.

    A worker whose node is gone is asked for again, wherever there is room; its job comes back as lost, its last epoch
    in the study's folder. Jobs wait until a worker has found room.

    Args:
        work: What all jobs share.
        places: One for each worker.
        address: The cluster; None for one of this process's own.
    """

    def __init__(self, work: Work, places: Sequence[Place], address: str | None = None) -> None:
        self._work = work
        self._places = list(places)
        self._address = address
        self._stack = ExitStack()
        self._slots: list[Slot] = []
        self._queue: list[Job] = []
        self._stillborn = 0
        self._halting = False
        self._idle_since_s = 0.0
        self.workers = len(places)

    def submit(self, job: Job) -> None:
        """Takes a job; it begins when a worker is ready."""
        self._queue.append(job)

    def wait(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Hears what the workers say for a moment."""
        if self._halting:
            halted, self._queue = [Outcome(job=job) for job in self._queue], []
            if halted:
                return halted
        self._hand_out()
        outcomes = []
        for slot in self._speaking():
            try:
                outcomes += slot.hear(on_step)
                self._stillborn = 0 if slot.is_ready else self._stillborn
            except self._ray.exceptions.RayError as error:
                outcomes += self._replace(slot, error)
        return outcomes

    def halt(self) -> None:
        """Lets every job stop after its running epoch."""
        if not self._halting:
            self._halting = True
            for slot in self._slots:
                slot.halt()

    def __enter__(self) -> Self:
        threads = sum(place.threads for place in self._places)
        self._ray = self._stack.enter_context(connected(self._address, cpus=threads))
        if self._address is not None:
            self._places = _fitted(self._places, self._nodes())
        self._check_room()
        self._crew = Crew(self._ray, self._work, pace_s=max(1.0, self.workers / MESSAGES_A_SECOND))
        self._slots = [Slot(self._crew, place) for place in self._places]
        self._idle_since_s = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            closing = [ref for slot in self._slots for ref in slot.closing()]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
            for slot in self._slots:
                self._ray.kill(slot.actor)
        finally:
            self._stack.close()

    def _hand_out(self) -> None:
        """Gives jobs to the workers that have none."""
        for slot in self._slots:
            if self._queue and slot.is_ready and slot.job is None:
                slot.begin(self._queue.pop(0))
        if any(slot.is_ready for slot in self._slots):
            self._idle_since_s = time.monotonic()
        elif self._queue and time.monotonic() - self._idle_since_s > ROOM_S:
            log.warning("no worker has begun yet; the cluster has no room, or its nodes are slow to start one")
            self._idle_since_s = time.monotonic()

    def _speaking(self) -> list[Slot]:
        by_ref = {slot.pending: slot for slot in self._slots if slot.pending is not None}
        refs = list(by_ref)
        if not refs:
            time.sleep(PATIENCE_S)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=PATIENCE_S)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [by_ref[ref] for ref in ready]

    def _replace(self, slot: Slot, error: Exception) -> list[Outcome]:
        """Asks for a new worker in the place of a lost one; the job that was lost with it."""
        reason = f"the worker on {slot.node} is gone: {' '.join(str(error).split())[:300]}"
        log.warning("%s", reason)
        self._ray.kill(slot.actor)  # where it is only out of reach, it must not train on
        self._stillborn += not slot.is_ready
        if self._stillborn >= STILLBORN:
            raise StudyError(f"workers end before they can work: {reason}. Is acmix-nas installed on every node?")
        self._slots[self._slots.index(slot)] = Slot(self._crew, slot.place)
        return [Outcome(job=slot.job, lost=reason)] if slot.job else []

    def _nodes(self) -> list[dict[str, float]]:
        """What each living node counts with."""
        return [node["Resources"] for node in self._ray.nodes() if node["Alive"]]

    def _check_room(self) -> None:
        """Sees that workers can be placed at all, and says how many can now."""
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
    """The places with as many threads as the cluster has for each: the driver's machine does not count."""
    cpus = [int(node.get("CPU", 0)) for node in nodes]
    threads = max(1, min(sum(cpus) // len(places), max(cpus, default=1)))
    return [replace(place, threads=threads) for place in places]
