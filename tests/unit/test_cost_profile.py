import json
from dataclasses import replace

import pytest
import torch

from acmix_nas.arch import Arch, Mixer
from acmix_nas.cost import count, together
from acmix_nas.cost.environment import environment
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.network import Network
from acmix_nas.cost.profile import Effort, profile_rows, throughputs
from acmix_nas.errors import UsageError
from acmix_nas.report.profile.table import notes_of

CONTRACT = {
    "model", "impl", "form", "batch_size", "params", "macs", "macs_deploy", "macs_fvcore", "macs_torch",
    "latency_ms", "latency_iqr_ms", "throughput", "peak_memory_mb",
}  # fmt: skip
QUICK = Effort(limit_s=0.1, memory=False, counters=False)
RESNET = Network(name="resnet18")


def swin(combine: str = "learned", conv_impl: str = "full") -> Arch:
    mixers = [
        Mixer.canonical(attention="window", attn_kernel=7, conv_kernel=3, num_heads=heads, conv_impl=conv_impl,
                        conv_init="shift", combine=combine)
        for heads in (3, 6, 12, 24)
    ]  # fmt: skip
    return Arch.canonical(host="swin", stages=[[mixer, mixer] for mixer in mixers], conv_on="rolled")


OURS = Network(name="ours", arch=swin())


@pytest.fixture(scope="module")
def result():
    networks = [OURS.having_impl("groupconv"), OURS]
    return profile_rows(
        networks,
        how=Execution(form="paper"),
        batch_sizes=[1, 2],
        input_size=(64, 96),
        by="op",
        effort=replace(QUICK, counters=True),
    )


def test_a_row_for_each_network_and_batch_size_with_at_least_these_keys(result):
    assert all(row.keys() >= CONTRACT for row in result["rows"])
    assert [(row["impl"], row["batch_size"]) for row in result["rows"]] == [
        ("groupconv", 1), ("full", 1), ("groupconv", 2), ("full", 2),
    ]  # fmt: skip
    assert {row["form"] for row in result["rows"]} == {"paper"}
    json.dumps(result, allow_nan=False)


def test_the_counts_are_those_of_count_and_the_counters_agree(result):
    row = result["rows"][1]
    exact = count(swin(), (64, 96))
    assert (row["params"], row["macs"], row["macs_deploy"]) == (exact.params, exact.macs, exact.macs_deploy)
    assert (row["macs_torch"], row["macs_unseen"], row["agree"]) == (exact.macs, 0, True)
    assert row["macs_fvcore"] == pytest.approx(exact.macs, rel=0.05)
    assert sum(row["macs_by_op"].values()) == exact.macs
    assert sum(row["params_by_op"].values()) == exact.params


def test_the_numbers_of_a_latency_fit_together(result):
    for row in result["rows"]:
        assert row["throughput"] == pytest.approx(row["batch_size"] / row["latency_ms"] * 1000)
        assert row["latency_iqr_ms"] == pytest.approx(row["latency_q3_ms"] - row["latency_q1_ms"])
        assert row["latency_min_ms"] <= row["latency_q1_ms"] <= row["latency_ms"] <= row["latency_p95_ms"]
        assert row["stopped_by"] in ("spread", "time", "repetitions")
        assert (row["peak_memory_mb"], row["compile_s"], row["graph_breaks"]) == (None, None, None)


def test_rows_of_a_batch_size_are_compared_with_the_first(result):
    assert [row["ratio"] is None for row in result["rows"]] == [True, False, True, False]
    assert {row["repetitions"] for row in result["rows"][:2]} == {result["rows"][0]["repetitions"]}


def test_another_baseline_may_be_named():
    result = profile_rows([RESNET, RESNET], how=Execution(), input_size=32, baseline=1, effort=QUICK)
    assert [row["ratio"] is None for row in result["rows"]] == [False, True]
    assert result["rows"][0]["difference"] is not None


def test_the_environment_says_what_a_number_depends_on(result):
    assert result["device"] == "cpu"
    for key, value in environment("cpu").items():
        if key != "load":
            assert result["env"][key] == value
    assert (result["env"]["input_size"], result["env"]["memory_format"]) == ([64, 96], "channels_last")
    assert (result["env"]["form"], result["env"]["dtype"], result["env"]["mode"]) == ("paper", "float32", "inference")
    assert result["env"]["margin"] == 0.05


def test_where_it_goes_sums_to_the_row_and_covers_the_time(result):
    where = result["where"][1]
    assert (where["impl"], where["batch_size"], where["by"]) == ("full", 1, "op")
    lines = {line["name"]: line for line in where["rows"]}
    assert {name: line["macs"] for name, line in lines.items()} == result["rows"][1]["macs_by_op"]
    assert sum(line["params"] for line in lines.values()) == result["rows"][1]["params"]
    assert all(line["time_ms"] > 0 for line in lines.values())


