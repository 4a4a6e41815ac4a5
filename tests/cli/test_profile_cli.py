"""`acmix profile`: which options arrive where, and what is shown of the rows that come back."""

import importlib
import json

import pytest
import torch
from profile_pieces import run

from acmix_nas import machine
from acmix_nas.arch import CONV_IMPL
from acmix_nas.cost import profile as profile_module
from acmix_nas.cost.execution import Execution
from acmix_nas.cost.profile import Effort
from acmix_nas.experiments import profile as experiment
from acmix_nas.report.profile.breakdown import paper_table
from acmix_nas.report.table import as_text

ROW = {
    "form": "paper", "requested_batch_size": 8, "params": 28_290_000, "macs": 4_553_000_000, "macs_deploy": None,
    "macs_fvcore": 4_571_000_000, "macs_torch": 4_553_000_000, "macs_unseen": 0, "agree": True, "agree_reason": None,
    "activations": 20_000_000,
    "latency_ms": 40.25, "latency_iqr_ms": 1.5, "latency_q1_ms": 39.5, "latency_q3_ms": 41.0, "latency_min_ms": 39.0,
    "latency_p95_ms": 42.0, "throughput": 24.8, "peak_memory_mb": None, "repetitions": 30, "stopped_by": "spread",
    "compile_s": None, "graph_breaks": None,
}  # fmt: skip
FIRST = {"ratio": None, "ratio_low": None, "ratio_high": None, "difference": None}
SLOWER = {"ratio": 1.83, "ratio_low": 1.79, "ratio_high": 1.88, "difference": "slower"}


@pytest.fixture
def asked(monkeypatch):
    """What `profile_rows` was asked for, answered without measuring."""
    calls = []

    def answer(networks, *, how, batch_sizes, input_size, baseline, by, effort, progress):
        calls.append(
            {"networks": networks, "how": how, "batch_sizes": batch_sizes, "input_size": input_size,
             "baseline": baseline, "by": by, "effort": effort, "threads": torch.get_num_threads()}
        )  # fmt: skip
        progress("counting", 0, 2)
        env = {
            **profile_module.environment(how.device), **how.facts(), "form": how.form, "input_size": input_size[0],
            "target_spread": 0.05, "time_limit_s": 10.0, "interval": 0.95, "margin": 0.05,
        }  # fmt: skip
        rows = [
            {"model": network.name, "impl": network.impl, "batch_size": size,
             **ROW, "form": how.form, "requested_batch_size": size,
             **(FIRST if index == baseline else SLOWER)}
            for size in batch_sizes for index, network in enumerate(networks)
        ]  # fmt: skip
        return {"device": how.device, "env": env, "rows": rows}

    monkeypatch.setattr(experiment, "profile_rows", answer)
    monkeypatch.setattr(machine, "busy_cores", lambda: 0.05)
    return calls


def test_counts_that_cannot_be_compared(asked, monkeypatch):
    monkeypatch.setitem(ROW, "agree", None)
    monkeypatch.setitem(ROW, "agree_reason", "lstm may multiply and was left out")
    result = run("profile", "sequencer2d_s", "--device", "cpu", "--format", "csv")
    assert ",lstm may multiply and was left out," in result.stdout
    result = run("profile", "sequencer2d_s", "--device", "cpu", "--format", "plain")
    assert " cannot tell " in result.stdout
    assert "It is unknown whether the counts of sequencer2d_s agree: lstm may multiply and was left out." in " ".join(
        result.stdout.split()
    )


def test_the_defaults(asked):
    result = run("profile", "--device", "cpu")
    assert result.exit_code == 0, result.output
    [call] = asked
    assert call["networks"][0].name == "acmix_swin_tiny_patch4_window7_224"
    assert call["networks"][0].arch is not None
    assert call["how"] == Execution(device="cpu", form="train")
    assert (call["batch_sizes"], call["input_size"], call["baseline"]) == ((1,), (224, 224), 0)
    assert (call["by"], call["effort"]) == (None, Effort())


