"""What the numbers of a profile cannot be read without: what ran, where, and how it was measured."""

from collections.abc import Mapping
from typing import Any

from acmix_nas.sizes import size_text

FORM_WORDS = {
    "paper": "paper form (the named implementation, literally)",
    "train": "train form (the fast form that a network has by itself)",
    "merged": "merged form (folded for deployment)",
    None: "",
}


def heading(result: Mapping[str, Any]) -> str:
    """What ran, in one line."""
    env, rows = result["env"], result["rows"]
    names = list(dict.fromkeys(row["model"] for row in rows))
    size = size_text(env["input_size"])
    flags = [word for word in ("compiled", "cuda_graph", "flush_l2") if env[word]]
    form = FORM_WORDS[next((row["form"] for row in rows if row["form"]), None)]
    told = [f"{size} px", env["dtype"], env["memory_format"], env["mode"], *flags, form]
    if env["output"] == "features":
        told.insert(1, "features only")
    named = result.get("summary") or (names[0] if len(names) == 1 else "")
    return ": ".join(filter(None, (named, ", ".join(part.replace("_", " ") for part in told if part))))


def notes_of(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Where and how it was measured, in sentences."""
    env, rows = result["env"], result["rows"]
    until = f"IQR/median was below {env['target_spread']:.0%} for all, or for about {env['time_limit_s']:g} s a row"
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
            f"{env['interval']:.0%} bootstrap interval; differences within {env['margin']:.0%} are not told apart."
        )
    impls = {row["impl"] for row in rows if row["form"] == "train"} - {None}
    if len(impls) > 1:
        notes.append(
            "In the train form fc and kernels are one convolution where that is cheaper, whatever the implementation "
            "is called; --form paper compares implementations literally."
        )
    reasons = dict.fromkeys((row["model"], row["agree_reason"]) for row in rows if row["agree_reason"])
    notes += [f"Whether the counts of {model} agree cannot be told: {reason}." for model, reason in reasons]
    notes += [
        f"{len(parts)} parts of {name} take their plain form, the first, {first}, because {parts[first]}."
        for name, parts in {row["model"]: row.get("plain_parts") for row in rows}.items()
        for first in list(parts or ())[:1]
    ]
    if env["dtype_by"]:
        notes.append(f"{env['dtype']} by: {env['dtype_by']}.")
    return tuple(notes)


def _where_measured(env: Mapping[str, Any]) -> str:
    locked = {True: "locked", False: "not locked", None: "unknown"}[env["clocks_locked"]]
    told = [f"{env['device']}: {env['device_name']}", f"{env['threads']} threads", f"clocks {locked}"]
    if env["governor"]:
        told.append(f"governor {env['governor']}")
    if env["cuda"]:
        clocks = ", ".join(f"{env[f'sm_clock_{when}_mhz']} MHz {when}" for when in ("idle", "loaded", "max"))
        told += [f"SM clock {clocks}", f"TF32 matmul {env['tf32_matmul']}, cuDNN {env['tf32_cudnn']}"]
        told += [f"cudnn.benchmark {env['cudnn_benchmark']}", f"CUDA {env['cuda']}, driver {env['driver']}"]
    if env.get("busy_cores") is not None:
        told.append(f"others used {env['busy_cores']:g} of {env['cores']} cores")
    versions = ", ".join(
        f"{name} {env[key]}"
        for name, key in (("torch", "torch"), ("timm", "timm"), ("acmix-nas", "acmix_nas"), ("Python", "python"))
    )
    return f"{', '.join(told)}; {versions}."
