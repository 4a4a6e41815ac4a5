import json

import pytest
import torch

from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost import count
from acmix_nas.cost import profile as profile_module
from acmix_nas.cost.environment import environment
from acmix_nas.cost.network import Network
from acmix_nas.cost.profile import profile_rows
from acmix_nas.errors import UsageError

KEYS = [
    "model", "impl", "form", "batch_size", "params", "macs", "macs_deploy", "macs_fvcore", "macs_torch",
    "latency_ms", "latency_iqr_ms", "throughput", "peak_memory_mb",
]  # fmt: skip


def swin(combine: str = "learned", conv_impl: str = "full") -> Arch:
    mixers = [
        Mixer.canonical(attention="window", attn_kernel=7, conv_kernel=3, num_heads=heads, conv_impl=conv_impl,
                        conv_init="shift", combine=combine)
        for heads in (3, 6, 12, 24)
    ]  # fmt: skip
    return Arch.canonical(host="swin", stages=[[mixer, mixer] for mixer in mixers], conv_on="rolled")


@pytest.fixture(scope="module")
def result():
    networks = [Network(name="ours", arch=swin())]
    return profile_rows(
        networks, impls=["groupconv", "full"], batch_sizes=[1, 2], input_size=224, limit_s=0.1, memory=False
    )


def test_a_row_for_each_implementation_and_batch_size_with_exactly_these_keys(result):
    assert [list(row) for row in result["rows"]] == [KEYS] * 4
    assert [(row["impl"], row["batch_size"]) for row in result["rows"]] == [
        ("groupconv", 1), ("full", 1), ("groupconv", 2), ("full", 2),
    ]  # fmt: skip
    assert {row["form"] for row in result["rows"]} == {"paper"}
    json.dumps(result, allow_nan=False)


def test_the_counts_are_those_of_count_and_the_counters_are_near(result):
    row = result["rows"][1]
    exact = count(swin(), 224)
    assert (row["params"], row["macs"], row["macs_deploy"]) == (exact.params, exact.macs, exact.macs_deploy)
    assert row["macs_torch"] == pytest.approx(exact.macs, rel=0.05)
    assert row["macs_fvcore"] == pytest.approx(exact.macs, rel=0.05)


def test_throughput_is_that_of_the_median(result):
    for row in result["rows"]:
        assert row["throughput"] == pytest.approx(row["batch_size"] / row["latency_ms"] * 1000)
        assert row["peak_memory_mb"] is None


def test_the_environment_says_what_a_number_depends_on(result):
    assert result["device"] == "cpu"
    for key, value in environment("cpu").items():
        if key != "load":
            assert result["env"][key] == value
    assert (result["env"]["input_size"], result["env"]["memory_format"]) == (224, "channels_last")
    assert result["env"]["threads"] == torch.get_num_threads()


def test_a_model_of_timm_has_no_exact_macs_and_no_impl_and_steps_are_told():
    steps = []
    result = profile_rows(
        [Network(name="resnet18")],
        input_size=64,
        limit_s=0.1,
        memory=False,
        progress=lambda text, done, total: steps.append((done, total)),
    )
    row = result["rows"][0]
    assert (row["impl"], row["macs"], row["macs_deploy"], row["params"]) == (None, None, None, 11_689_512)
    assert row["macs_torch"] == pytest.approx(1.814e9 * (64 / 224) ** 2, rel=0.02)
    assert steps == [(0, 3), (1, 3), (2, 3)]


def test_what_does_not_fit_has_no_latency(monkeypatch):
    monkeypatch.setattr(profile_module, "_fits", lambda model, images: len(images) < 2)
    result = profile_rows([Network(name="resnet18")], batch_sizes=[1, 2], input_size=32, limit_s=0.1, memory=False)
    assert [row["latency_ms"] is None for row in result["rows"]] == [False, True]
    assert result["rows"][1]["throughput"] is None


def test_a_counter_that_fails_leaves_its_place_empty(monkeypatch):
    def fail(model, input_size):
        raise RuntimeError("cannot trace")

    monkeypatch.setattr(profile_module, "macs_fvcore", fail)
    result = profile_rows([Network(name="resnet18")], input_size=32, limit_s=0.1, memory=False)
    assert result["rows"][0]["macs_fvcore"] is None
    assert result["rows"][0]["macs_torch"] > 0


def test_changing_the_implementation_keeps_or_gives_the_start_of_the_kernels():
    frozen = Network(name="x", arch=swin(conv_impl="shift"))
    assert frozen.impl == "shift"
    assert frozen.having_impl("full").arch == swin(conv_impl="full")
    assert frozen.having_impl("full").having_impl("shift") == frozen


def test_a_network_with_several_implementations_is_mixed():
    first, *rest = swin(conv_impl="full").stages
    stages = [[mixer.having(conv_impl="shift") for mixer in first], *rest]
    arch = Arch.canonical(host="swin", stages=stages, conv_on="rolled")
    assert Network(name="x", arch=arch).impl == "mixed"


@pytest.mark.parametrize("network", [Network(name="resnet18"), Network(name="ours", arch=swin("att"))])
def test_no_convolution_path_has_no_implementation(network):
    assert network.impl is None
    with pytest.raises(UsageError, match=rf"{network.name} has no such path"):
        network.having_impl("full")


@pytest.mark.parametrize("network", [Network(name="resnet18"), Network(name="ours", arch=swin())])
def test_a_network_survives_json(network):
    assert Network.from_dict(json.loads(json.dumps(network.to_dict()))) == network


def test_a_model_of_timm_takes_another_input_size():
    model = Network(name="vit_tiny_patch16_224").build(64)
    assert model(torch.zeros(1, 3, 64, 64)).shape == (1, 1000)
    assert not model.training
