"""A network as a `torch.export` program with a batch, and where it can be a size, that is open."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from acmix_nas.export._check import export_errors
from acmix_nas.export._network import Settings, prepared
from acmix_nas.models import plain_form

DYNAMIC_NAMES = {0: "batch", 2: "height", 3: "width"}


def captured(model: nn.Module, settings: Settings) -> ExportedProgram:
    """The program of a network.

    Args:
        model: The network, in training form.
        settings: How it is exported.

    Raises:
        ExportError: It cannot be traced.
    """
    ours = prepared(model, settings)
    channels: Any = model.in_chans
    # Height and width differ, so that neither stands for the other.
    height, width = settings.input_size
    images = torch.zeros(2, channels, height, width + 32 if settings.dynamic else width)
    with (
        export_errors("torch.export does not trace the network"),
        plain_form(ours) if settings.form == "paper" else nullcontext(),
        _without_guesses(),
        torch.no_grad(),
    ):
        return torch.export.export(ours, (images,), dynamic_shapes=(_dims(settings),))


def axes(settings: Settings) -> dict[int, str]:
    """Names of the dynamic axes of the images."""
    return {axis: name for axis, name in DYNAMIC_NAMES.items() if axis == 0 or settings.dynamic}


def input_shape(model: nn.Module, settings: Settings) -> list[int | str]:
    """Shape of the images; dynamic extents are names."""
    channels: Any = model.in_chans
    height, width = settings.input_size
    return [axes(settings).get(axis, extent) for axis, extent in enumerate((2, channels, height, width))]


def output_shapes(program: ExportedProgram, names: list[str]) -> dict[str, list[int | str]]:
    """Shapes of the outputs; the batch is a name, other dynamic extents are "?"."""
    nodes = {node.name: node for node in program.graph.nodes}
    values = [nodes[name].meta["val"] for name in program.graph_signature.user_outputs if name is not None]
    return {
        name: [
            extent if isinstance(extent, int) else "?" if axis else "batch" for axis, extent in enumerate(value.shape)
        ]
        for name, value in zip(names, values, strict=True)
    }


def _dims(settings: Settings) -> Mapping[int, Any]:
    size = Dim.DYNAMIC(min=settings.least)
    return {0: Dim.DYNAMIC, 2: size, 3: size} if settings.dynamic else {0: Dim.DYNAMIC}


@contextmanager
def _without_guesses() -> Iterator[None]:
    """Tracing that takes nothing from the sizes of the example.

    Where a sum, a copy or a kernel is chosen by a size, tracing would note the choice for the example as a condition
    that the program then checks: a batch of 1 would be refused because the example has 2. So sizes are not looked at
    (`backed_size_oblivious`, as torch.onnx.export does), the kernel of attention is chosen where the program runs, and
    convolutions read maps whose order in memory is not asked for.
    """
    unseen = _config.patch(backed_size_oblivious=True)  # type: ignore[attr-defined]
    with unseen, sdpa_kernel(SDPBackend.MATH), _ContiguousConvolutions():
        yield


class _ContiguousConvolutions(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.conv2d:
            args = (args[0].contiguous(), *args[1:])
        return func(*args, **(kwargs or {}))
