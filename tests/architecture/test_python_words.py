"""An experiment in Python takes the words of its command."""

import inspect
from dataclasses import fields, is_dataclass
from importlib import import_module

import click
import pytest

from acmix_nas.cli import acmix

EXPERIMENTS = {
    **{name: name for name in ("finalists", "latency", "profile", "repeat", "search")},
    "ablate": "ablation",
    "train": "training",
}
"""Command -> file of acmix_nas.experiments."""
OF_THE_TERMINAL = {"as_json", "plugins", "plugin", "form_at", "number"}
"""What is said to the command alone: how it prints, which modules it may import, what 0.1 called otherwise."""


@pytest.mark.parametrize("command", EXPERIMENTS)
def test_every_option_is_a_word_of_the_function(command):
    found = acmix.get_command(click.Context(acmix), command)
    assert found is not None
    options = {option.name for option in found.params if not getattr(option, "hidden", False)} - OF_THE_TERMINAL
    assert len(options) > 3
    assert options - words(import_module(f"acmix_nas.experiments.{EXPERIMENTS[command]}").run) == set()


def words(function) -> set[str]:
    """Names of a function's parameters, and of the fields of those that are options of an experiment."""
    signature = inspect.signature(function)
    options = [kind for kind in (one.annotation for one in signature.parameters.values()) if is_dataclass(kind)]
    return {*signature.parameters, *(field.name for kind in options for field in fields(kind))}
