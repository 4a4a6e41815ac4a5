import sys

import pytest
import torch

from acmix_nas.cost import memory
from acmix_nas.cost.memory import free_bytes, largest_fitting, ran_out, within_memory
from acmix_nas.errors import UsageError


def fits(most: int, error: Exception):
    tried = []

    def attempt(batch: int) -> str:
        tried.append(batch)
        if batch > most:
            raise error
        return f"ran {batch}"

    return attempt, tried


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        MemoryError(),
        RuntimeError("could not create a primitive"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"
        ),
    ],
)
def test_a_batch_is_halved_until_it_fits(error):
    attempt, tried = fits(9, error)
    assert largest_fitting(32, attempt, what="x") == (8, "ran 8")
    assert tried == [32, 16, 8]


def test_what_fits_at_once_is_tried_once():
    attempt, tried = fits(9, MemoryError())
    assert largest_fitting(9, attempt, what="x") == (9, "ran 9")
    assert tried == [9]


def test_not_even_one_image_is_one_message():
    attempt, tried = fits(0, MemoryError())
    with pytest.raises(
        UsageError, match=r"a net at 9 pixels: not even one image fits into memory \(MemoryError\)\. Take"
    ) as raised:
        largest_fitting(5, attempt, what="a net at 9 pixels")
    assert tried == [5, 2, 1]
    assert raised.value.__cause__ is None


def test_another_error_is_not_taken_for_a_lack_of_memory():
    attempt, tried = fits(0, RuntimeError("shapes do not match"))
    with pytest.raises(RuntimeError, match="shapes"):
        largest_fitting(4, attempt, what="x")
    assert tried == [4]
    assert not ran_out(ValueError("7"))


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_a_request_beyond_the_free_memory_fails_inside_and_only_there():
    import resource

    before, free = resource.getrlimit(resource.RLIMIT_DATA), free_bytes()
    assert free is not None
    with within_memory("cpu"):
        with pytest.raises(RuntimeError) as raised:
            torch.empty(free + 2**30, dtype=torch.uint8)
        assert ran_out(raised.value)
        torch.empty(1000)
    assert resource.getrlimit(resource.RLIMIT_DATA) == before


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's /proc")
def test_a_batch_is_really_halved_where_memory_is_short(monkeypatch):
    monkeypatch.setattr(memory, "free_bytes", lambda: 400 * 2**20)

    def attempt(batch: int) -> int:
        with within_memory("cpu"):
            return torch.empty(batch * 100 * 2**20, dtype=torch.uint8).nbytes

    assert largest_fitting(16, attempt, what="x") == (2, 200 * 2**20)


def test_the_smaller_of_system_and_control_group_counts(monkeypatch, tmp_path):
    (tmp_path / "meminfo").write_text("MemTotal: 900 kB\nMemAvailable:   500 kB\n")
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")
    monkeypatch.setattr(memory, "CGROUP", tmp_path)
    assert free_bytes() == 500 * 1024
    (tmp_path / "memory.max").write_text("max\n")
    (tmp_path / "memory.current").write_text("1000\n")
    assert free_bytes() == 500 * 1024
    (tmp_path / "memory.max").write_text("9000\n")
    assert free_bytes() == 8000
    (tmp_path / "memory.current").write_text("9500\n")
    assert free_bytes() == 0


def test_a_system_that_says_nothing_sets_no_limit(monkeypatch, tmp_path):
    for name in ("MEMINFO", "CGROUP", "PROC"):
        monkeypatch.setattr(memory, name, tmp_path / "none")
    assert free_bytes() is None
    with within_memory("cpu"):
        assert len(torch.empty(3)) == 3
