"""Networks in a few words: stage by stage, only what differs within the study."""

from collections.abc import Iterable
from dataclasses import fields
from itertools import groupby

from acmix_nas.arch import Arch, Mixer

PATTERNS = {
    "combine": "{}",
    "attention": "{}",
    "attn_kernel": "a{}",
    "conv_kernel": "k{}",
    "num_heads": "h{}",
    "conv_impl": "{}",
    "conv_init": "{}",
}
LEGEND = (
    "Networks by stage: rule for alpha and beta, then what differs within the study (k kernel size of the "
    "convolution path, a of the attention window, h heads)."
)


def varying(archs: Iterable[Arch]) -> frozenset[str]:
    """Fields of `Mixer` that take several values in the same stage, and "conv_on" if it does."""
    archs = list(archs)
    found = {name for name in PATTERNS if any(len(values) > 1 for values in _values(archs, name))}
    if len({arch.conv_on for arch in archs} - {None}) > 1:
        found.add("conv_on")
    return frozenset(found)


def stage_texts(arch: Arch, shown: frozenset[str] | None = None) -> list[str]:
    """One text for each stage, such as "att" or "learned k3, 2x learned k5".

    Args:
        arch: The network.
        shown: Fields to show beside the rule; all if None.
    """
    shown = frozenset(item.name for item in fields(Mixer)) if shown is None else shown
    return [_stage(stage, shown) for stage in arch.stages]


def arch_text(arch: Arch, shown: frozenset[str] | None = None) -> str:
    """The stages in one line."""
    text = " | ".join(stage_texts(arch, shown))
    rolled = arch.conv_on is not None and (shown is None or "conv_on" in shown)
    return f"{text} on {arch.conv_on}" if rolled else text


def _values(archs: list[Arch], name: str) -> list[set[object]]:
    """For each stage, the values of one field over all archs and blocks."""
    depth = max((len(arch.stages) for arch in archs), default=0)
    stages = [[arch.stages[i] for arch in archs if i < len(arch.stages)] for i in range(depth)]
    return [{getattr(mixer, name) for stage in same for mixer in stage} - {None} for same in stages]


def _stage(stage: tuple[Mixer, ...], shown: frozenset[str]) -> str:
    runs = [(text, len(list(same))) for text, same in groupby(_mixer(mixer, shown) for mixer in stage)]
    if len(runs) == 1:
        return runs[0][0]
    return ", ".join(text if count == 1 else f"{count}x {text}" for text, count in runs)


def _mixer(mixer: Mixer, shown: frozenset[str]) -> str:
    if mixer.operator != "acmix":
        return mixer.operator
    names = [name for name in PATTERNS if name == "combine" or name in shown]
    return " ".join(PATTERNS[name].format(value) for name in names if (value := getattr(mixer, name)) is not None)
