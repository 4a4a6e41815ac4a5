"""`Budget`: how long and how a network is trained, with the optimizer and learning rate that follow from it."""

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, asdict, dataclass, fields
from typing import Any, Self

import torch
from torch import nn

from acmix_nas.cost.environment import supports_bf16
from acmix_nas.errors import AcmixError, RecordError
from acmix_nas.fields import FLAG, NUMBER, TEXT, Origin, Rule, list_of, maybe, whole
from acmix_nas.space import Proxy

OPTIMIZERS = ("adamw", "sgd")
PRECISIONS = ("fp32", "bf16", "fp16")
BUDGET: Mapping[str, Rule] = {
    **dict.fromkeys(("epochs", "images", "batch_size", "accumulate"), whole(1)),
    **dict.fromkeys(("learning_rate", "momentum", "weight_decay", "label_smoothing", "warmup"), NUMBER),
    **dict.fromkeys(("max_shift", "jitter", "erase", "mixup", "cutmix", "drop_path"), NUMBER),
    **dict.fromkeys(("clip_norm", "ema"), maybe(NUMBER)),
    **dict.fromkeys(("optimizer", "precision"), TEXT),
    **dict.fromkeys(("compile", "deterministic"), FLAG),
    "steps": maybe(whole(1)),
    "crop": maybe(list_of(NUMBER, 2, 2)),
    "rand_augment": maybe(TEXT),
    "scale": maybe(list_of(NUMBER, 2, 2)),
    "short_side": maybe(whole(1)),
    **dict.fromkeys(("photometric", "grad_checkpointing"), FLAG),
    **dict.fromkeys(("schedule", "norms"), TEXT),
    "power": NUMBER,
    "milestones": list_of(NUMBER),
    "frozen_stages": whole(0),
    "repeats": whole(1),
}
"""What each field of a stored `Budget` may hold; `Budget` itself has the ranges."""
LATER = (
    *("scale", "short_side", "photometric", "schedule", "power", "milestones"),
    *("norms", "frozen_stages", "grad_checkpointing", "repeats"),
)
"""Fields that a record has only where they are not as usual."""
SCHEDULES = ("cosine", "poly", "step")
NORMS = ("trained", "frozen", "synchronised")
STEP = 0.1
"""Factor on the learning rate at each milestone."""
RAND_AUGMENT = re.compile(r"rand(-(m\d+|n\d+|p\d*\.?\d+|mstd\d*\.?\d+|mmax[1-9]\d*|inc[01]|tweights|t3aw?))*")
"""What timm's `rand_augment_transform` knows; it passes over other words, or fails on them."""


