"""The search engine against others, on tables of really trained networks.

Run: python benchmarks/engine.py [regret] [front] [spaces] [asks] [--seeds 100] [--jobs 2] [--data ../shared/nasbench]
                                [--budgets 10 25 50 100 200] [--engines ...]
--data has nasbench201.csv.gz, zero_cost_nb201.csv.gz and nasbench_macro.csv.gz (see benchmarks/tables.py); `spaces` and
`asks` need none.

regret   accuracy points that the chosen network lacks to the best, after so many distinct networks
front    hypervolume over that of the true front: accuracy against latency, and against multiply-adds
spaces   best value of a made-up accuracy where choices hang on other choices (search_spaces/swin_t.yaml)
asks     seconds for 200 asks over 30 choices; milliseconds a trial at 1,000 trials

The search sees one training run of each network, drawn by its seed, and chooses the network that looks best; regret is
that of its mean accuracy. The last line of a table, "all seen", is what choosing like that from all networks costs.
All engines of a seed begin with the same random networks; repeats are free. Shown are means and standard errors over
seeds, and the paired difference to TPE at 50, and that of the default sampler with and without starts by scores at each
budget, with 95 % intervals (of means, normal).
Lines appear as seeds are done: the run may be stopped at any time.
"""

import argparse
import os
import random
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")  # processes share the cores; must be set before numpy is loaded

import numpy as np
import optuna
from engines import ENGINES, EVOLUTION, FRONT_ENGINES, HAMMING, SCORED, enqueue_child, quiet
from optuna.distributions import CategoricalDistribution
from optuna.trial import create_trial
from tables import macro, nasbench201, suggest, swin

from acmix_nas.search import HammingGPSampler, make_sampler

BUDGETS = (10, 25, 50, 100, 200)
TABLES = {"nasbench201": nasbench201, "macro": macro}
SPACE_BUDGETS = (25, 50, 100)
Cell = tuple[str, str, Path, int, tuple[int, ...]]


def regret(cell: Cell) -> list[float]:
    """Regret of one engine on one table with one seed, at each budget."""
    engine, name, data, seed, budgets = cell
    quiet()
    table = TABLES[name](data)
    tried = ENGINES[engine](table, seed, max(budgets), False)
    return [table.regret(table.observed(seed), tried[:budget]) for budget in budgets]


def front(cell: Cell) -> list[float]:
    """Part of the true front's hypervolume of one engine on one table with one seed, at each budget."""
    engine, name, data, seed, budgets = cell
    quiet()
    table = TABLES[name](data)
    tried = ENGINES[engine](table, seed, max(budgets), True)
    return [table.front_part(tried[:budget]) for budget in budgets]


def spaces(cell: Cell) -> list[float]:
    """Best made-up accuracy of one sampler with one seed, at each budget; each seed has a function of its own."""
    sampler, per, _, seed, budgets = cell
    quiet()
    made_up = swin(per)
    made_up = type(made_up)(made_up.name, made_up.space, seed)
    space = None if sampler.endswith("without space") else made_up.space
    name = "random" if sampler == EVOLUTION else sampler.removesuffix(" without space")
    study = optuna.create_study(direction="maximize", sampler=make_sampler(name, seed, space=space))
    noise, chance = random.Random(f"{seed}/noise"), random.Random(f"{seed}/evolution")
    best: list[float] = []
    for _ in range(max(budgets)):
        if sampler == EVOLUTION:
            enqueue_child(study, chance)
        trial = study.ask()
        value = made_up.value(suggest(made_up.space, trial))
        study.tell(trial, value + noise.gauss(0, 0.3))
        best.append(max([value, *best[-1:]]))
    return [best[budget - 1] for budget in budgets]