def test_a_timm_model_has_no_exact_macs_impl_or_form():
    steps = []
    result = profile_rows(
        [RESNET],
        how=Execution(),
        input_size=64,
        effort=replace(QUICK, counters=True),
        progress=lambda text, done, total: steps.append((text, done, total)),
    )
    row = result["rows"][0]
    assert (row["impl"], row["form"], row["macs"], row["macs_deploy"]) == (None, None, None, None)
    assert row["params"] == 11_689_512
    assert row["macs_torch"] == pytest.approx(1.814e9 * (64 / 224) ** 2, rel=0.02)
    assert [done for _, done, _ in steps] == sorted(done for _, done, _ in steps)
    assert steps[0][:2] == ("counting resnet18", 0)
    assert 0.9 < steps[-1][1] / steps[-1][2] <= 1


def test_a_batch_that_does_not_fit_is_halved_for_all_networks(monkeypatch):
    first_run = together.first_run

    def crowded(step):
        if len(step.images) > 2 and step.model is models[1]:
            raise torch.OutOfMemoryError("out of memory")
        return first_run(step)

    models = []
    make_step = together.make_step

    def remembered(model, images, how):
        models.append(model)
        return make_step(model, images, how)

    monkeypatch.setattr(together, "make_step", remembered)
    monkeypatch.setattr(together, "first_run", crowded)
    result = profile_rows([RESNET, RESNET], how=Execution(), batch_sizes=[8], input_size=32, effort=QUICK)
    assert [(row["batch_size"], row["requested_batch_size"]) for row in result["rows"]] == [(2, 8)] * 2


def test_not_even_one_image_is_one_message(monkeypatch):
    def full(step):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(together, "first_run", full)
    with pytest.raises(UsageError, match="resnet18 at 32 x 32 pixels: not even one image fits"):
        profile_rows([RESNET], how=Execution(), batch_sizes=[2], input_size=32, effort=QUICK)


def test_a_network_that_cannot_run_so_is_one_message():
    with pytest.raises(
        UsageError, match=r"resnet18 does not run on images of 1 x 1 pixels .*forward and backward.*: Exp"
    ):
        profile_rows([RESNET], how=Execution(train=True), input_size=1, effort=QUICK)


def test_merged_implementations_are_one_network_and_are_not_compared():
    networks = [OURS.having_impl(impl) for impl in ("shift", "full")]
    with pytest.raises(UsageError, match=r"into one convolution, so ours \(shift\) and ours \(full\) are the same"):
        profile_rows(networks, how=Execution(form="merged"), effort=QUICK)
    result = profile_rows([OURS, RESNET], how=Execution(form="merged"), input_size=32, effort=QUICK)
    assert [row["form"] for row in result["rows"]] == ["merged", None]


def test_a_network_beside_itself_is_compared_in_every_form():
    result = profile_rows([OURS, OURS], how=Execution(form="merged"), input_size=32, effort=QUICK)
    assert len(result["rows"]) == 2


@pytest.mark.parametrize("by", ["stage", "op"])
def test_stages_and_paths_of_others_are_not_known(by):
    with pytest.raises(UsageError, match=r"resnet18 is timm's own\. Take --by module"):
        profile_rows([RESNET], how=Execution(), by=by, effort=QUICK)


def test_features_are_counted_without_the_head():
    how = Execution(features_only=True)
    result = profile_rows([OURS, RESNET], how=how, input_size=64, by="module", effort=QUICK)
    whole = count(swin(), 64)
    ours, resnet = result["rows"]
    assert ours["macs"] == whole.macs - 768 * 1000
    assert ours["params"] <= whole.params - 768 * 1000
    assert resnet["params"] == 11_689_512 - 512 * 1000 - 1000
    assert result["env"]["output"] == "features"
    assert [where["rows"][0]["name"] for where in result["where"]] == ["network", "network"]


def test_a_counter_that_fails_leaves_its_place_empty(monkeypatch):
    from acmix_nas.cost import counters

    def fail(*given, **options):
        raise RuntimeError("cannot trace")

    monkeypatch.setattr(counters, "count_fvcore", fail)
    result = profile_rows([RESNET], how=Execution(), input_size=32, effort=replace(QUICK, counters=True))
    assert result["rows"][0]["macs_fvcore"] is None
    assert result["rows"][0]["macs_torch"] > 0


