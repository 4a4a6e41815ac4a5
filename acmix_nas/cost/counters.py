"""Two public counters beside our analytic count, what each leaves out, and whether the three agree."""

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas.cost.count import Size, breakdown
from acmix_nas.errors import AcmixError
from acmix_nas.models import plain_form
from acmix_nas.parts import total

PRODUCTS = ("conv", "linear", "addmm", "mm", "bmm", "matmul", "einsum", "scaled_dot_product_attention")
"""fvcore's names of what it counts in multiply-adds; the rest of its count are norms, pooling and resizing."""
PASSED_OVER = ("roll", "constant_pad_nd", "masked_fill", "relu", "relu_", "clamp", "clamp_")
"""Operators that fvcore leaves out without listing them, and that are listed here."""

Counted = TypeVar("Counted")


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """What three ways of counting say of one network and image size, in plain form.

    They agree if macs - unseen_macs == macs_fvcore - fvcore_norms == macs_torch, to the number.

    Attributes:
        macs: Multiply-adds by arithmetic; None of networks that are not of `build_model`.
        unseen_macs: Those that neither counter sees: the elementwise products of local attention. None with `macs`.
        macs_fvcore: fvcore's count; None if it cannot trace the network.
        fvcore_norms: What of it are no multiply-adds: norms, average pooling and resizing. None with `macs_fvcore`.
        macs_torch: The count of torch's `FlopCounterMode`; None if the network does not run on the meta device.
        ignored: Name -> number of calls of the operators that fvcore met and left out.
    """

    macs: int | None
    unseen_macs: int | None
    macs_fvcore: int | None
    fvcore_norms: int | None
    macs_torch: int | None
    ignored: Mapping[str, int] = field(default_factory=dict)

    @property
    def agree(self) -> bool | None:
        """Whether all three agree; without `macs`, whether the two counters do; None if a counter failed."""
        counts = [self.macs_torch]
        counts.append(None if self.macs_fvcore is None else self.macs_fvcore - (self.fvcore_norms or 0))
        if self.macs is not None:
            counts.append(self.macs - (self.unseen_macs or 0))
        return None if None in counts else len(set(counts)) == 1


class FvcoreCount(NamedTuple):
    """What fvcore counts.

    Attributes:
        macs: All it counts.
        norms: What of it are no multiply-adds: norms, average pooling and resizing, at 1 to 5 for each element.
        ignored: Name -> number of calls of the operators that it met and left out.
    """

    macs: int
    norms: int
    ignored: Mapping[str, int]


def cross_check(model: nn.Module, input_size: Size = 224, *, in_chans: int = 3) -> CrossCheck:
    """Counts a network in three ways.

    Args:
        model: A network on the CPU, ours or any other; it is not changed.
        input_size: Extent of the square image in pixels, or (height, width).
        in_chans: Channels of the image.

    Returns:
        The counts, and whether they agree.
    """
    try:
        ours = total(breakdown(model, input_size))
    except AcmixError:  # no network of ours, or no longer as it was built
        ours = None
    fvcore = _or_none(lambda: count_fvcore(model, input_size, in_chans=in_chans))
    return CrossCheck(
        macs=None if ours is None else ours.macs,
        unseen_macs=None if ours is None else ours.unseen_macs,
        macs_fvcore=None if fvcore is None else fvcore.macs,
        fvcore_norms=None if fvcore is None else fvcore.norms,
        macs_torch=_or_none(lambda: macs_torch(model, input_size, in_chans=in_chans)),
        ignored={} if fvcore is None else fvcore.ignored,
    )


def count_fvcore(model: nn.Module, input_size: Size, *, in_chans: int = 3) -> FvcoreCount:
    """Multiply-adds of one image by fvcore's `FlopCountAnalysis`, whose "flop" is one multiply-add.

    It is given a handle for scaled_dot_product_attention, both products as torch counts them. Left out: elementwise
    products such as (q * k).sum(), im2col and unfold, activations, roll and pad; `ignored` lists them. Counted beyond
    multiply-adds: `norms`. Traced in plain form.

    Args:
        model: A network on the CPU; fvcore cannot trace on the meta device.
        input_size: Extent of the square image in pixels, or (height, width).
        in_chans: Channels of the image.
    """
    passed: Counter[str] = Counter()
    images = torch.zeros(1, in_chans, *_pair(input_size))
    with _evaluating(model), _quiet_fvcore(), plain_form(model), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis  # its import compiles with torch.jit, and warns

        analysis = FlopCountAnalysis(model, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
        for name in PASSED_OVER:
            analysis.set_op_handle(f"aten::{name}", _tally(name, passed))
        counts = analysis.by_operator()
        ignored = passed + Counter({name.split("::")[-1]: n for name, n in analysis.unsupported_ops().items()})
    macs = int(sum(counts.values()))
    products = int(sum(counts[name] for name in PRODUCTS))
    return FvcoreCount(macs, macs - products, dict(sorted(ignored.items())))


def macs_fvcore(model: nn.Module, input_size: Size, *, in_chans: int = 3) -> int:
    """All that `count_fvcore` counts, norms too."""
    return count_fvcore(model, input_size, in_chans=in_chans).macs


def macs_torch(model: nn.Module, input_size: Size, *, in_chans: int = 3) -> int:
    """Multiply-adds of one image by torch's `FlopCounterMode`, which counts two for each.

    Left out: elementwise products such as (q * k).sum(), normalisation, softmax and activations. It sees convolutions,
    matrix products and, on the meta device where this count runs, scaled_dot_product_attention in full. Ours are
    counted in plain form.

    Args:
        model: A network on any device; it is not changed.
        input_size: Extent of the square image in pixels, or (height, width).
        in_chans: Channels of the image.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    images = torch.empty(1, in_chans, *_pair(input_size), device="meta")
    with FlopCounterMode(display=False) as counter, plain_form(shadow), torch.no_grad():
        shadow(images)
    return int(counter.get_total_flops()) // 2


def _pair(size: Size) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


def _or_none(counter: Callable[[], Counted]) -> Counted | None:
    try:
        return counter()
    except Exception:  # tracers fail in ways of their own on networks they do not know; the count is a cross-check
        return None


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Both products: every query with every key, and their weights with the values."""
    q, k, v = (value.type().sizes() for value in inputs[:3])
    macs: int = prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
    return macs


def _tally(name: str, passed: Counter[str]) -> Callable[[list[Any], list[Any]], Counter[str]]:
    """A handle that counts calls, and no multiply-adds."""

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        passed[name] += 1
        return Counter()

    return handle


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


@contextmanager
def _quiet_fvcore() -> Iterator[None]:
    """Keeps fvcore silent: it uses torch.jit, which torch deprecates, and logs every operator it passes over."""
    logger = logging.getLogger("fvcore.nn.jit_analysis")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=FutureWarning)
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.", category=DeprecationWarning)
            yield
    finally:
        logger.setLevel(level)
