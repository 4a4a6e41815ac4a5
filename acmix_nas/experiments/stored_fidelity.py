"""What was found about the fidelity of a proxy, and where it is stored."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from acmix_nas.data import Splits
from acmix_nas.errors import StudyError
from acmix_nas.experiments.rank_correlation import Agreement
from acmix_nas.fields import COUNT, MAPPING, TEXT, Origin, whole
from acmix_nas.space import Proxy, Space
from acmix_nas.tasks import DEFAULT, pick_metric
from acmix_nas.train import Setting
from acmix_nas.train.zero_cost import SCORES

FOLDER = "fidelity"
LARGER = dict.fromkeys(("epochs", "images"), whole(1))
FIRST_EPOCH, CEILING = "first_epoch", "ceiling"
ALWAYS = ("proxy", "params", "macs")
ZERO_COST = tuple(SCORES)
ROWS = (*ALWAYS, FIRST_EPOCH, *ZERO_COST, CEILING)
"""What networks can be ordered by: `ALWAYS` is there."""
CLASSIFIED = {"task": DEFAULT, "head": None, "metric": "top1"}
"""What networks learned where a summary does not say."""
SUMMARY = {
    **dict.fromkeys(("space", "proxy", "cheap", "large", "agreements", "better_half", "learned"), MAPPING),
    "fingerprint": TEXT,
    **dict.fromkeys(("archs", "failed", "seed"), COUNT),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Fidelity:
    """What was found.

    Attributes:
        space: What decides the networks of the space.
        proxy: The proxy, with its epochs and images, of the cheap training.
        fingerprint: Of the images.
        cheap: Budget of the cheap training.
        large: Budget of the large training.
        archs: Networks that both trainings finished.
        failed: Networks that one of them did not finish.
        seed: Seed of sample, draws, weights and order.
        agreements: Of some of `ROWS`, how its order agrees with that of the scores of the large training. "ceiling" is
            the large training again, with another seed: no other order can be expected to agree better.
        better_half: The same over the half of the networks that the large training scores best.
        learned: Task, head and metric.
    """

    space: Mapping[str, Any]
    proxy: Mapping[str, Any]
    fingerprint: str
    cheap: Mapping[str, Any]
    large: Mapping[str, Any]
    archs: int
    failed: int
    seed: int
    agreements: Mapping[str, Agreement]
    better_half: Mapping[str, Agreement] = field(default_factory=dict)
    learned: Mapping[str, Any] = field(default_factory=lambda: dict(CLASSIFIED))

    @classmethod
    def load(cls, file: Path) -> Self:
        """Reads a summary.

        Raises:
            StudyError: The file cannot be read, or is none.
        """
        origin = Origin(file, StudyError, "Remove it; acmix data fidelity writes it again from the stored trainings.")
        values = origin.fields(origin.read(), SUMMARY, optional=["better_half", "learned"])
        origin.fields({name: values["large"].get(name) for name in LARGER}, LARGER, path="large")
        for part, needed in (("agreements", ALWAYS), ("better_half", ())):
            optional = [name for name in ROWS if name not in needed]
            rows = origin.fields(values.get(part, {}), dict.fromkeys(ROWS, MAPPING), optional=optional, path=part)
            values[part] = {name: Agreement.from_dict(row, origin, f"{part}.{name}") for name, row in rows.items()}
        return cls(**values)


def find_fidelity(
    out: Path, space: Space, proxy: Proxy, splits: Splits, learned: Mapping[str, Any] = CLASSIFIED
) -> Fidelity | None:
    """What was measured for this space, this proxy with its epochs and images, and these images; None: unvalidated.

    Args:
        out: Folder of reports.
        space: The space that is searched.
        proxy: The proxy, with the epochs and images that a search trains with.
        splits: The images.
        learned: Task, head and metric, as `learned_of` has them.

    Returns:
        Of several, that of the most networks.
    """
    found = []
    folders = [fidelity_folder(out, space, mark) for mark in (splits.fingerprint, splits.former) if mark]
    for file in sorted(file for folder in folders for file in folder.glob("summary-*.json")):
        fidelity = Fidelity.load(file)
        same = (fidelity.proxy, fidelity.space, fidelity.learned)
        if same == (plain(proxy.to_dict()), definition(space), learned):
            found.append(fidelity)
    return max(found, key=lambda fidelity: fidelity.archs, default=None)


def fidelity_folder(out: Path, space: Space, fingerprint: str) -> Path:
    """Where the trainings of a space on some images lie."""
    return out / FOLDER / f"{space.name}-{fingerprint.replace(':', '-')}"


def learned_of(setting: Setting) -> dict[str, Any]:
    """Task, head and metric of trainings."""
    metric = pick_metric(setting.learned, setting.metric).name
    return plain({"task": setting.task, "head": setting.head_facts, "metric": metric})


def definition(space: Space) -> dict[str, Any]:
    """What decides the networks of a space."""
    choices = {choice.name: [list(choice.options), dict(choice.when)] for choice in space.choices}
    facts = {"name": space.name, "host": space.host, "widths": space.widths, "depths": space.depths}
    return plain({**facts, "conv_on": space.conv_on, "fixed": [dict(f) for f in space.fixed], "choices": choices})


def plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values as JSON gives them back."""
    plain: dict[str, Any] = json.loads(json.dumps(values))
    return plain
