"""A profile as a table, with what each number cannot be read without."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from acmix_nas.cost.compare import Ratio
from acmix_nas.report.table import NOTHING, Cell, Column, Table, numeric
from acmix_nas.sizes import size_text

Row = Mapping[str, Any]
FORM_WORDS = {
    "paper": "paper form (the named implementation, step by step)",
    "train": "train form (the fast form that a network uses by default)",
    "merged": "merged form (folded for deployment)",
    None: "",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A column of the table.

    Attributes:
        column: Its heading.
        text: What people see of a row; "" for nothing.
        value: The key of the value for programs; the column's own key if "".
        screen: 0 if a terminal always shows it; the higher, the sooner it is left out where width is scarce; None if
            only CSV has it.
    """

    column: Column
    text: Callable[[Row], str]
    value: str = ""
    screen: int | None = 0


def main_table(result: Mapping[str, Any], shown: Sequence[Shown]) -> Table:
    """The table of a profile with some of its columns."""
    title, notes = heading(result), notes_of(result)
    rows = tuple(tuple(_cell(each, row) for each in shown) for row in result["rows"])
    columns = tuple(each.column for each in shown)
    return Table(name="profile", title=title, columns=columns, rows=rows, caption=f"{title}.", notes=notes)


def _cell(shown: Shown, row: Row) -> Cell:
    text = shown.text(row)
    return Cell(text, row.get(shown.value or shown.column.key)) if text else NOTHING


def _ratio(row: Row) -> str:
    if row["difference"] is None:
        return "1"
    return str(Ratio(ratio=row["ratio"], low=row["ratio_low"], high=row["ratio_high"], difference=row["difference"]))


def _agree(row: Row) -> str:
    unknown = "cannot tell" if row["agree_reason"] else ""
    return {True: "yes", False: "no", None: unknown}[row["agree"]]


def _batch(row: Row) -> str:
    asked, ran = row["requested_batch_size"], row["batch_size"]
    if ran is None:
        return ""
    return str(ran) if ran == asked else f"{ran} (of {asked})"


def columns_of(result: Mapping[str, Any]) -> list[Shown]:
    """All columns that a profile may have, in their order."""
    rows = result["rows"]
    compared = any(row["difference"] for row in rows)
    several = len({row["model"] for row in rows}) > 1
    named = all((row["impl"] or "") in row["model"] for row in rows)
    return [
        _words("model", shown=several),
        _words("impl", shown=not named),
        _words("form", shown=False),
        Shown(column=numeric("batch_size", "batch"), text=_batch),
        _numeric("params", "params (M)", 1e6, ".2f"),
        _numeric("macs", "MACs (G)", 1e9, ".3f"),
        _numeric("flops", "FLOPs (G)", 1e9, ".3f"),
        _numeric("macs_deploy", "deployed MACs (G)", 1e9, ".3f", screen=5, printed=False),
        _numeric("macs_fvcore", "fvcore MACs (G)", 1e9, ".3f", screen=6, printed=False),
        _numeric("macs_torch", "torch MACs (G)", 1e9, ".3f", screen=7, printed=False),
        Shown(column=Column(key="agree", title="counts agree", printed=False), text=_agree, screen=5),
        _words("agree_reason", shown=False),
        _numeric("macs_unseen", "unseen MACs (G)", 1e9, ".3f", screen=None),
        _numeric("activations", "activations (M)", 1e6, ".2f", screen=None),
        _numeric("latency_ms", "latency (ms)", 1, ".2f"),
        _numeric("latency_table_ms", "latency by table (ms)", 1, ".2f"),
        _numeric("latency_iqr_ms", "IQR (ms)", 1, ".2f", screen=2),
        _numeric("latency_min_ms", "min (ms)", 1, ".2f", screen=None),
        _numeric("latency_p95_ms", "p95 (ms)", 1, ".2f", screen=None),
        _numeric("throughput", "throughput (img/s)", 1, ".1f"),
        _numeric("peak_memory_mb", "peak memory (MB)", 1, ".1f", screen=3),
        _numeric("compile_s", "compile (s)", 1, ".1f"),
        _numeric("graph_breaks", "graph breaks", 1, ".0f"),
        Shown(
            column=Column(key="repetitions", title="rounds (ended by)", printed=False),
            text=lambda row: "" if row["repetitions"] is None else f"{row['repetitions']} ({row['stopped_by']})",
            screen=4,
        ),
        Shown(
            column=Column(key="ratio", title="time / first", short="time ratio"),
            text=lambda row: _ratio(row) if compared else "",
        ),
        *(_numeric(key, key.replace("_", " "), 1, ".4f", screen=None) for key in ("ratio_low", "ratio_high")),
        _words("difference", shown=False),
    ]


