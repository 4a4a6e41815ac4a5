"""Whether a file computes what the network computes."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.errors import AcmixError
from acmix_nas.export._network import Settings, prepared

TOLERANCE = 1e-3
"""Largest difference that is taken for rounding, as a part of the largest value of an output."""

Outputs = Mapping[str, torch.Tensor]


class ExportError(AcmixError):
    """A file was written that does not compute what the network computes, or it could not be written."""


@contextmanager
def export_errors(what: str) -> Iterator[None]:
    """Inside this context a failure of a library becomes one line after `what`, as an `ExportError`."""
    try:
        yield
    except AcmixError:
        raise
    except Exception as error:  # exporters and runtimes raise anything
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise ExportError(f"{what}: {lines[0] if lines else type(error).__name__}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        path: The file or folder.
        format: Its format.
        form: The form of the network in it.
        size: Of all its files, in bytes.
        inputs: Shapes of the inputs, by name; a dynamic extent is a name.
        outputs: Shapes of the outputs, by name.
        dynamic_size: Whether images of any size are taken.
        fixed_by: Why not, where they were asked for: the parts that allow only one size; empty else.
        least: The least extent of such an image in pixels.
        checked: (batch, height, width) of the images that it was checked with.
        difference: The largest difference found, as a part of the largest value of the output.
        facts: What else there is to say of this format, by name.
    """

    path: Path
    format: str
    form: str
    size: int
    inputs: dict[str, list[int | str]]
    outputs: dict[str, list[int | str]]
    dynamic_size: bool
    fixed_by: tuple[str, ...]
    least: int
    checked: list[tuple[int, int, int]]
    difference: float
    facts: dict[str, Any]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {**asdict(self), "path": str(self.path)}


def largest_difference(model: nn.Module, settings: Settings, run: Callable[[torch.Tensor], Outputs]) -> float:
    """The largest difference between what a file computes and the network itself, in its training form.

    Args:
        model: The network.
        settings: How it was exported.
        run: Computes images (B, in_chans, H, W) with the file.

    Raises:
        ExportError: An output is missing, of another shape, or further off than rounding.
    """
    reference = prepared(model, replace(settings, form="train"))
    difference = max(_difference(reference, images, run) for images in _images(model, settings))
    if not difference <= TOLERANCE:  # NaN is no rounding either
        raise ExportError(
            f"the written file is not the network: outputs differ by {difference:.1e} of their largest value, "
            f"more than {TOLERANCE:.0e}, so the file was removed. Try another form: train, merged or paper."
        )
    return difference


@torch.no_grad()
def _difference(reference: nn.Module, images: torch.Tensor, run: Callable[[torch.Tensor], Outputs]) -> float:
    computed: Any = reference(images)
    expected = computed if isinstance(computed, dict) else {"logits": computed}
    with export_errors(f"the written file does not run images {tuple(images.shape)}"):
        found = run(images)
    for name, values in expected.items():
        if name not in found or found[name].shape != values.shape:
            shape = tuple(found[name].shape) if name in found else "missing"
            raise ExportError(f"of {tuple(images.shape)} the output {name} is {shape}, not {tuple(values.shape)}.")
    return max(_relative(found[name], values) for name, values in expected.items())


def _relative(found: torch.Tensor, expected: torch.Tensor) -> float:
    scale = expected.abs().max().clamp(min=torch.finfo(expected.dtype).tiny)
    return float((found - expected).abs().max() / scale)


def _images(model: nn.Module, settings: Settings) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    channels: Any = model.in_chans
    return [torch.randn(batch, channels, *size, generator=generator) for batch, *size in settings.images()]
