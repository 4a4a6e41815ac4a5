"""Which cheap training orders the networks of a space as one long training does, of recipes that take equally long.

Run: python benchmarks/proxy.py train --space swin_t --data DATA --store FOLDER [--part choose|report] [--share 0/2]
                                      [--recipes today b16 ...] [--networks 16] [--seeds 2] [--no-reference]
     python benchmarks/proxy.py show --space swin_t --data DATA --store FOLDER [--part choose|report]

DATA is what `--data` of `acmix search` takes, or `embedded`. A recipe changes the space's proxy `cpu`; its images make
a trial take about as much CPU time as today's. The reference takes six times as much or more: it trains longer, at the
proxy's depth and width, on maps of 16 pixels, where windows shift in two stages. (A network of twice the width on maps
of 32 pixels, on which they shift in three stages, reached 31 % of CIFAR-10 after 614 CPU seconds, where the recipe
d1-b32 reached 36 % after 51: it would show how fast a network starts.) Networks are seeded draws: the first 16 (8 of
other spaces) to choose a recipe with, the 24 after them to report how good the chosen one is.

Every training is a line of FOLDER, with its CPU time on one thread; what is there is not trained again. Several
processes may train at once, each its `--share` of the networks. A network's trainings come one after the other, the
reference first.
"""

import argparse
import json
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acmix_nas import Arch, load_space
from acmix_nas.data import Splits, load_splits
from acmix_nas.experiments.fidelity import sample_archs
from acmix_nas.experiments.rank_correlation import agreement
from acmix_nas.machine import keep_freed_memory
from acmix_nas.record import TrialRecord
from acmix_nas.space import Proxy, Space
from acmix_nas.train import Budget, Setting
from acmix_nas.train.trial import run_trial

REFERENCE = "reference"


def recipe(batch_size: int, learning_rate: float, epochs: int, images: int, **shape: Any) -> dict[str, Any]:
    """How a recipe changes the proxy `cpu`; `shape` is its size, patches, width and depths."""
    return {"batch_size": batch_size, "learning_rate": learning_rate, "epochs": epochs, "images": images, **shape}


ONE = {"depths": (1, 1, 1, 1)}
RECIPES = {
    "swin_t": {
        REFERENCE: recipe(32, 0.001, 3, 14_400, input_size=32),
        "today": recipe(64, 0.002, 2, 5000),
        "b32": recipe(32, 0.001, 2, 4700),
        "d1-b32": recipe(32, 0.001, 2, 8300, **ONE),
        "d1-b32-fast": recipe(32, 0.002, 2, 8300, **ONE),
        "d1-b16-once": recipe(16, 0.001, 1, 14_400, **ONE),
        "d1-16px": recipe(16, 0.001, 2, 5200, **ONE, input_size=32),
    },
}
CHOOSE = {"swin_t": 16}
REPORT = 24


@dataclass(frozen=True, slots=True)
class Trained:
    """A stored training: the recipe's name, the seed, CPU seconds and the record."""

    recipe: str
    seed: int
    cpu: float
    record: TrialRecord


def proxy_of(space: Space, name: str) -> Proxy:
    """The proxy of a recipe."""
    return replace(space.proxies["cpu"], name=name, inert="allow", **RECIPES[space.name][name])


def networks(space: Space, part: str) -> list[Arch]:
    """The networks of a part: draws that the reference tells apart."""
    first = CHOOSE.get(space.name, 8)
    drawn = sample_archs(space, proxy_of(space, REFERENCE), first + REPORT, seed=0)
    return drawn[:first] if part == "choose" else drawn[first:]


@cache
def loaded(data: str, size: int, images: int) -> Splits:
    """The images of a recipe."""
    source = None if data == "embedded" else data
    return load_splits(source, input_size=size, train_images=images, seed=0, with_report=False)


def setting_of(space: Space, name: str, data: str) -> Setting:
    """What is the same for all trainings of a recipe."""
    proxy = proxy_of(space, name)
    assert isinstance(proxy.input_size, int)
    assert proxy.images is not None
    splits = loaded(data, proxy.input_size, proxy.images)
    budget = Budget.of_proxy(proxy, images=len(splits.train), device="cpu")
    return Setting(proxy=proxy, budget=budget, splits=splits, split="search", input_size=space.input_size, device="cpu")


def stored(folder: Path) -> list[Trained]:
    """All trainings of a folder; a line that a kill tore is left out."""
    found = []
    for file in sorted(folder.glob("*.jsonl")):
        text = file.read_text(encoding="utf-8")
        for line in text[: text.rfind("\n") + 1].splitlines():
            if line:
                values = json.loads(line)
                record = TrialRecord.from_dict(values["record"])
                found.append(Trained(values["recipe"], record.seeds["init"], values["cpu"], record))
    return found


def same(training: Trained, setting: Setting, arch: Arch, seed: int) -> bool:
    """Whether a stored training is that of a network and a seed by a setting."""
    record = training.record
    return (
        record.arch == arch
        and training.seed == seed
        and record.data == setting.splits.to_dict()
        and record.budget == setting.budget.to_dict()
        and record.proxy == setting.proxy.to_dict()
    )


