"""What pruning saved, and whether it spared some choices: from records alone."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from acmix_nas.arch import Arch
from acmix_nas.record import StudyHeader, TrialRecord

Shares = dict[str, dict[str, tuple[int, int]]]
"""Choice -> value -> (trials pruned, trials in all)."""


def saved_epochs(records: Sequence[TrialRecord]) -> tuple[int, int]:
    """(epochs that pruned trials were not trained, epochs of all trials had none been pruned)."""
    ended = [record for record in records if record.status in ("complete", "pruned") and record.shared_with is None]
    whole = sum(int(record.budget["epochs"]) for record in ended)
    return whole - sum(len(record.scores) for record in ended), whole


def pruned_by_choice(header: StudyHeader, records: Sequence[TrialRecord]) -> Shares:
    """How many trials with each value of each choice of the space were pruned."""
    space = header.settings.get("space", {})
    shares: Shares = defaultdict(dict)
    for name in space.get("choices", {}):
        for record in records:
            if record.status in ("complete", "pruned"):
                value = _value(record.arch, name, space["widths"])
                pruned, total = shares[name].get(value, (0, 0))
                shares[name][value] = (pruned + (record.status == "pruned"), total + 1)
    return dict(shares)


def pruning_text(header: StudyHeader, records: Sequence[TrialRecord]) -> list[str]:
    """A line on what was saved; none where nothing was pruned."""
    pruned = sum(record.status == "pruned" for record in records)
    if not pruned:
        return []
    saved, whole = saved_epochs(records)
    return [f"{pruned} of {len(records)} trials were pruned: {saved} of {whole} epochs ({saved / whole:.0%}) saved"]


def _value(arch: Arch, name: str, widths: Sequence[int]) -> str:
    """The value that a network has for a choice named stages.S[.blocks.B].FIELD; "-" where it plays no part."""
    parts = name.split(".")
    stage, block = int(parts[1]), int(parts[3]) if parts[2] == "blocks" else 0
    mixer = arch.stages[stage][block]
    value: Any
    if parts[-1] == "head_dim":
        value = widths[stage] // mixer.num_heads if mixer.num_heads else None
    else:
        value = getattr(mixer, parts[-1])
    return "-" if value is None else str(value)
