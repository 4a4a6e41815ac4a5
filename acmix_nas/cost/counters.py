"""Two public counters beside our analytic count, what each leaves out, and whether the three agree."""

import copy
import logging
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from math import prod
from typing import Any, NamedTuple, TypeVar

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas.cost.blind import multiplying, short, sums_products
from acmix_nas.cost.count import breakdown
from acmix_nas.errors import AcmixError
from acmix_nas.models import plain_form
from acmix_nas.parts import total
from acmix_nas.sizes import Size, pair

PRODUCTS = (
    *("conv", "_convolution_mode", "linear", "addmm", "mm", "bmm", "matmul", "einsum"),
    "scaled_dot_product_attention",
)
"""fvcore's names of what it counts in multiply-adds; the rest of its count are norms, pooling and resizing."""
PASSED_OVER = ("roll", "constant_pad_nd", "masked_fill", "relu", "relu_", "clamp", "clamp_")
"""Operators that fvcore leaves out without listing them, and that are listed here."""

SUMMED = "mul+sum"
"""A product of two tensors whose elements are summed: multiply-adds that no counter knows as such."""
MOST_SAID = 300
"""Letters of a failure's reason that are shown."""

Counted = TypeVar("Counted")
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class CrossCheck:
    """What three ways of counting say of one network and image size, in plain form.

    They agree if macs - unseen_macs == macs_fvcore - fvcore_norms == macs_torch, to the number, and no operator that
    multiplies was left out: two counters that are blind to the same operator agree and prove nothing.

    Attributes:
        macs: Multiply-adds by arithmetic; None of networks that are not of `build_model`.
        unseen_macs: Those that neither counter sees: the elementwise products of local attention. None with `macs`.
        macs_fvcore: fvcore's count; None if it cannot trace the network.
        fvcore_norms: What of it are no multiply-adds: norms, average pooling and resizing. None with `macs_fvcore`.
        macs_torch: The count of torch's `FlopCounterMode`; None if the network does not run under it.
        ignored: Name -> number of calls of the operators that fvcore met and left out.
        blind: Operators that multiply, or may, and that a counter left out.
        failures: Counter ("fvcore", "torch") -> why it has no count: what its run raised.
    """

    macs: int | None
    unseen_macs: int | None
    macs_fvcore: int | None
    fvcore_norms: int | None
    macs_torch: int | None
    ignored: Mapping[str, int] = field(default_factory=dict)
    blind: tuple[str, ...] = ()
    failures: Mapping[str, str] = field(default_factory=dict)

    @property
    def agree(self) -> bool | None:
        """Whether all three agree (without `macs`, the two counters); None: it is unknown, `reason` says why."""
        if self.blind:
            return None
        counts = [self.macs_torch]
        counts.append(None if self.macs_fvcore is None else self.macs_fvcore - (self.fvcore_norms or 0))
        if self.macs is not None:
            counts.append(self.macs - (self.unseen_macs or 0))
        return None if None in counts else len(set(counts)) == 1

    @property
    def reason(self) -> str | None:
        """Why it is unknown whether the counts agree; None if it is known."""
        reasons = [f"{', '.join(self.blind)} may multiply and was left out"] if self.blind else []
        reasons += [f"{counter}'s counter failed: {error}" for counter, error in self.failures.items()]
        return "; ".join(reasons) or None


class FvcoreCount(NamedTuple):
    """What fvcore counts.

    Attributes:
        macs: All it counts.
        norms: What of it are no multiply-adds: norms, average pooling and resizing, at 1 to 5 for each element.
        ignored: Name -> number of calls of the operators that it met and left out.
        blind: Those of them that multiply, or may; sampling from a grid too, which it counts as if it were a norm.
        sums_products: Whether the products of two tensors are summed, as local attention does.
    """

    macs: int
    norms: int
    ignored: Mapping[str, int]
    blind: tuple[str, ...] = ()
    sums_products: bool = False