def train(space: Space, asked: argparse.Namespace) -> None:
    """Trains what is missing, network by network."""
    torch.set_num_threads(1)
    keep_freed_memory()
    asked.store.mkdir(parents=True, exist_ok=True)
    share, of = map(int, asked.share.split("/"))
    archs = networks(space, asked.part)[: asked.networks]
    names = [name for name in asked.recipes or RECIPES[space.name] if name != REFERENCE]
    settings = {name: setting_of(space, name, asked.data) for name in [REFERENCE, *names]}
    todo = [(arch, name, seed) for arch in archs[share::of] for name, seed in trainings(names, asked)]
    file = asked.store / f"{space.name}-{asked.data.rpartition('/')[2]}-{asked.part}-{share}.jsonl"
    if file.is_file():  # a kill may have torn the last line
        text = file.read_text(encoding="utf-8")
        file.write_text(text[: text.rfind("\n") + 1], encoding="utf-8")
    done = stored(asked.store)
    for place, (arch, name, seed) in enumerate(todo):
        if any(same(training, settings[name], arch, seed) for training in done):
            continue
        began = time.process_time()
        record = run_trial(arch, settings[name], number=place, label=name, seeds={"init": seed, "order": seed})
        cpu = round(time.process_time() - began, 1)
        with file.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"recipe": name, "cpu": cpu, "record": record.to_dict()}) + "\n")
        print(f"{place + 1}/{len(todo)} {arch.id} {name} seed {seed}: {record.score} in {cpu} CPU s", flush=True)


def trainings(names: list[str], asked: argparse.Namespace) -> Iterator[tuple[str, int]]:
    """Recipe and seed of each training of a network, in their order."""
    if asked.reference:
        yield REFERENCE, 0
    for seed in range(asked.seeds):
        for name in names:
            yield name, seed


def show(space: Space, asked: argparse.Namespace) -> None:
    """Prints what each recipe costs, what its scores tell apart, and how its order agrees with the reference."""
    done, archs = stored(asked.store), networks(space, asked.part)[: asked.networks]

    def scores(name: str, seed: int) -> dict[Arch, Trained]:
        setting = setting_of(space, name, asked.data)
        return {t.record.arch: t for t in done for arch in archs if same(t, setting, arch, seed)}

    reference = scores(REFERENCE, 0)
    print(cost_line(REFERENCE, list(reference.values())))
    for name in asked.recipes or RECIPES[space.name]:
        if name == REFERENCE:
            continue
        by_seed = [found for seed in range(asked.seeds) if (found := scores(name, seed))]
        if not by_seed:
            continue
        print(cost_line(name, [training for found in by_seed for training in found.values()]))
        for seed, found in enumerate(by_seed):
            both = [arch for arch in archs if arch in found and arch in reference]
            print(f"    seed {seed} against the reference, {len(both)} networks: {order(found, reference, both)}")
        if len(by_seed) > 1:
            print_two(by_seed[0], by_seed[1], archs)


def print_two(first: dict[Arch, Trained], second: dict[Arch, Trained], archs: list[Arch]) -> None:
    """Prints what two seeds say of each other: variances between networks and of the seed, and the ceiling."""
    both = [arch for arch in archs if arch in first and arch in second]
    if len(both) < 4:
        return
    pairs = np.array([[first[arch].record.score, second[arch].record.score] for arch in both], dtype=float)
    within = float((np.diff(pairs)[:, 0] ** 2).mean() / 2)
    between = max(0.0, float(pairs.mean(1).var(ddof=1)) - within / 2)
    print(
        f"    {len(both)} networks, 2 seeds: s.d. between networks {between**0.5:.4f}, of a seed {within**0.5:.4f}; "
        f"variances {between / within:.2f} to 1; seed against seed {order(first, second, both)}"
    )


def cost_line(name: str, found: list[Trained]) -> str:
    """Name, CPU seconds and scores."""
    values = [training.record.score for training in found if training.record.score is not None]
    if not values:
        return f"{name}: nothing yet"
    cpu = statistics.fmean(training.cpu for training in found)
    return f"{name}: {cpu:.0f} CPU s a training, score {min(values):.3f} to {max(values):.3f} ({len(values)} trainings)"


def order(first: dict[Arch, Trained], second: dict[Arch, Trained], archs: list[Arch]) -> str:
    """Spearman's correlation with its interval."""
    if len(archs) < 4:
        return "too few"
    found = agreement(*([each[arch].record.score or 0.0 for arch in archs] for each in (first, second))).spearman
    return f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]"


def main() -> None:
    """Trains or prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "show"])
    parser.add_argument("--space", default="swin_t")
    parser.add_argument("--data", default="embedded")
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--part", choices=["choose", "report"], default="choose")
    parser.add_argument("--share", default="0/1")
    parser.add_argument("--recipes", nargs="+")
    parser.add_argument("--networks", type=int)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--reference", action=argparse.BooleanOptionalAction, default=True)
    asked = parser.parse_args()
    space = load_space(asked.space)
    (train if asked.what == "train" else show)(space, asked)


if __name__ == "__main__":
    main()
