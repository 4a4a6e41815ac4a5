"""Zero-cost scores: numbers of an untrained network that are said to rank networks as training does.

None is an accuracy, and whether one ranks the networks of a space is measured, not assumed: `acmix data fidelity`.

- synflow (Tanaka et al. 2020, arXiv 2006.05467): sum of |weight * d(sum of outputs)/d weight| for an image of ones,
  with absolute weights and without norms. Here its logarithm.
- naswot (Mellor et al. 2021, arXiv 2006.04647): log-determinant of how alike the images of a batch switch the ReLUs and
  GELUs, which switch where their input is above 0.
- zico (Li et al. 2023, arXiv 2301.11300): sum over weight tensors of log(sum of E|gradient| / s.d. of |gradient|), over
  batches.
- jacov (Mellor et al., first version): how little the input gradients of a batch's images correlate.
"""

import copy
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from acmix_nas.arch import Arch
from acmix_nas.tasks import Task
from acmix_nas.train.gradients import tiny_maps_in_float32
from acmix_nas.train.loader import Batch, Feed
from acmix_nas.train.recipe import Budget
from acmix_nas.train.sample_loader import SampleFeed
from acmix_nas.train.trial import Setting, build_proxy

BATCH = 64
"""Images of naswot and jacov, and of each batch of zico; half of the training images where there are few."""
BATCHES = 2
"""Batches of zico."""
SWITCHES = (torch.ops.aten.relu, torch.ops.aten.relu_, torch.ops.aten.gelu)

Score = Callable[[nn.Module, Sequence[Batch], Task, Budget], float]


def zero_cost_scores(arch: Arch, setting: Setting, *, seed: int) -> dict[str, float]:
    """The scores of a network's proxy, before training.

    Args:
        arch: The network at full size.
        setting: How its proxy would be built and trained.
        seed: Of weights and images: the weights are those that training with this seed begins with.

    Returns:
        A number for each of `SCORES`; one that is not finite says that it cannot be computed, as all of a few images.
    """
    task = setting.learned
    images = setting.splits.train
    if len(images) < 2 * BATCHES:
        return dict.fromkeys(SCORES, math.nan)
    budget = replace(setting.budget, batch_size=min(BATCH, len(images) // BATCHES), steps=None)
    feed = (SampleFeed if task.own_sizes else Feed)(setting.splits, budget, setting.device, task)
    batches = list(islice(feed.shuffled(images, torch.Generator().manual_seed(seed)), BATCHES))
    with torch.random.fork_rng(devices=[torch.cuda.current_device()] if setting.device == "cuda" else []):
        torch.manual_seed(seed)
        model = build_proxy(arch, setting).to(setting.device)
        return {name: score(copy.deepcopy(model), batches, task, budget) for name, score in SCORES.items()}


def synflow(model: nn.Module, batches: Sequence[Batch], task: Task, budget: Budget) -> float:
    """The logarithm of synaptic flow, in float64."""
    model = model.eval().double()
    with torch.no_grad():
        for weight in model.parameters():
            weight.abs_()
    with _without_norms(model):
        model(torch.ones_like(batches[0].images[:1], dtype=torch.float64)).sum().backward()
    flow = sum((weight.detach() * weight.grad).abs().sum() for weight in model.parameters() if weight.grad is not None)
    return float(torch.as_tensor(flow).log())


def naswot(model: nn.Module, batches: Sequence[Batch], task: Task, budget: Budget) -> float:
    """The log-determinant of the kernel of binary codes."""
    images = batches[0].images
    with torch.no_grad(), _Codes(len(images)) as codes:
        model.train()(images)
    return float(torch.linalg.slogdet(codes.alike).logabsdet)


def zico(model: nn.Module, batches: Sequence[Batch], task: Task, budget: Budget) -> float:
    """The sum over weight tensors of how large gradients are for how much they vary."""
    model.train()
    weights = [weight for weight in model.parameters() if weight.ndim > 1 and weight.requires_grad]
    sizes = []
    for batch in batches:
        with tiny_maps_in_float32():
            loss = task.loss(model(batch.images), batch.targets, budget)
            sizes.append([g.abs().double() for g in torch.autograd.grad(loss, weights, materialize_grads=True)])
    total = 0.0
    for of_weight in zip(*sizes, strict=True):
        deviation, mean = torch.std_mean(torch.stack(of_weight), 0)
        known = deviation > 0
        if known.any():
            total += float((mean[known] / deviation[known]).sum().log())
    return total


def jacov(model: nn.Module, batches: Sequence[Batch], task: Task, budget: Budget) -> float:
    """How close to 1 the eigenvalues of the correlations of the input gradients are."""
    images = batches[0].images.detach().clone().requires_grad_()
    outputs = model.train()(images)
    main = outputs if isinstance(outputs, torch.Tensor) else outputs[0]  # a head for training alone is no part of it
    (gradient,) = torch.autograd.grad(main.sum(), images)
    values = torch.linalg.eigvalsh(torch.corrcoef(gradient.flatten(1).double())) + 1e-5
    return float(-(values.log() + 1 / values).sum())


SCORES: Mapping[str, Score] = {"synflow": synflow, "naswot": naswot, "zico": zico, "jacov": jacov}


class _Codes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Adds up for each pair of images how many switches of a network are alike in both.

    Attributes:
        alike: Their number, (B, B).
    """

    def __init__(self, images: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.alike = torch.zeros(images, images, dtype=torch.float64)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.overloadpacket in SWITCHES and len(args[0]) == len(self.alike):
            code = (args[0] > 0).flatten(1).float()
            both = code @ code.T + (1 - code) @ (1 - code).T
            self.alike += both.double().to(self.alike.device)
        return func(*args, **(kwargs or {}))


@contextmanager
def _without_norms(model: nn.Module) -> Iterator[None]:
    """A block without norms, for a fresh network in evaluation mode, in which batch norms do nothing anyway."""
    norms = [part for part in model.modules() if isinstance(part, nn.LayerNorm | nn.GroupNorm)]
    hooks = [norm.register_forward_hook(lambda _, inputs, output: inputs[0]) for norm in norms]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
