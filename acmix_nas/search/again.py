"""From a study alone to what trains its networks again: its setting, and its space."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from acmix_nas import plugins
from acmix_nas.cost.environment import environment
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
    """
    header = study.header
    check_version(header)
    asked = absolute_data(recalled(Asked(out=study.folder.parent, data=data, seed=header.seed), header))
    settings = header.settings
    proxy = Proxy(**{**settings["proxy"], "depths": tuple(settings["proxy"]["depths"])})
    load = partial(load_asked, asked, proxy, True)
    splits = load(progress=progress)
    budget = Budget(**settings["budget"])
    check_same(header, {"data": splits.fingerprint, "budget": {**budget.to_dict(), "images": len(splits.train)}})
    device = pick_device(device)
    setting = Setting(
        proxy=proxy,
        budget=budget,
        splits=splits,
        split="report",
        input_size=settings["space"]["input_size"],
        device=device,
        environment=environment(device),
    )
    return Prepared(study=study, setting=setting, load=load, source=asked.data, is_new=False)


def space_of(header: StudyHeader) -> Space:
    """The space of a search as its header has it: its choices, without proxies."""
    kept = header.settings["space"]
    choices = (
        Choice(**{**choice, "options": tuple(choice["options"]), "when": _tupled(choice["when"])})
        for choice in kept["choices"].values()
    )
    space = Space(
        name=header.space,
        host=kept["host"],
        widths=tuple(kept["widths"]),
        depths=tuple(kept["depths"]),
        input_size=kept["input_size"],
        patch_size=1,
        fixed=tuple(kept["fixed"]),
        choices=tuple(choices),
        conv_on=kept["conv_on"],
        first=header.settings.get("first", {}),
    )
    plugins.check_named(space.named, f"the study {header.name}")
    return space


def _tupled(when: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(values) for name, values in when.items()}
