"""Metrics: what they may be, how values are written, and which modules give one."""

import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas import plugins
from acmix_nas.errors import MetricError, RecordError
from acmix_nas.fields import Origin
from acmix_nas.metrics import COSTS, SCORES, TIMED, TOP1, Metric, find_metric
from acmix_nas.plugins import PluginError

ORIGIN = Origin("a header", RecordError)
MAE = Metric("mae", "lower", "years", ".1f", title="MAE", bounds=(0, None))
MODULE = """
from acmix_nas.metrics import Metric
BALANCED = Metric("balanced", "higher", "%", ".2f", unit_size=0.01, bounds=(0, 1), compute=lambda outputs, targets: 0.5)
TOP = Metric("top1", "higher")
NUMBER = 3
"""


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    monkeypatch.delenv("ACMIX_PLUGINS", raising=False)
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())


@pytest.fixture
def lab(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "metrics.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.parametrize("metric", [*SCORES.values(), *COSTS.values(), MAE], ids=lambda metric: metric.name)
def test_a_metric_survives_a_header(metric):
    assert Metric.from_dict(metric.to_dict(), ORIGIN) == metric
    assert set(TIMED) <= set(COSTS)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"name": "top 1"}, "letters, digits"),
        ({"name": "a" * 41}, "letters, digits"),
        ({"better": "up"}, "higher, lower"),
        ({"title": "M\x00AE"}, "printable"),
        ({"unit": "x" * 81}, "printable"),
        ({"noun": "../../error"}, "of letters"),
        ({"format": "d"}, "as .2f or .4g"),
        ({"format": ".9999999f"}, "as .2f or .4g"),
        ({"rounded": "%d"}, "as .2f or .4g"),
        ({"unit_size": 0}, "a number from 1e-18"),
        ({"bounds": (1, 0)}, "not below"),
        ({"bounds": (1,)}, "list of 2"),
        ({"is_share": True, "bounds": (0, None)}, "share of the images"),
    ],
)
def test_what_is_no_metric_is_refused(changes, word):
    with pytest.raises(MetricError, match=word):
        replace(MAE, **changes)
    with pytest.raises(RecordError, match="a header"):
        Metric.from_dict({**MAE.to_dict(), **changes}, ORIGIN)


def test_values_are_written_in_their_unit():
    assert (TOP1.text(0.07), TOP1.rounded_text(0.8125), TOP1.stored_text(0.8125)) == ("7.00", "81.2", "0.8125")
    assert (MAE.text(18.25), MAE.stored_text(18.25), MAE.text_with_unit(18.25)) == ("18.2", "18.2", "18.2 years")
    assert COSTS["macs"].text_with_unit(4.52e9) == "4.520 G"
    assert TOP1.difference_text(-0.00001) == "+0.00"
    assert [metric.of_differences("effect") for metric in (TOP1, MAE)] == ["effect, points", "effect, years"]
    assert (TOP1.heading, MAE.heading, Metric("loss", "lower").heading) == ("top-1 %", "MAE years", "loss")
    assert (TOP1.nouns, MAE.nouns) == ("accuracies", "scores")


def test_bounds_have_a_better_end():
    assert (TOP1.worst, TOP1.best) == (0, 1)
    assert (MAE.worst, MAE.best) == (None, 0)
    assert (TOP1.clipped(1.2), MAE.clipped(-1.0), MAE.clipped(99.0)) == (1, 0, 99.0)
    assert [TOP1.range_text(), MAE.range_text(), Metric("loss", "lower").range_text()] == [
        "from 0 to 1",
        "from 0",
        "any finite number",
    ]


@given(st.floats(allow_nan=True, allow_infinity=True))
def test_only_finite_values_within_the_bounds_are_held(value):
    assert TOP1.holds(value) == (0 <= value <= 1)
    assert MAE.holds(value) == (0 <= value < float("inf"))


@given(st.floats(-1e9, 1e9), st.floats(-1e9, 1e9))
def test_the_gain_orders_values_from_worse_to_better(one, other):
    assert (MAE.gain(one) > MAE.gain(other)) == (one < other)
    assert (TOP1.gain(one) > TOP1.gain(other)) == (one > other)


@pytest.mark.usefixtures("lab")
def test_a_module_of_the_users_gives_a_metric():
    assert find_metric("top1") is TOP1
    found = find_metric("my_lab.metrics:BALANCED")
    assert found.name == "balanced"
    assert found.compute is not None
    assert found.compute([], []) == 0.5


@pytest.mark.usefixtures("lab")
@pytest.mark.parametrize(
    ("name", "error", "word"),
    [
        ("top5", MetricError, "there are top1"),
        ("my_lab.metrics:TOP", MetricError, "that of another metric"),
        ("my_lab.metrics:NUMBER", PluginError, "no Metric named 'NUMBER'"),
        ("my_lab.metrics:NOTHING", PluginError, "no Metric named 'NOTHING'"),
        ("my_lab.nothing:X", PluginError, "cannot be imported"),
        ("os.path:join", PluginError, "of your own"),
        ("acmix_nas.metrics:TOP1", PluginError, "of your own"),
    ],
)
def test_what_a_name_does_not_give_is_said(name, error, word):
    with pytest.raises(error, match=word):
        find_metric(name)


@pytest.mark.usefixtures("lab")
def test_a_metric_that_a_file_names_loads_only_if_the_user_names_its_module():
    plugins.suspect(["my_lab.metrics"])
    with pytest.raises(PluginError, match=r"--plugin my_lab\.metrics"):
        find_metric("my_lab.metrics:BALANCED")
    plugins.allow("my_lab.metrics")
    assert find_metric("my_lab.metrics:BALANCED").name == "balanced"
