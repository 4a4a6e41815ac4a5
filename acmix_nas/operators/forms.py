"""The two forms of an operator's parts: fast, which is what runs, and plain, the named formulation literally.

A fast form reads the weights of the modules inside and does not call these modules. So a part takes its plain form,
which calls them all, where somebody changed one of them: by hooks, another type, or a weight that is computed.
"""

import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import torch
from torch import nn
from torch._subclasses import FakeTensor
from torch.autograd import forward_ad

Kinds = type[nn.Module] | tuple[type[nn.Module], ...]
"""Exactly one of some types, or one type and all that derive from it."""

Work = TypeVar("Work", bound=Callable[..., Any])

_OBSERVES = "_acmix_observes"
_STORED = (nn.Parameter, torch.Tensor, FakeTensor)
_said: set[tuple[type, str]] = set()


class TwoForms(nn.Module):
    """A part with two forms of one function.

    Attributes:
        plain: Whether it was asked to compute the formulation of docs/operator.md step by step.
        READ: Names of the modules inside whose weights its fast form reads, and the types that it can do this with.
    """

    plain: bool = False
    READ: ClassVar[Mapping[str, Kinds]] = {}

    def in_plain_form(self) -> bool:
        """Whether it computes the formulation step by step now; why it does so unasked is said once."""
        if self.plain:
            return True
        reason = self.why_plain()
        if reason is not None:
            _say_once(type(self), reason)
        return reason is not None

    def why_plain(self) -> str | None:
        """Why it takes its plain form unasked; None if it takes the fast one."""
        if _is_transformed():
            return "a transform of torch.func or forward-mode differentiation runs"
        for name, kinds in self.READ.items():
            module = self._modules.get(name)
            if module is not None and (change := change_of(module, kinds)) is not None:
                return f"its {name} {change}"
        return None


def change_of(module: nn.Module, kinds: Kinds) -> str | None:
    """What was changed about a module, so that its weights alone do not say what it computes; None if nothing was.

    Args:
        module: The module.
        kinds: What it was built as.
    """
    if "parametrizations" in module._modules:
        return "computes its weights"
    if type(module) not in kinds if isinstance(kinds, tuple) else kinds not in type(module).__mro__:
        return f"is {type(module).__name__}"
    if not _hooks_watch(module):
        return "has hooks"
    forward = module.__dict__.get("forward")
    if forward is not None and not hasattr(forward, _OBSERVES):
        return "has a forward of its own"
    weight = module._parameters.get("weight")
    if weight is not None and type(weight) not in _STORED and not torch.compiler.is_compiling():
        return f"holds its weight as {type(weight).__name__}"
    return None


def _hooks_watch(module: nn.Module) -> bool:
    """Whether it has no hooks but those of fvcore, which note where in a network an operator is and change nothing."""
    if not (module._forward_pre_hooks or module._forward_hooks or module._backward_hooks or module._backward_pre_hooks):
        return True
    kinds = (module._forward_pre_hooks, module._forward_hooks, module._backward_hooks, module._backward_pre_hooks)
    return all(type(hook).__module__.startswith("fvcore.") for hooks in kinds for hook in hooks.values())


def observing(work: Work) -> Work:
    """Marks a function that takes the place of a module's `forward`, calls it and changes nothing."""
    setattr(work, _OBSERVES, True)
    return work


def plain_parts(model: nn.Module) -> dict[str, str]:
    """The parts of a model that take their plain form unasked, by name, and why; without saying so."""
    reasons = {name: part.why_plain() for name, part in model.named_modules() if isinstance(part, TwoForms)}
    return {name: reason for name, reason in reasons.items() if reason is not None}


@contextmanager
def plain_form(model: nn.Module) -> Iterator[None]:
    """Inside this context the model computes the formulation of docs/operator.md literally, as counters should see it.

    Both forms are the same function up to rounding, so weights, gradients and outputs stay what they are.

    Args:
        model: Any module; what it holds of ours is switched, and switched back at the end.
    """
    parts = [(part, part.plain) for part in model.modules() if isinstance(part, TwoForms)]
    try:
        for part, _ in parts:
            part.plain = True
        yield
    finally:
        for part, before in parts:
            part.plain = before


def _is_transformed() -> bool:
    """Whether torch.func transforms or forward-mode differentiation runs, neither of which fused kernels serve."""
    if torch.compiler.is_compiling():
        return False
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def _say_once(kind: type, reason: str) -> None:
    if (kind, reason) in _said:
        return
    _said.add((kind, reason))
    name = f"{kind.__module__.rpartition('.')[2].lstrip('_')}.{kind.__name__}"
    warnings.warn(
        f"{name} uses its plain form, because {reason}: the same function, slower and with more memory. "
        "acmix_nas.plain_form(model) asks for it without this warning.",
        stacklevel=2,
    )
