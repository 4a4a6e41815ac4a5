"""`Execution`: how a network is run when it is timed, in plain values from which another process can repeat it."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Self

import torch
from torch import nn

from acmix_nas.errors import UsageError
from acmix_nas.models import merge, plain_form
from acmix_nas.sizes import Pair

DTYPES = ("float32", "bfloat16", "float16")
FORMS = ("paper", "train", "merged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Execution:
    """How a network is run.

    Attributes:
        device: "cpu" or "cuda", with an index if need be.
        dtype: Of `DTYPES`. Inference converts weights and images to it; training leaves weights in float32 and
            computes under autocast.
        form: "paper", the named implementation literally; "train", the fast form that a network has by itself; or
            "merged", for deployment (docs/operator.md). Networks of others have one form.
        channels_last: Whether weights and images are channels_last in memory.
        train: Whether a run is a forward and a backward pass in training mode, of the sum of the outputs' means and
            without an optimizer step; else a forward pass in inference mode.
        features_only: Whether the network gives its stages' maps (timm's `features_only`) instead of class scores.
        compiled: Whether `torch.compile` compiles it, for the shape that runs.
        cuda_graph: Whether its kernels are replayed as one CUDA graph.
        flush_l2: Whether the GPU's second-level cache is emptied before every run.

    Raises:
        UsageError: The values do not go together.
    """

    device: str = "cpu"
    dtype: str = "float32"
    form: str = "train"
    channels_last: bool = True
    train: bool = False
    features_only: bool = False
    compiled: bool = False
    cuda_graph: bool = False
    flush_l2: bool = False

    def __post_init__(self) -> None:
        for name, value, known in (("dtype", self.dtype, DTYPES), ("form", self.form, FORMS)):
            if value not in known:
                raise UsageError(f"{name} is one of {', '.join(known)}; it is {value!r}.")
        if self.train and self.form == "merged":
            raise UsageError(
                "a merged network has no gradients; train in --form train or paper, or merge for inference."
            )
        on_gpu = torch.device(self.device).type == "cuda"
        for option, given in (("--cuda-graph", self.cuda_graph), ("--flush-l2", self.flush_l2)):
            if given and not on_gpu:
                raise UsageError(f"{option} needs a CUDA device; the device is {self.device}. Leave it out on a CPU.")

    @property
    def memory_format(self) -> torch.memory_format:
        """The memory format of weights and images."""
        return torch.channels_last if self.channels_last else torch.contiguous_format

    @property
    def weights_dtype(self) -> torch.dtype:
        """The dtype of weights and images."""
        return torch.float32 if self.train else getattr(torch, self.dtype)

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(**values)

    def facts(self) -> dict[str, Any]:
        """What a number depends on, in plain values."""
        how = "autocast, weights in float32" if self.train else "weights converted"
        return {
            "dtype": self.dtype,
            "dtype_by": None if self.dtype == "float32" else how,
            "memory_format": "channels_last" if self.channels_last else "contiguous",
            "mode": "forward and backward" if self.train else "inference",
            "output": "features" if self.features_only else "classes",
            "compiled": self.compiled,
            "cuda_graph": self.cuda_graph,
            "flush_l2": self.flush_l2,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """One run of a network on a batch."""

    model: Callable[[torch.Tensor], Any]
    images: torch.Tensor
    how: Execution
    weights: tuple[nn.Parameter, ...] = ()

    def __call__(self) -> object:
        """Runs it: the network's outputs, or with `how.train` the loss, whose gradients are in the weights then."""
        if not self.how.train:
            return self.model(self.images)
        for weight in self.weights:
            weight.grad = None
        # A cache of converted weights would outlive the run that a CUDA graph captures.
        with torch.autocast(
            self.images.device.type,
            dtype=getattr(torch, self.how.dtype),
            enabled=self.how.dtype != "float32",
            cache_enabled=not self.how.cuda_graph,
        ):
            output = self.model(self.images)
        outputs = [output] if isinstance(output, torch.Tensor) else output
        loss = torch.stack([part.float().mean() for part in outputs]).sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss


def prepare(model: nn.Module, how: Execution) -> nn.Module:
    """A network in its mode, form, dtype and memory format, on its device."""
    model = merge(model) if how.form == "merged" else model
    model.train(how.train).to(device=how.device, dtype=how.weights_dtype)
    return model.to(memory_format=how.memory_format)


def make_images(batch_size: int, input_size: Pair, how: Execution) -> torch.Tensor:
    """Random images (B, 3, H, W) as a network is given them."""
    images = torch.randn(batch_size, 3, *input_size, dtype=how.weights_dtype, device=how.device)
    return images.contiguous(memory_format=how.memory_format)


def make_step(model: nn.Module, images: torch.Tensor, how: Execution) -> Step:
    """One run of a model; compiled at its first call if so asked."""
    weights = tuple(model.parameters()) if how.train else ()
    run = compiled(model, how.device, dynamic=False) if how.compiled else model
    return Step(run, images, how, weights)


def compiled(model: Callable[..., Any], device: str, **options: Any) -> Callable[..., Any]:
    """`torch.compile`, but on a CPU memory formats stay as they are.

    Where torch 2.13 and 2.14 change them there, a network with convolutions and norms may write past its buffers and
    end the process (pytorch issue 181618); Swin with ACmix at 224 pixels does.

    Args:
        model: What is compiled.
        device: "cpu" or "cuda", with an index if need be.
        options: Further arguments of `torch.compile`.
    """
    kept: dict[str, Any] | None = {"layout_optimization": False} if device.startswith("cpu") else None
    return torch.compile(model, options=kept, **options)


@contextmanager
def conditions(models: Sequence[nn.Module], how: Execution) -> Iterator[None]:
    """What holds around every run: form, and whether gradients are kept."""
    with ExitStack() as stack:
        stack.enter_context(torch.enable_grad() if how.train else torch.inference_mode())
        for model in models if how.form == "paper" else ():
            stack.enter_context(plain_form(model))
        if how.compiled:
            # Networks of one class share the compiler's cache, which would fill and fall back to running uncompiled.
            stack.enter_context(torch._dynamo.config.patch(recompile_limit=1000, accumulated_recompile_limit=10_000))
        yield


def first_run(step: Step) -> tuple[float, int]:
    """Runs a step for the first time: (seconds, graph breaks that the compiler met)."""
    before = _graph_breaks(step.how)
    start = time.perf_counter()
    step()
    if step.images.is_cuda:
        torch.cuda.synchronize(step.images.device)
    return time.perf_counter() - start, _graph_breaks(step.how) - before


def _graph_breaks(how: Execution) -> int:
    if not how.compiled:
        return 0
    from torch._dynamo.utils import counters  # its import takes seconds

    return sum(counters["graph_break"].values())
