"""The executor `ray`: Ray places the workers on this machine or on those of a cluster; the driver stays here."""

import logging
import secrets
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from types import TracebackType
from typing import Any, Self

from acmix_nas import __version__
from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, read_progress
from acmix_nas.executors._node_folder import Arrays, arrays_of, facts_of
from acmix_nas.executors._ray_actor import Message, WorkerActor
from acmix_nas.executors._ray_cluster import check_address, check_installed, connected
from acmix_nas.executors._worker import write_job
from acmix_nas.executors.process import PoolExecutor, PoolWorker
from acmix_nas.files import replacing
from acmix_nas.record import TrialRecord
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


class RayExecutor(PoolExecutor["_Worker"]):
    """The executor of a Ray cluster.

    A worker whose node is gone is started again, on any node with room; its job is returned as lost, with its last
    epoch in the study's folder. Jobs wait until Ray has placed a worker.

    Args:
        work: What all jobs share.
        places: One for each worker.
        address: The cluster; None starts one.
    """

    advice = "Is acmix-nas installed on every node?"

    def __init__(self, work: Work, places: Sequence[Place], address: str | None = None) -> None:
        super().__init__(work, places)
        self._address = address
        self._stack = ExitStack()
        self._queue: list[Job] = []
        self._idle_since_s = 0.0

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
        return super().wait(on_step)

    def __enter__(self) -> Self:
        threads = sum(place.threads for place in self._places)
        self._ray = self._stack.enter_context(connected(self._address, cpus=threads))
        self.lost_by = (self._ray.exceptions.RayError,)
        if self._address is not None:
            self._places = _fitted(self._places, self._nodes())
        self._check_room()
        self._pool = _Pool(self._ray, self._work, pace_s=max(1.0, self.workers / MESSAGES_PER_SECOND))
        self._workers = [self._start(place) for place in self._places]
        self._idle_since_s = time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            closing = [worker.actor.close.remote() for worker in self._workers if worker.is_open]
            if closing:
                self._ray.wait(closing, num_returns=len(closing), timeout=CLOSE_S)
            for worker in self._workers:
                worker.end()
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

    def _ready(self) -> list["_Worker"]:
        by_ref = {worker.pending: worker for worker in self._workers if worker.pending is not None}
        refs = list(by_ref)
        if not refs:
            time.sleep(POLL_S)
            return []
        ready, _ = self._ray.wait(refs, num_returns=1, timeout=POLL_S)
        if ready:
            ready, _ = self._ray.wait(refs, num_returns=len(refs), timeout=0)
        return [by_ref[ref] for ref in ready]

    def _start(self, place: Place) -> "_Worker":
        return _Worker(self._pool, place)

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


class _Pool:
    """Spawns the workers of a run.

    Args:
        ray: The module.
        work: What all jobs share.
        pace_s: Seconds between messages about a running epoch.
    """

    def __init__(self, ray: Any, work: Work, *, pace_s: float) -> None:
        self.ray = ray
        self.pace_s = pace_s
        self.splits = work.setting.splits if work.setting else work.load()
        self._shared = replace(work, setting=None)
        self._run = secrets.token_hex(8)
        self._actor = ray.remote(WorkerActor)
        self._images: Any = None

    def spawn(self, place: Place) -> Any:
        """A new actor, on a node with room."""
        actor = self._actor.options(num_cpus=place.threads, num_gpus=place.gpus, max_restarts=0, max_task_retries=0)
        return actor.remote(self._shared, place, self._run)

    def images(self) -> Callable[[], Arrays]:
        """A function that fetches the images on a node. They are put into Ray's store once, and sent to a node once."""
        if self._images is None:
            self._images = self.ray.put(arrays_of(self.splits))
        return partial(_fetched, self._images)


def _fetched(ref: Any) -> Arrays:
    """An object of Ray's store, on the node where this is called."""
    import ray

    arrays: Arrays = ray.get(ref)
    return arrays


class _Worker(PoolWorker):
    """A worker on some node.

    Attributes:
        actor: Its `WorkerActor`.
        pending: The call that it is running; None while it has nothing to do.
        is_open: Whether it has said which node it is on.
    """

    def __init__(self, pool: _Pool, place: Place) -> None:
        super().__init__(place)
        self._pool = pool
        self._node = "a node"
        self.is_open = False
        self.actor = pool.spawn(place)
        self.pending: Any = self.actor.open.remote()

    def begin(self, job: Job) -> None:
        self.job = job
        checkpoint = job.checkpoint.read_bytes() if job.checkpoint.is_file() else None
        self.pending = self.actor.begin.remote(write_job(job), checkpoint, self._pool.pace_s)

    def halt(self) -> None:
        if self.job is not None:
            self.actor.halt.remote()

    def end(self, error: Exception | None = None) -> str:
        self._pool.ray.kill(self.actor)  # if it is only out of reach, it must not go on training
        return f"the worker on {self._node} is gone: {' '.join(str(error).split())[:300]}"

    def receive(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Handles the result of the pending call, and makes the next call."""
        result = self._pool.ray.get(self.pending)
        self.pending = None
        if not self.is_open:
            self._opened(result)
        elif not self.is_ready:
            if result is not None:
                raise StudyError(f"a worker on {self._node} cannot load what it needs: {result}")
            self.is_ready = True
        else:
            outcomes = [ended for message in result if (ended := self._handle(message, on_step))]
            if self.job is not None:
                self.pending = self.actor.receive.remote(self._pool.pace_s)
            return outcomes
        return []

    def _opened(self, answer: Message) -> None:
        self.is_open, self._node = True, answer["node"]
        if answer["version"] != __version__:
            found = answer["version"]
            raise StudyError(
                f"{self._node} has acmix-nas {found}, the driver {__version__}; install the same on all nodes."
            )
        splits = self._pool.splits
        sent = (facts_of(splits), self._pool.images()) if answer["needs_images"] else (None, None)
        self.pending = self.actor.start.remote(splits.fingerprint, *sent)

    def _handle(self, message: Message, on_step: Callable[[int, Progress], None]) -> Outcome | None:
        kind, job = message["kind"], self.job
        if kind == "log":
            log.log(message["level"], "%s: %s", self._node, message["text"])
        elif kind == "broken":
            raise StudyError(f"on {self._node}: {message['error']}")
        elif job is None or message["number"] != job.number:
            raise AcmixError(f"{self._node} sent a message about trial {message['number']}, which it does not have")
        elif kind == "step":
            on_step(job.number, read_progress(message["progress"]))
        elif kind == "checkpoint":
            _write_checkpoint(job, message["data"])
        else:
            self.job = None
            record = TrialRecord.from_dict(message["record"]) if kind == "ended" else None
            reasons = {kind: message["reason"]} if kind in ("lost", "failed") else {}
            return Outcome(job=job, record=record, **reasons)
        return None


def _write_checkpoint(job: Job, data: bytes) -> None:
    job.checkpoint.parent.mkdir(exist_ok=True)
    with replacing(job.checkpoint) as temporary:
        temporary.write_bytes(data)