class RecipeError(AcmixError, ValueError):
    """A training recipe has values that cannot be trained with."""

    exit_code = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A training recipe: how long in epochs or steps, which optimizer, which augmentation.

    Its defaults are those of proxy training: AdamW, linear warm-up, cosine decay, label smoothing, small shifts.

    Attributes:
        epochs: How often the network is scored; each is `repeats` passes over the training images.
        images: Training images.
        batch_size: Images in an optimizer step, over all processes.
        learning_rate: Peak learning rate.
        optimizer: "adamw", or "sgd" with momentum.
        momentum: Of "sgd".
        weight_decay: Of matrices and kernels; everything else has none. Decoupled in "adamw".
        label_smoothing: Share of the target spread over all classes.
        warmup: Share of the steps over which the learning rate rises.
        steps: Ends the last epoch after this many optimizer steps in total; None for whole epochs.
        clip_norm: Largest norm of the gradient; None for any.
        max_shift: An image moves by up to this share of its height and width; half of them are mirrored too.
        crop: Smallest and largest share of an image's area that is cut out and scaled; None for the whole image.
        jitter: Brightness, contrast and saturation change by up to this share.
        rand_augment: RandAugment in timm's words, as "rand-m9-mstd0.5-inc1".
        erase: Share of images of which a rectangle is erased.
        mixup: alpha of mixup's Beta distribution; 0 for none.
        cutmix: alpha of cutmix's; 0 for none.
        ema: Decay of the average of weights that is scored; None for the weights themselves.
        drop_path: Stochastic depth of the last block.
        scale: Smallest and largest factor that an image of its own size is scaled by before it is cropped; None for 1.
        short_side: Pixels of the shorter side that such images are scaled to first; None for their own.
        photometric: Whether brightness, contrast, saturation and hue of such images are distorted.
        schedule: How the learning rate falls after the warm-up: "cosine" to 0; "poly", as (1 - share of the steps) to
            `power`; "step", to a tenth at each of `milestones`.
        power: Of "poly"; 1 is a straight line.
        milestones: Shares of the steps.
        norms: Batch norms of the backbone are "trained"; "frozen", as they are; or "synchronised" over processes.
        frozen_stages: The stem and so many stages less one keep their weights; 0 for none, 1 for the stem.
        grad_checkpointing: Whether blocks are computed again in the backward pass, which needs less memory.
        repeats: Passes over the training images in an epoch: of few images, scoring takes less of the time.
        precision: "fp32", or autocast to "bf16", or to "fp16" with scaled gradients on CUDA.
        accumulate: Micro-batches of a step, computed one after the other to need less memory.
        compile: Whether the network is compiled by torch.compile.
        deterministic: Whether torch takes deterministic algorithms only.
    """

    epochs: int
    images: int
    batch_size: int
    learning_rate: float
    optimizer: str = "adamw"
    momentum: float = 0.9
    weight_decay: float = 0.05
    label_smoothing: float = 0.1
    warmup: float = 0.1
    steps: int | None = None
    clip_norm: float | None = 5.0
    max_shift: float = 0.1
    crop: tuple[float, float] | None = None
    jitter: float = 0.0
    rand_augment: str | None = None
    erase: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    ema: float | None = None
    drop_path: float = 0.0
    scale: tuple[float, float] | None = None
    short_side: int | None = None
    photometric: bool = False
    schedule: str = "cosine"
    power: float = 0.9
    milestones: tuple[float, ...] = ()
    norms: str = "trained"
    frozen_stages: int = 0
    grad_checkpointing: bool = False
    repeats: int = 1
    precision: str = "fp32"
    accumulate: int = 1
    compile: bool = False
    deterministic: bool = False

    def __post_init__(self) -> None:
        if wrong := list(self._wrong()):
            raise RecipeError(f"the training recipe is invalid: {'; '.join(wrong)}.")

    @classmethod
    def of_proxy(cls, proxy: Proxy, *, images: int, device: str, **fields: Any) -> Self:
        """The recipe of a proxy.

        Args:
            proxy: Says how long and how fast.
            images: Training images that there are.
            device: "cpu" or "cuda".
            fields: What else is not as usual; the proxy's own recipe goes before.

        Raises:
            RecordError: The proxy's recipe has a field that is unknown or of another kind, or no training can be so.
        """
        values = {
            "epochs": proxy.epochs,
            "images": images,
            "batch_size": proxy.batch_size,
            "learning_rate": proxy.learning_rate,
            "precision": "bf16" if supports_bf16(torch.device(device)) else "fp32",
            **fields,
        }
        return cls.from_dict({**values, **proxy.recipe}, f"the recipe of the proxy {proxy.name}")

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in an epoch; the last batch may be small."""
        return math.ceil(self.images * self.repeats / self.batch_size)

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all."""
        return self.steps or self.epochs * self.steps_per_epoch

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a record."""
        usual = {item.name: item.default for item in fields(self)}
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {n: value for n, value in values.items() if n not in LATER or getattr(self, n) != usual[n]}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], where: str = "the budget of a record") -> Self:
        """The inverse of `to_dict`; what earlier versions did not store has its default.

        Args:
            values: What is stored.
            where: What stores it, for messages.

        Raises:
            RecordError: A field is unknown, missing or of another kind, or no training can be so.
        """
        origin = Origin(where, RecordError)
        optional = [item.name for item in fields(cls) if item.default is not MISSING]
        known = origin.fields(values, BUDGET, optional=optional)
        try:
            tuples = {n: tuple(known[n]) for n in ("crop", "scale", "milestones") if known.get(n) is not None}
            return cls(**{**known, **tuples})
        except RecipeError as error:
            raise origin.wrong(str(error)) from error

    def _wrong(self) -> Iterator[str]:
        """What breaks a rule, one text for each."""
        for name in ("epochs", "images", "repeats", "batch_size", "accumulate"):
            if getattr(self, name) < 1:
                yield f"{name} is a whole number from 1 up, not {getattr(self, name)}"
                return
        for name in ("learning_rate", "momentum", "weight_decay", "max_shift", "jitter", "mixup", "cutmix"):
            if not getattr(self, name) >= 0:
                yield f"{name} is 0 or more, not {getattr(self, name)}"
        for name in ("label_smoothing", "warmup", "erase", "drop_path", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                yield f"{name} is in [0, 1), not {value}"
        words = {"optimizer": OPTIMIZERS, "precision": PRECISIONS, "schedule": SCHEDULES, "norms": NORMS}
        for name, known in words.items():
            if getattr(self, name) not in known:
                yield f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}"
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1]:
            yield f"scale is two factors above 0, as [0.5, 2.0], not {list(self.scale)}"
        if self.short_side is not None and self.short_side < 1:
            yield f"short_side is a whole number from 1 up, not {self.short_side}"
        if not self.power > 0:
            yield f"power is more than 0, not {self.power}"
        if sorted(self.milestones) != list(self.milestones) or not all(0 < share < 1 for share in self.milestones):
            yield f"milestones are rising shares of the steps in (0, 1), not {list(self.milestones)}"
        if self.frozen_stages < 0:
            yield f"frozen_stages is a whole number from 0 up, not {self.frozen_stages}"
        if self.clip_norm is not None and not self.clip_norm > 0:
            yield f"clip_norm is more than 0, or none, not {self.clip_norm}"
        if self.crop is not None and not 0 < self.crop[0] <= self.crop[1] <= 1:
            yield f"crop is two shares of an image's area, as [0.08, 1.0], not {list(self.crop)}"
        if self.rand_augment is not None and not RAND_AUGMENT.fullmatch(self.rand_augment):
            yield f"rand_augment is in timm's words, as rand-m9-mstd0.5-inc1, not {self.rand_augment!r}"
        most = self.epochs * self.steps_per_epoch
        if self.steps is not None and not most - self.steps_per_epoch < self.steps <= most:
            least = most - self.steps_per_epoch + 1
            yield f"steps end in the last of {self.epochs} epochs, at {least} to {most}, not at {self.steps}"


