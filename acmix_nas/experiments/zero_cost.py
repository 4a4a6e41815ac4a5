"""The zero-cost scores of a sample of networks: each is computed once and kept."""

import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError
from acmix_nas.fields import MAPPING, NUMBER, TEXT, Origin, maybe
from acmix_nas.files import append_line, whole_lines
from acmix_nas.train import Setting
from acmix_nas.train.zero_cost import SCORES, zero_cost_scores

FILE = "scores.jsonl"
LINE = {"arch_id": TEXT, "scores": MAPPING, "of": MAPPING}
Scores = dict[str, float | None]
"""By name; None where a score is not finite for a network."""


def zero_costs(
    archs: Sequence[Arch], setting: Setting, *, seed: int, folder: Path, tell: Callable[[int, int], None]
) -> list[Scores]:
    """The zero-cost scores of networks, from the folder's file where they are there.

    Args:
        archs: The networks at full size.
        setting: How their proxies are built and trained.
        seed: Of weights and images.
        folder: Has the file.
        tell: Told how many are there, of how many.

    Raises:
        StudyError: The file is not readable.
    """
    file, facts = folder / FILE, _facts(setting, seed)
    found: dict[str, Scores] = {}
    origin = Origin(file, StudyError, "Remove the file; the scores are computed again.")
    for number, line in enumerate(lines_of(file, origin), 1):
        values = origin.fields(origin.parse(line) if line.strip() else None, LINE, path=f"line {number}")
        scores = origin.fields(values["scores"], dict.fromkeys(SCORES, maybe(NUMBER)), path=f"line {number}.scores")
        if values["of"] == facts:
            found[values["arch_id"]] = scores
    for place, arch in enumerate(archs):
        if arch.id not in found:
            tell(place, len(archs))
            scores = zero_cost_scores(arch, setting, seed=seed)
            found[arch.id] = {name: value if math.isfinite(value) else None for name, value in scores.items()}
            append_line(file, json.dumps({"arch_id": arch.id, "scores": found[arch.id], "of": facts}))
    tell(len(archs), len(archs))
    return [found[arch.id] for arch in archs]


def lines_of(file: Path, origin: Origin) -> list[str]:
    """The whole lines of a file that may not be there; what is no text is an error of the origin."""
    try:
        return whole_lines(file)
    except UnicodeDecodeError as error:
        raise origin.wrong(f"it is no text: {error}") from error


def _facts(setting: Setting, seed: int) -> dict[str, Any]:
    """What scores depend on, beside the network, as JSON gives it back."""
    proxy = {name: value for name, value in setting.proxy.to_dict().items() if name not in ("epochs", "learning_rate")}
    facts = {"seed": seed, "proxy": proxy, "data": setting.splits.to_dict(), "task": setting.task}
    if setting.head_facts is not None:
        facts["head"] = setting.head_facts
    plain: dict[str, Any] = json.loads(json.dumps(facts))
    return plain