def _words(key: str, *, shown: bool) -> Shown:
    return Shown(column=Column(key=key, title=key), text=lambda row: row[key] or "", screen=0 if shown else None)


def _numeric(key: str, title: str, unit: float, form: str, *, screen: int | None = 0, printed: bool = True) -> Shown:
    shown = printed and screen is not None
    column = Column(key=key, title=title, numeric=True, printed=shown)
    return Shown(
        column=column, text=lambda row: "" if row.get(key) is None else format(row[key] / unit, form), screen=screen
    )


def heading(result: Mapping[str, Any]) -> str:
    """What ran, in one line."""
    env, rows = result["env"], result["rows"]
    names = list(dict.fromkeys(row["model"] for row in rows))
    size = size_text(env["input_size"])
    flags = [word for word in ("compiled", "cuda_graph", "flush_l2") if env[word]]
    form = FORM_WORDS[next((row["form"] for row in rows if row["form"]), None)]
    facts = [f"{size} px", env["dtype"], env["memory_format"], env["mode"], *flags, form]
    if env["output"] == "features":
        facts.insert(1, "features only")
    named = result.get("summary") or (names[0] if len(names) == 1 else "")
    return ": ".join(filter(None, (named, ", ".join(part.replace("_", " ") for part in facts if part))))


def notes_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Where and how it was measured, in sentences."""
    env, rows = result["env"], result["rows"]
    if not env.get("timed", True):
        notes = ["Counted only. MACs are multiply-adds of one image.", *_of_counts(rows)]
        return tuple(notes)
    until = f"IQR/median was below {env['target_spread']:.0%} for all, or for about {env['time_limit_s']:g} s per row"
    notes = [
        _where_measured(env),
        f"Latency is the median of a batch, IQR its interquartile range; repeated until {until}. "
        "MACs are multiply-adds of one image.",
    ]
    if any(row["ratio"] is not None for row in rows):
        baseline = next(row for row in rows if row["ratio"] is None)
        named = baseline["impl"] if len({row["model"] for row in rows}) == 1 and baseline["impl"] else baseline["model"]
        notes.append(
            f"Ratios are latency over that of {named}, the median over rounds that run every network once, with a "
            f"{env['interval']:.0%} bootstrap interval; differences within {env['margin']:.0%} count as no "
            "difference."
        )
    impls = {row["impl"] for row in rows if row["form"] == "train"} - {None}
    if len(impls) > 1:
        notes.append(
            "In the train form, fc and kernels are one convolution if that is cheaper, for every implementation; "
            "--form paper compares the implementations step by step."
        )
    notes += _of_counts(rows)
    notes += [
        f"{len(parts)} parts of {name} use their plain form; the first, {first}, because {parts[first]}."
        for name, parts in {row["model"]: row.get("plain_parts") for row in rows}.items()
        for first in list(parts or ())[:1]
    ]
    if env["dtype_by"]:
        notes.append(f"{env['dtype']} by: {env['dtype_by']}.")
    return tuple(notes)


def _of_counts(rows: Sequence[Row]) -> list[str]:
    """Where it is unknown whether counts agree."""
    reasons = dict.fromkeys((row["model"], row["agree_reason"]) for row in rows if row["agree_reason"])
    return [f"It is unknown whether the counts of {model} agree: {reason}." for model, reason in reasons]


def _where_measured(env: Mapping[str, Any]) -> str:
    locked = {True: "locked", False: "not locked", None: "unknown"}[env["clocks_locked"]]
    facts = [f"{env['device']}: {env['device_name']}", f"{env['threads']} threads", f"clocks {locked}"]
    if env["governor"]:
        facts.append(f"governor {env['governor']}")
    if env["cuda"]:
        clocks = ", ".join(f"{env[f'sm_clock_{when}_mhz']} MHz {when}" for when in ("idle", "loaded", "max"))
        facts += [f"SM clock {clocks}", f"TF32 matmul {env['tf32_matmul']}, cuDNN {env['tf32_cudnn']}"]
        facts += [f"cudnn.benchmark {env['cudnn_benchmark']}", f"CUDA {env['cuda']}, driver {env['driver']}"]
    if env.get("busy_cores") is not None:
        facts.append(f"other processes used {env['busy_cores']:g} of {env['cores']} cores")
    versions = ", ".join(
        f"{name} {env[key]}"
        for name, key in (("torch", "torch"), ("timm", "timm"), ("acmix-nas", "acmix_nas"), ("Python", "python"))
    )
    return f"{', '.join(facts)}; {versions}."
