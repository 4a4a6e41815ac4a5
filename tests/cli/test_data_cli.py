"""`acmix data` as it is typed."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from acmix_nas.cli import acmix
from acmix_nas.errors import DataError


@pytest.fixture
def images(tmp_path) -> Path:
    for split, count in (("train", 40), ("val", 3)):
        for number, name in enumerate(("dark", "light", "red")):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                mode = "L" if index == 0 else "RGB"
                Image.new("RGB", (20 + index, 16), (index, 80 * number, 9)).convert(mode).save(folder / f"{index}.png")
    return tmp_path / "images"


def run(*words: object, code: int = 0) -> str:
    result = CliRunner().invoke(acmix, [str(word) for word in words], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return result.stdout


def test_describe_shows_what_is_there(images):
    (images / "train" / "red" / "7.png").write_bytes(b"no image")
    text = run("data", "describe", images)
    assert "images: folder, 3 classes" in text
    assert "classes: dark, light, red" in text
    assert [line.split() for line in text.splitlines() if line.strip().startswith(("train", "validation"))] == [
        ["train", "120", "3", "40", "40", "40"],
        ["validation", "9", "3", "3", "3", "3"],
    ]
    assert "of 129 images looked at:" in text
    assert "width 20 to 59 px" in text
    assert "modes: 122 RGB, 6 L" in text
    assert "broken: 1" in text
    assert "train/red/7.png: UnidentifiedImageError" in text


def test_describe_counts_what_is_not_read(images):
    for name in ("train/red/a.heic", "train/red/b.heic", "val/red/list.txt"):
        (images / name).write_bytes(b"x")
    (images / "train" / "red" / "self").symlink_to(".")
    text = run("data", "describe", images)
    assert "not read: 2 .heic, 1 .txt" in text
    assert re.search(r"note: 1 links in .*/train to folders that are already read, .*: red/self", text)
    found = json.loads(run("data", "describe", images, "--json"))
    assert found["passed_over"] == {".heic": 2, ".txt": 1}
    assert len(found["notes"]) == 1


def test_describe_as_json(images):
    found = json.loads(run("data", "describe", images, "--sample", "30", "--json"))
    assert (found["kind"], found["sampled"], found["classes"]) == ("folder", 30, ["dark", "light", "red"])
    assert found["splits"]["train"] == {"images": 120, "classes": 3, "least": 40, "median": 40.0, "most": 40}
    assert found["heights"] == {"least": 16, "median": 16.0, "most": 16}
    again = json.loads(run("data", "describe", images, "--sample", "30", "--json"))
    other = json.loads(run("data", "describe", images, "--sample", "30", "--json", "--seed", "1"))
    assert found == again != other


def test_describe_without_a_source_is_of_the_embedded_images():
    found = json.loads(run("data", "describe", "--sample", "5", "--json"))
    assert {name: counts["images"] for name, counts in found["splits"].items()} == {
        "train": 10_000,
        "search": 2000,
        "validation": 2000,
    }


def test_a_subset_is_a_source(images, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["acmix", "data", "subset"])  # whoever runs the tests has words of its own
    store = tmp_path / "store"
    words = ("data", "subset", "--data", images, "--classes", 2, "--images-per-class", 9, "--size", 8, "--out", store)
    text = run(*words, "--search-images", 10)
    assert "2 classes, 18 train, 10 search, 6 report images of 8 px" in text
    assert "converted to upright 8-bit RGB:" in text
    index = json.loads((store / "index.json").read_text())
    assert index["command"] == "acmix data subset"
    assert index["recipe"]["seed"] == 0
    found = json.loads(run("data", "describe", store, "--json"))
    assert found["fingerprint"] == index["fingerprint"]
    again = json.loads(run(*words, "--search-images", 10, "--json"))
    assert again["images"] == {"train": 18, "search": 10, "report": 6}
    with pytest.raises(DataError, match=r"one of another command: .*seed = 0, now 1"):
        run(*words, "--search-images", 10, "--seed", 1)


def test_notes_are_printed(images, tmp_path):
    words = ["data", "subset", "--data", images, "--images-per-class", 900, "--size", 8, "--out", tmp_path / "store"]
    result = CliRunner().invoke(acmix, [str(word) for word in words])
    assert "Note: 3 classes have fewer than 900 images" in result.stderr


def test_a_mistake_is_one_message_without_a_traceback(tmp_path):
    run = [sys.executable, "-m", "acmix_nas", "data", "describe", str(tmp_path / "nowhere")]
    done = subprocess.run(run, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("Error: there is no folder or file")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [["data", "--help"], ["data", "describe", "--help"], ["data", "subset", "--help"]])
def test_help_loads_nothing_heavy(words):
    code = (
        "import sys\nfrom acmix_nas.cli import acmix\n"
        f"acmix.main({words!r}, standalone_mode=False)\n"
        "print([m for m in ('torch', 'optuna', 'timm', 'fvcore', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "Examples:" in done.stdout


@pytest.mark.slow
def test_a_search_takes_a_store(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run("data", "subset", "--data", "images", "--size", 64, "--out", "store")
    words = ["--trials", 1, "--epochs", 1, "--proxy", "cpu", "--proxy-images", 48, "--json"]
    found = json.loads(run("search", "--space", "swin_t", "--data", "store", *words))
    assert found["trials"][0]["status"] == "complete"
    assert found["trials"][0]["data"]["name"] == "store"
    assert found["study"]["settings"]["asked"]["data"] == str(tmp_path / "store")


@pytest.mark.slow
def test_commands_that_train_log_what_is_not_read(images, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (images / "train" / "red" / "a.heic").write_bytes(b"x")
    (images / "train" / "red" / "7.png").write_bytes(b"no image")
    data = ["--data", images, "--epochs", 1]
    quick = ["--trials", 2, "--proxy", "cpu", "--proxy-images", 100, "--json"]
    run("search", "--space", "swin_t", "--study", "a", *data, *quick)
    facts = json.loads(run("finalists", "a", "--top", 1, "--seeds", 1, "--json"))
    assert list(facts) == ["study", "folder", "list", "trials", "table", "files"]
    assert len(facts["table"]["rows"]) == len(facts["list"]) == len(facts["trials"])
    run("train", "acmix_resnet26", "--study", "b", *data, "--input-size", 32, "--batch-size", 64, "--json")
    texts = [(tmp_path / "reports" / name / "log.txt").read_text(encoding="utf-8") for name in "ab"]
    assert [text.count("1 files of images are not read: 1 .heic") for text in texts] == [2, 1]
    assert [text.count(f"left out {images}/train/red/7.png: UnidentifiedImageError") for text in texts] == [2, 1]


QUICKER = {
    "describe": [],
    "subset": ["--classes", "2", "--size", "64"],
    "fidelity": ["--archs", "4", "--proxy", "cpu", "--proxy-images", "32", "--epochs", "1", "--epochs-large", "2"],
    "search": ["--trials", "1", "--epochs", "1", "--proxy", "cpu", "--proxy-images", "32"],
}
"""The last of an option given twice counts: the same commands, with less to compute."""


@pytest.mark.slow
def test_every_command_and_example_of_the_page_runs(images, tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parent.parent.parent / "docs" / "data.md").read_text(encoding="utf-8")
    images.rename(tmp_path / "imagenet")
    blocks = re.findall(r"```sh\n(.*?)```", page, flags=re.DOTALL)
    commands = [shlex.split(line.replace("~", str(tmp_path))) for block in blocks for line in block.splitlines()]
    assert len(commands) == 6
    monkeypatch.chdir(tmp_path)
    for _, *words in commands:
        run(*words, *QUICKER[words[1] if words[0] == "data" else words[0]])
    lines = next(tmp_path.rglob("records.jsonl")).read_text().splitlines()
    assert [len(json.loads(line)["scores"]) for line in lines] == [1] * 4 + [2] * 4
    assert {json.loads(line)["split"] for line in lines} == {"search"}
    (example,) = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    capsys.readouterr()
    exec(compile(example, "docs/data.md", "exec"), {})
    assert capsys.readouterr().out == "('Pullover', 'Sneaker', 'Bag') torch.Size([150, 3, 32, 32])\n"


def test_an_interrupt_says_how_to_go_on(images, tmp_path, monkeypatch):
    def interrupted(*args, **values):
        raise KeyboardInterrupt

    monkeypatch.setattr("acmix_nas.data.write_store", interrupted)
    result = CliRunner().invoke(acmix, ["data", "subset", "--data", str(images), "--out", str(tmp_path / "store")])
    assert result.exit_code == 1  # click's own; main() makes it 130
    assert "interrupted; the same command continues" in result.stderr
