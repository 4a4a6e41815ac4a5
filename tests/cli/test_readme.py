"""Every command and example of the README runs."""

import os
import re
import shlex
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
import warm_commands

from acmix_nas.data import load_splits
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import augment
from acmix_nas.train.loader import Feed
from acmix_nas.train.recipe_file import load_recipe

ROOT = Path(__file__).parent.parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
QUICKER = {
    "search": ["--trials", "2", "--epochs", "1", "--proxy", "cpu", "--proxy-images", "64"],
    "finalists": ["--top", "1", "--seeds", "1"],
    "ablate": ["--seeds", "1", "--epochs", "1", "--proxy-images", "64"],
    "profile": ["--batch-size", "1", "--input-size", "64", "--time-limit", "0.2"],
    "train": ["--epochs", "1", "--images", "60", "--input-size", "32", "--seed", "14"],
    "export": ["--input-size", "64", "--shapes", "fixed"],
}
"""The last of an option given twice counts: the same commands, with less to compute."""
WORDS = ("--images", "--input-size", "--seed")
CHAINS = ("demo", "subset", "combine", "scenes-ade")
FROM_THE_WHEEL = ("acmix search --space swin_t", "acmix spaces check swin_t", "acmix data describe '~/imagenet'")
"""Run by an interpreter of their own as a shell would; the others are forked from a process that has loaded torch."""


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def commands() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line) for line in lines if line.startswith("acmix ")]


def chain_of(words: list[str]) -> str:
    """Commands that read one another's files are a chain: of the study demo, the store subset, the table combine."""
    if words[1] == "status":
        return "demo"
    return next((name for name in CHAINS if any(name in word for word in words)), shlex.join(words))


def chains() -> dict[str, list[list[str]]]:
    found: dict[str, list[list[str]]] = {}
    for words in commands():
        found.setdefault(chain_of(words), []).append(words)
    return dict(sorted(found.items(), key=lambda item: -len(item[1])))  # the longest begins first


def test_every_command_is_tried():
    found = chains()
    assert set(CHAINS) | set(FROM_THE_WHEEL) <= set(found)
    assert commands()[0] == ["acmix", "search", "--space", "swin_t"]
    assert {words[1] for words in commands()} >= {"search", "profile", "ablate", "report", "spaces", "export", "train"}


@pytest.mark.slow
@pytest.mark.parametrize("chain", chains())
def test_commands_run_in_the_order_of_the_page(chain, request, tmp_path, few_images, shallow_swin_t):
    """The first search is on the embedded images, as it says; the others without --data on as few as ~/imagenet has."""
    folder = tmp_path / "work"
    folder.mkdir()
    (tmp_path / "imagenet").symlink_to(few_images)
    env = {"HOME": str(tmp_path)}
    if chain != FROM_THE_WHEEL[0]:
        env["ACMIX_DATA"] = str(few_images)
    run = partial(warm_commands.run, cwd=folder, env=env, first=warm_commands.without_timing)
    if chain in FROM_THE_WHEEL:
        run = partial(run_the_wheel, request.getfixturevalue("installed"), folder, env)
    for line in chains()[chain]:
        words = [word.replace("~", str(tmp_path)) for word in line[1:]] + QUICKER.get(line[1], [])
        if line[1] == "search" and chain not in FROM_THE_WHEEL:
            words += ["--space", str(shallow_swin_t)]
        if line[1] == "profile" and chain != "demo":  # a new interpreter for every network; once is enough
            words += ["--no-memory"]
        if "--trials" in line and "--resume" in line:
            words += ["--trials", "3"]
        done = run(*words)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        if chain == FROM_THE_WHEEL[0]:
            assert "not ImageNet" in done.stderr


def run_the_wheel(installed: Path, folder: Path, env: dict[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **env, "PYTHONPATH": str(installed)}
    run = [sys.executable, installed / "bin" / "acmix", *words]
    return subprocess.run(run, cwd=folder, env=env, capture_output=True, text=True)


@pytest.mark.slow
def test_the_trainings_meet_the_rarest_of_their_augmentation(few_images, monkeypatch):
    """RandAugment of Swin's recipe keeps 0 bits of about one image in a thousand; the seed above has some."""
    images, size, seed = (int(QUICKER["train"][QUICKER["train"].index(word) + 1]) for word in WORDS)
    bits, real = [], augment.posterized
    monkeypatch.setattr(
        augment, "posterized", lambda picture, kept, **options: bits.append(kept) or real(picture, kept)
    )
    splits = load_splits(
        str(few_images), input_size=size, train_images=images, seed=seed, with_report=True, search_images=1
    )
    feed = Feed(splits, load_recipe("swin").budget(images=images, epochs=1), "cpu", TASK)
    for _ in feed.shuffled(splits.train, torch.Generator().manual_seed(seed)):
        pass
    assert min(bits) == 0


@pytest.mark.slow
def test_the_python_example_runs(installed, tmp_path):
    (example,) = blocks("python")
    env = {**os.environ, "PYTHONPATH": str(installed)}
    run = [sys.executable, "-W", "error", "-c", example]
    done = subprocess.run(run, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "params=28649908" in done.stdout


@pytest.mark.parametrize("path", re.findall(r"\]\(([^)#:]+)\)", README))
def test_every_link_leads_somewhere(path):
    assert (ROOT / path).exists()
