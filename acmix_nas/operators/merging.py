"""ACmix for deployment: what is known before the data is folded into its weights."""

import copy
from collections.abc import Mapping
from typing import Any, ClassVar, TypeGuard

import torch
from torch import nn
from torch.nn.utils import parametrize, prune, remove_spectral_norm, remove_weight_norm
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from acmix_nas.operators import _combine
from acmix_nas.operators._convolution import ConvolutionPath, Maps, Reduced
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.attention import Weight
from acmix_nas.operators.attention.san import Norm
from acmix_nas.operators.forms import Kinds, change_of, plain_parts

WIDE_HEAD = 16
"""Head width in channels from which `rides` holds."""

AnyNorm = nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm


def merged(operator: ACmix, norm: AnyNorm | None = None) -> ACmix:
    """A copy in evaluation mode in which nothing is left to fold, followed by `norm` if one is given.

    beta and the norm go into the kernels, composed with fc as `ConvolutionPath.composes` says; else fc goes into the
    projections, as `rides` says. alpha and the norm go into proj; in a mode without proj they stay one factor for each
    channel. Nothing is divided. Tables of biases and masks are added up.

    Args:
        operator: The operator; it is not changed.
        norm: The norm behind it, of an operator that `absorbs` one.
    """
    result = copy.deepcopy(operator).eval()
    if result.attention is not None:
        result.attention.freeze()
    _fold_weight_branch(result.attention)
    weights = result.combine.weights()
    channels = result.widths[-1]
    scale, shift = affine(norm) if norm is not None else (torch.ones(channels), torch.zeros(channels))
    scale, shift = scale.to(result.qkv.weight), shift.to(result.qkv.weight)
    if weights is None:
        weights = (1.0, 1.0)
    else:
        alpha = _fold_into_proj(result, scale * weights[0], shift)
        result.combine = Merged(alpha, result.combine.mixing())
    if result.convolution is not None:
        ratio = getattr(result.attention, "sr_ratio", 1)
        mixed = rides(result.convolution, ratio)
        if mixed:
            _fold_into_projections(result, result.convolution)
        result.convolution = MergedConvolution(result.convolution, scale * weights[1], shift, ratio, mixed=mixed)
    return result


def rides(path: ConvolutionPath, ratio: int) -> bool:
    """Whether fc is computed with the projections, as fc(W x + b) = (fc W) x + (fc b + b_fc), instead of after them.

    That takes C_in / 3N times the multiply-adds, in one large product instead of one small product for each pixel,
    which processors run as much faster; measured on the CPU, it pays where a head is wide.

    Args:
        path: The convolution path.
        ratio: Extent of the square that a reduced key or value may stand for: such keys are not projected from x.
    """
    return not path.composes and ratio == 1 and path.head_dim >= WIDE_HEAD


def is_merged(operator: ACmix) -> bool:
    """Whether it is a result of `merged`."""
    return isinstance(operator.combine, Merged) or isinstance(operator.convolution, MergedConvolution)


def why_unmerged(operator: ACmix) -> str | None:
    """Why nothing is folded in an operator: something inside it would be lost; None if it can be merged."""
    if type(operator) is not ACmix:
        return f"it is {type(operator).__name__}"
    if changed := plain_parts(operator):
        return next(iter(changed.values()))
    inner = ((name, change_of(part, nn.Module)) for name, part in operator.named_modules() if name)
    return next((f"its {name} {change}" for name, change in inner if change is not None), None)


def unsynchronised(operator: ACmix) -> None:
    """Norms of SAN's weights that average over processes become those of one, which are the same in evaluation."""
    for name, part in list(operator.named_modules()):
        if type(part) is nn.SyncBatchNorm:
            operator.set_submodule(name, Norm.like(part))


def absorbs(operator: nn.Module) -> TypeGuard[ACmix]:
    """Whether a norm behind the operator can be folded into it."""
    if not isinstance(operator, ACmix) or change_of(operator, (ACmix,)) or why_unmerged(operator):
        return False
    if operator.combine.weights() is None:
        return False
    return operator.convolution is not None or hasattr(operator.attention, "proj")