def make_optimizer(model: nn.Module, budget: Budget) -> torch.optim.Optimizer:
    """The optimizer, without weight decay on alpha, beta, norms, biases and what the model itself exempts."""
    exempt: set[str] = model.no_weight_decay() if hasattr(model, "no_weight_decay") else set()  # type: ignore[operator]
    decayed: list[nn.Parameter] = []
    free: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        last = name.rpartition(".")[2]
        is_free = parameter.ndim <= 1 or last in ("alpha", "beta") or name in exempt
        if parameter.requires_grad:
            (free if is_free else decayed).append(parameter)
    groups = [{"params": decayed, "weight_decay": budget.weight_decay}, {"params": free, "weight_decay": 0.0}]
    if budget.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=budget.learning_rate, momentum=budget.momentum, fused=True)
    return torch.optim.AdamW(groups, lr=budget.learning_rate, fused=True)


def learning_rate(budget: Budget, step: int) -> float:
    """The learning rate of a step, from 0: a linear rise over the warm-up, then the fall of the schedule.

    The polynomial counts the steps of the warm-up too, as mmsegmentation has it.
    """
    rising = max(1, round(budget.total_steps * budget.warmup))
    rise = min(1.0, (step + 1) / rising)
    if budget.schedule == "poly":
        return float(budget.learning_rate * rise * (1 - step / budget.total_steps) ** budget.power)
    if budget.schedule == "step":
        passed = sum(step >= round(share * budget.total_steps) for share in budget.milestones)
        return budget.learning_rate * rise * STEP**passed
    if step < rising:
        return budget.learning_rate * ((step + 1) / rising)
    share = (step - rising) / max(1, budget.total_steps - rising)
    return budget.learning_rate * (0.5 * (1 + math.cos(math.pi * share)))
