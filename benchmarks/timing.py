"""Whether `acmix profile` compares rightly on a noisy machine: an implementation against another, and against itself.

Run: python benchmarks/timing.py [truth] [order] [same] [--times 10] [--conv-kernel 3] [--batch-size 1] [--limit 4]
Claim (2 CPU cores, float32, paper form): of ten profiles of a network beside itself at least nine say "no difference
seen"; of ten profiles of `shift` beside `groupconv` none says the wrong order.
The network is Swin-ACmix-T. `truth` measures the order once, for ten times as long, as a whole and in halves; each
profile is a process of its own, as a user's is, and finds its networks at other places in memory.
At kernel 3 the two differ by less than processes do (two runs of `truth` gave 1.015 [1.006, 1.023] and 0.981 [0.973,
0.987]), which is what the margin of acmix_nas.cost.compare is for; at kernel 7 the order is plain.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

import torch

from acmix_nas.arch import Arch
from acmix_nas.cost.clock import clock_for
from acmix_nas.cost.compare import compare
from acmix_nas.cost.execution import Execution, conditions, make_images, make_step, prepare
from acmix_nas.cost.network import Network
from acmix_nas.cost.timing import measure
from acmix_nas.models import named_arch

MODEL = "acmix_swin_tiny_patch4_window7_224"
IMPLS = ("shift", "groupconv")
PAPER = Execution(form="paper")


def profiled(options: argparse.Namespace, *words: str) -> dict[str, object]:
    """The second row of one `acmix profile` in a process of its own."""
    line = [sys.executable, "-m", "acmix_nas", "profile", *words, "--form", "paper", "--no-memory", "--no-counters"]
    line += ["--batch-size", str(options.batch_size), "--input-size", str(options.input_size)]
    line += ["--time-limit", str(options.limit), "--threads", str(options.threads), "--device", "cpu", "--json"]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    row: dict[str, object] = json.loads(done.stdout)["rows"][1]
    return row


def network_of(options: argparse.Namespace) -> Network:
    """Swin-ACmix-T with another kernel."""
    arch = named_arch(MODEL)
    stages = [[mixer.having(conv_kernel=options.conv_kernel) for mixer in stage] for stage in arch.stages]
    return Network(name="swin", arch=Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on))


def repeat(name: str, options: argparse.Namespace, *words: str) -> None:
    """Prints what each profile says, and how often."""
    said: Counter[object] = Counter()
    for number in range(options.times):
        row = profiled(options, *words)
        said[row["difference"]] += 1
        print(
            f"{name} {number + 1}: {row['ratio']:.4f} [{row['ratio_low']:.4f}, {row['ratio_high']:.4f}], "
            f"{row['repetitions']} rounds, {row['difference']}",
            flush=True,
        )
    print(f"{name}: {dict(said)}", flush=True)


def truth(options: argparse.Namespace) -> None:
    """Prints the ratio groupconv / shift over many rounds, and that of each half."""
    network, size = network_of(options), (options.input_size, options.input_size)
    models = [prepare(network.having_impl(impl).build(size), PAPER) for impl in IMPLS]
    with conditions(models, PAPER):
        images = make_images(options.batch_size, size, PAPER)
        runs = {impl: make_step(model, images, PAPER) for impl, model in zip(IMPLS, models, strict=True)}
        timings = measure(runs, clock=clock_for("cpu"), spread=0.0, limit_s=10 * options.limit)
    first, second = (timings[impl].times_ms for impl in IMPLS)
    half = len(first) // 2
    for name, part in (("all", slice(None)), ("first half", slice(half)), ("second half", slice(half, None))):
        found = compare(first[part], second[part])
        print(
            f"truth, {name}: {found.ratio:.4f} [{found.low:.4f}, {found.high:.4f}], {len(first[part])} rounds",
            flush=True,
        )


def main() -> None:
    """Runs what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="PART", help="of same, order, truth; all if none is given")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=1)
    parser.add_argument("--conv-kernel", type=int, default=3)
    parser.add_argument("--input-size", type=int, default=224)
    parser.add_argument("--limit", type=float, default=4.0, help="seconds of timing for each network")
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    arch = network_of(options).arch
    file = Path(tempfile.mkdtemp()) / "swin.yaml"
    file.write_text(json.dumps({"arch_id": arch.id, "arch": arch.to_dict()}))
    parts = options.parts or ["truth", "order", "same"]
    if "truth" in parts:
        truth(options)
    if "order" in parts:
        repeat("groupconv / shift", options, str(file), "--impl", "shift", "--impl", "groupconv")
    if "same" in parts:
        repeat("shift / shift", options, str(file), str(file), "--impl", "shift")


if __name__ == "__main__":
    main()
