"""Images of a source with what is to be predicted for each, in three disjoint splits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self, TypeAlias

import torch

from acmix_nas.data.fingerprint import is_former
from acmix_nas.data.samples import Samples
from acmix_nas.data.stored import StoredImages
from acmix_nas.sizes import Size, size_of

Targets: TypeAlias = torch.Tensor | Sequence[Any]
"""What is to be predicted for each image: a tensor (N, ...), int64 (N,) of classes, or a list of anything."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Images:
    """Images and their targets.

    Attributes:
        images: uint8 (N, C, H, W), in memory or, of a large store, on disk. H and W are the splits' input size; images
            of a store stay at the store's size, which may be larger. Or samples: images of their own sizes, each with
            the class of every pixel.
        targets: What is to be predicted for each; of samples, which bring it along, their numbers.
    """

    images: torch.Tensor | StoredImages | Samples
    targets: Targets

    @property
    def pixels(self) -> torch.Tensor | StoredImages:
        """The images, which are of one size."""
        assert not isinstance(self.images, Samples), "samples are read one by one"
        return self.images

    def __len__(self) -> int:
        return len(self.targets)


def chosen(targets: Targets, numbers: torch.Tensor) -> Targets:
    """The targets of some images, by their numbers (B,)."""
    return targets[numbers] if isinstance(targets, torch.Tensor) else [targets[number] for number in numbers.tolist()]


def moved_to(targets: Targets, device: str) -> Targets:
    """Targets on a device, as far as they are tensors."""
    if isinstance(targets, torch.Tensor):
        return targets.to(device, non_blocking=True)
    return [target.to(device) if isinstance(target, torch.Tensor) else target for target in targets]


@dataclass(frozen=True, slots=True, kw_only=True)
class Splits:
    """Disjoint splits of one source.

    Attributes:
        train: Images to train on.
        search: Images of the source's training part that search, pruning and fidelity read.
        report: The source's validation images; None unless asked for.
        name: "fashion_mnist (embedded)", or the name of the source.
        fingerprint: Tells sources apart by what is in them, as `acmix_nas.data.fingerprint` says.
        classes: Names of the classes, by their numbers; () of a source without classes.
        in_chans: 1 for grey, 3 for RGB.
        input_size: Height and width in pixels that a network takes, one number for squares.
        mean: Of each channel over the train images (of a store: all of its train images), in [0, 1].
        std: Of each channel over the same images, in [0, 1].
        embedded: Whether these are the images that come with the package.
        seed: Seed of the draws.
        skipped: (path, reason) of each file that could not be decoded.
        notes: What a reader of the results should know of the images.
        former: Fingerprint by the rule of acmix-nas 0.1; "" where `fingerprint` itself is by it.
    """

    train: Images
    search: Images
    report: Images | None
    name: str
    fingerprint: str
    classes: tuple[str, ...]
    in_chans: int
    input_size: Size
    mean: tuple[float, ...]
    std: tuple[float, ...]
    embedded: bool
    seed: int
    skipped: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    former: str = ""

    @classmethod
    def known_as(cls, facts: Mapping[str, Any]) -> Self:
        """Splits of which only the facts of a record are known (`to_dict`): they count their images, and have none.

        Their classes have numbers for names.
        """
        counts = facts["counts"]
        parts = {
            name: Images(images=torch.empty(counts[name], 0, 0, 0, dtype=torch.uint8), targets=range(counts[name]))
            for name in ("train", "search", "report")
            if name in counts
        }
        return cls(
            train=parts["train"],
            search=parts["search"],
            report=parts.get("report"),
            name=facts["name"],
            fingerprint=facts["fingerprint"],
            classes=tuple(map(str, range(facts["num_classes"]))),
            in_chans=facts["in_chans"],
            input_size=size_of(facts["input_size"]),
            mean=(0.0,) * facts["in_chans"],
            std=(1.0,) * facts["in_chans"],
            embedded=facts["name"].endswith("(embedded)"),
            seed=facts["seed"],
            former=facts.get("former", ""),
        )

    def like(self, stored: object) -> Self:
        """These splits with their fingerprint by the rule that a stored one was made by, so that both compare."""
        if isinstance(stored, str) and is_former(stored) and self.former:
            return replace(self, fingerprint=self.former, former="")
        return self

    def to_dict(self) -> dict[str, Any]:
        """Plain facts for a record: which source, which draw, how many images."""
        counts = {"train": len(self.train), "search": len(self.search)}
        size = self.input_size
        return {
            "name": self.name,
            "fingerprint": self.fingerprint,
            **({"former": self.former} if self.former else {}),
            "num_classes": len(self.classes),
            "counts": counts if self.report is None else {**counts, "report": len(self.report)},
            "in_chans": self.in_chans,
            "input_size": size if isinstance(size, int) else list(size),
            "seed": self.seed,
            "skipped": len(self.skipped),
        }
