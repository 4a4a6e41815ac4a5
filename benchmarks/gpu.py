"""Everything that a GPU is needed for, in one command: tests, operator, hosts, shift table, search.

Run: python benchmarks/gpu.py --out reports/gallery/gpu [--wheels FOLDER] [--minutes 8] [--device cuda]
     python benchmarks/gpu.py --out FOLDER --device cpu --smoke
It writes gpu.json and gpu.md after every row, so a run that is cut off leaves what it has. A part that the minutes
have no room for is named as left out. Packages of acmix-nas that are not installed are installed from --wheels, without
an index; `pip download -d FOLDER click rich fvcore matplotlib scipy optuna timm torchvision pytest ...` fills it on a
machine that has one. --smoke takes the least of everything: it shows that the command runs, and nothing else.

operator  ACmix at ResNet-50's four stages against the published formulation (unfold, subtract, multiply, sum), eager,
          compiled and as a CUDA graph, float32 and bfloat16, inference and training: milliseconds, ratio
hosts     Swin-T, ResNet-50, PVT-T and SAN10 with ACmix against their plain hosts, inference (merged) and training
shift     the implementations of shift-and-sum in Swin-T, plain form
search    trials of the proxy `gpu` on generated images with 1, 4 and 8 workers on one GPU: wall-clock seconds
Runs that are compared are interleaved (`acmix_nas.cost.timing`); times are CUDA events.
"""

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
NEEDED = ("click", "rich", "fvcore", "matplotlib", "scipy", "optuna", "timm", "torchvision", "yaml", "PIL")
"""Modules whose packages a bare machine may lack."""
TESTS = ("pytest", "hypothesis", "xdist")
PACKAGES = {"yaml": "pyyaml", "PIL": "pillow", "xdist": "pytest-xdist"}


@dataclass
class Result:
    """What was measured, and where it is written.

    Attributes:
        out: The folder.
        facts: Device, versions, command.
        parts: Rows of each part.
        left_out: Part -> why it has no rows.
        end: When no further part may begin, in seconds of `time.monotonic`.
    """

    out: Path
    facts: dict[str, Any]
    end: float
    parts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def run(self, name: str, part: Callable[[], Iterator[dict[str, Any]]]) -> None:
        """Runs a part and writes what is there after each row; a part that fails says why and ends no other."""
        rows = self.parts.setdefault(name, [])
        begun = time.monotonic()
        try:
            for row in part():
                rows.append(row)
                print(name, row, flush=True)
                self.write()
                if time.monotonic() > self.end:
                    self.left_out[name] = "the rest: no time was left"
                    break
        except Exception as error:  # a GPU fails in ways of its own; the other parts are still worth having
            self.left_out[name] = f"{type(error).__name__}: {error}".splitlines()[0]
        self.facts.setdefault("seconds", {})[name] = round(time.monotonic() - begun, 1)
        self.write()

    def write(self) -> None:
        """Writes both files."""
        self.out.mkdir(parents=True, exist_ok=True)
        whole = {"facts": self.facts, "parts": self.parts, "left_out": self.left_out}
        (self.out / "gpu.json").write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
        (self.out / "gpu.md").write_text(self.page(), encoding="utf-8")

    def page(self) -> str:
        """The tables as Markdown."""
        lines = ["# Measured by benchmarks/gpu.py", ""]
        lines += [f"- {name}: {json.dumps(value)}" for name, value in self.facts.items()]
        for name, rows in self.parts.items():
            lines += ["", f"## {name}", ""]
            if rows:
                columns = list(rows[0])
                lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
                lines += [f"| {' | '.join(_cell(row.get(column)) for column in columns)} |" for row in rows]
            if name in self.left_out:
                lines += ["", f"Left out: {self.left_out[name]}"]
        return "\n".join(lines) + "\n"


def _cell(value: object) -> str:
    return "-" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)


def install(wheels: Path | None, *, tests: bool) -> None:
    """Installs what is missing from a folder of wheels.

    Raises:
        SystemExit: Something is missing and there is no folder.
    """
    wanted = [*NEEDED, *(TESTS if tests else ())]
    missing = [PACKAGES.get(name, name) for name in wanted if importlib.util.find_spec(name) is None]
    if not missing:
        return
    if wheels is None:
        raise SystemExit(f"not installed: {', '.join(missing)}; name a folder with --wheels.")
    line = [sys.executable, "-m", "pip", "install", "--no-index", "--find-links", str(wheels), *missing]
    subprocess.run(line, check=True)
    importlib.invalidate_caches()


