"""What the verdicts of an ablation table are worth: 1,000 tables with known effects for each case.

Claim: in tables of 8 rows, over normal, heavy-tailed (Student's t with 4 degrees of freedom) and skewed (exponential)
errors, with effects or without, a table holds a false "better" or "worse" with probability at most .06; an effect of
2.5 standard deviations of the error is found in .61 to .67 of cases with 3 seeds, .89 to .91 with 5, from .99 with 10.

    python benchmarks/verdicts.py

prints, for each number of seeds and law, the share of tables with a false claim where no row differs from the baseline
and where three rows do, the power against an effect of 2.5 standard deviations of the error, and how often the truly
best row is bold.
"""

import sys
from collections.abc import Callable

import numpy as np

from acmix_nas.report.intervals import best_rows, differences

TABLES = 1000
ROWS = 8
EFFECT = 2.5
SEED_SPREAD = 1.5
"""Standard deviation of the seed effect, in those of the error."""
LARGEST_ERROR = 0.06

Generator = np.random.Generator
LAWS: dict[str, Callable[[Generator, tuple[int, int]], np.ndarray]] = {
    "normal": lambda rng, shape: rng.standard_normal(shape),
    "t(4)": lambda rng, shape: rng.standard_t(4, shape) / 2**0.5,
    "skewed": lambda rng, shape: rng.exponential(1.0, shape) - 1.0,
}


def table(rng: Generator, law: str, seeds: int, effects: list[float]) -> dict[str, dict[int, float]]:
    """Row -> seed -> score: effects in standard deviations of the error, around 0.8 in units of half a point."""
    rest = LAWS[law](rng, (len(effects), seeds)) + SEED_SPREAD * rng.standard_normal(seeds)
    scores = 0.8 + 0.005 * (rest + np.array(effects)[:, None])
    return {f"row {row}": dict(enumerate(line)) for row, line in enumerate(scores.tolist())}


def shares(law: str, seeds: int, effects: list[float]) -> tuple[float, float, float]:
    """Shares of tables with a false claim, of effects found with the right sign, of tables whose best row is bold."""
    rng = np.random.default_rng(seeds)
    wrong, found, best = 0, 0, 0
    there = sum(effect != 0 for effect in effects)
    for _ in range(TABLES):
        scores = table(rng, law, seeds, effects)
        verdicts = {row: gain.verdict for row, gain in differences(scores, "row 0").items()}
        false = 0
        for row, effect in enumerate(effects[1:], start=1):
            claimed = verdicts[f"row {row}"] in ("better", "worse")
            right = claimed and (verdicts[f"row {row}"] == "better") == (effect > 0) and effect != 0
            found += right
            false += claimed and not right
        wrong += false > 0
        best += f"row {int(np.argmax(effects))}" in best_rows(scores)
    return wrong / TABLES, found / (TABLES * there) if there else float("nan"), best / TABLES


def main() -> None:
    """Prints the table; the exit code says whether the claim holds."""
    largest = 0.0
    print(f"{ROWS} rows, {TABLES} tables a line, effect {EFFECT} standard deviations of the error")
    print(f"{'law':8} {'seeds':>5} {'false, none':>12} {'false, three':>13} {'power':>6} {'best bold':>10}")
    for law in LAWS:
        for seeds in (3, 5, 10):
            none, _, _ = shares(law, seeds, [0.0] * ROWS)
            some, power, best = shares(law, seeds, [0.0] * (ROWS - 3) + [EFFECT, -EFFECT, 1.2 * EFFECT])
            largest = max(largest, none, some)
            print(f"{law:8} {seeds:5} {none:12.3f} {some:13.3f} {power:6.2f} {best:10.3f}", flush=True)
    print(f"largest share with a false claim: {largest:.3f}; claimed: at most {LARGEST_ERROR}")
    sys.exit(largest > LARGEST_ERROR)


if __name__ == "__main__":
    main()
