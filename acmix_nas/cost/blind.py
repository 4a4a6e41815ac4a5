"""Which of the operators that a counter left out may multiply, so that its count proves nothing."""

from collections.abc import Iterable
from typing import Any

import torch

SHORT = ("aten", "prim", "torchvision")
"""Namespaces that are left out of an operator's name."""
PREFIXES = """
upsample_ new_ to_ _pad_ reflection_pad replication_pad max_pool avg_pool adaptive_
"""
"""Resizing, padding, pooling and new tensors."""
SHAPES = """
alias as_strided broadcast_to channel_shuffle clone col2im column_stack concat concatenate contiguous copy diag
diag_embed diagonal dim expand expand_as flatten flip gather hsplit hstack im2col index index_add index_copy index_fill
index_select is_floating_point item lift lift_fresh masked_scatter masked_select meshgrid movedim native_channel_shuffle
numel numpy_T pad pixel_shuffle pixel_unshuffle ravel repeat repeat_interleave reshape reshape_as roll rot90 scatter
scatter_add select_scatter slice_scatter swapaxes take take_along_dim tensor_split tile to tril triu type_as unflatten
unfold unsafe_chunk unsafe_split unsafe_split_with_sizes view view_as vstack
"""
FILLED = """
bernoulli empty_like eye fill linspace normal one_hot ones_like rand rand_like randint randn randn_like randperm
scalar_tensor tensor tril_indices triu_indices uniform zero zeros_like
"""
REDUCED = """
all amax amin aminmax any argmax argmin argsort bincount bucketize count_nonzero cummax cummin cumprod cumsum
frobenius_norm kthvalue linalg_norm linalg_vector_norm logsumexp max mean median min mode norm prod quantile
searchsorted sort std std_mean sum topk trace var var_mean
"""
ACTIVATED = """
_log_softmax _softmax _weight_norm alpha_dropout batch_norm celu constant_pad_nd dropout elu embedding
feature_alpha_dropout feature_dropout floor_divide gelu glu group_norm hardshrink hardsigmoid hardswish hardtanh
instance_norm layer_norm leaky_relu log_sigmoid log_softmax logsigmoid mish native_dropout prelu relu relu6 rms_norm
rrelu selu silu softmax softplus softshrink softsign tanhshrink threshold
"""
HARMLESS = frozenset(" ".join((SHAPES, FILLED, REDUCED, ACTIVATED)).split())
"""Operators without multiply-adds by our way of counting, beside those that torch itself tags as pointwise."""


def short(kind: str) -> str:
    """An operator's name for people: without "aten::" and the like."""
    namespace, _, name = kind.rpartition("::")
    return name if namespace in SHORT else kind


def multiplying(kinds: Iterable[str]) -> tuple[str, ...]:
    """Of operators that were left out those that may hold multiply-adds, in short, sorted.

    What is not known to hold none is taken to hold some: operators of other libraries, custom ones, recurrent layers,
    products under another name. A pointwise product holds none by our way of counting.

    Args:
        kinds: Full names, such as "aten::softmax" and "torchvision::deform_conv2d".
    """
    return tuple(sorted({short(kind) for kind in kinds if not _harmless(kind)}))


def sums_products(inputs: list[Any]) -> bool:
    """Whether the traced input of a sum or a mean is the product of two different tensors: hidden multiply-adds."""
    node = inputs[0].node()
    if node.kind() not in ("aten::mul", "aten::mul_"):
        return False
    one, other = list(node.inputs())[:2]
    return one != other and all(_is_many(value) for value in (one, other))


def _harmless(kind: str) -> bool:
    namespace, _, name = kind.rpartition("::")
    name = name.removesuffix("_")
    if namespace != "aten":
        return kind == "torchvision::nms"
    return name in HARMLESS or name.startswith(tuple(PREFIXES.split())) or _is_pointwise(name)


def _is_pointwise(name: str) -> bool:
    packet = getattr(torch.ops.aten, name, None)
    return packet is not None and any(
        torch.Tag.pointwise in getattr(packet, overload).tags for overload in packet.overloads()
    )


def _is_many(value: Any) -> bool:
    """Whether a traced value is a tensor of more than one element."""
    sizes = value.type().sizes() if value.isCompleteTensor() else None
    return sizes is not None and any(size > 1 for size in sizes)
