"""What `acmix train` is asked for, and whether it can be: everything is checked before an image is read."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from acmix_nas.cost.environment import supports_bf16
from acmix_nas.cost.network import Network
from acmix_nas.data import absolute
from acmix_nas.errors import AcmixError, StudyError, UsageError
from acmix_nas.experiments.networks import find_network
from acmix_nas.fields import COUNT, FLAG, TEXT, Origin, maybe, number, whole
from acmix_nas.inference import Inference
from acmix_nas.sizes import Size, size_of, size_rule
from acmix_nas.space.plain_yaml import read_plain
from acmix_nas.study.folder import newest_name, next_name, study_folder
from acmix_nas.tasks import DEFAULT, Backbone, Task, load_task, pick_metric
from acmix_nas.train import Budget
from acmix_nas.train.fit import LAST
from acmix_nas.train.network import build_network, usual_drop_path
from acmix_nas.train.ranks import text_of_first
from acmix_nas.train.recipe_file import Recipe, load_recipe, recipe_names

FACTS = "train.yaml"
INPUT_SIZE = 224
REMEMBERED = {
    **dict.fromkeys(("data", "task", "head", "metric", "recipe", "precision"), maybe(TEXT)),
    **dict.fromkeys(("epochs", "batch_size", "images", "accumulate"), maybe(whole(1))),
    "input_size": maybe(size_rule()),
    "learning_rate": maybe(number(0)),
    "seed": maybe(COUNT),
    **dict.fromkeys(("compile", "deterministic"), FLAG),
}
"""What `TrainingOptions.remembered` keeps."""


OF_SCORING = ("backbone_weights", "window", "window_stride", "scales", "flip", "predictions")
"""Options of what weights are read and how they are scored, which a training does not keep."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingOptions:
    """The options of `acmix train`; None stands for the default, or, on resuming, for what the training has.

    Attributes:
        network: A timm name, a study's best.yaml, or STUDY:TRIAL.
        data: A source of images; None for the embedded ones.
        task: What the network learns, as `acmix_nas.tasks.load_task` takes it; None for classification.
        head: The head of a dense task; None for the task's usual one.
        metric: What its epochs are compared in; None for the task's first metric.
        recipe: Name or YAML file of a recipe; None for that of the network's host.
        epochs: Passes over the training images.
        batch_size: Images in an optimizer step, over all processes.
        learning_rate: Peak learning rate.
        input_size: Height and width of the images in pixels, one number for squares.
        images: Training images, drawn evenly from the classes; None for all.
        seed: Seed of weights, draws and image order.
        precision: "fp32", "bf16" or "fp16".
        accumulate: Parts that a step's images are computed in.
        compile: Whether the network is compiled with torch.compile.
        deterministic: Whether torch takes deterministic algorithms only.
        study: Name of the training and its folder.
        out: Folder of study folders.
        resume: Whether to go on after the last epoch.
        backbone_weights: Weights of a classification training that the backbone of a dense network begins with.
        checkpoint: Weights to score instead of training.
        window: Pixels of the windows that slide over an image that is scored; None for the whole image.
        window_stride: Pixels from one window to the next.
        scales: Factors on an image that is scored, whose probabilities are averaged.
        flip: Whether the mirrored image is scored too.
        predictions: Folder to write the predictions of a segmentation to.
        device: "auto", "cpu" or "cuda".
        command: The command line, which train.yaml keeps.
    """

    network: str
    data: str | None = None
    task: str | None = None
    head: str | None = None
    metric: str | None = None
    recipe: str | None = None
    epochs: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    input_size: Size | None = None
    images: int | None = None
    seed: int | None = None
    precision: str | None = None
    accumulate: int | None = None
    compile: bool = False
    deterministic: bool = False
    study: str | None = None
    out: Path = Path("reports")
    resume: bool = False
    backbone_weights: Path | None = None
    checkpoint: Path | None = None
    window: int | None = None
    window_stride: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False
    predictions: Path | None = None
    device: str = "auto"
    command: str = ""

    @property
    def inference(self) -> Inference:
        """How images are scored.

        Raises:
            UsageError: The values do not go together.
        """
        return Inference(window=self.window, stride=self.window_stride, scales=self.scales, flip=self.flip)

    def remembered(self) -> dict[str, Any]:
        """What a training keeps of this, so that it can be resumed without saying it again."""
        forgotten = {"network", "study", "out", "resume", "checkpoint", "device", "command", *OF_SCORING}
        kept = {name: value for name, value in asdict(self).items() if name not in forgotten}
        return {**kept, "data": None if self.data is None else absolute(self.data)}

    def completed(self, stored: Mapping[str, Any]) -> "TrainingOptions":
        """This, with what was said before where nothing is said now."""
        unsaid = [name for name in stored if getattr(self, name) is None or getattr(self, name) is False]
        before = {name: stored[name] for name in unsaid if stored[name] is not None}
        if "input_size" in before:
            before["input_size"] = size_of(before["input_size"])
        return replace(self, **before)

    def changes(self) -> dict[str, Any]:
        """Fields of `Budget` that the user names."""
        names = ("epochs", "batch_size", "learning_rate", "precision", "accumulate")
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return given | {name: True for name in ("compile", "deterministic") if getattr(self, name)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A training that has been checked.

    Attributes:
        options: What was asked.
        network: Which network.
        name: Name of the training.
        folder: Its folder.
        recipe: How it is trained.
        changes: Fields of the recipe's budget that are other ones here.
        input_size: Height and width of the images in pixels, one number for squares.
        device: "cpu" or "cuda".
    """

    options: TrainingOptions
    network: Network
    name: str
    folder: Path
    recipe: Recipe
    changes: Mapping[str, Any]
    input_size: Size
    device: str

    @property
    def seed(self) -> int:
        """Seed of everything."""
        return self.options.seed or 0

    @property
    def learned(self) -> Task:
        """The task, with its head."""
        return load_task(self.options.task or DEFAULT, self.options.head)


def check(options: TrainingOptions, device: str) -> Job:
    """Finds out all that can be wrong.

    Raises:
        AcmixError: Something is; nothing was written.
    """
    network = find_network(options.network, options.out)
    base = re.sub(r"[^A-Za-z0-9._-]", "-", network.name)
    if options.resume:
        name = options.study or newest_name(options.out, base)
        options = options.completed(_stored(study_folder(options.out, name), network))
    else:
        name = text_of_first(options.study or next_name(options.out, base))
    folder = study_folder(options.out, name)
    if not options.resume and not options.checkpoint and not _may_begin(folder, network):
        raise StudyError(
            f"the training {name!r} exists in {options.out}; add --resume to continue it, or choose another --study."
        )
    task = load_task(options.task or DEFAULT, options.head)
    _check_scoring(options, task)
    recipe = _recipe(options, network, task)
    embedded = dict(task.embedded) if options.data in (None, task.source or "embedded") else {}
    usual_size = embedded.pop("input_size", None) or recipe.input_size or INPUT_SIZE
    usual = recipe.values.get("precision") or ("bf16" if supports_bf16(torch.device(device)) else "fp32")
    changes = {**embedded, "precision": usual, **options.changes()}
    job = Job(
        options=options,
        network=network,
        name=name,
        folder=folder,
        recipe=recipe,
        changes=changes,
        input_size=options.input_size or usual_size,
        device=device,
    )
    backbone = backbone_of(job, recipe.budget(images=options.images or 1, **changes), in_chans=3)
    if task.own_sizes:
        backbone.features()
    else:
        backbone.classifier(2)
    pick_metric(task, options.metric)
    return job


def _check_scoring(options: TrainingOptions, task: Task) -> None:
    """Refuses options of how a segmentation is scored where none is."""
    if options.backbone_weights is not None and (options.checkpoint is not None or not task.own_sizes):
        raise UsageError("--backbone-weights begin a training with --task segmentation; leave them out here.")
    said = not options.inference.is_plain or options.predictions is not None
    if said and (options.checkpoint is None or not task.own_sizes):
        raise UsageError(
            "--window, --window-stride, --scales, --flip and --predictions say how a segmentation is scored; add "
            "--eval CHECKPOINT and --task segmentation, or leave them out."
        )


def _recipe(options: TrainingOptions, network: Network, task: Task) -> Recipe:
    """The recipe that was named, or the usual one: that of the host, or of the head in a dense task."""
    head = task.head(())
    usual = head["name"] if head is not None else None if network.arch is None else network.arch.host
    name = options.recipe or (usual if usual in recipe_names() else None)
    if name is None:
        raise UsageError(
            f"{network.name} has no recipe of its own; give one with --recipe: {', '.join(recipe_names())}, or a file."
        )
    return load_recipe(name).having(drop_path=usual_drop_path(network.arch))


def _may_begin(folder: Path, network: Network) -> bool:
    """Whether nothing would be lost: no training is there, or one of this network that never finished an epoch."""
    if not (folder / FACTS).exists():
        return True
    try:
        return not (folder / LAST).exists() and bool(_stored(folder, network))
    except AcmixError:
        return False


def _stored(folder: Path, network: Network) -> Mapping[str, Any]:
    """What a training to be resumed was asked for; one that never finished an epoch begins again."""
    if not (folder / FACTS).is_file():
        raise StudyError(f"there is no training to resume in {folder}: it has no {FACTS}. Start a new training.")
    facts = read_plain(folder / FACTS)
    if not isinstance(facts, Mapping) or not {"network", "asked"} <= set(facts):
        raise StudyError(
            f"{folder / FACTS} does not say what is trained there; it has no network, or not what was options."
        )
    now = network.name if network.arch is None else network.arch.id
    then = facts.get("arch_id", facts["network"])
    if then != now:
        raise StudyError(f"the training in {folder} is of {facts['network']} ({then}), not of {network.name} ({now}).")
    origin = Origin(folder / FACTS, StudyError, "Start a new training under another --study.")
    return origin.fields(facts["asked"], REMEMBERED, optional=REMEMBERED, path="asked")


def stored_fingerprint(folder: Path) -> str | None:
    """Fingerprint of the images of a training to be resumed."""
    facts = read_plain(folder / FACTS)
    data = facts.get("data") if isinstance(facts, Mapping) else None
    mark = data.get("fingerprint") if isinstance(data, Mapping) else None
    return mark if isinstance(mark, str) else None


def backbone_of(job: Job, budget: Budget, *, in_chans: int) -> Backbone:
    """The network of a job, still to be built, with weights of its seed."""
    torch.manual_seed(job.seed)
    weights = None if job.network.arch is not None else job.options.backbone_weights
    build = partial(
        build_network,
        job.network.name,
        job.network.arch,
        weights=weights,
        in_chans=in_chans,
        input_size=job.input_size,
        drop_path=budget.drop_path,
    )
    return Backbone(
        classifier=lambda outputs: build(num_classes=outputs),
        features=lambda: build(num_classes=None),
        img_size=job.input_size,
    )
