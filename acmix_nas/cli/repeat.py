"""`acmix repeat`: a recorded trial once more, from its record."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from acmix_nas import plugins
from acmix_nas.cli._options import json_option, moved_data_option, out_option, plugin_option, storage_option
from acmix_nas.cli._say import say
from acmix_nas.errors import StudyError
from acmix_nas.study.folder import find_folder


@click.command()
@click.argument("study")
@click.argument("trial", type=click.IntRange(min=0))
@moved_data_option
@click.option(
    "--device", type=click.Choice(["cpu", "cuda"]), help="Where to train.  [default: the kind of device of the record]"
)
@out_option
@storage_option
@plugin_option
@json_option
def repeat(
    study: str, trial: int, data: str | None, device: str | None, out: Path, storage: str | None, as_json: bool
) -> int:
    """Train a recorded trial again with its seeds and say whether it came out the same.

    STUDY is the name of a study in --out or the path of its folder, TRIAL a number in it. The exit code is 0 if every
    score is equal, or if the difference is one that two trainings show by chance (the 95 % interval is printed), else
    1. Nothing is stored.

    \b
    Examples:
      acmix repeat swin_t-001 7
      acmix repeat combine-001 0 --data /data/imagenet
    """
    from acmix_nas.study.study import load

    header, records = load(find_folder(study, out), storage=storage)
    found = {record.number: record for record in records}
    if trial not in found:
        have = f"it has {min(found)} to {max(found)}" if found else "it has none yet"
        raise StudyError(f"the study {header.name} has no trial {trial}; {have}.")
    record = found[trial]
    plugins.check_named(record.arch.named, f"{header.name}:{trial}")

    from acmix_nas.cli._console import progress
    from acmix_nas.cli._decoding import decoding
    from acmix_nas.cli._study import stepping
    from acmix_nas.experiments.repeat import changed_environment, compare, work_of
    from acmix_nas.experiments.repeat import repeat as run

    console = progress()
    with decoding(console) as on_image:
        work = work_of(header, record, data=data, device=device, on_image=on_image)
    with stepping(console, f"trial {trial}: {record.label}") as on_step:
        again = run(record, work, on_step)
    comparison, changed = compare(record, again, records, header.metric), changed_environment(record, again)
    for name, (then, now) in changed.items():
        console.print(f"{name} was {then}, is {now}", soft_wrap=True)
    if as_json:
        say(json.dumps({"study": header.name, "trial": trial, **asdict(comparison), "changed": changed}))
    else:
        say(f"{header.name}, trial {trial}, {record.label}: {comparison.message}")
    return 0 if comparison.within else 1