def cross_check(model: nn.Module, input_size: Size = 224, *, in_chans: int = 3) -> CrossCheck:
    """Counts a network in three ways.

    Args:
        model: A network on the CPU, ours or any other; it is not changed.
        input_size: Extent of the square image in pixels, or (height, width).
        in_chans: Channels of the image.

    Returns:
        The counts, whether they agree, and the reason if that is unknown.
    """
    failures: dict[str, str] = {}
    try:
        ours = total(breakdown(model, input_size))
    except AcmixError:  # no network of ours, or no longer as it was built
        ours = None
    fvcore = _or_none("fvcore", lambda: count_fvcore(model, input_size, in_chans=in_chans), failures)
    by_torch = _or_none("torch", lambda: macs_torch(model, input_size, in_chans=in_chans), failures)
    blind = () if fvcore is None else fvcore.blind
    if fvcore is not None and fvcore.sums_products and ours is None:  # of ours, `unseen_macs` are these
        blind = (*blind, SUMMED)
    return CrossCheck(
        macs=None if ours is None else ours.macs,
        unseen_macs=None if ours is None else ours.unseen_macs,
        macs_fvcore=None if fvcore is None else fvcore.macs,
        fvcore_norms=None if fvcore is None else fvcore.norms,
        macs_torch=by_torch,
        ignored={} if fvcore is None else fvcore.ignored,
        blind=blind,
        failures=failures,
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
    images = torch.zeros(1, in_chans, *pair(input_size))
    with _evaluating(model), _quiet_fvcore(), plain_form(model), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis  # its import compiles with torch.jit, and warns

        analysis = FlopCountAnalysis(model, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        analysis.set_op_handle("aten::scaled_dot_product_attention", _attention_macs)
        analysis.set_op_handle("aten::_convolution_mode", _convolution_macs)
        analysis.set_op_handle("aten::einsum", _einsum_macs)
        for name in (*PASSED_OVER, "sum", "mean"):
            analysis.set_op_handle(f"aten::{name}", _tally(name, passed))
        counts = analysis.by_operator()
        ignored = passed + Counter(analysis.unsupported_ops())
    summed = ignored.pop(SUMMED, 0) > 0
    macs = int(sum(counts.values()))
    products = int(sum(counts[name] for name in PRODUCTS))
    sampled = [name for name in ("grid_sampler",) if name in counts]
    return FvcoreCount(
        macs,
        macs - products,
        {short(name): count for name, count in sorted(ignored.items())},
        (*multiplying(ignored), *sampled),
        summed,
    )


def macs_torch(model: nn.Module, input_size: Size, *, in_chans: int = 3) -> int:
    """Multiply-adds of one image by torch's `FlopCounterMode`, which counts two for each.

    Left out: elementwise products such as (q * k).sum(), normalisation, softmax and activations. It sees convolutions,
    matrix products and scaled_dot_product_attention in full. Ours are counted in plain form. It counts on the meta
    device, and what does not run there on the CPU, on an image of zeros.

    Args:
        model: A network on any device; it is not changed.
        input_size: Extent of the square image in pixels, or (height, width).
        in_chans: Channels of the image.
    """
    try:
        return _macs_torch(model, input_size, in_chans, "meta")
    except Exception as error:  # no kernel for meta tensors, sizes that depend on data, a fault of the network
        log.debug("not counted on the meta device: %s", error)
    return _macs_torch(model, input_size, in_chans, "cpu")


def _macs_torch(model: nn.Module, input_size: Size, in_chans: int, device: str) -> int:
    shadow = copy.deepcopy(model).to(device).eval().requires_grad_(False)
    images = torch.zeros(1, in_chans, *pair(input_size), device=device)
    # the CPU's own kernel of attention counts as nothing; as two products it counts in full, as on the meta device
    spelled_out = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()
    with spelled_out, FlopCounterMode(display=False) as counter, plain_form(shadow), torch.no_grad():
        shadow(images)
    return int(counter.get_total_flops()) // 2


def _or_none(name: str, count: Callable[[], Counted], failures: dict[str, str]) -> Counted | None:
    try:
        return count()
    except Exception as error:  # tracers fail in ways of their own on networks they do not know
        failures[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_SAID]}"
        return None


def _attention_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Both products: every query with every key, and their weights with the values."""
    q, k, v = (value.type().sizes() for value in inputs[:3])
    macs: int = prod(q[:-1]) * k[-2] * (q[-1] + v[-1])
    return macs


def _convolution_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """A convolution whose padding is named ("same"), which fvcore does not know."""
    weight, found = inputs[1].type().sizes(), outputs[0].type().sizes()
    macs: int = prod(found) * prod(weight[1:])
    return macs


def _einsum_macs(inputs: list[Any], outputs: list[Any]) -> int:
    """Of two operands, the product of all extents; fvcore's own handle rounds to four digits."""
    equation, operands = inputs[0].toIValue(), list(inputs[1].node().inputs())
    if len(operands) != 2 or "." in equation:
        from fvcore.nn.jit_handles import einsum_flop_jit

        return int(einsum_flop_jit(inputs, outputs))
    extents: dict[str, int] = {}
    for letters, operand in zip(equation.replace(" ", "").split("->")[0].split(","), operands, strict=True):
        for letter, extent in zip(letters, operand.type().sizes(), strict=True):
            extents[letter] = max(extents.get(letter, 1), extent)
    return prod(extents.values())


def _tally(name: str, passed: Counter[str]) -> Callable[[list[Any], list[Any]], Counter[str]]:
    """A handle that counts calls, and no multiply-adds; of sums and means also those of products."""

    def handle(inputs: list[Any], outputs: list[Any]) -> Counter[str]:
        passed[f"aten::{name}"] += 1
        passed[SUMMED] += name in ("sum", "mean") and sums_products(inputs)
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
