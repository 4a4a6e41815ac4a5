"""A full training in a folder: what each epoch leaves there."""

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file

from acmix_nas.errors import DiskError
from acmix_nas.files import replacing, write_text
from acmix_nas.train.ranks import rank
from acmix_nas.train.recipe import Budget, learning_rate
from acmix_nas.train.training import Progress, Training

DESCRIBED = "acmix"
"""Key of the metadata of a file of weights: task, head, classes, mean, std and input size, as JSON."""
LAST, BEST, LOG = "last.safetensors", "best.safetensors", "log.csv"


def fit(training: Training, folder: Path, *, on_epoch: Callable[[Progress], None] | None = None) -> Progress:
    """Trains all epochs that are left, keeping the last and the best weights.

    Of several processes the first writes. After each epoch the folder has `last.safetensors`, which `Training.load`
    goes on from; `best.safetensors`, weights alone, of the epoch that scored best; and `log.csv`.

    Args:
        training: The training; loaded before if it goes on.
        folder: Where the files are written; it is there.
        on_epoch: Called after every epoch, when its files are written.

    Returns:
        The training's progress.
    """
    progress = training.progress
    if rank() == 0 and progress.scores:
        write_text(folder / LOG, epochs_csv(progress, training.budget))  # a kill may have come before it
    while not training.done:
        before = [training.metric.gain(score) for score in progress.scores]
        score = training.epoch()
        if rank() == 0:
            if not before or training.metric.gain(score) > max(before):
                save_weights(training, folder / BEST)
            training.save(folder / LAST)
            write_text(folder / LOG, epochs_csv(progress, training.budget))
        if on_epoch is not None:
            on_epoch(progress)
    return progress


def save_weights(training: Training, path: Path) -> None:
    """Writes the weights that are scored, by their names alone, as timm and `acmix export --weights` read them.

    Raises:
        DiskError: They cannot be written; old ones are as they were.
    """
    weights = {name: value.detach().cpu().contiguous() for name, value in training.scored.state_dict().items()}
    try:
        with replacing(path) as temporary:
            save_file(weights, temporary, {"format": "pt", DESCRIBED: json.dumps(training.described)})
    except (OSError, SafetensorError) as error:
        raise DiskError(f"the weights {path} cannot be written: {error}") from error


def epochs_csv(progress: Progress, budget: Budget) -> str:
    """A line for each epoch: its number from 1, learning rate of its last step, mean loss, all metrics and seconds."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["epoch", "lr", "loss", *progress.metrics, "seconds"])
    rows = zip(progress.losses, zip(*progress.metrics.values(), strict=True), progress.seconds, strict=True)
    for epoch, (loss, values, seconds) in enumerate(rows, start=1):
        last = min(epoch * budget.steps_per_epoch, budget.total_steps) - 1
        shown = [f"{value:.6f}" for value in values]
        writer.writerow([epoch, f"{learning_rate(budget, last):.6g}", f"{loss:.6f}", *shown, f"{seconds:.3f}"])
    return text.getvalue()
