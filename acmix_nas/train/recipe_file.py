"""Recipes of full training: YAML files in `recipes/`, one for each host, or a user's own."""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from math import ceil
from pathlib import Path
from typing import Any

from acmix_nas.errors import SpaceError
from acmix_nas.fields import FLAG, NUMBER, TEXT, Rule, list_of, whole
from acmix_nas.space.plain_yaml import read_plain
from acmix_nas.train.recipe import BUDGET, Budget, RecipeError

FOLDER = Path(__file__).parent / "recipes"
BESIDE = ("warmup_epochs", "warmup_iterations", "iterations", "input_size")
REQUIRED = ("batch_size", "learning_rate")
LENGTHS = (("epochs", "iterations"), ("warmup_epochs", "warmup_iterations"))
"""Of each pair a file has one: the length in passes over the images, or in optimizer steps."""
PLAIN = {"max_shift": 0.0, "clip_norm": None, "weight_decay": 0.0, "label_smoothing": 0.0}
"""What a file leaves out is off, also where proxy training has it."""
PIXELS = whole(1, 10_000)
FRACTION = Rule("number (1e-4 is text in YAML, 0.0001 a number)", NUMBER.fits)
KINDS: Mapping[str, Rule] = {
    **dict.fromkeys(
        (
            *("epochs", "batch_size", "steps", "accumulate", "input_size", "short_side", "frozen_stages"),
            *("iterations", "warmup_iterations", "repeats"),
        ),
        Rule("whole number", lambda value: type(value) is int),
    ),
    **dict.fromkeys(("optimizer", "rand_augment", "precision", "schedule", "norms"), Rule("word", TEXT.fits)),
    **dict.fromkeys(("compile", "deterministic", "photometric", "grad_checkpointing"), Rule("yes or no", FLAG.fits)),
    **dict.fromkeys(("crop", "scale"), Rule("list of two numbers", list_of(NUMBER, 2, 2).fits)),
    "milestones": Rule("list of numbers", list_of(NUMBER).fits),
}
"""What a field holds, where it is not a number with a fraction."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a recipe file says.

    Attributes:
        name: Name of the file.
        values: Fields of `Budget`.
        input_size: Height and width of the images in pixels; None where it does not say.
        iterations: Optimizer steps, where its length is not in epochs.
        warmup_iterations: Steps of the warm-up, where that is in steps.
    """

    name: str
    values: Mapping[str, Any]
    input_size: int | None
    iterations: int | None = None
    warmup_iterations: int | None = None

    def budget(self, *, images: int, **changes: Any) -> Budget:
        """The recipe for a number of images, with some fields changed.

        The warm-up keeps its share of the epochs, and the learning rate its ratio to the batch size unless it is given.

        Args:
            images: Training images.
            changes: Fields of `Budget`; None leaves a field as it is.

        Raises:
            RecipeError: The values cannot be trained with.
        """
        given = {name: value for name, value in changes.items() if value is not None}
        values = {**self.values, **given}
        if "learning_rate" not in given:
            values["learning_rate"] *= values["batch_size"] / self.values["batch_size"]
        in_epoch = ceil(images * values.get("repeats", 1) / values["batch_size"])
        if "epochs" not in values:
            assert self.iterations is not None, "a file has one of the two"
            values |= {"epochs": ceil(self.iterations / in_epoch), "steps": self.iterations}
        if "warmup" not in values:
            steps = values.get("steps") or values["epochs"] * in_epoch
            values["warmup"] = min(0.5, (self.warmup_iterations or 0) / steps)
        return Budget(images=images, **values)

    def having(self, **defaults: Any) -> "Recipe":
        """This recipe with values for fields that its file leaves open."""
        return replace(self, values={**defaults, **self.values})


def recipe_names() -> list[str]:
    """Names of the recipes that come with the package: those of hosts."""
    return sorted(file.stem for file in FOLDER.glob("*.yaml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Reads a recipe.

    Args:
        name_or_path: A name of `recipe_names`, or the path of a YAML file with fields of `Budget` (without `images`),
            `warmup_epochs` or `warmup_iterations` instead of `warmup`, `iterations` where the length is not in epochs,
            and optionally `input_size`.

    Raises:
        RecipeError: There is no such file, or it is no such YAML; the message names the fields.
    """
    path = Path(name_or_path)
    file = path if path.suffix in (".yaml", ".yml") or len(path.parts) > 1 else FOLDER / f"{name_or_path}.yaml"
    if not file.exists():
        raise RecipeError(
            f"there is no recipe {name_or_path!r}; there are {', '.join(recipe_names())}. Give your own file by "
            "its path, ending in .yaml."
        )
    try:
        values = read_plain(file)
    except SpaceError as error:
        raise RecipeError(f"the recipe is not read: {error}") from error
    return _recipe(file, values)


def _recipe(file: Path, values: object) -> Recipe:
    known = (*(field.name for field in fields(Budget) if field.name not in ("images", "warmup")), *BESIDE)
    if not isinstance(values, dict):
        raise RecipeError(f"the recipe {file} is a mapping of fields to values; it is {values!r}.")
    unknown = [str(name) for name in values if name not in known]
    missing = [name for name in REQUIRED if name not in values]
    missing += [" or ".join(pair) for pair in LENGTHS if not set(pair) & set(values)]
    both = [" and ".join(pair) for pair in LENGTHS if set(pair) <= set(values)]
    wrong = [
        *([f"both {both[0]}, of which one is needed"] if both else []),
        *([f"unknown fields {', '.join(unknown)} (there are {', '.join(known)})"] if unknown else []),
        *([f"missing fields {', '.join(missing)}"] if missing else []),
        *(text for name, value in values.items() if name in known and (text := _misfit(name, value))),
    ]
    if wrong:
        raise RecipeError(f"the recipe {file} has {'; '.join(wrong)}.")
    rest = {name: value for name, value in values.items() if name not in BESIDE}
    if rest.get("crop") is not None:
        rest["crop"] = tuple(rest["crop"])
    for name in ("scale", "milestones"):
        if rest.get(name) is not None:
            rest[name] = tuple(rest[name])
    if "warmup_epochs" in values:
        if "epochs" not in values:
            raise RecipeError(f"the recipe {file} has warmup_epochs and no epochs; give warmup_iterations.")
        rest["warmup"] = values["warmup_epochs"] / max(1, values["epochs"])
    for name in ("iterations", "warmup_iterations"):
        least = 1 if name == "iterations" else 0
        if values.get(name) is not None and values[name] < least:
            raise RecipeError(f"the recipe {file} has {name} {values[name]}; it is a whole number from {least} up.")
    recipe = Recipe(
        file.stem,
        {**PLAIN, **rest},
        values.get("input_size"),
        values.get("iterations"),
        values.get("warmup_iterations"),
    )
    recipe.budget(images=values["batch_size"])  # refuses what cannot be, before images are read
    return recipe


def _misfit(name: str, value: Any) -> str:
    """What is wrong with the kind of a value; empty if nothing is."""
    if value is None:
        may_be = name == "input_size" or (name in BUDGET and name not in REQUIRED and BUDGET[name].fits(None))
        return "" if may_be else f"{name} null, which has to be given or left out"
    rule = KINDS.get(name, FRACTION)
    if not rule.fits(value):
        return f"{name} {value!r}, which is no {rule.text}"
    if name == "input_size" and not PIXELS.fits(value):
        return f"input_size {value}, which is no {PIXELS.text}"
    return ""
