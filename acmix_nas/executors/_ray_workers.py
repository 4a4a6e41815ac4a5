"""The driver's side of the workers of the executor `ray`."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from acmix_nas import __version__
from acmix_nas.data import Splits
from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, read_progress
from acmix_nas.executors._node_folder import Arrays, arrays_of, facts_of
from acmix_nas.executors._ray_actor import Message, WorkerActor
from acmix_nas.executors._worker import write_job
from acmix_nas.files import replacing
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress

log = logging.getLogger(__name__)


class RayPool:
    """Spawns the workers of a run.

    Args:
        ray: The module.
        work: What all jobs share.
        pace_s: Seconds between messages about a running epoch.
    """

    def __init__(self, ray: Any, work: Work, *, pace_s: float) -> None:
        self.ray = ray
        self.pace_s = pace_s
        self.splits: Splits = work.setting.splits if work.setting else work.load()
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
        return _Fetch(self._images)


class _Fetch:
    """Fetches an object of Ray's store on the node where it is called."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def __call__(self) -> Arrays:
        import ray

        arrays: Arrays = ray.get(self._ref)
        return arrays


class RayWorker:
    """A worker on some node.

    Attributes:
        place: Threads and GPUs that it needs.
        actor: Its `WorkerActor`.
        pending: The call that it is running; None while it has nothing to do.
        job: The job that it trains.
        is_ready: Whether it takes jobs.
        node: Name of its node.
    """

    def __init__(self, pool: RayPool, place: Place) -> None:
        self._pool = pool
        self.place = place
        self.job: Job | None = None
        self.node = "a node"
        self.is_ready = False
        self._is_open = False
        self.actor = pool.spawn(place)
        self.pending: Any = self.actor.open.remote()

    def begin(self, job: Job) -> None:
        self.job = job
        checkpoint = job.checkpoint.read_bytes() if job.checkpoint.is_file() else None
        self.pending = self.actor.begin.remote(write_job(job), checkpoint, self._pool.pace_s)

    def halt(self) -> None:
        if self.job is not None:
            self.actor.halt.remote()

    def closing(self) -> list[Any]:
        return [self.actor.close.remote()] if self._is_open else []

    def receive(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Handles the result of the pending call, and makes the next call."""
        result = self._pool.ray.get(self.pending)
        self.pending = None
        if not self._is_open:
            self._opened(result)
        elif not self.is_ready:
            if result is not None:
                raise StudyError(f"a worker on {self.node} cannot load what it needs: {result}")
            self.is_ready = True
        else:
            outcomes = [ended for message in result if (ended := self._handle(message, on_step))]
            if self.job is not None:
                self.pending = self.actor.receive.remote(self._pool.pace_s)
            return outcomes
        return []

    def _opened(self, answer: Message) -> None:
        self._is_open, self.node = True, answer["node"]
        if answer["version"] != __version__:
            found = answer["version"]
            raise StudyError(
                f"{self.node} has acmix-nas {found}, the driver {__version__}; install the same on all nodes."
            )
        splits = self._pool.splits
        sent = (facts_of(splits), self._pool.images()) if answer["needs_images"] else (None, None)
        self.pending = self.actor.start.remote(splits.fingerprint, *sent)

    def _handle(self, message: Message, on_step: Callable[[int, Progress], None]) -> Outcome | None:
        kind, job = message["kind"], self.job
        if kind == "log":
            log.log(message["level"], "%s: %s", self.node, message["text"])
        elif kind == "broken":
            raise StudyError(f"on {self.node}: {message['error']}")
        elif job is None or message["number"] != job.number:
            raise AcmixError(f"{self.node} sent a message about trial {message['number']}, which it does not have")
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
