"""The networks that a command names: timm names, files of an arch, trials of a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from acmix_nas import plugins
from acmix_nas.arch import Arch
from acmix_nas.errors import StudyError, UsageError

if TYPE_CHECKING:
    from acmix_nas.cost.network import Network
    from acmix_nas.record import StudyHeader, TrialRecord


class Found(NamedTuple):
    """A network of ours.

    Attributes:
        name: What it is called: its timm name, STUDY/best, or STUDY:TRIAL.
        arch: Its description.
    """

    name: str
    arch: Arch


def find_arch(text: str, reports: Path) -> Found:
    """The network of ours that a word of the command line means.

    Args:
        text: A timm name of ours, the path of a YAML file with an arch, or STUDY:TRIAL, where STUDY is the name of a
            study in `reports` or the path of its folder.
        reports: Folder of study folders.

    Raises:
        UsageError: There is no such network; the message has names like it.
        SpaceError: The file is no description of a network.
        StudyError: There is no such study or trial.
    """
    found = _ours(text, reports)
    if found is None:
        from acmix_nas.models import model_names

        raise _unknown(text, model_names())
    return found


def find_network(text: str, reports: Path) -> "Network":
    """As `find_arch`, and timm's own models by name.

    Raises:
        UsageError: There is no such model; the message has names like it.
        SpaceError: The file is no description of a network.
        StudyError: There is no such study or trial.
    """
    import timm

    from acmix_nas.cost.network import Network

    found = _ours(text, reports)
    if found is not None:
        return Network(name=found.name, arch=found.arch)
    if timm.is_model(text):
        return Network(name=text)
    raise _unknown(text, timm.list_models())


def _ours(text: str, reports: Path) -> Found | None:
    """The network of a file, of a trial or of a timm name of ours; None if the text is none of them."""
    path = Path(text)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        from acmix_nas.space.arch_file import load_arch

        arch = load_arch(path)
        return Found(f"{path.resolve().parent.name}/best" if path.stem == "best" else path.stem, arch)
    study, colon, trial = text.rpartition(":")
    if colon and trial.isdecimal():
        header, _, record = find_trial(study, int(trial), reports)
        return Found(f"{header.name}:{record.number}", record.arch)
    from acmix_nas.models import model_names, named_arch

    return Found(text, named_arch(text)) if text in model_names() else None


def find_trial(
    study: str, number: int, reports: Path, *, storage: str | None = None
) -> tuple["StudyHeader", list["TrialRecord"], "TrialRecord"]:
    """A trial of a study, with the header and all records of the study.

    Args:
        study: Name of a study in `reports`, or the path of its folder.
        number: Number of the trial.
        reports: Folder of study folders.
        storage: URL of the study's database, where that is not study.db in its folder.

    Raises:
        StudyError: There is no such study or trial.
    """
    from acmix_nas.study import load
    from acmix_nas.study.folder import find_folder

    header, records = load(find_folder(study, reports, "--reports"), storage=storage)
    trials = {record.number: record for record in records}
    if number not in trials:
        have = f"it has {min(trials)} to {max(trials)}" if trials else "it has none yet"
        raise StudyError(f"the study {header.name} has no trial {number}; {have}.")
    plugins.check_named(trials[number].arch.named, f"{header.name}:{number}")
    return header, records, trials[number]


def _unknown(name: str, names: Sequence[str]) -> UsageError:
    from difflib import get_close_matches

    full = {name.removeprefix("acmix_"): name for name in names} | {name: name for name in names}
    close = dict.fromkeys(full[word] for word in get_close_matches(name, full, n=4, cutoff=0.5))
    hint = f"did you mean {', '.join(close)}?" if close else "`acmix models` lists ours."
    return UsageError(
        f"there is no model {name!r}; {hint} A file is given by its path, ending in .yaml, a trial as STUDY:NUMBER."
    )