def test_every_option_arrives(asked):
    threads = torch.get_num_threads()
    run(
        "profile", "resnet18", "resnet34", "--form", "merged", "--batch-size", "1,8", "--input-size", "64x96",
        "--dtype", "bfloat16", "--no-channels-last", "--threads", "1", "--features-only", "--compile", "--spread",
        "0.1",
        "--time-limit", "2", "--no-memory", "--no-counters", "--by", "module", "--device", "cpu",
    )  # fmt: skip
    [call] = asked
    assert [network.name for network in call["networks"]] == ["resnet18", "resnet34"]
    assert call["how"] == Execution(
        device="cpu", form="merged", dtype="bfloat16", channels_last=False, features_only=True, compiled=True
    )
    assert (call["batch_sizes"], call["input_size"], call["by"]) == ((1, 8), (64, 96), "module")
    assert call["effort"] == Effort(spread=0.1, limit_s=2.0, memory=False, counters=False)
    assert call["threads"] == 1
    assert torch.get_num_threads() == threads


def test_training_is_asked_for(asked):
    assert run("profile", "--train", "--device", "cpu").exit_code == 0
    assert asked[0]["how"].train


def test_the_paper_form_is_the_default_where_implementations_are_compared(asked):
    run("profile", "--impl", "full")
    run("profile", "--ablation", "shift")
    run("profile", "--impl", "full", "--form", "train")
    assert [call["how"].form for call in asked] == ["paper", "paper", "train"]


def test_the_table_names_units_device_versions_form_and_ratios(asked):
    result = run("profile", "--impl", "shift", "--impl", "groupconv", "--batch-size", "1,8")
    for heading in ("MACs (G)", "params (M)", "latency (ms)", "IQR (ms)", "throughput (img/s)", "time ratio"):
        assert heading in result.stdout
    assert "FLOP" not in result.stdout
    assert "min (ms)" not in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line.split()[:1] == ["groupconv"]]
    assert lines[0][:11] == ["groupconv", "1", "28.29", "4.553", "4.571", "4.553", "yes", "40.25", "1.50", "24.8", "30"]
    assert lines[0][11:] == ["(spread)", "1.83x", "[1.79,", "1.88]"]
    assert lines[1][:2] == ["groupconv", "8"]
    assert f"torch {torch.__version__.split('+')[0]}" in result.stdout
    assert "acmix_swin_tiny_patch4_window7_224: 224 px, float32, channels last, inference, paper form" in result.stdout
    assert "Ratios are latency over that of shift" in result.stdout
    assert "95% bootstrap interval; differences within 5% count as no difference" in result.stdout
    assert (
        f"cpu: {result.stdout.split('cpu: ')[1].split(',')[0]}, {torch.get_num_threads()} threads, clocks"
        in result.stdout
    )


def test_the_train_form_says_that_implementations_may_be_one(asked):
    note = "--form paper compares the implementations step by step"
    assert note in run("profile", "--impl", "all", "--form", "train").stdout
    assert note not in run("profile", "--impl", "all").stdout


def test_a_batch_that_was_halved_is_shown(asked, monkeypatch):
    monkeypatch.setitem(ROW, "peak_memory_mb", 100.0)
    answer = experiment.profile_rows

    def halved(*given, **options):
        result = answer(*given, **options)
        result["rows"][0]["requested_batch_size"] = 32
        return result

    monkeypatch.setattr(experiment, "profile_rows", halved)
    assert "8 (of 32)" in run("profile", "--batch-size", "8").stdout


def test_flops_are_twice_the_macs_under_their_own_name(asked):
    result = run("profile", "--flops")
    assert "FLOPs (G)" in result.stdout
    assert "9.106" in result.stdout
    assert json.loads(run("profile", "--flops", "--json").stdout)["rows"][0]["flops"] == 2 * ROW["macs"]


def test_all_implementations_and_json(asked):
    result = run("profile", "--impl", "all", "--json")
    assert [network.impl for network in asked[0]["networks"]] == list(CONV_IMPL)
    answer = json.loads(result.stdout)
    assert [row["impl"] for row in answer["rows"]] == list(CONV_IMPL)
    assert answer["env"]["busy_cores"] == 0.05


def test_the_shift_table_of_the_paper_is_one_command(asked):
    result = run("profile", "--ablation", "shift", "--format", "latex")
    [call] = asked
    assert [(network.name, network.impl) for network in call["networks"]] == [
        ("shift", "shift"), ("groupconv", "groupconv"), ("learnable", "learnable"), ("full", "full"),
        ("full, kaiming", "full"),
    ]  # fmt: skip
    assert call["networks"][4].arch != call["networks"][3].arch
    assert (call["input_size"], call["baseline"]) == ((224, 224), 0)
    assert "\\toprule" in result.stdout
    assert "The four implementations of shift-and-sum and random kernels, Swin-T: 224 px" in result.stdout
    assert "full, kaiming & 1 & 28.29 & 4.553 & 40.25 & 1.50 & 24.8 & 1.83x {[}1.79, 1.88] \\\\" in result.stdout


