"""Two public counters, as a cross-check beside our analytic count, with what each leaves out."""

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from acmix_nas.models import plain_form


def macs_fvcore(model: nn.Module, input_size: int, *, in_chans: int = 3) -> int:
    """Multiply-adds of one image by fvcore's `FlopCountAnalysis`, whose "flop" is one multiply-add.

    Left out: elementwise products such as (q * k).sum(), scaled_dot_product_attention, im2col, activations, roll and
    pad. Counted beyond multiply-adds: normalisation, at 4 to 5 for each element. Traced in plain form.

    Args:
        model: A network on the CPU; fvcore cannot trace on the meta device.
        input_size: Height and width of the image in pixels.
        in_chans: Channels of the image.
    """
    images = torch.zeros(1, in_chans, input_size, input_size)
    with _evaluating(model), _quiet_fvcore(), plain_form(model), torch.no_grad():
        from fvcore.nn import FlopCountAnalysis  # its import compiles with torch.jit, and warns

        analysis = FlopCountAnalysis(model, images)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False).tracer_warnings("none")
        return int(analysis.total())


def macs_torch(model: nn.Module, input_size: int, *, in_chans: int = 3) -> int:
    """Multiply-adds of one image by torch's `FlopCounterMode`, which counts two for each.

    Left out: elementwise products such as (q * k).sum(), normalisation, softmax and activations. It sees convolutions,
    matrix products and, on the meta device where this count runs, scaled_dot_product_attention in full. Ours are
    counted in plain form.

    Args:
        model: A network on any device; it is not changed.
        input_size: Height and width of the image in pixels.
        in_chans: Channels of the image.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    images = torch.empty(1, in_chans, input_size, input_size, device="meta")
    with FlopCounterMode(display=False) as counter, plain_form(shadow), torch.no_grad():
        shadow(images)
    return int(counter.get_total_flops()) // 2


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
