"""Which network is meant: a timm name of ours, a file such as best.yaml, or a trial of a study."""

from pathlib import Path
from typing import NamedTuple

from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError, UsageError


class Found(NamedTuple):
    """A network.

    Attributes:
        name: What it is called: its timm name, STUDY/FILE, or STUDY:TRIAL.
        arch: Its description.
    """

    name: str
    arch: Arch


def find_network(text: str, reports: Path, option: str = "--reports") -> Found:
    """The network that a word of the command line means.

    Args:
        text: A timm name of ours, the path of a YAML file with an arch, or STUDY:TRIAL, where STUDY is the name of a
            study in `reports` or the path of its folder.
        reports: Folder of study folders.
        option: The option that names `reports`, for the message.

    Raises:
        UsageError: There is no such network; the message has close names.
        SpaceError: The file is no description of a network.
        StudyError: There is no such study or trial.
    """
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        return _of_file(path)
    study, colon, trial = text.rpartition(":")
    if colon and trial.isdecimal():
        return _of_trial(study, int(trial), reports, option)
    return _of_name(text)


def _of_file(path: Path) -> Found:
    from acmix_nas.space.arch_file import load_arch

    arch = load_arch(path)
    return Found(f"{path.resolve().parent.name}/{path.stem}" if path.stem == "best" else path.stem, arch)


def _of_trial(study: str, number: int, reports: Path, option: str) -> Found:
    from acmix_nas.cli.report import find_folder
    from acmix_nas.search.study import load

    header, records = load(find_folder(study, reports, option))
    trials = {record.number: record for record in records}
    if number not in trials:
        have = f"it has {min(trials)} to {max(trials)}" if trials else "it has none yet"
        raise StudyError(f"the study {header.name} has no trial {number}; {have}.")
    return Found(f"{header.name}:{number}", trials[number].arch)


def _of_name(name: str) -> Found:
    from difflib import get_close_matches

    from acmix_nas.models import model_names, named_arch

    names = model_names()
    if name in names:
        return Found(name, named_arch(name))
    close = get_close_matches(name, [*names, *(known.removeprefix("acmix_") for known in names)], n=3, cutoff=0.5)
    ours = list(dict.fromkeys(word if word in names else f"acmix_{word}" for word in close))
    hint = f"did you mean {', '.join(ours)}?" if ours else "`acmix models` lists ours."
    raise UsageError(
        f"there is no network {name!r}; {hint} A file is given by its path, ending in .yaml, a trial as STUDY:NUMBER."
    )