def is_affine(norm: nn.Module) -> TypeGuard[AnyNorm]:
    """Whether a module is a batch norm of which `affine` says all there is."""
    if not isinstance(norm, AnyNorm) or change_of(norm, (nn.BatchNorm2d, nn.SyncBatchNorm)) is not None:
        return False
    return norm.running_mean is not None and norm.weight is not None


def affine(norm: AnyNorm) -> tuple[torch.Tensor, torch.Tensor]:
    """scale, shift of scale * x + shift, which a batch norm is in evaluation."""
    assert norm.running_mean is not None
    assert norm.running_var is not None
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - scale * norm.running_mean


class Merged(_combine.Combination):
    """alpha * F_att + F_conv, beta being in the kernels, and alpha 1 where it is in proj."""

    alpha: torch.Tensor | None

    def __init__(self, alpha: torch.Tensor | None, mixing: _combine.Mixing | None) -> None:
        super().__init__()
        self.register_buffer("alpha", alpha)
        self._mixing = mixing

    def mixing(self) -> _combine.Mixing | None:
        """(alpha, beta) before they were folded."""
        return self._mixing

    def weights(self) -> tuple[Weight, Weight]:
        """The factors of both paths that are left."""
        return 1.0 if self.alpha is None else self.alpha, 1.0

    def forward(self, att: torch.Tensor, conv: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Adds both paths (B, h, w, C)."""
        return att + conv if self.alpha is None else torch.addcmul(conv, self.alpha, att)


class MergedConvolution(ConvolutionPath):
    """The convolution path with its kernels computed beforehand.

    Args:
        path: What it computes, times `scale`, plus `shift`.
        scale: For each channel.
        shift: For each channel.
        ratio: Extent of the square that a reduced key or value may stand for; 1 if they are never reduced.
        mixed: Whether the maps that it is given come out of fc already.
    """

    READ: ClassVar[Mapping[str, Kinds]] = {}  # what it reads are its own buffers; fc is called

    fc: Any
    weight: torch.Tensor
    queries: torch.Tensor | None
    enlarged: torch.Tensor | None
    border: torch.Tensor | None
    factor: torch.Tensor | None
    shift: torch.Tensor

    def __init__(
        self, path: ConvolutionPath, scale: torch.Tensor, shift: torch.Tensor, ratio: int, *, mixed: bool
    ) -> None:
        nn.Module.__init__(self)
        self.num_heads, self.head_dim = path.num_heads, path.head_dim
        self.repeats, self.geometry = path.repeats, path.geometry
        self.composes, self.mixed = path.composes, mixed
        self.composes_queries = path.composes_queries and ratio > 1
        kernels_OPkk: torch.Tensor = path.kernels.taps(scale)
        if self.repeats == 1:
            kernels_OPkk = kernels_OPkk * scale[:, None, None, None]
        composed_OMkk = path.composed(kernels_OPkk)
        apart = path.apart(composed_OMkk, ratio) if self.composes_queries else (None, None)
        border = None if path.fc.bias is None else torch.einsum("opij,p->oij", kernels_OPkk, path.fc.bias).unsqueeze(1)
        self.fc = nn.Identity() if self.composes or mixed else path.fc
        self.register_buffer("weight", self._for_depths(composed_OMkk if self.composes else kernels_OPkk).contiguous())
        self.register_buffer("queries", apart[0])
        self.register_buffer("enlarged", apart[1])
        self.register_buffer("border", None if border is None else self._for_depths(border).contiguous())
        self.register_buffer("factor", None if self.repeats == 1 else scale)
        self.register_buffer("shift", shift if path.bias is None else shift + scale * path.bias)

    def weighed(self, maps: Maps, beta: Weight) -> torch.Tensor:
        """`forward`: beta is in the kernels."""
        y: torch.Tensor = self(maps)
        return y

    def forward(self, maps: Maps) -> torch.Tensor:
        """As that of `ConvolutionPath`."""
        bias = self.shift if self.factor is None else None
        if isinstance(maps, Reduced):
            assert self.queries is not None
            assert self.enlarged is not None
            y_BhwO = self._convolved_apart(maps, self.queries, self.enlarged, bias)
        elif self.mixed:
            y_BhwO = self._convolved(torch.unflatten(maps, -1, (self.head_dim, -1)), self.weight, bias)
        else:
            y_BhwO = self._convolved(self.fc(self._maps(maps)), self.weight, bias)
        if self.border is not None and (self.composes or isinstance(maps, Reduced)):
            y_BhwO = y_BhwO + self._bordered(self.border, maps.q if isinstance(maps, Reduced) else maps)
        if self.factor is None:
            return y_BhwO
        return torch.addcmul(self.shift, self.factor, self._repeated(y_BhwO, 1.0))


def _fold_into_projections(operator: ACmix, path: ConvolutionPath) -> None:
    """fc(W x + b) as one linear layer, beside q, k, v or, without attention, in their place."""
    weight_MDI = torch.unflatten(operator.qkv.weight, 0, (-1, path.head_dim))
    bias_MD = torch.unflatten(operator.qkv.bias, 0, (-1, path.head_dim))
    layer = nn.Linear(weight_MDI.shape[-1], path.head_dim * len(path.fc.weight), device="meta")
    layer.weight = nn.Parameter(torch.einsum("pm,mdi->dpi", path.fc.weight, weight_MDI).flatten(0, 1))
    bias_DP = torch.einsum("pm,md->dp", path.fc.weight, bias_MD)
    layer.bias = nn.Parameter((bias_DP if path.fc.bias is None else bias_DP + path.fc.bias).flatten())
    if operator.attention is None:
        operator.qkv = layer
    else:
        operator.mixed = layer


def _fold_into_proj(operator: ACmix, scale: torch.Tensor, shift: torch.Tensor) -> torch.Tensor | None:
    """Scales the end of the attention path; returns what is left of alpha. `shift` goes there if nowhere else."""
    proj = getattr(operator.attention, "proj", None)
    if proj is None:
        return scale
    proj.weight.mul_(scale[:, None])
    proj.bias.mul_(scale)
    if operator.convolution is None:
        proj.bias.add_(shift)
    return None


def _fold_weight_branch(attention: nn.Module | None) -> None:
    """The second norm of SAN's weights follows a linear layer."""
    norm, layer = getattr(attention, "norm2", None), getattr(attention, "reduction", None)
    if attention is None or not isinstance(norm, Norm) or not isinstance(layer, nn.Linear):
        return
    scale, shift = affine(norm)
    layer.weight.mul_(scale[:, None])
    layer.bias = nn.Parameter(shift)
    attention.norm2 = nn.Identity()


@torch.no_grad()
def stored(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode in which every computed weight is an ordinary parameter.

    What is computed by `torch.nn.utils.parametrize`, by `torch.nn.utils.prune`, or by the older `weight_norm` and
    `spectral_norm` is known; other hooks go with the copy.

    Args:
        module: Any module; it is not changed.
    """
    copied = copy.deepcopy(module, _results(module)).eval()
    for part in copied.modules():
        if parametrize.is_parametrized(part):
            for name in list(part.parametrizations):  # type: ignore[arg-type]  # a ModuleDict
                parametrize.remove_parametrizations(part, name, leave_parametrized=True)
        for hook in list(part._forward_pre_hooks.values()):
            if isinstance(hook, prune.BasePruningMethod):
                prune.remove(part, hook._tensor_name)  # type: ignore[no-untyped-call]
            elif isinstance(hook, WeightNorm):
                remove_weight_norm(part, hook.name)
            elif isinstance(hook, SpectralNorm):
                remove_spectral_norm(part, hook.name)
    return copied


def _results(module: nn.Module) -> dict[int, torch.Tensor]:
    """Copies of what hooks have computed, which autograd's graph keeps `copy.deepcopy` from copying."""
    values = [value for part in module.modules() for value in vars(part).values() if isinstance(value, torch.Tensor)]
    return {id(value): value.detach().clone() for value in values if not value.is_leaf}
