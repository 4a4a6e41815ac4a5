"""bf16 convolutions whose kernel reaches far beyond a tiny map are computed in float32 on a CPU.

torch 2.14.1 on a CPU with AVX-512 (oneDNN's jit_bf16 backward_weights) gives them a weight gradient that is wrong by
many orders of magnitude, in some calls or in all: 3 x 3 with stride 2 on 1 x 1 maps from 16 channels on, kernels 2 to 9
with stride 2 on 1 x 1, 5 to 9 on maps of 1 to 3 pixels with 72 or 144 channels a group. Right are float32, 3 x 3 with
stride 1 on 1 x 1 or with stride 2 on 2 x 2, and depthwise convolutions.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from threading import Lock
from typing import Any, TypeAlias

import torch
from torch.nn import functional as F

FAR = 5
"""Pixels from a kernel's first tap to its last, from which on it is computed in float32 if the map is smaller."""

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
        map_size: Extents of the map in pixels.
        kernel_size: Extents of the kernel in taps.
        stride: Of each axis, or of all.
        dilation: Likewise.
    """
    steps, distances = (_of_axes(given, len(map_size)) for given in (stride, dilation))
    for pixels, taps, step, distance in zip(map_size, kernel_size, steps, distances, strict=True):
        extent = distance * (taps - 1) + 1
        if extent > pixels and (extent >= FAR or step > 1):
            return True
    return False


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
