"""Whether a machine computes the gradients of convolutions right: a comparison with float64, in every precision."""

from collections.abc import Iterator
from contextlib import nullcontext
from typing import NamedTuple

import torch
from torch.nn import functional as F

from acmix_nas.train.tiny_maps import tiny_maps_in_float32

TOLERANCE = {"fp32": 5e-3, "bf16": 3e-2, "fp16": 5e-3}
"""Largest norm of a difference, as a share of the gradient's norm; float32 may be TF32 on a GPU."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CALLS = 3
"""A kernel that is wrong may be so in some calls alone."""


class Convolution(NamedTuple):
    """A convolution with as many outputs as inputs and padding of half a kernel.

    Attributes:
        channels: Of the map.
        groups: That they fall into.
        extent: Height and width of the map in pixels.
        kernel_size: Extent of the kernels.
        stride: Distance of the results in pixels.
    """

    channels: int
    groups: int
    extent: int
    kernel_size: int
    stride: int

    def __str__(self) -> str:
        taps, pixels = self.kernel_size, self.extent
        text = f"{taps} x {taps} with stride {self.stride} on {pixels} x {pixels} maps of {self.channels} channels"
        return text if self.groups == 1 else f"{text} in {self.groups} groups"


CONVOLUTIONS = (
    Convolution(32, 1, 14, 3, 1),
    Convolution(16, 16, 14, 3, 1),
    Convolution(16, 1, 1, 3, 2),
    Convolution(64, 4, 1, 3, 2),
    Convolution(576, 4, 2, 7, 1),
)
"""Ordinary ones, and those that networks have on small images and at the end of pyramids."""


class Comparison(NamedTuple):
    """The gradient of one convolution beside float64's.

    Attributes:
        precision: Of `TOLERANCE`.
        memory_format: Of `FORMATS`.
        convolution: Which one.
        error: Norm of the difference, as a share of the gradient's norm, the largest of several calls.
    """

    precision: str
    memory_format: str
    convolution: Convolution
    error: float

    @property
    def is_right(self) -> bool:
        """Whether the error is that of rounding."""
        return self.error < TOLERANCE[self.precision]


def compare_gradients(device: str, *, guarded: bool = True) -> Iterator[Comparison]:
    """Computes gradients in each precision and memory format that is trained in.

    Args:
        device: "cpu" or "cuda".
        guarded: Whether convolutions are computed as in training, or else by the kernel that torch takes.
    """
    precisions = ("fp32", "bf16") if device == "cpu" else ("fp32", "bf16", "fp16")
    for convolution in CONVOLUTIONS:
        generator = torch.Generator().manual_seed(0)
        shape = (8, convolution.channels, convolution.extent, convolution.extent)
        taps = (convolution.channels // convolution.groups, convolution.kernel_size, convolution.kernel_size)
        x, weight = (torch.randn(size, generator=generator) for size in (shape, (convolution.channels, *taps)))
        expected = _gradient(x.double(), weight.double(), convolution)
        for precision in precisions:
            for name, memory_format in FORMATS.items():
                given = x.to(device=device, memory_format=memory_format)
                with tiny_maps_in_float32() if guarded else nullcontext():
                    found = [
                        _gradient(given, weight.to(device), convolution, precision).cpu().double() for _ in range(CALLS)
                    ]
                errors = torch.stack([(one - expected).norm() for one in found]) / expected.norm()
                yield Comparison(precision, name, convolution, float(errors.nan_to_num(torch.inf).max()))


def _gradient(x: torch.Tensor, weight: torch.Tensor, convolution: Convolution, precision: str = "fp32") -> torch.Tensor:
    """That of the weight and of the map, in one row."""
    x, weight = x.detach().requires_grad_(), weight.detach().requires_grad_()
    with torch.autocast(x.device.type, DTYPES[precision], enabled=precision != "fp32"):
        y = F.conv2d(x, weight, None, convolution.stride, convolution.kernel_size // 2, 1, convolution.groups)
    y.backward(torch.linspace(-1, 1, y.numel(), device=x.device).reshape(y.shape).to(y.dtype))  # type: ignore[no-untyped-call]
    assert x.grad is not None
    assert weight.grad is not None
    return torch.cat((x.grad.flatten(), weight.grad.flatten()))
