"""`acmix train`: a network at full size, from the first epoch to its weights."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._next_command import command, out_words, path_word, typed
from acmix_nas.cli._say import say
from acmix_nas.errors import AcmixError

if TYPE_CHECKING:
    from acmix_nas.experiments.training import ScoreResult, TrainingResult

INTERRUPTED = 130
MOST_SCALE = 16


def parse_scales(context: click.Context, parameter: click.Parameter, text: str) -> tuple[float, ...]:
    """Numbers above 0 with commas between."""
    try:
        scales = tuple(float(part) for part in text.split(","))
    except ValueError:
        scales = ()
    if not scales or not all(0 < scale <= MOST_SCALE for scale in scales):
        raise click.BadParameter(
            f"scales are numbers above 0, at most {MOST_SCALE}, separated by commas, e.g. 0.5,1,1.5; not {text!r}."
        )
    return scales


@click.command()
@click.argument("network", metavar="ARCH|MODEL")
@_options.data
@_options.task
@_options.head
@_options.metric
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="pvt, resnet, san, swin, semantic_fpn, upernet, or your own YAML file (docs/train.md).  [default: the recipe "
    "of the network's host, or of the head]",
)
@_options.count("--epochs", "Passes over the training images.  [default: the recipe's; embedded: 3]")
@_options.count(
    "--batch-size",
    "Images in an optimizer step, over all processes; the learning rate scales with it.  [default: the recipe's]",
    metavar="N",
)
@click.option(
    "--lr", "learning_rate", type=_options.POSITIVE, metavar="RATE", help="Peak learning rate.  [default: the recipe's]"
)
@_options.size("Height and width of the images.  [default: the recipe's; embedded: 28, scenes 64]")
@_options.count("--images", "Number of training images, drawn evenly from the classes.  [default: all]", metavar="N")
@_options.seed("Seed of weights, image draws and image order.  [default: 0]")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="Precision of autocast.  [default: bf16 if the processor has it, else fp32]",
)
@_options.count("--accumulate", "Compute each step in N parts, which needs less memory.  [default: 1]", metavar="N")
@click.option("--compile", is_flag=True, help="Compile the network with torch.compile.")
@click.option("--deterministic", is_flag=True, help="Use only deterministic algorithms in torch.")
@click.option("--study", help="Name of the training and of its folder.  [default: numbered, e.g. acmix_resnet26-001]")
@_options.out
@click.option("--resume", is_flag=True, help="Continue the training --study, or the newest one, from its last epoch.")
@click.option(
    "--backbone-weights",
    type=_options.STORED_FILE,
    metavar="CHECKPOINT",
    help="Begin a segmentation with the backbone of this classification training: of ours, published, or timm's.",
)
@click.option(
    "--eval",
    "checkpoint",
    type=_options.STORED_FILE,
    metavar="CHECKPOINT",
    help="Score these weights on the validation images, without training.",
)
@_options.count("--window", "With --eval, score a segmentation in windows of N x N pixels.", metavar="N")
@_options.count(
    "--window-stride", "Pixels from one window to the next.  [default: two thirds of a window]", metavar="N"
)
@click.option(
    "--scales",
    default="1",
    callback=parse_scales,
    metavar="F[,F...]",
    help="With --eval, average a segmentation over images scaled by these factors, e.g. 0.5,0.75,1,1.25,1.5,1.75.",
)
@click.option("--flip", is_flag=True, help="With --eval, average a segmentation over the image and its mirror image.")
@click.option(
    "--predictions",
    type=click.Path(path_type=Path),
    metavar="DIRECTORY",
    help="With --eval, write a segmentation's predictions as PNG files with the numbers of the source's own masks.",
)
@_options.device
@_options.plugin
@_options.json
def train(as_json: bool, **options: Any) -> int:
    """Train the network ARCH or MODEL at full size and score it on the validation images after every epoch.

    ARCH is one of our timm names, a study's best.yaml, or STUDY:TRIAL. MODEL is the name of one of timm's own models.
    The folder of the training gets log.csv, last.safetensors to resume from, best.safetensors with the weights of the
    best epoch, train.yaml with all settings, and log.txt. Ctrl-C keeps the last epoch. `torchrun -m acmix_nas train
    ...` trains in several processes.

    \b
    Examples:
      acmix train acmix_resnet26 --epochs 1
      acmix train reports/swin_t-001/best.yaml --data ~/imagenet
      torchrun --nproc-per-node 8 -m acmix_nas train acmix_resnet50 --data ~/imagenet
      acmix train acmix_resnet50 --data ~/imagenet --eval reports/acmix_resnet50-001/best.safetensors
      acmix train acmix_pvt_tiny --task segmentation --data ADEChallengeData2016
    """
    from acmix_nas.cli._display import TrainingDisplay
    from acmix_nas.experiments.training import run, score
    from acmix_nas.experiments.training_job import TrainingOptions
    from acmix_nas.sizes import size_of

    size = options.pop("input_size")
    asked = TrainingOptions(
        command=_options.command_line(), input_size=None if size is None else size_of(size), **options
    )
    try:
        with TrainingDisplay() as display:
            if asked.checkpoint is not None:
                _print_score(score(asked, display), as_json=as_json)
                return 0
            result = run(asked, display)
    except AcmixError as error:
        if int(os.environ.get("RANK", "0")):  # of several processes the first one says it
            return error.exit_code
        raise
    _print(result, as_json=as_json)
    return INTERRUPTED if result.interrupted else 0


def _print(result: "TrainingResult", *, as_json: bool) -> None:
    if not result.is_first:
        return
    if as_json:
        say(json.dumps(result.to_dict(), allow_nan=False))
    else:
        _print_scores(result)
    for line in _next_commands(result):
        say(line, err=True)


def _print_scores(result: "TrainingResult") -> None:
    from acmix_nas.experiments.training import score_text

    job, metric, progress, best = result.job, result.metric, result.progress, result.best
    scores = progress.scores
    if best is None:
        say(f"{job.name}: no epoch was finished")
        return
    say(
        f"{job.name}: {score_text(metric, scores[-1])} after epoch {len(scores)} of {progress.epochs}, best "
        f"{metric.stored_text(scores[best])} after epoch {best + 1} (chosen on the images it is scored on)"
    )
    if progress.skipped:
        say(f"{progress.skipped} steps changed no weight: the norm of their gradient was not finite (log.txt)")
    say(f"written to {job.folder}: {', '.join(sorted(file.name for file in job.folder.iterdir()))}")


def _print_score(result: "ScoreResult", *, as_json: bool) -> None:
    from acmix_nas.experiments.training import score_text

    job = result.job
    if result.is_first:
        value = score_text(result.metric, result.values[result.metric.name])
        text = f"{job.network.name}, {job.options.checkpoint}: {value} on {result.images:,} images of {result.data}"
        if not job.options.inference.is_plain:
            text += f", {job.options.inference}"
        say(json.dumps(result.to_dict()) if as_json else "\n".join([text, *_class_lines(result)]))


def _class_lines(result: "ScoreResult") -> list[str]:
    """The other metrics, and scores by class, the best first."""
    others = [f"  {name} {value:.4f}" for name, value in result.values.items() if name != result.metric.name]
    lines = others if result.by_class else []
    for name, found in result.by_class.items():
        there = [(label, value) for label, value in zip(result.classes, found, strict=True) if value is not None]
        lines.append(f"{name} of {len(there)} of {len(found)} classes; the others are in no mask and no prediction:")
        lines += [f"  {value:.4f}  {label}" for label, value in sorted(there, key=lambda pair: -pair[1])]
    return lines


def _next_commands(result: "TrainingResult") -> list[str]:
    from acmix_nas.sizes import pair
    from acmix_nas.train.fit import BEST

    job, asked = result.job, result.job.options
    network, places = path_word(asked.network), typed(("device", "plugin"))
    if result.interrupted:
        words = ["train", network, "--study", job.folder.name, *out_words(asked.out), "--resume", *places]
        again = _together(command(*words), result.processes)
        kept = "the last finished epoch is kept" if result.progress.scores else "no epoch was finished"
        return [f"interrupted; {kept}. Continue with:", f"  {again}"]
    size = "x".join(map(str, dict.fromkeys(pair(job.input_size))))
    given = {
        "--data": asked.data,
        "--task": asked.task,
        "--head": asked.head,
        "--recipe": asked.recipe,
        "--input-size": size,
    }
    said = [word for name, value in given.items() if value is not None for word in (name, str(value))]
    words = ["train", network, *out_words(asked.out), *said, "--eval", str(job.folder / BEST), *places]
    return ["next:", f"  {command(*words)}"]


def _together(line: str, count: int) -> str:
    """The command as `torchrun` starts it, where several processes of one machine train together."""
    if count == 1 or os.environ.get("LOCAL_WORLD_SIZE") != str(count):
        return line
    return line.replace("acmix", f"torchrun --nproc-per-node {count} -m acmix_nas", 1)