@pytest.mark.parametrize(
    ("form_at", "holds"),
    [
        ("plain", "---------"),
        ("markdown", "| impl | batch |"),
        ("latex", "\\begin{tabular}"),
        ("csv", "model,impl,form,batch_size,params,macs,"),
        ("rich", "─────"),
    ],
)
def test_the_formats(asked, form_at, holds):
    assert holds in run("profile", "--impl", "all", "--format", form_at).stdout


def test_csv_has_every_number_as_it_is(asked):
    import csv

    lines = list(csv.DictReader(run("profile", "--impl", "all", "--format", "csv").stdout.splitlines()))
    assert [line["impl"] for line in lines] == list(CONV_IMPL)
    assert lines[1]["latency_p95_ms"] == "42.0"
    assert (lines[1]["ratio"], lines[1]["ratio_low"], lines[1]["difference"]) == ("1.83", "1.79", "slower")
    assert (lines[1]["macs"], lines[0]["ratio"]) == ("4553000000", "")


def test_a_narrow_terminal_has_the_columns_that_are_needed_most(asked, monkeypatch):
    from rich.console import Console

    console = importlib.import_module("acmix_nas.cli._console")
    monkeypatch.setattr(console, "results", lambda: Console(highlight=False, width=80))
    shown = run("profile", "--impl", "all", "--format", "rich").stdout
    assert "No room here for: " in shown
    assert "latency" in shown
    assert "groupconv" in shown
    assert "fvcore MACs" in shown.split("No room here for")[1]
    assert max(len(line) for line in shown.splitlines()) <= 80


@pytest.mark.parametrize("ending", ["svg", "png", "pdf"])
def test_a_bar_chart_is_written(asked, tmp_path, ending):
    path = tmp_path / f"bars.{ending}"
    result = run("profile", "--impl", "all", "--batch-size", "1,8", "--plot", str(path))
    assert result.exit_code == 0, result.output
    start = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}[ending]
    assert path.read_bytes().startswith(start)


