"""What a table must say about its numbers, and which numbers may stand in one table."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report.pareto import complete
from acmix_nas.report.sampling import sampling_fact
from acmix_nas.sizes import pair, size_text
from acmix_nas.space.proxy import stage_maps

BROKEN_VERSION = "0.1.0"
LEAST_KERNEL = 7
LEAST_MAPS = 144
"""Maps that one group of the convolution reads: q, k and v of each head."""


def embedded_note(header: StudyHeader, records: Iterable[TrialRecord]) -> str:
    """What is said where the images are those that come with the package."""
    scenes = any(record.head is not None for record in records)
    what = (
        "composed scenes of the embedded garments, not photographs"
        if scenes
        else "the embedded Fashion-MNIST, not ImageNet"
    )
    return f"These {header.metric.nouns} are on {what}."


def check_comparable(header: StudyHeader, records: Iterable[TrialRecord]) -> None:
    """Refuses trials whose scores cannot stand in one table.

    Raises:
        RecordError: Two complete trials differ in split, task, metric, data fingerprint, proxy or budget.
    """
    scored = complete(records)
    for record in scored:
        if record.split != header.split:
            raise RecordError(
                f"trial {record.number} was scored on {record.split} images and study {header.name} on "
                f"{header.split} images; a table has one split: keep them in two studies."
            )
        if record.metric != header.metric.name:
            raise RecordError(
                f"the scores of trial {record.number} are {record.metric} and those of study {header.name} are "
                f"{header.metric.name}; a table has one metric: keep them in two studies."
            )
        _check_same(scored[0], record, "task", scored[0].task, record.task)
        _check_same(scored[0], record, "head", scored[0].head, record.head)
        _check_same(scored[0], record, "data fingerprint", *_fingerprints(scored[0], record))
        for name in sorted({*scored[0].proxy, *record.proxy}, key=str):
            _check_same(scored[0], record, f"proxy {name}", scored[0].proxy.get(name), record.proxy.get(name))
        for name in sorted({*scored[0].budget, *record.budget}, key=str):
            _check_same(scored[0], record, f"budget {name}", scored[0].budget.get(name), record.budget.get(name))


def facts(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, str]:
    """What holds for all trials, as name -> text: data, split, budget, seeds, machine."""
    asked_fact = _asked_fact(header, records)
    records = complete(records) or list(records)
    return {
        **_task_fact(records),
        "Data": _each(_data_text(record.data) for record in records),
        "Split": f"{header.split} images" + _split_note(header.split),
        **sampling_fact(header.metric, records),
        "Budget": _each(_budget_text(record.budget) for record in records),
        "Proxy": _each(_proxy_text(record.proxy) for record in records),
        "Seeds": _seeds_text(records),
        "Machine": _each(_machine_text(record.environment) for record in records),
        **_latency_fact(header),
        **asked_fact,
        **gradient_fact(records),
    }


def _task_fact(records: Sequence[TrialRecord]) -> dict[str, str]:
    """What networks learned, with which head, where it is not each image's class."""
    heads = [f"{record.task}, head {record.head['name']}" for record in records if record.head is not None]
    return {"Task": _each(heads)} if heads else {}


def _asked_fact(header: StudyHeader, records: Sequence[TrialRecord]) -> dict[str, str]:
    """How much of what was asked for is there, while some is missing."""
    asked = header.settings.get("asked")
    counts = asked if isinstance(asked, Mapping) else {}
    if header.kind == "ablate":
        wanted, what = _whole(counts.get("seeds")) * len(header.rows), "cells"
    else:
        wanted, what = _whole(counts.get("trials")), "trials"
        wanted += sum(record.origin is not None for record in records) if wanted else 0
    if len(records) >= wanted:
        return {}
    return {"Unfinished": f"{len(records)} of {wanted} {what} have ended"}


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0


def _latency_fact(header: StudyHeader) -> dict[str, str]:
    """Where latencies are from, if the study has any."""
    table = header.settings.get("latency_table")
    return {"Latency": f"sums of a table measured on {table['device_name'] or 'an unnamed device'}"} if table else {}


def caption(header: StudyHeader, records: Sequence[TrialRecord]) -> str:
    """The facts as sentences, for below a table."""
    texts = [f"{name}: {text}." for name, text in facts(header, records).items() if text != "-"]
    return " ".join([*texts, *([embedded_note(header, records)] if is_embedded(records) else [])])


def is_embedded(records: Iterable[TrialRecord]) -> bool:
    """Whether the images are those that come with the package."""
    return any(str(record.data.get("name", "")).endswith("(embedded)") for record in records)


def _check_same(first: TrialRecord, other: TrialRecord, what: str, left: object, right: object) -> None:
    if left != right:
        raise RecordError(
            f"trials {first.number} and {other.number} differ in {what}: {left!r} and {right!r}; "
            "their scores cannot be compared: keep them in two studies."
        )