def compare(
    title: str,
    run: Callable[[Cell], list[float]],
    engines: Sequence[str],
    name: str,
    budgets: tuple[int, ...],
    options: argparse.Namespace,
) -> None:
    """Prints a line for each engine as soon as its seeds are done, then the paired differences."""
    print(f"\n{title} after {budgets}", flush=True)
    found = {}
    with ProcessPoolExecutor(options.jobs) as pool:
        for engine in engines:
            begun = time.perf_counter()
            cells = [(engine, name, options.data, seed, budgets) for seed in range(options.seeds)]
            found[engine] = np.array(list(pool.map(run, cells)))
            print(f"{engine:26} {means(found[engine])}   ({time.perf_counter() - begun:.0f} s)", flush=True)
    reference = next((engine for engine in engines if engine.lower() == "tpe"), None)
    for engine in engines:
        if reference and engine != reference and 50 in budgets:
            differences = (found[engine] - found[reference])[:, budgets.index(50)]
            print(f"{engine} - {reference} at 50: {interval(differences)}", flush=True)
    if {HAMMING, SCORED} <= {*engines}:
        for place, budget in enumerate(budgets):
            print(
                f"{SCORED} - {HAMMING} at {budget}: {interval((found[SCORED] - found[HAMMING])[:, place])}", flush=True
            )


def means(values: np.ndarray) -> str:
    """Mean and standard error of each column of values (seeds, budgets)."""
    error = values.std(axis=0, ddof=1) / np.sqrt(len(values))
    return "   ".join(f"{mean:.3f} +- {err:.3f}" for mean, err in zip(values.mean(axis=0), error, strict=True))


def interval(differences: np.ndarray) -> str:
    """Mean difference with its 95 % interval."""
    mean, half = differences.mean(), 1.96 * differences.std(ddof=1) / np.sqrt(len(differences))
    return f"{mean:+.3f}, 95 % {mean - half:+.3f} to {mean + half:+.3f}"


def floor(name: str, options: argparse.Namespace) -> str:
    """Regret of the network that looks best of all there are."""
    table = TABLES[name](options.data)
    everything = list(range(len(table.keys)))
    return means(np.array([[table.regret(table.observed(seed), everything)] for seed in range(options.seeds)]))


def asks() -> None:
    """Prints what the sampler costs in a study in memory, Optuna's own bookkeeping included."""
    quiet()
    distributions = {f"choice{index}": CategoricalDistribution("abcd") for index in range(30)}

    def objective(trial: optuna.Trial) -> float:
        values = [trial.suggest_categorical(name, one.choices) for name, one in distributions.items()]
        return sum((value == "a") * (1 + index % 3) for index, value in enumerate(values))

    study = optuna.create_study(direction="maximize", sampler=HammingGPSampler(0))
    begun = time.perf_counter()
    study.optimize(objective, n_trials=200)
    print(f"\n200 asks over 30 choices: {time.perf_counter() - begun:.1f} s", flush=True)
    chance = random.Random(0)
    for _ in range(800):
        params = {name: chance.choice("abcd") for name in distributions}
        study.add_trial(create_trial(value=chance.random(), params=params, distributions=distributions))
    study.optimize(objective, n_trials=1)
    begun = time.perf_counter()
    study.optimize(objective, n_trials=40)
    print(f"at 1,000 trials: {(time.perf_counter() - begun) / 40 * 1e3:.0f} ms a trial", flush=True)


def main() -> None:
    """Prints the tables that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["regret", "front", "spaces", "asks"])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--data", type=Path, default=Path("../shared/nasbench"))
    parser.add_argument("--budgets", type=int, nargs="+", default=BUDGETS, help="of regret and front")
    usual = [engine for engine in ENGINES if "lag" not in engine]
    parser.add_argument("--engines", nargs="+", default=usual, help=f"only these of {', '.join(ENGINES)}")
    options = parser.parse_args()
    budgets = tuple(options.budgets)
    wanted = [engine for engine in ENGINES if engine in options.engines]
    if "regret" in options.what:
        for name in TABLES:
            compare(f"{name}: regret in points", regret, wanted, name, budgets, options)
            print(f"{'all seen':26} {floor(name, options)}", flush=True)
    if "front" in options.what:
        for name in TABLES:
            engines = [engine for engine in wanted if engine in FRONT_ENGINES]
            compare(f"{name}: part of the front's hypervolume", front, engines, name, budgets, options)
    if "spaces" in options.what:
        for per in ("stage", "block"):
            engines = ["random", "tpe", EVOLUTION, "hamming-gp", "hamming-gp without space"]
            compare(f"{swin(per).name}: best value", spaces, engines, per, SPACE_BUDGETS, options)
    if "asks" in options.what:
        asks()


if __name__ == "__main__":
    main()
