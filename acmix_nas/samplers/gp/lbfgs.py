"""Limited-memory BFGS with backtracking (Nocedal and Wright 2006, algorithms 7.4 and 3.1)."""

from collections.abc import Callable

import numpy as np

from acmix_nas.samplers.gp.parameter import Array

MEMORY = 8
SUFFICIENT = 1e-4
HALVINGS = 12


def minimise(function: Callable[[Array], tuple[float, Array]], start: Array, *, steps: int, tolerance: float) -> Array:
    """A local minimum.

    Args:
        function: x -> its value and gradient.
        start: Where to begin.
        steps: At most so many steps.
        tolerance: Ends when a step gains less than this.
    """
    x, pairs = start, list[tuple[Array, Array]]()
    value, gradient = function(x)
    for _ in range(steps):
        direction = _direction(gradient, pairs)
        slope = float(gradient @ direction)
        if slope >= 0.0:
            pairs, direction, slope = [], -gradient, -float(gradient @ gradient)
        length = 1.0 if pairs else min(1.0, 1.0 / (1e-12 + float(np.abs(gradient).sum())))
        for _ in range(HALVINGS):
            moved = x + length * direction
            new_value, new_gradient = function(moved)
            if new_value <= value + SUFFICIENT * length * slope:
                break
            length /= 2.0
        else:
            return x
        step, change = moved - x, new_gradient - gradient
        if step @ change > 1e-10 * float(step @ step):
            pairs = [*pairs[-(MEMORY - 1) :], (step, change)]
        gain = value - new_value
        x, value, gradient = moved, new_value, new_gradient
        if gain < tolerance:
            break
    return x


def _direction(gradient: Array, pairs: list[tuple[Array, Array]]) -> Array:
    if not pairs:
        return -gradient
    q, alphas = gradient.copy(), []
    for step, change in reversed(pairs):
        alpha = (step @ q) / (step @ change)
        alphas.append(alpha)
        q -= alpha * change
    step, change = pairs[-1]
    q *= (step @ change) / (change @ change)
    for (step, change), alpha in zip(pairs, reversed(alphas), strict=True):
        q += step * (alpha - (change @ q) / (step @ change))
    return -q
