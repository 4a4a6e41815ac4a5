"""No row of a profile is faster than the device: a large product and a copy, timed with the same clock, say so."""

import pytest
import torch

from acmix_nas.cost.ceiling import Ceiling, TimingError, measure_ceiling
from acmix_nas.cost.clock import clock_for
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.network import Network
from acmix_nas.cost.profile import Effort, profile_rows
from acmix_nas.cost.timing import Timing

CEILING = Ceiling(macs_per_s=1e12, bytes_per_s=1e11)


def row(**changes):
    usual = {"model": "net", "form": "train", "batch_size": 2, "params": 10**7, "macs": 10**9, "macs_deploy": 10**8}
    return {**usual, "macs_torch": 10**9, "latency_ms": 1.0, **changes}


@pytest.mark.parametrize(
    ("changes", "train", "least_ms"),
    [
        ({}, False, 2 / 3.375),
        ({}, True, 4 / 3.375),
        ({"form": "merged"}, False, 0.2 / 3.375),
        ({"form": None, "macs": None, "macs_deploy": None, "macs_torch": 3 * 10**9}, False, 6 / 3.375),
        ({"macs": 0, "params": 3 * 10**9}, False, 2.0),
        ({"form": None, "macs": None, "macs_deploy": None, "macs_torch": None, "params": 0}, False, 0.0),
    ],
)
def test_a_row_may_take_what_the_device_needs_and_no_less(changes, train, least_ms):
    CEILING.check(row(**changes, latency_ms=1.001 * least_ms), train=train)
    if least_ms:
        with pytest.raises(TimingError, match=r"net at batch 2 seems to take .* It was not timed right"):
            CEILING.check(row(**changes, latency_ms=0.999 * least_ms), train=train)


def test_a_ceiling_is_that_of_the_best_run():
    found = measure_ceiling("cpu", torch.float32, clock_for("cpu"))
    assert 1e8 < found.macs_per_s < 1e14
    assert 1e7 < found.bytes_per_s < 1e13
    assert set(found.facts()) == {"product_gmacs_per_s", "copy_gb_per_s"}


def test_a_clock_that_does_not_wait_is_found_out(monkeypatch):
    """Networks take the time of their launches alone."""
    monkeypatch.setattr("acmix_nas.cost.together.measure", lambda runs, **_: dict.fromkeys(runs, instant()))
    quick = Effort(limit_s=0.1, memory=False)
    with pytest.raises(TimingError, match=r"resnet18 at batch 1 seems to take 0\.001 ms"):
        profile_rows([Network(name="resnet18")], how=Execution(), input_size=64, effort=quick)


def instant() -> Timing:
    return Timing(
        median_ms=0.001,
        q1_ms=0.001,
        q3_ms=0.001,
        min_ms=0.001,
        p95_ms=0.001,
        repetitions=3,
        stopped_by="spread",
        times_ms=(0.001,) * 3,
    )
