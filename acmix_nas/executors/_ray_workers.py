"""The workers of the Ray executor, seen from the driver."""

import logging
import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from acmix_nas import __version__
from acmix_nas.data import Splits
from acmix_nas.errors import AcmixError, StudyError
from acmix_nas.executors import Job, Outcome, Place, Work, told
from acmix_nas.executors._node_folder import Arrays, arrays_of, facts_of
from acmix_nas.executors._ray_actor import Message, Relay
from acmix_nas.executors._worker import write_job
from acmix_nas.files import replacing
from acmix_nas.record import TrialRecord
from acmix_nas.train import Progress

log = logging.getLogger(__name__)


class Crew:
    """What all workers of a run get.

    Args:
        ray: The module.
        work: What all jobs share.
        pace_s: How often a worker tells of a running epoch.
    """

    def __init__(self, ray: Any, work: Work, *, pace_s: float) -> None:
        self.ray = ray
        self.pace_s = pace_s
        self.splits: Splits = work.setting.splits if work.setting else work.load()
        self._shared = replace(work, setting=None)
        self._run = secrets.token_hex(8)
        self._relay = ray.remote(Relay)
        self._images: Any = None

    def hire(self, place: Place) -> Any:
        """An actor, placed where there is room."""
        kept = self._relay.options(num_cpus=place.threads, num_gpus=place.gpus, max_restarts=0, max_task_retries=0)
        return kept.remote(self._shared, place, self._run)

    def images(self) -> Callable[[], Arrays]:
        """What a node gets the images with. They are put into Ray's store once, and travel once to a node."""
        if self._images is None:
            self._images = self.ray.put(arrays_of(self.splits))
        return _Fetch(self._images)


class _Fetch:
    """Gets an object of Ray's store, where and when it is called."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def __call__(self) -> Arrays:
        import ray

        arrays: Arrays = ray.get(self._ref)
        return arrays


class Slot:
    """A worker on some node, seen from the driver.

    Attributes:
        place: What it needs.
        actor: Its `Relay`.
        pending: What is awaited from it; None while it has nothing to do.
        job: What it trains.
        is_ready: Whether it takes jobs.
        node: Where it is.
    """

    def __init__(self, crew: Crew, place: Place) -> None:
        self._crew = crew
        self.place = place
        self.job: Job | None = None
        self.node = "a node"
        self.is_ready = False
        self._is_open = False
        self.actor = crew.hire(place)
        self.pending: Any = self.actor.open.remote()

    def begin(self, job: Job) -> None:
        self.job = job
        checkpoint = job.checkpoint.read_bytes() if job.checkpoint.is_file() else None
        self.pending = self.actor.begin.remote(write_job(job), checkpoint, self._crew.pace_s)

    def halt(self) -> None:
        if self.job is not None:
            self.actor.halt.remote()

    def closing(self) -> list[Any]:
        return [self.actor.close.remote()] if self._is_open else []

    def hear(self, on_step: Callable[[int, Progress], None]) -> list[Outcome]:
        """Takes in what was awaited, and awaits the next."""
        said = self._crew.ray.get(self.pending)
        self.pending = None
        if not self._is_open:
            self._opened(said)
        elif not self.is_ready:
            if said is not None:
                raise StudyError(f"a worker on {self.node} cannot load what it needs: {said}")
            self.is_ready = True
        else:
            outcomes = [ended for message in said if (ended := self._take(message, on_step))]
            if self.job is not None:
                self.pending = self.actor.hear.remote(self._crew.pace_s)
            return outcomes
        return []

    def _opened(self, said: Message) -> None:
        self._is_open, self.node = True, said["node"]
        if said["version"] != __version__:
            raise StudyError(
                f"{self.node} has acmix-nas {said['version']}, the driver {__version__}; install the same on all nodes."
            )
        splits = self._crew.splits
        sent = (facts_of(splits), self._crew.images()) if said["needs_images"] else (None, None)
        self.pending = self.actor.start.remote(splits.fingerprint, *sent)

    def _take(self, said: Message, on_step: Callable[[int, Progress], None]) -> Outcome | None:
        kind, job = said["kind"], self.job
        if kind == "log":
            log.log(said["level"], "%s: %s", self.node, said["text"])
        elif kind == "broken":
            raise StudyError(f"on {self.node}: {said['error']}")
        elif job is None or said["number"] != job.number:
            raise AcmixError(f"{self.node} speaks of trial {said['number']}, which it has not")
        elif kind == "step":
            on_step(job.number, told(job.number, said["progress"]))
        elif kind == "checkpoint":
            _write(job, said["data"])
        else:
            self.job = None
            record = TrialRecord.from_dict(said["record"]) if kind == "ended" else None
            reasons = {kind: said["reason"]} if kind in ("lost", "failed") else {}
            return Outcome(job=job, record=record, **reasons)
        return None


def _write(job: Job, data: bytes) -> None:
    job.checkpoint.parent.mkdir(exist_ok=True)
    with replacing(job.checkpoint) as temporary:
        temporary.write_bytes(data)