def test_throughputs_are_by_name_and_of_the_batch_that_ran(monkeypatch):
    archs = {"a": swin(), "b": swin("att")}
    ran, rates = throughputs(archs, input_size=32, batch_size=2, device="cpu", limit_s=0.1)
    assert ran == 2
    assert list(rates) == ["a", "b"]
    assert all(rate > 0 for rate in rates.values())


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"cuda_graph": True, "flush_l2": True},
        {"train": True, "dtype": "bfloat16"},
        {"cuda_graph": True, "train": True},
    ],
)
def test_a_profile_on_a_gpu(options):
    how = Execution(device="cuda", **options)
    result = profile_rows(
        [OURS, RESNET], how=how, batch_sizes=[2], input_size=64, by="module", effort=Effort(limit_s=0.3)
    )
    for row in result["rows"]:
        assert row["latency_ms"] > 0
        assert row["peak_memory_mb"] > 10
    assert "sm_clock_loaded_mhz" in result["env"]


def test_changing_conv_impl_keeps_or_sets_conv_init():
    frozen = Network(name="x", arch=swin(conv_impl="shift"))
    assert frozen.impl == "shift"
    assert frozen.having_impl("full").arch == swin(conv_impl="full")
    assert frozen.having_impl("full").having_impl("shift") == frozen


def test_a_network_with_several_implementations_is_mixed():
    first, *rest = swin(conv_impl="full").stages
    stages = [[mixer.having(conv_impl="shift") for mixer in first], *rest]
    arch = Arch.canonical(host="swin", stages=stages, conv_on="rolled")
    assert Network(name="x", arch=arch).impl == "mixed"
    assert Network(name="x", arch=arch).label == "x (mixed)"
    assert Network(name="full, kaiming", arch=swin()).label == "full, kaiming"


@pytest.mark.parametrize("network", [RESNET, Network(name="ours", arch=swin("att"))])
def test_no_convolution_path_has_no_implementation(network):
    assert network.impl is None
    assert not network.merges_like(OURS)
    with pytest.raises(UsageError, match=rf"{network.name} has no such path"):
        network.having_impl("full")


@pytest.mark.parametrize("network", [RESNET, OURS])
def test_a_network_survives_json(network):
    assert Network.from_dict(json.loads(json.dumps(network.to_dict()))) == network


@pytest.mark.parametrize("size", [64, (48, 64)])
def test_a_model_of_timm_takes_another_input_size_and_drops_no_path(size):
    model = Network(name="swin_tiny_patch4_window7_224").build(size)
    height, width = (size, size) if isinstance(size, int) else size
    assert model(torch.zeros(1, 3, height, width)).shape == (1, 1000)
    assert not model.training
    assert {part.drop_prob for part in model.modules() if type(part).__name__ == "DropPath"} <= {0.0}


@pytest.mark.parametrize(("network", "size"), [(OURS, (64, 96)), (RESNET, (32, 64))])
def test_features_are_maps_of_the_stages(network, size):
    maps = network.build(size, features_only=True)(torch.zeros(1, 3, *size))
    assert len(maps) >= 4
    extents = {maps[-1].shape[1:3], maps[-1].shape[2:]}  # channels last or first
    assert (size[0] // 32, size[1] // 32) in extents


def test_a_network_without_features_is_refused(monkeypatch):
    import timm

    def refuse(name, **options):
        raise RuntimeError("features_only not implemented")

    monkeypatch.setattr(timm, "create_model", refuse)
    with pytest.raises(UsageError, match="timm takes no features of resnet18: features_only not implemented"):
        RESNET.build(32, features_only=True)


NORMED = """
from torch.nn.utils.parametrizations import weight_norm

from acmix_nas.operators.attention import window
from acmix_nas.operators.attention.window import count as count


class Attention(window.Attention):
    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        weight_norm(self.proj)
"""


@pytest.mark.filterwarnings("ignore:normed.Attention uses its plain form:UserWarning")
def test_parts_that_take_their_plain_form_by_themselves_are_named(tmp_path, monkeypatch):
    (tmp_path / "profiled_lab").mkdir()
    (tmp_path / "profiled_lab" / "normed.py").write_text(NORMED, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    stages = [[mixer.having(attention="profiled_lab.normed") for mixer in stage] for stage in swin().stages]
    own = Network(name="own", arch=Arch.canonical(host="swin", stages=stages, conv_on="rolled"))
    result = profile_rows([own, OURS], how=Execution(), input_size=64, effort=QUICK)
    first, second = result["rows"]
    assert (first["form"], second["form"], second["plain_parts"]) == ("train", "train", {})
    assert len(first["plain_parts"]) == 8
    assert set(first["plain_parts"].values()) == {"its proj computes its weights"}
    assert (
        "8 parts of own use their plain form; the first, layers.0.blocks.0.attn.attention, because its proj computes "
        "its weights." in notes_of(result)
    )
    plain = profile_rows([own], how=Execution(form="paper"), input_size=64, effort=QUICK)
    assert plain["rows"][0]["plain_parts"] == {}