def test_a_real_profile_of_a_small_image_tells_all(tmp_path):
    result = run(
        "profile", "resnet18", "resnet18", "--input-size", "32x48", "--time-limit", "0.2", "--no-memory", "--device",
        "cpu", "--by", "module", "--threads", "1",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert "resnet18: 32 x 48 px, float32, channels last, inference" in result.stdout
    assert "Where it goes, by module: resnet18, batches of 1" in result.stdout
    assert "layer4" in result.stdout


def test_the_papers_cost_table_stands_beside_times():
    result = run(
        "profile", "--input-size", "56", "--time-limit", "0.2", "--no-memory", "--no-counters", "--device", "cpu",
        "--by", "paper", "--threads", "1", "--json",
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    [where] = json.loads(result.stdout)["where"]
    rows = {(row["stage"], row["operator"], row["step"]): row for row in where["rows"]}
    assert len(rows) == 4 * 3 * 2
    for stage in range(4):
        first, second = rows[stage, "ACmix", "I"], rows[stage, "ACmix", "II"]
        assert second["macs_ratio"] == second["macs"] / first["macs"]
        assert second["time_ratio"] == second["time_ms"] / first["time_ms"]
        assert first["time_ms"] > 0
        assert rows[stage, "convolution", "I"]["time_ms"] > 0
        assert rows[stage, "convolution", "II"]["time_ms"] is None
        assert "k_c^4 C" in second["macs_formula"]


def test_the_papers_cost_table_is_printed_with_its_letters():
    where = {
        "model": "m", "impl": "full", "batch_size": 1, "by": "paper",
        "rows": [{"stage": 0, "operator": "ACmix", "blocks": 2, "step": "II", "params": 35_000, "macs": 182_000_000,
                  "params_formula": "k_c^4 C", "macs_formula": "k_c^4 C hw", "time_ms": 3.5, "macs_ratio": 1.05,
                  "time_ratio": None}],
    }  # fmt: skip
    text = as_text(paper_table(where))
    assert "k_c^4 C hw" in text
    assert text.splitlines()[4].split()[-4:] == ["0.182", "1.05", "3.50", "-"]
    assert "k_c: kernel size of the convolution" in text
    assert "sr:" not in text


def test_an_arch_file_is_profiled_under_its_studys_name(asked, tmp_path):
    import yaml

    from acmix_nas.models import named_arch

    arch = named_arch("acmix_swin_tiny_patch4_window7_224")
    (tmp_path / "swin_t-001").mkdir()
    path = tmp_path / "swin_t-001" / "best.yaml"
    path.write_text(yaml.safe_dump({"arch_id": arch.id, "arch": arch.to_dict()}))
    assert run("profile", str(path)).exit_code == 0
    assert (asked[0]["networks"][0].name, asked[0]["networks"][0].arch) == ("swin_t-001/best", arch)


def test_a_model_of_timm_is_profiled(asked):
    assert run("profile", "resnet18").exit_code == 0
    assert asked[0]["networks"][0].arch is None


def test_a_busy_machine_is_reported(asked, monkeypatch):
    monkeypatch.setattr(machine, "cores", lambda: 8)
    monkeypatch.setattr(machine, "busy_cores", lambda: 7.5)
    assert "the machine is busy: other processes keep 7.5 of 8 cores busy" in run("profile", "--device", "cpu").stderr
    monkeypatch.setattr(machine, "busy_cores", lambda: 0.1)
    assert run("profile", "--device", "cpu").stderr == ""


@pytest.mark.nightly
def test_a_segmentor_is_counted_without_being_timed():
    words = ("--task", "segmentation", "--head", "upernet", "--num-classes", "7", "--input-size", "64x96")
    result = run("profile", "acmix_resnet26", "resnet18", *words, "--no-time", "--json")
    found = json.loads(result.stdout)
    ours, theirs = found["rows"]
    assert (ours["model"], theirs["model"]) == ("acmix_resnet26 + upernet", "resnet18 + upernet")
    assert ours["agree"] is True
    assert ours["macs"] - ours["macs_unseen"] == ours["macs_torch"]
    assert theirs["macs"] is None
    assert theirs["macs_torch"] > 0
    assert ours["latency_ms"] is ours["batch_size"] is ours["peak_memory_mb"] is None
    assert found["env"]["timed"] is False
    plain = run("profile", "acmix_resnet26", *words, "--no-time", "--format", "plain").stdout
    assert "Counted only." in plain
    assert "latency" not in plain


@pytest.mark.nightly
def test_a_segmentor_is_timed_and_split_into_its_parts():
    words = ("--task", "segmentation", "--input-size", "64", "--by", "stage", "--time-limit", "0.1", "--no-counters")
    (where,) = json.loads(run("profile", "acmix_resnet26", *words, "--json").stdout)["where"]
    names = [row["name"] for row in where["rows"]]
    assert names[:7] == ["stem", "stage 0", "stage 1", "stage 2", "stage 3", "neck", "head"]
    assert all(row["time_ms"] > 0 for row in where["rows"][:7])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--head", "upernet"), "add --task segmentation"),
        (("--num-classes", "3"), "add --task segmentation"),
        (("--task", "segmentation", "--features-only"), "--features-only is of the backbone alone"),
        (("--task", "segmentation", "--by", "paper"), "--by paper is of the backbone alone"),
        (("--task", "segmentation", "--latency-table", __file__), "--latency-table is of the backbone alone"),
        (
            ("--task", "segmentation", "--head", "upernet", "--train", "--input-size", "64", "--no-counters"),
            "acmix_resnet26 + upernet (full), batches of 1: UPerNet is trained on 2 images or more",
        ),
        (("--no-time", "--by", "op"), "--by shows times, and --no-time takes none"),
        (("--task", "segmentation", "--head", "unet"), "'unet' is not one of 'semantic_fpn', 'upernet'"),
        (("--task", "segmentation", "--head", "no_such.head"), "no_such"),
    ],
)
def test_options_of_a_segmentor_that_do_not_go_together(words, message):
    result = run("profile", "acmix_resnet26", *words)
    assert result.exit_code == 2 or isinstance(result.exception, Exception)
    said = " ".join((result.stderr + str(result.exception or "")).split())
    assert message in said
