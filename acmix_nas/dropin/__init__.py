"""ACmix in networks that others built: `convert` replaces convolutions and attention of timm and torchvision models."""

import re
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import dataclass
from fnmatch import fnmatchcase

from torch import nn

from acmix_nas.dropin._replace import ConversionError, carry, module_text, replacement
from acmix_nas.operators.acmix import ACmix

__all__ = ["Conversion", "ConversionError", "Replacement", "convert"]

Pattern = str | re.Pattern[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Replacement:
    """One module that became ACmix.

    Attributes:
        name: Its qualified name.
        was: The module it was, as it prints.
        carried: Its parameters whose values went into the operator.
        dropped: Its parameters that the operator has no place for.
    """

    name: str
    was: str
    carried: tuple[str, ...]
    dropped: tuple[str, ...]

    def __str__(self) -> str:
        carried, dropped = ", ".join(self.carried) or "nothing", ", ".join(self.dropped) or "nothing"
        return f"{self.name}: {self.was}; carried over {carried}; dropped {dropped}"


@dataclass(frozen=True, slots=True)
class Conversion:
    """What `convert` did to a network.

    Attributes:
        replaced: The replaced modules, in the network's order.
    """

    replaced: tuple[Replacement, ...]

    def __str__(self) -> str:
        return "\n".join(map(str, self.replaced))


def convert(
    model: nn.Module,
    pattern: Pattern | tuple[Pattern, ...],
    *,
    num_heads: int | None = None,
    attention: str | None = None,
    attn_kernel: int = 7,
    conv_kernel: int | None = None,
    conv_impl: str = "full",
    conv_init: str = "shift",
    combine: str = "learned",
    fc_bias: bool = False,
) -> nn.Module:
    """Replaces convolutions and attention modules of a network by ACmix; the network itself stays as it is.

    Replaced are, among the modules whose qualified names match: dense k x k convolutions with odd k > 1, which keep
    their channels, stride, dilation and whether they end in a bias; and the attention of timm's VisionTransformer,
    whose tokens are the patches row by row. 1x1 convolutions and layers of other kinds are passed over.

    Args:
        model: The network.
        pattern: Glob in which * matches dots too, a compiled regular expression that matches whole names, or a tuple
            of these.
        num_heads: Heads; 4 for a convolution and the module's own for attention if None.
        attention: Attention mode; "local" for a convolution and "global" for attention if None.
        attn_kernel: Extent of the attention window in pixels, for modes that have one.
        conv_kernel: Odd extent of the convolution path; that of the convolution, and 3 for attention, if None.
        conv_impl: Shift-and-sum, as in `ACmix`.
        conv_init: Start of trained kernels, as in `ACmix`.
        combine: Rule for alpha and beta, as in `ACmix`.
        fc_bias: Whether the light layer before the shifts has a bias.

    Returns:
        A copy of the network with ACmix in it. Its attribute `conversion` is a `Conversion`: what was replaced, and
        which weights could be carried over.

    Raises:
        ConversionError: Nothing that can be replaced matches, or something that matches cannot; the message names it.
    """
    described = {"num_heads": num_heads, "attention": attention, "attn_kernel": attn_kernel, "combine": combine}
    described |= {"conv_kernel": conv_kernel, "conv_impl": conv_impl, "conv_init": conv_init}
    given = {name: value for name, value in described.items() if value is not None}
    converted = deepcopy(model)
    found = list(_matching(converted, pattern if isinstance(pattern, tuple) else (pattern,)))
    made: dict[nn.Module, nn.Module] = {}
    replaced = []
    for name, module in found:
        if module not in made:
            made[module] = replacement(converted, name, module, given, fc_bias=fc_bias)
            replaced.append(_report(name, module, carry(module, made[module])))
    for name, module in found:
        converted.set_submodule(name, made[module])
    converted.conversion = Conversion(tuple(replaced))  # type: ignore[assignment]  # a plain attribute
    return converted


def _report(name: str, module: nn.Module, carried: tuple[str, ...]) -> Replacement:
    dropped = tuple(parameter for parameter, _ in module.named_parameters() if parameter not in carried)
    return Replacement(name=name, was=module_text(module), carried=carried, dropped=dropped)


def _matching(model: nn.Module, patterns: tuple[Pattern, ...]) -> Iterator[tuple[str, nn.Module]]:
    """The modules to replace by name, under all their names."""
    named = [(name, module) for name, module in model.named_modules(remove_duplicate=False) if name]
    for pattern in patterns:
        if not isinstance(pattern, str | re.Pattern):
            raise ConversionError(f"a pattern is a glob or a compiled regular expression; it is {pattern!r}.")
        if not any(_matches(name, pattern) and _mixes(module) for name, module in named):
            kinds = sorted({type(module).__name__ for name, module in named if _matches(name, pattern)})
            text = pattern if isinstance(pattern, str) else pattern.pattern
            raise ConversionError(
                f"no convolution or attention that ACmix can replace has a name that matches {text!r}; "
                f"what matches is {', '.join(kinds) or 'nothing'}. [name for name, _ in model.named_modules()] lists "
                "the names."
            )
    for name, module in named:
        if _mixes(module) and any(_matches(name, pattern) for pattern in patterns):
            yield name, module


def _matches(name: str, pattern: Pattern) -> bool:
    return fnmatchcase(name, pattern) if isinstance(pattern, str) else pattern.fullmatch(name) is not None


def _mixes(module: nn.Module) -> bool:
    """Whether a module mixes pixels or tokens, so that naming it asks for ACmix."""
    if isinstance(module, nn.Conv2d):
        return tuple(module.kernel_size) != (1, 1)
    return isinstance(module, nn.MultiheadAttention) or (hasattr(module, "qkv") and not isinstance(module, ACmix))
