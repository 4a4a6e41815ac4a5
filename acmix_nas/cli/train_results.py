"""What `acmix train` says and keeps about a training."""

import json
from typing import Any

from acmix_nas import __version__
from acmix_nas.cli._decoding import image_remarks
from acmix_nas.cli._options import command_line
from acmix_nas.cli._say import say
from acmix_nas.cost.environment import environment
from acmix_nas.data import Splits
from acmix_nas.experiments.training_job import Job
from acmix_nas.train import Training
from acmix_nas.train.ranks import world


def facts(job: Job, splits: Splits, training: Training) -> dict[str, Any]:
    """What train.yaml says; `acmix train` reads it as ARCH too, where the network is one of ours."""
    arch = job.network.arch
    described = {} if arch is None else {"arch_id": arch.id, "arch": arch.to_dict()}
    return {
        "network": job.network.name,
        **described,
        "recipe": job.recipe.name,
        "budget": training.budget.to_dict(),
        "input_size": job.input_size,
        "data": splits.to_dict(),
        "split": "report",
        "seed": job.seed,
        "processes": world(),
        "asked": job.asked.remembered(),
        "command": command_line(),
        "version": __version__,
        "environment": environment(job.device),
    }


def announcement(job: Job, splits: Splits, training: Training) -> list[str]:
    """What is trained, on what, and how."""
    budget = training.budget
    processes = f" in {world()} processes" if world() > 1 else ""
    done = len(training.progress.scores)
    lines = [
        f"training {job.name}: {job.network.name}, recipe {job.recipe.name}, seed {job.seed}, in {job.folder}",
        f"data: {splits.name}, {len(splits.classes)} classes, {budget.images:,} training images of "
        f"{job.input_size} px, scores on {len(splits.report or ()):,} validation images",
        f"epochs {budget.epochs}, batch {budget.batch_size}, {budget.optimizer} at {budget.learning_rate:g}, "
        f"{budget.precision} on {job.device}{processes}" + (f"; going on after epoch {done}" if done else ""),
    ]
    if splits.embedded:
        said = "" if job.asked.epochs else f" The recipe has {job.recipe.values['epochs']} epochs."
        lines.append(f"These images are Fashion-MNIST, not ImageNet: they show that things work.{said}")
    return lines + image_remarks(splits)


def print_result(job: Job, training: Training, *, as_json: bool) -> None:
    """The result on stdout."""
    progress = training.progress
    scores = progress.scores
    best = max(range(len(scores)), key=scores.__getitem__, default=None)
    result = {
        "study": job.name,
        "folder": str(job.folder),
        "network": job.network.name,
        "arch_id": job.network.arch.id if job.network.arch else None,
        "recipe": job.recipe.name,
        "params": sum(parameter.numel() for parameter in training.model.parameters()),
        "split": "report",
        "epochs": len(scores),
        "of_epochs": progress.epochs,
        "top1": scores[-1] if scores else None,
        "best_top1": None if best is None else scores[best],
        "best_epoch": None if best is None else best + 1,
        "scores": scores,
        "losses": progress.losses,
        "seconds": round(sum(progress.seconds), 3),
        "skipped": progress.skipped,
    }
    if as_json:
        say(json.dumps(result, allow_nan=False))
        return
    if best is None:
        say(f"{job.name}: no epoch was finished")
        return
    say(
        f"{job.name}: top-1 {scores[-1]:.4f} after epoch {len(scores)} of {progress.epochs}, best {scores[best]:.4f} "
        f"after epoch {best + 1} (chosen on the images it is scored on)"
    )
    if progress.skipped:
        say(f"{progress.skipped} steps changed no weight: the norm of their gradient was not finite (log.txt)")
    say(f"written to {job.folder}: {', '.join(sorted(file.name for file in job.folder.iterdir()))}")
