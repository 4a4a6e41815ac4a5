"""From a study alone to what trains its networks again: its setting, and its space."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from acmix_nas import plugins
from acmix_nas.cost.environment import environment
from acmix_nas.errors import AcmixError, RecordError
from acmix_nas.fields import FLAG, MAPPING, TEXT, Origin, Rule, list_of, mapping_of, maybe, whole
from acmix_nas.record import StudyHeader
from acmix_nas.search.same import check_same
from acmix_nas.search.setup import (
    Asked,
    Prepared,
    absolute_data,
    check_version,
    load_asked,
    pick_device,
    recalled,
)
from acmix_nas.search.study import Study
from acmix_nas.space import Choice, Proxy, Space
from acmix_nas.train import Budget, Setting

Progress = Callable[[int, int], None]


def prepare_again(
    study: Study, *, data: str | None = None, device: str = "auto", progress: Progress | None = None
) -> Prepared:
    """What trains a search's networks again as it did, scored on the report split.

    Args:
        study: The search.
        data: Where its images are, if not where they were.
        device: "auto", "cpu" or "cuda".
        progress: Told how many images were decoded, of how many.

    Raises:
        StudyError: The images are others now, or another version made the study.
        DataError: The images cannot be read.
        UsageError: There is no such device.
        PluginError: Its space names a module that the user did not name (`acmix_nas.plugins`).
    """
    header = study.header
    check_version(header)
    asked = absolute_data(recalled(Asked(out=study.folder.parent, data=data, seed=header.seed), header))
    space, where = space_of(header), f"the header of the study {header.name}"
    plugins.check_named(space.named, where)
    proxy = Proxy.from_dict(header.setting("proxy"), where)
    load = partial(load_asked, asked, proxy, True, like=header.settings.get("data"))
    splits = load(progress=progress)
    budget = Budget.from_dict(header.setting("budget"), where)
    check_same(header, {"data": splits.fingerprint, "budget": {**budget.to_dict(), "images": len(splits.train)}})
    device = pick_device(device)
    setting = Setting(
        proxy=proxy,
        budget=budget,
        splits=splits,
        split="report",
        input_size=space.input_size,
        device=device,
        environment=environment(device),
    )
    return Prepared(study=study, setting=setting, load=load, source=asked.data, is_new=False)


def space_of(header: StudyHeader) -> Space:
    """The space of a search as its header has it: its choices, without proxies.

    Raises:
        RecordError: The header has none, or it is no space.
    """
    origin = Origin(f"the header of the study {header.name}, settings.space", RecordError)
    kept = origin.fields(header.setting("space"), SPACE)
    choices = [origin.fields(choice, CHOICE, path=f"choices.{name}") for name, choice in kept["choices"].items()]
    if not len(kept["widths"]) == len(kept["depths"]) == len(kept["fixed"]):
        raise origin.wrong("one width, depth and mapping for each stage is needed", "fixed")
    try:
        space = Space(
            name=header.space,
            host=kept["host"],
            widths=tuple(kept["widths"]),
            depths=tuple(kept["depths"]),
            input_size=kept["input_size"],
            patch_size=1,
            fixed=tuple(kept["fixed"]),
            choices=tuple(
                Choice(**{**choice, "options": tuple(choice["options"]), "when": _tupled(choice["when"])})
                for choice in choices
            ),
            conv_on=kept["conv_on"],
            first=header.settings.get("first", {}),
        )
        for values in space.first.values():
            space.build(values)
    except (AcmixError, LookupError, TypeError) as error:  # a choice of a stage that is not there, a mixer's odd field
        raise origin.wrong(f"no networks are built by it: {error}") from error
    return space


_VALUE = Rule("a word or a whole number", lambda value: type(value) in (str, int))
SPACE: Mapping[str, Rule] = {
    "host": TEXT,
    "widths": list_of(whole(1), 1),
    "depths": list_of(whole(1, 100), 1),
    "input_size": whole(1, 10**5),
    "conv_on": maybe(TEXT),
    "fixed": list_of(mapping_of(_VALUE)),
    "choices": mapping_of(MAPPING),
}
CHOICE: Mapping[str, Rule] = {
    "name": TEXT,
    "options": list_of(_VALUE, 1),
    "ordered": FLAG,
    "when": mapping_of(list_of(_VALUE)),
}


def _tupled(when: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(values) for name, values in when.items()}
