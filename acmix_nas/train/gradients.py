"""Gradients of convolutions: a guard where torch computes them wrong, and a comparison with float64 that shows it.

torch 2.14.1 on a CPU with AVX-512 (oneDNN's jit_bf16 backward_weights) gives bf16 convolutions whose kernel reaches far
beyond a tiny map a weight gradient that is wrong by many orders of magnitude, in some calls or in all: 3 x 3 with
stride 2 on 1 x 1 maps from 16 channels on, kernels 2 to 9 with stride 2 on 1 x 1, 5 to 9 on maps of 1 to 3 pixels with
72 or 144 channels a group. Right are float32, 3 x 3 with stride 1 on 1 x 1 or with stride 2 on 2 x 2, and depthwise
convolutions. Training on a CPU computes them in float32.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import Any, NamedTuple, TypeAlias

import torch
from torch.nn import functional as F

FAR = 5
"""Pixels from a kernel's first tap to its last, from which on it is computed in float32 if the map is smaller."""
TOLERANCE = {"fp32": 5e-3, "bf16": 3e-2, "fp16": 5e-3}
"""Largest norm of a difference, as a share of the gradient's norm; float32 may be TF32 on a GPU."""
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FORMATS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
CALLS = 3
"""A kernel that is wrong may be so in some calls alone."""

Axes: TypeAlias = int | Sequence[int]


@contextmanager
def tiny_maps_in_float32() -> Iterator[None]:
    """A context in which every convolution that `reaches_far` says is computed in float32 instead of bf16.

    It takes the place of torch's six convolutions, which layers of torch, timm and torchvision look up at each call:
    whoever wrote the network, under autocast or not, compiled or not. The result is bf16, as without it. A
    `TorchFunctionMode` would see the same, and every other call of torch too, at 3 to 6 % of a step.
    """
    with _lock:
        if not _inside:
            _put(GUARDED)
        _inside.append(1)
    try:
        yield
    finally:
        with _lock:
            _inside.pop()
            if not _inside:
                _put(OF_TORCH)


def reaches_far(map_size: Sequence[int], kernel_size: Sequence[int], stride: Axes = 1, dilation: Axes = 1) -> bool:
    """Whether a kernel is larger than the map along an axis and, there, has a stride or is at least `FAR` wide.

    More shapes than those seen wrong, all of them on maps too small for float32 to cost anything.

    Args:
        map_size: Sides of the map in pixels.
        kernel_size: Sides of the kernel in taps.
        stride: Of each axis, or of all.
        dilation: Likewise.
    """
    steps, distances = (_of_axes(given, len(map_size)) for given in (stride, dilation))
    for pixels, taps, step, distance in zip(map_size, kernel_size, steps, distances, strict=True):
        reach = distance * (taps - 1) + 1
        if reach > pixels and (reach >= FAR or step > 1):
            return True
    return False


class Convolution(NamedTuple):
    """A convolution with as many outputs as inputs and padding of half a kernel.

    Attributes:
        channels: Of the map.
        groups: That they fall into.
        map_size: Height and width of the map in pixels.
        kernel_size: Height and width of the kernels.
        stride: Distance of the results in pixels.
    """

    channels: int
    groups: int
    map_size: int
    kernel_size: int
    stride: int

    def __str__(self) -> str:
        taps, pixels = self.kernel_size, self.map_size
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
        shape = (8, convolution.channels, convolution.map_size, convolution.map_size)
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


def _convolved(
    func: Callable[..., Any],
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Axes = 1,
    padding: Axes | str = 0,
    dilation: Axes = 1,
    groups: int = 1,
) -> Any:
    sizes = weight.shape[2:]
    is_depthwise = groups == weight.shape[0] and weight.shape[1] == 1
    rest = (stride, padding, dilation, groups)
    if is_depthwise or not _is_bf16(input) or not reaches_far(input.shape[-len(sizes) :], sizes, stride, dilation):
        return func(input, weight, bias, *rest)
    return _in_float32(func, input, weight, bias, *rest)


def _transposed(
    func: Callable[..., Any],
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None = None,
    stride: Axes = 1,
    padding: Axes = 0,
    output_padding: Axes = 0,
    groups: int = 1,
    dilation: Axes = 1,
) -> Any:
    """It is the gradient of a convolution of its result, whose map therefore counts."""
    sizes = weight.shape[2:]
    rest = (stride, padding, output_padding, groups, dilation)
    if not _is_bf16(input):
        return func(input, weight, bias, *rest)
    axes = (_of_axes(given, len(sizes)) for given in (stride, padding, output_padding, dilation))
    made = [
        (pixels - 1) * step - 2 * cut + distance * (taps - 1) + 1 + more
        for pixels, taps, step, cut, more, distance in zip(input.shape[-len(sizes) :], sizes, *axes, strict=True)
    ]
    if not reaches_far(made, sizes, stride, dilation):
        return func(input, weight, bias, *rest)
    return _in_float32(func, input, weight, bias, *rest)


def _in_float32(
    func: Callable[..., Any],
    input: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    *rest: Any,
) -> torch.Tensor:
    with torch.autocast("cpu", enabled=False):
        y: torch.Tensor = func(input.float(), weight.float(), None if bias is None else bias.float(), *rest)
    return y.bfloat16()


def _is_bf16(x: torch.Tensor) -> bool:
    """Whether a convolution of x on a CPU is computed in bf16, by the type of x or by autocast."""
    if x.device.type != "cpu":
        return False
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16:
        return x.dtype != torch.float64
    return x.dtype == torch.bfloat16


def _of_axes(given: Axes, count: int) -> Sequence[int]:
    """The value of each axis; torch takes one number, or a tuple of one, for all of them."""
    if isinstance(given, int):
        return (given,) * count
    return tuple(given) * count if len(given) == 1 else given


def _put(functions: Mapping[str, Callable[..., Any]]) -> None:
    for home in (F, torch):
        for name, function in functions.items():
            setattr(home, name, function)


def _guarded(function: Callable[..., Any], place: Callable[..., Any]) -> Callable[..., Any]:
    def convolution(*args: Any, **kwargs: Any) -> Any:
        return place(function, *args, **kwargs)

    return convolution


OF_TORCH = {name: getattr(torch, name) for axes in (1, 2, 3) for name in (f"conv{axes}d", f"conv_transpose{axes}d")}
GUARDED = {
    name: _guarded(function, _transposed if "transpose" in name else _convolved) for name, function in OF_TORCH.items()
}
"""The same functions all the time, as a compiler looks whether they are the ones that it compiled."""

_lock = Lock()
_inside: list[int] = []
"""One for each context that is open, in any thread."""
