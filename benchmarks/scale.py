"""How many workers one driver keeps busy: real driver, sampler and storage; workers that only take time.

Usage: python benchmarks/scale.py overhead [--workers 1] [--trials 40] [--seconds 2]
       python benchmarks/scale.py simulate --workers 64 [--prune asha] [--lag 80] [--trials 320] [--stretch 1]
                                                 [--limit 200]

`overhead` waits in real time. `simulate` is a discrete-event simulation: a virtual clock goes on by the time that the
driver really takes to ask, decide and store, with the history and the running trials that it has then, and by the
seconds that recorded trials took (reports/gallery/swin_t/trials.jsonl), drawn with a seed.
"""

import argparse
import heapq
import json
import random
import statistics
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "unit"))

from search_pieces import Curves, setting_of
from study_pieces import SPACE, Onlooker, new_study

from acmix_nas.executors import Job, Outcome
from acmix_nas.search import search
from acmix_nas.search.order import lag_of
from acmix_nas.study.stop import Stop

RECORDED = Path(__file__).parent.parent / "reports" / "gallery" / "swin_t" / "trials.jsonl"
EPOCHS = 9


def main() -> None:
    """Prints a JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "simulate"])
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=2.0, help="of a trial, for overhead")
    parser.add_argument("--prune", choices=["none", "asha"], default="none")
    parser.add_argument("--lag", type=int, help="jobs that do not count at a decision; 0 for a free order")
    parser.add_argument("--stretch", type=float, default=1.0, help="recorded trials take so many times as long")
    parser.add_argument("--limit", type=float, default=200.0, help="real seconds after which a simulation ends")
    asked = parser.parse_args()
    durations = [
        json.loads(line)["seconds"] * asked.stretch for line in RECORDED.read_text(encoding="utf-8").splitlines()
    ]
    taking = [asked.seconds] if asked.what == "overhead" else durations
    executor = Clocked(taking, workers=asked.workers, waits=asked.what == "overhead", limit_s=asked.limit)
    with tempfile.TemporaryDirectory() as out:
        lag = lag_of(asked.workers, prunes=asked.prune == "asha") if asked.lag is None else asked.lag or None
        study = new_study(Path(out), starts=10, prune=asked.prune, lag=lag)
        search(
            study, SPACE, executor.setting, trials=asked.trials, callbacks=Onlooker(), executor=executor, stop=executor
        )
        trials = len(study.trials())
    print(json.dumps({**vars(asked), "trials_begun": trials, **executor.result()}))


class Clocked(Curves, Stop):
    """An executor whose jobs take a time and nothing else; also what stops the study at the limit.

    Args:
        durations: Seconds of whole trials, drawn at random; a job of some of the epochs takes its share.
        workers: Jobs at a time.
        waits: Whether time is real; else it is virtual.
        limit_s: Real seconds after which no more jobs are asked for.
    """

    def __init__(self, durations: list[float], *, workers: int, waits: bool, limit_s: float) -> None:
        Curves.__init__(self, setting_of(EPOCHS), workers=workers)
        Stop.__init__(self)
        self._draw = random.Random(0)
        self._durations, self._waits = durations, waits
        self._end_s = time.perf_counter() + limit_s
        self._trained: dict[int, int] = {}
        self._running: list[tuple[float, int, Job]] = []
        self._begun: list[tuple[float, float]] = []
        self._driver_s: list[float] = []
        self._now_s, self._left_s = 0.0, time.perf_counter()
        self._last_s = self._spent_s = 0.0

    def submit(self, job: Job) -> None:
        """Takes a job: it ends after its share of a duration."""
        self._spent_s += self._tick()
        epochs = (job.until or EPOCHS) - self._trained.get(job.number, 0)
        self._trained[job.number] = job.until or EPOCHS
        takes_s = self._draw.choice(self._durations) * epochs / EPOCHS
        heapq.heappush(self._running, (self._now_s + takes_s, job.number, job))
        self._begun.append((self._now_s, takes_s))
        self._last_s = self._now_s

    def wait(self, on_step) -> list[Outcome]:
        """Goes on to the end of the job that ends next."""
        self._driver_s.append(self._spent_s + self._tick())
        self._spent_s = 0.0
        ends_s, _, job = heapq.heappop(self._running)
        record = self.record(job)  # a worker's work
        if self._waits:
            self._tick()
            time.sleep(max(0.0, ends_s - self._now_s))
            self._tick()
        else:
            self._now_s = max(self._now_s, ends_s)
            self._left_s = time.perf_counter()
        return [Outcome(job=job, record=record)]

    def check(self) -> str | None:
        """Stops at the limit."""
        if not self._waits and time.perf_counter() > self._end_s:
            self.reason = "limit"
        return self.reason

    def __exit__(self, *_) -> None:
        """Nothing is left to end."""

    def result(self) -> dict[str, float]:
        """Busy share of the workers until the last job began, and the driver's time for each outcome."""
        busy_s = sum(min(begun_s + takes_s, self._last_s) - begun_s for begun_s, takes_s in self._begun)
        last = self._driver_s[-len(self._driver_s) // 4 :]
        return {
            "jobs": len(self._begun),
            "mean_job_s": statistics.fmean(takes_s for _, takes_s in self._begun),
            "efficiency": busy_s / (self.workers * self._last_s),
            "driver_ms": 1000 * statistics.fmean(self._driver_s[self.workers :] or self._driver_s),
            "driver_last_quarter_ms": 1000 * statistics.fmean(last),
        }

    def _tick(self) -> float:
        """Lets the clock go on by the real time since it was looked at."""
        now_s = time.perf_counter()
        took_s, self._left_s = now_s - self._left_s, now_s
        self._now_s += took_s
        return took_s


if __name__ == "__main__":
    main()
