"""Ablation: the rows of a table, each one change of a base network, trained with paired seeds."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution

from acmix_nas.arch import Arch
from acmix_nas.cost.profile import throughputs
from acmix_nas.errors import ArchError
from acmix_nas.files import find_space
from acmix_nas.search.run import Watcher
from acmix_nas.search.study import Study
from acmix_nas.space import Space, load_space
from acmix_nas.space.document import Node, read
from acmix_nas.train import Setting, run_trial

log = logging.getLogger(__name__)

FOLDER = "ablations"
MOST_SEEDS = 1000
THROUGHPUT_BATCH = {"cpu": 4, "cuda": 64}
"""Images in a batch when the full networks are timed, by device."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ablation:
    """An ablation table before it is trained.

    Attributes:
        name: The file's name.
        summary: One line on what it is.
        space: Gives the base network, the proxies and the size that costs are counted at.
        baseline: The row that the others are compared with.
        rows: Name -> network.
    """

    name: str
    summary: str
    space: Space
    baseline: str
    rows: Mapping[str, Arch]


def load_ablation(name_or_path: str | os.PathLike[str]) -> Ablation:
    """The ablation of a YAML file.

    Args:
        name_or_path: A name in search_spaces/ablations, or the path of a file.

    Raises:
        SpaceError: The file is wrong; the message names file, line and field.
    """
    path = find_space(name_or_path, FOLDER)
    field = read(path).mapping(["space", "base", "baseline", "rows"], ["summary"])
    space = load_space(field["space"].text())
    base = space.build(space.first[field["base"].text(list(space.first))])
    rows = {name: _row(base, node) for name, node in field["rows"].mapping().items()}
    return Ablation(
        name=path.stem,
        summary=field["summary"].text() if "summary" in field else "",
        space=space,
        baseline=field["baseline"].text(list(rows)),
        rows=rows,
    )


def ablate(study: Study, ablation: Ablation, setting: Setting, *, seeds: int, watcher: Watcher) -> None:
    """Trains every row with so many seeds: all rows with the first, then all with the second.

    A row's images, their order and their augmentation are the same as every other row's with that seed. Cells that are
    stored are not trained again, so more seeds may be asked for later.

    Args:
        study: The study, of kind "ablate".
        ablation: Its table.
        setting: How networks are trained and scored.
        seeds: Number of seeds in all.
        watcher: Told of every cell.
    """
    cells = _Cells(study, ablation, setting, watcher, _throughputs(study, ablation, setting, watcher))
    for left in study.running():
        log.info("trial %d was interrupted; it is trained again", left.number)
        cells.train(left.number, left.params)
    there = {(trial.params["row"], trial.params["seed"]) for trial in study.trials()}
    for seed in range(seeds):
        for row in ablation.rows:
            if (row, seed) not in there:
                params = {"row": row, "seed": seed}
                cells.train(study.start(params, _distributions(ablation), row), params)


@dataclass(frozen=True, slots=True)
class _Cells:
    """Trains the cells of a table."""

    study: Study
    ablation: Ablation
    setting: Setting
    watcher: Watcher
    throughputs: Mapping[str, float]

    def train(self, number: int, params: Mapping[str, Any]) -> None:
        row, arch = params["row"], self.ablation.rows[params["row"]]
        self.watcher.begin(number, f"{row}, seed {params['seed']}", arch)
        seed = self.study.header.seed + params["seed"]
        batch_size = THROUGHPUT_BATCH[self.setting.device]
        speed = {"throughput_img_per_s": self.throughputs.get(row), "throughput_batch_size": batch_size}
        record = run_trial(
            arch,
            replace(self.setting, environment={**self.setting.environment, **speed}),
            number=number,
            label=row,
            seeds={"init": seed, "order": seed},
            on_step=self.watcher.step,
        )
        self.study.finish(record)
        log.info("%s, seed %d, %s: top1 %s in %.1f s", row, seed, record.status, record.top1, record.seconds)
        self.watcher.end(record)


def _throughputs(study: Study, ablation: Ablation, setting: Setting, watcher: Watcher) -> dict[str, float]:
    """Images a second of the full networks, measured once for a study, before anything trains beside it."""
    stored: dict[str, float] | None = study.optuna.user_attrs.get("throughputs")
    if stored is None:
        watcher.note(f"timing {len(ablation.rows)} full networks at {setting.input_size} px")
        batch_size = THROUGHPUT_BATCH[setting.device]
        stored = throughputs(ablation.rows, input_size=setting.input_size, batch_size=batch_size, device=setting.device)
        study.optuna.set_user_attr("throughputs", stored)
    return stored


def _distributions(ablation: Ablation) -> dict[str, BaseDistribution]:
    return {"row": CategoricalDistribution(list(ablation.rows)), "seed": IntDistribution(0, MOST_SEEDS - 1)}


def _row(base: Arch, node: Node) -> Arch:
    """The base network with some mixer fields changed in every block."""
    changes = {name: item.scalar() for name, item in node.mapping().items()}
    try:
        stages = [[mixer.having(**changes) for mixer in stage] for stage in base.stages]
        return Arch.canonical(host=base.host, stages=stages, conv_on=base.conv_on)
    except (ArchError, TypeError) as error:
        raise node.error(str(error)) from error
