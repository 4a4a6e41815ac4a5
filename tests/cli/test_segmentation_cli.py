"""Segmentation from the command line: search, finalists, repeat, ablation, training, scores, scenes."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from PIL import Image

from acmix_nas.search import load

SEGMENT = ["--task", "segmentation", "--epochs", "1", "--proxy-images", "16", "--device", "cpu", "--workers", "1"]
PVT = "acmix_pvt_tiny"
TABLE = """
space: pvt_tiny
baseline: plain host
summary: the paper's network against its plain host
rows:
  plain host: {combine: att}
  paper: {}
"""


@pytest.fixture
def acmix(monkeypatch, tmp_path, capsys):
    """Runs the command in an empty folder; returns (exit code, stdout, stderr)."""
    monkeypatch.chdir(tmp_path)

    def run(*words):
        from acmix_nas.cli import main

        monkeypatch.setattr(sys, "argv", ["acmix", *map(str, words)])
        with pytest.raises(SystemExit) as ended:
            main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.fixture
def few_scenes(monkeypatch):
    """Splits of a few scenes."""
    from acmix_nas.data.sources import scenes

    monkeypatch.setattr(scenes, "SIZES", {"train": 40, "search": 12, "report": 10})


def test_a_search_and_all_that_follows_it(acmix, few_scenes):
    code, out, err = acmix("search", "--space", "pvt_tiny", *SEGMENT, "--trials", 3, "--study", "demo")
    assert code == 0, err
    assert "composed scenes, not photographs" in err
    assert "mIoU" in out
    header, records = load(Path("reports/demo"))
    assert header.settings["head"]["name"] == "semantic_fpn"
    assert {record.cost.input_size for record in records} == {512}
    assert header.objectives == ("miou", "macs")
    page = Path("reports/demo/report.html").read_text()
    assert "IoU of each class" in page
    assert acmix("repeat", "demo:1", "--head", "semantic_fpn")[0] == 0
    code, _, err = acmix("repeat", "demo:1", "--head", "upernet")
    assert (code, "demo:1 has the head semantic_fpn, not upernet" in err) == (1, True)
    code, _, err = acmix("finalists", "demo", "--task", "classification")
    assert (code, "has the task segmentation, not classification" in err) == (1, True)
    code, out, err = acmix("finalists", "demo", "--top", 1, "--seeds", 2, "--workers", 1, "--task", "segmentation")
    assert code == 0, err
    code, _, err = acmix("search", "--space", "pvt_tiny", "--study", "demo", "--resume", "--head", "upernet")
    assert (code, "head.name" in err) == (1, True)
    code, out, err = acmix(
        "search", "--space", "pvt_tiny", "--study", "demo", "--resume", "--trials", 4, "--workers", 1
    )
    assert code == 0, err
    assert len(load(Path("reports/demo"))[1]) == 4


@pytest.mark.nightly
def test_an_ablation_of_a_table_with_another_head(acmix, few_scenes, tmp_path):
    (tmp_path / "mine.yaml").write_text(TABLE)
    words = ["ablate", "mine.yaml", *SEGMENT, "--head", "upernet", "--seeds", 2, "--no-throughput"]
    code, out, err = acmix(*words, "--study", "rows", "--compare", "published")
    assert code == 0, err
    assert "PVT-T, Semantic-FPN" in out
    records = load(Path("reports/rows"))[1]
    assert [record.head["name"] for record in records] == ["upernet"] * 4
    params = {record.label: record.cost.params for record in records}
    assert params["paper"] > params["plain host"] > 30e6  # with UPerNet's head


def test_a_space_names_its_task_and_head(acmix, few_scenes, tmp_path):
    from acmix_nas.files import find_space

    text = find_space("resnet26").read_text() + "task: segmentation\nhead: upernet\n"
    (tmp_path / "dense.yaml").write_text(text)
    words = ["--epochs", 1, "--proxy-images", 16, "--workers", 1, "--trials", 1, "--study", "x"]
    assert acmix("search", "--space", "dense.yaml", *words)[0] == 0
    _, (record,) = load(Path("reports/x"))
    assert (record.task, record.head["name"]) == ("segmentation", "upernet")
    (tmp_path / "small.yaml").write_text(text.replace("dense_cpu", "other"))
    code, _, err = acmix("search", "--space", "small.yaml", *words[:-1], "y")
    assert (code, "has no proxy dense_cpu" in err) == (2, True)


def test_a_training_is_scored_again_and_its_predictions_are_written(acmix, few_scenes):
    words = ["train", PVT, "--task", "segmentation", "--epochs", 1, "--batch-size", 8, "--study", "net"]
    code, _, err = acmix(*words)
    assert code == 0, err
    facts = yaml.safe_load(Path("reports/net/train.yaml").read_text())
    assert (facts["task"], facts["head"]["name"], facts["recipe"]) == ("segmentation", "semantic_fpn", "semantic_fpn")
    assert Path("reports/net/log.csv").read_text().startswith("epoch,lr,loss,miou,pixel_accuracy,mean_accuracy,")
    best = ["--eval", "reports/net/best.safetensors"]
    scored = [*words[:4], *best, "--json"]
    code, out, _ = acmix(*scored, "--predictions", "found")
    whole = json.loads(out)
    assert code == 0
    code, out, _ = acmix("data", "score", "found", "--json")
    again = json.loads(out)
    for name in ("miou", "pixel_accuracy", "mean_accuracy", "iou"):
        assert again[name] == pytest.approx(whole[name])
    code, out, _ = acmix(*scored, "--window", 48, "--flip", "--scales", "0.5,1")
    assert code == 0
    assert json.loads(out)["images"] == 10
    code, _, err = acmix(*scored, "--predictions", "found")
    assert (code, "already has something" in err) == (2, True)
    asked = ["export", PVT, "--format", "timm", "--out", "x", "--weights", "reports/net/best.safetensors"]
    code, _, err = acmix(*asked)  # the weights say that they are a segmentation's
    assert (code, "timm builds no networks that score every pixel" in err) == (2, True)
    code, _, err = acmix(*words, "--resume", "--head", "upernet")
    assert (code, "head" in err) == (1, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["search", "--space", "pvt_tiny", "--head", "upernet"], "networks of this task have one of their own"),
        (["search", "--space", "pvt_tiny", "--task", "segmentation", "--head", "x"], "'x' is not one of"),
        (["search", "--space", "pvt_tiny", "--task", "segmentation", "--data", "embedded"], "the class of every pixel"),
        (["train", PVT, "--task", "segmentation", "--data", "embedded"], "the class of every pixel"),
        (["train", PVT, "--flip"], "say how a segmentation is scored"),
        (["train", PVT, "--scales", "1,0"], "scales are numbers above 0"),
        (["train", PVT, "--task", "segmentation", "--recipe", "pvt"], "crop, erase, mixup, cutmix of the recipe"),
        (
            ["train", "vit_tiny_patch16_224", "--task", "segmentation"],
            "a dense head reads maps at strides 4, 8, 16, 32",
        ),
        (["export", PVT, "--format", "onnx", "--out", "x", "--head", "upernet"], "add --task segmentation"),
        (["data", "score", "nothing"], "nothing is no folder"),
    ],
)
def test_a_mistake_is_one_clear_message(acmix, few_scenes, words, message):
    code, _, err = acmix(*words)
    assert code == 2
    assert message in " ".join(err.split())
    assert "Traceback" not in err
    assert not list(Path("reports").glob("*/study.db"))


@pytest.mark.nightly
def test_a_training_is_exported_with_its_classes(acmix, few_scenes):
    import torch

    assert acmix("train", PVT, "--task", "segmentation", "--epochs", 1, "--batch-size", 8, "--study", "net")[0] == 0
    words = ["--format", "torch", "--out", "net.pt2", "--weights", "reports/net/best.safetensors", "--json"]
    code, out, err = acmix("export", PVT, *words)
    assert code == 0, err
    assert json.loads(out)["outputs"]["logits"][1] == 14
    extra = {"acmix.json": ""}
    program = torch.export.load("net.pt2", extra_files=extra).module()
    said = json.loads(extra["acmix.json"])
    assert (said["task"], said["head"], said["input_size"]) == ("segmentation", "semantic_fpn", [64, 64])
    assert said["classes"][-1] == "checks"
    assert program(torch.zeros(1, 3, 70, 99)).shape == (1, 14, 70, 99)


def test_predictions_that_do_not_fit_are_refused(acmix, few_scenes, tmp_path):
    assert acmix("data", "scenes", "--out", "mine", "--train", 3, "--val", 2, "--json")[0] == 0
    code, out, _ = acmix("data", "score", "mine/annotations/validation", "--data", "mine")
    assert code == 0
    assert "100.00 %  mIoU over classes that the truth or a prediction has" in out
    Path("wrong").mkdir()
    code, _, err = acmix("data", "score", "wrong", "--data", "mine")
    assert (code, "2 of 2 have none" in err) == (1, True)
    for index in range(2):
        Image.new("L", (64, 64), 99).save(f"wrong/ADE_val_{index:08d}.png")
    code, out, _ = acmix("data", "score", "wrong", "--data", "mine", "--json")
    assert json.loads(out)["miou"] == 0  # 99 is no class: never right
    Image.new("L", (64, 3), 1).save("wrong/ADE_val_00000001.png")
    code, _, err = acmix("data", "score", "wrong", "--data", "mine")
    assert (code, "has 3 x 64" in err) == (1, True)


def test_a_description_counts_the_pixels_of_each_class(acmix, few_scenes):
    code, out, _ = acmix("data", "describe", "scenes", "--sample", 10)
    assert code == 0
    assert "14 classes of pixels" in out
    assert "masks that do not fit: 0" in out
    assert json.loads(acmix("data", "describe", "scenes", "--sample", 10, "--json")[1])["pixels"]["checks"] > 0


def test_a_subset_with_masks_is_written_and_searched(acmix, few_scenes):
    assert acmix("data", "scenes", "--out", "scenes")[0] == 0
    asked = ("--data", "scenes", "--images", 20, "--size", 32)
    code, out, err = acmix("data", "subset", *asked, "--out", "small", "--json")
    assert code == 0, err
    assert json.loads(out)["images"]["train"] == 20
    code, _, err = acmix("search", "--space", "pvt_tiny", *SEGMENT, "--trials", 1, "--data", "small")
    assert code == 0, err
    for words, message in (
        (("--classes", 3), "--classes chooses by the class of an image"),
        (("--size", "32x48"), "--size is one number"),
    ):
        code, _, err = acmix("data", "subset", "--data", "scenes", *words, "--out", "other")
        assert (code, message in err) == (2, True), err
    code, _, err = acmix("data", "subset", "--images", 3, "--out", "other")
    assert (code, "--images is for sources with masks" in err) == (2, True), err


@pytest.mark.nightly
def test_two_processes_score_with_one_confusion_matrix(acmix):
    assert acmix("data", "scenes", "--out", "scenes", "--train", 60, "--val", 7)[0] == 0
    trained = ["train", PVT, "--task", "segmentation", "--data", "scenes", "--device", "cpu", "--input-size", "64"]
    code, _, err = acmix(*trained, "--epochs", 1, "--batch-size", 4, "--study", "one")
    assert code == 0, err
    scored = [*trained, "--eval", "reports/one/best.safetensors", "--json"]
    alone = json.loads(acmix(*scored)[1])
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*torchrun, "-m", "acmix_nas", *scored], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    together = json.loads(done.stdout)
    assert together["iou"] == alone["iou"]
    assert together["miou"] == alone["miou"]
