"""A kill at any write of any command leaves what the same command, or --resume, takes up; and nothing else is left."""

from collections.abc import Callable
from pathlib import Path

import drivers
import kills
import pytest
from kill_jobs import JOBS, Ended, files, run_whole, take_up

SAMPLED = 3


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> Path:
    return drivers.make_images(tmp_path_factory.mktemp("images") / "store")


@pytest.fixture(scope="module")
def whole(images, tmp_path_factory) -> Callable[..., Ended]:
    """A job that nothing happened to, by its name."""
    found: dict[tuple[str, bool], Ended] = {}
    ends: dict[tuple[str, bool], Path] = {}

    def run(name: str, *, copies: bool) -> Ended:
        key = name, copies
        if key not in found:
            job, root = JOBS[name], tmp_path_factory.mktemp(name)
            if job.base is not None:
                run(job.base, copies=copies)
            found[key] = run_whole(job, root, images, ends.get((job.base or "", copies)), copies=copies)
            ends[key] = root / "end"
            kills.restore(found[key].out, ends[key])
        return found[key]

    return run


def check(name: str, ended: Ended, images: Path, says: Path) -> None:
    take_up(JOBS[name], ended.out, images, says)
    assert JOBS[name].result(ended.out) == ended.result
    assert files(ended.out) == ended.files


@pytest.mark.slow
@pytest.mark.parametrize("name", ["search"])
def test_a_killed_command_is_taken_up(name, whole, images, tmp_path):
    ended = whole(name, copies=False)
    numbers = [int(state.name) for state in ended.states]
    assert len(numbers) >= SAMPLED
    last = len(numbers) * 19 // 20  # how often a study says that it lives depends on the time it takes
    for number in {numbers[index * min(last, len(numbers) - 1) // (SAMPLED - 1)] for index in range(SAMPLED)}:
        kills.restore(ended.start, ended.out)
        says = tmp_path / f"{number}.txt"
        running = kills.acmix_killed(
            *JOBS[name].line(ended.out, images), says=tmp_path / "killed.txt", folder=ended.out, at=number
        )
        assert drivers.ended(running) < 0, "it was not killed"
        check(name, ended, images, says)


@pytest.mark.nightly
@pytest.mark.parametrize("name", JOBS)
def test_a_command_killed_at_any_write_is_taken_up(name, whole, images, tmp_path):
    ended = whole(name, copies=True)
    wrong = {}
    for state in ended.states:
        kills.restore(state, ended.out)
        try:
            check(name, ended, images, tmp_path / f"{state.name}.txt")
        except AssertionError as error:
            wrong[state.name] = str(error)[-600:]
    assert not wrong, f"{len(wrong)} of {len(ended.states)}: " + "\n\n".join(f"{k}: {v}" for k, v in wrong.items())