def gpu_tests(device: str) -> Iterator[dict[str, Any]]:
    """`pytest -m gpu`, of the files that have such tests."""
    files = [str(file) for file in sorted((ROOT / "tests").rglob("test_*.py")) if "mark.gpu" in file.read_text()]
    line = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-m", "gpu", *files]
    done = subprocess.run(line, cwd=ROOT, env=_env(), capture_output=True, text=True)
    yield {"command": "pytest -m gpu", "device": device, "exit code": done.returncode, "says": _last(done.stdout)}


def operator(device: str, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """ACmix against the published formulation."""
    import torch
    from operators import BATCH, STAGES, forms_of
    from operators import operator as operator_of

    from acmix_nas.cost.clock import capture, clock_for
    from acmix_nas.cost.execution import Execution, conditions, make_step
    from acmix_nas.cost.timing import measure

    runs = ("eager", "compiled", "graph")[: 1 if smoke else 3 if device == "cuda" else 2]
    for stage in list(STAGES)[-1:] if smoke else STAGES:
        for run in runs:
            for dtype in ("float32", "bfloat16"):
                for train in (False, True):
                    how = Execution(
                        device=device,
                        dtype=dtype,
                        train=train,
                        compiled=run == "compiled",
                        cuda_graph=run == "graph",
                    )
                    module, x = operator_of(stage)
                    module = module.train(train).to(device, dtype=how.weights_dtype)
                    x = x.to(device, dtype=how.weights_dtype).contiguous(memory_format=how.memory_format)
                    forms = forms_of(module)
                    with conditions([], how):
                        steps = {name: make_step(_as_module(form, module), x, how) for name, form in forms.items()}
                        _alike(steps, tolerance=1e-3 if dtype == "float32" else 0.1)
                        ready = {
                            name: capture(step, device) if how.cuda_graph else step for name, step in steps.items()
                        }
                        times = measure(ready, clock=clock_for(device), limit_s=0.05 if smoke else 0.7)
                    ours, theirs = times["ACmix"], times["naive"]
                    yield {
                        "stage": stage,
                        "batch": BATCH,
                        "run": run,
                        "dtype": dtype,
                        "mode": "training" if train else "inference",
                        "ACmix ms": ours.median_ms,
                        "published ms": theirs.median_ms,
                        "ratio": theirs.median_ms / ours.median_ms,
                        "rounds": ours.repetitions,
                    }
    torch._dynamo.reset()


def _as_module(form: Callable[[Any], Any], module: Any) -> Any:
    """A formulation as a module with the weights of its operator."""
    from torch import nn

    class Formulation(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.operator = module

        def forward(self, x: Any) -> Any:
            return form(x)

    return Formulation()


def _alike(steps: dict[str, Any], *, tolerance: float) -> None:
    """Both formulations give the same numbers, before they are timed."""
    import torch

    ours, theirs = (step().detach().float() for step in steps.values())
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def hosts(device: str, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """The hosts with ACmix against themselves without."""
    from acmix_nas import Arch
    from acmix_nas.cost.execution import Execution
    from acmix_nas.cost.network import Network
    from acmix_nas.cost.profile import Effort, profile_rows
    from acmix_nas.models import named_arch

    def plain(name: str) -> Network:
        whole = named_arch(name)
        stages = [[mixer.having(combine="att") for mixer in stage] for stage in whole.stages]
        return Network(name=f"{name} without convolution", arch=Arch.canonical(host=whole.host, stages=stages))

    pairs = {
        "acmix_swin_tiny_patch4_window7_224": Network(name="swin_tiny_patch4_window7_224"),
        "acmix_resnet50": Network(name="resnet50"),
        "acmix_pvt_tiny": plain("acmix_pvt_tiny"),
        "acmix_san10": plain("acmix_san10"),
    }
    batch, size = (1, 64) if smoke else (64, 224)
    for name in list(pairs)[1:2] if smoke else pairs:
        for dtype in ("float32",) if smoke else ("float32", "bfloat16"):
            for train in (False, True):
                how = Execution(device=device, dtype=dtype, train=train, form="train" if train else "merged")
                networks = [pairs[name], Network(name=name, arch=named_arch(name))]
                effort = Effort(limit_s=0.1 if smoke else 2.0, counters=False, memory=not smoke)
                size_of = 224 if "swin" in name else size
                found = profile_rows(networks, how=how, batch_sizes=[batch], input_size=size_of, effort=effort)
                host, ours = found["rows"]
                yield {
                    "network": name,
                    "host": host["model"],
                    "batch": ours["batch_size"],
                    "dtype": dtype,
                    "mode": "training" if train else "inference, merged",
                    "ms": ours["latency_ms"],
                    "host ms": host["latency_ms"],
                    "ratio": ours["latency_ms"] / host["latency_ms"],
                    "peak MB": ours["peak_memory_mb"],
                    "host peak MB": host["peak_memory_mb"],
                }


def shift(device: str, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """The implementations of shift-and-sum."""
    from acmix_nas.experiments.profile import ProfileOptions, run

    options = ProfileOptions(
        ablation="shift",
        device=device,
        batch_sizes=(1,) if smoke else (64,),
        limit_s=0.1 if smoke else 2.0,
        memory=not smoke,
        counters=False,
    )
    for row in run(options)["rows"]:
        keys = ("model", "impl", "batch_size", "latency_ms", "throughput", "peak_memory_mb")
        yield {key: row[key] for key in keys}


def searches(device: str, *, smoke: bool) -> Iterator[dict[str, Any]]:
    """Searches with more and more workers on one device."""
    trials = 2 if smoke else 8
    with tempfile.TemporaryDirectory() as folder:
        images = Path(folder) / "images"
        generate(images, classes=4 if smoke else 10, each=12 if smoke else 300, size=32 if smoke else 128)
        for workers in (1,) if smoke else (1, 4, 8):
            where = ["--workers-per-gpu", str(workers)] if device == "cuda" else ["--workers", str(workers)]
            proxy = ["--proxy", "cpu" if smoke else "gpu", "--epochs", "1", "--proxy-images", "24" if smoke else "2000"]
            line = [sys.executable, "-m", "acmix_nas", "search", "--space", "swin_t", "--data", str(images)]
            line += ["--trials", str(trials), "--device", device, "--study", f"w{workers}", *where, *proxy]
            begun = time.monotonic()
            done = subprocess.run(line, cwd=folder, env=_env(), capture_output=True, text=True)
            seconds = time.monotonic() - begun
            records = Path(folder) / "reports" / f"w{workers}" / "trials.jsonl"
            stored = [json.loads(text) for text in records.read_text().splitlines()] if records.is_file() else []
            yield {
                "workers": workers,
                "exit code": done.returncode,
                "trials": sum(record["status"] == "complete" for record in stored),
                "seconds": seconds,
                "seconds in trials": sum(record["seconds"] for record in stored),
                "says": "" if done.returncode == 0 else _last(done.stderr),
            }


def generate(folder: Path, *, classes: int, each: int, size: int) -> None:
    """Images of noise around a colour for each class, as folders of PNG files."""
    import numpy as np
    from PIL import Image

    chance = np.random.default_rng(0)
    for part, count in (("train", each), ("val", max(2, each // 10))):
        for label in range(classes):
            (folder / part / f"class{label}").mkdir(parents=True)
            for number in range(count):
                colour = np.array([label * 255 // classes, 128, 255 - label * 255 // classes])
                pixels = np.clip(chance.normal(colour, 60, (size, size, 3)), 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(folder / part / f"class{label}" / f"{number}.png")


def facts_of(device: str) -> dict[str, Any]:
    """The machine and the versions."""
    import torch

    from acmix_nas.cost.environment import environment
    from acmix_nas.machine import gpu_state

    here: dict[str, Any] = {"command": " ".join(sys.argv), **environment(device)}
    if device == "cuda":
        here["gpu"] = gpu_state(torch.device(device))
    return here


def _env() -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    return {**os.environ, "PYTHONPATH": path}


def _last(text: str) -> str:
    return next((line for line in reversed(text.splitlines()) if line.strip()), "")


def main(words: list[str] | None = None) -> int:
    """Runs all parts; 1 if one was left out or failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--wheels", type=Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
    parser.add_argument("--smoke", action="store_true")
    asked = parser.parse_args(words)
    end = time.monotonic() + 60 * asked.minutes
    install(asked.wheels, tests=True)
    sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]
    result = Result(asked.out, facts_of(asked.device), end)
    how = {"device": asked.device, "smoke": asked.smoke}
    parts: dict[str, Callable[[], Iterator[dict[str, Any]]]] = {
        "tests": lambda: gpu_tests(asked.device),
        "hosts": lambda: hosts(**how),
        "shift": lambda: shift(**how),
        "search": lambda: searches(**how),
        "operator": lambda: operator(**how),
    }
    for name, part in parts.items():
        if time.monotonic() > end:
            result.left_out[name] = "no time was left"
            result.parts.setdefault(name, [])
            result.write()
        else:
            result.run(name, part)
    print(result.page())
    failed = [row for rows in result.parts.values() for row in rows if row.get("exit code") not in (None, 0)]
    return 1 if result.left_out or failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