def _fingerprints(*records: TrialRecord) -> list[str]:
    """Of the images of each, by the rule of acmix-nas 0.1 where one of them has no other."""
    marks = [str(record.data.get("fingerprint", "")) for record in records]
    if all(":" in mark for mark in marks):
        return marks
    return [str(record.data.get("former", mark)) for record, mark in zip(records, marks, strict=True)]


def _split_note(split: str) -> str:
    return " (held out of the training images)" if split == "search" else " (the validation images, never searched on)"


def _each(texts: Iterable[str]) -> str:
    """The different texts, in order; a dash if there are none."""
    return "; ".join(dict.fromkeys(text for text in texts if text)) or "-"


def _data_text(data: Mapping[str, Any]) -> str:
    name, classes = data.get("name"), data.get("num_classes")
    mark = str(data.get("fingerprint", "")).rpartition(":")[2][:8]
    known = [f"fingerprint {mark}"] if mark else []
    known += [f"{classes} classes"] if classes else []
    return f"{name or 'unnamed'} ({', '.join(known)})" if known else str(name or "")


def _budget_text(budget: Mapping[str, Any]) -> str:
    patterns = {"epochs": "epochs {}", "repeats": "repeats {}", "images": "images {:,}", "batch_size": "batch size {}"}
    known = [(pattern, budget[name]) for name, pattern in patterns.items() if isinstance(budget.get(name), int)]
    return ", ".join(pattern.format(value) for pattern, value in known)


def _proxy_text(proxy: Mapping[str, Any]) -> str:
    depths = proxy.get("depths")
    known = [
        str(proxy.get("name") or ""),
        f"{size_text(proxy['input_size'])} px" if proxy.get("input_size") else "",
        f"width {proxy['width']}" if proxy.get("width") else "",
        f"depths {'-'.join(map(str, depths))}" if isinstance(depths, list | tuple) else "",
    ]
    return ", ".join(text for text in known if text)


def _seeds_text(records: Iterable[TrialRecord]) -> str:
    seeds: dict[str, set[int]] = {}
    for record in records:
        for name, value in record.seeds.items():
            seeds.setdefault(name, set()).add(value)
    return ", ".join(f"{name} {_numbers(sorted(values))}" for name, values in seeds.items()) or "-"


def _numbers(values: list[int]) -> str:
    if len(values) > 6:
        return f"{values[0]} to {values[-1]} ({len(values)} of them)"
    return ", ".join(map(str, values))


def _machine_text(environment: Mapping[str, Any]) -> str:
    versions = environment.get("versions")
    nested = versions if isinstance(versions, Mapping) else {}
    name = next((str(environment[key]) for key in ("device_name", "gpu", "cpu", "device") if environment.get(key)), "")
    threads, torch = environment.get("threads"), environment.get("torch") or nested.get("torch")
    known = [name, f"threads {threads}" if threads else "", f"torch {torch}" if torch else ""]
    return ", ".join(text for text in known if text)


def has_broken_gradient(record: TrialRecord) -> bool:
    """Whether a trial of acmix-nas 0.1 trained with a weight gradient that torch gets wrong on CPUs with AVX-512.

    A convolution in bf16 whose kernel reaches far beyond a tiny map takes a broken kernel of oneDNN there (torch 2.14).
    Later versions compute such convolutions in fp32. Which ones of the shipped spaces take it was measured against
    float64: those of kernel 7 on a map of 2 x 2 pixels that read 144 maps at each depth. No record says whether its CPU
    has AVX-512.
    """
    environment, proxy = record.environment, record.proxy
    trained = (environment.get("acmix_nas"), environment.get("device"), record.budget.get("precision"))
    input_size, patch_size = proxy.get("input_size"), proxy.get("patch_size")
    if trained != (BROKEN_VERSION, "cpu", "bf16") or not isinstance(input_size, int) or not isinstance(patch_size, int):
        return False
    maps = stage_maps(input_size, max(patch_size, 1), len(record.arch.stages))
    return any(
        mixer.conv_impl in ("shift", "groupconv", "learnable")
        and (mixer.conv_kernel or 0) >= LEAST_KERNEL
        and (mixer.conv_kernel or 0) > min(pair(size))
        and 3 * (mixer.num_heads or 0) >= LEAST_MAPS
        for stage, size in zip(record.arch.stages, maps, strict=True)
        for mixer in stage
    )


def gradient_fact(records: Iterable[TrialRecord]) -> dict[str, str]:
    """What a report says of such trials, as name -> text; nothing if there are none."""
    numbers = [str(record.number) for record in records if has_broken_gradient(record)]
    if not numbers:
        return {}
    which = f"trial {numbers[0]} has" if len(numbers) == 1 else f"trials {', '.join(numbers)} have"
    return {
        "Gradients": f"{which} a stage whose convolution gradients torch 2.14 gets wrong in bf16 on CPUs with AVX-512; "
        "acmix-nas 0.1 trained with them. Repeat before you compare."
    }
