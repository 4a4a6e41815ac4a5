"""What `acmix train` does: trains or scores, and says what came out."""

import json
import logging
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from types import FrameType

import torch
import yaml

from acmix_nas.cli._busy import find_device
from acmix_nas.cli._console import progress as progress_console
from acmix_nas.cli._next_command import command, out_words, path_word, typed
from acmix_nas.cli._say import say
from acmix_nas.cli._train_display import Display
from acmix_nas.cli.train_results import announcement, facts, print_result
from acmix_nas.data import Splits, load_splits
from acmix_nas.errors import AcmixError
from acmix_nas.experiments.training_job import FACTS, Asked, Job, build, check, stored_fingerprint
from acmix_nas.files import write_text
from acmix_nas.reference import load_weights
from acmix_nas.study.folder import at_work
from acmix_nas.train import Training
from acmix_nas.train.checkpoint import trained_weights
from acmix_nas.train.fit import BEST, LAST, fit
from acmix_nas.train.ranks import first_then_others, joined, rank, world

log = logging.getLogger(__name__)

INTERRUPTED = 130


def run(asked: Asked, *, as_json: bool) -> int:
    """Trains or scores; returns the exit code."""
    device = find_device(asked.device)
    try:
        with joined(device), _terminated_as_interrupted():
            job = check(asked, device)
            return _score(job, as_json=as_json) if asked.checkpoint else _train(job, as_json=as_json)
    except AcmixError as error:
        if int(os.environ.get("RANK", "0")):  # the first process says it
            return error.exit_code
        raise


def _prepared(job: Job, display: Display) -> tuple[Splits, Training]:
    """Reads the images and builds the network."""
    with first_then_others(), display.decoding() as on_image:
        splits = load_splits(
            job.asked.data,
            input_size=job.input_size,
            train_images=job.asked.images,
            seed=job.seed,
            with_report=True,
            # Nothing here reads the search split: it takes as few of the training images as it can.
            search_images=1 if job.asked.data else None,
            like=stored_fingerprint(job.folder) if job.asked.resume else None,
            progress=on_image,
        )
    budget = job.recipe.budget(images=len(splits.train), **job.changes)
    model = build(job, budget, num_classes=len(splits.classes), in_chans=splits.in_chans)
    torch.manual_seed(job.seed + rank())  # processes drop paths of their own
    training = Training(
        model,
        splits,
        budget,
        split="report",
        order_seed=job.seed,
        device=job.device,
        on_step=display.step,
        key={"network": job.network.arch.id if job.network.arch else job.network.name},
    )
    return splits, training


def _train(job: Job, *, as_json: bool) -> int:
    with Display(progress_console(), silent=rank() > 0) as display:
        splits, training = _prepared(job, display)
        goes_on = job.asked.resume and (job.folder / LAST).exists()
        if goes_on:
            training.load(job.folder / LAST)
        code = 0
        job.folder.mkdir(parents=True, exist_ok=True)
        with at_work(job.folder) if rank() == 0 else nullcontext():
            if rank() == 0 and not goes_on:
                write_text(job.folder / FACTS, yaml.safe_dump(facts(job, splits, training), sort_keys=False))
            display.announce(announcement(job, splits, training))
            try:
                fit(training, job.folder, on_epoch=display.epoch)
            except KeyboardInterrupt:
                log.info("interrupted")
                code = INTERRUPTED
    if rank() == 0:
        print_result(job, training, as_json=as_json)
        for line in _next_commands(job, interrupted=code == INTERRUPTED):
            say(line, err=True)
    return code


def _next_commands(job: Job, *, interrupted: bool) -> list[str]:
    asked, network = job.asked, path_word(job.asked.network)
    if interrupted:
        words = [
            "train",
            network,
            "--study",
            job.folder.name,
            *out_words(asked.out),
            "--resume",
            *typed(("device", "plugin")),
        ]
        return ["interrupted; the last finished epoch is kept. Go on with:", f"  {_together(command(*words))}"]
    words = ["train", network, *out_words(asked.out)]
    given = {"--data": asked.data, "--recipe": asked.recipe, "--input-size": job.input_size}
    words += [word for name, value in given.items() if value is not None for word in (name, str(value))]
    return ["next:", f"  {command(*words, '--eval', job.folder / BEST, *typed(('device', 'plugin')))}"]


def _together(line: str) -> str:
    """The command as `torchrun` starts it, where several processes of one machine train together."""
    count = world()
    if count == 1 or os.environ.get("LOCAL_WORLD_SIZE") != str(count):
        return line
    return line.replace("acmix", f"torchrun --nproc-per-node {count} -m acmix_nas", 1)


def _score(job: Job, *, as_json: bool) -> int:
    checkpoint = job.asked.checkpoint
    assert checkpoint is not None
    with Display(progress_console(), silent=rank() > 0) as display:
        splits, training = _prepared(job, display)
        load_weights(training.scored, trained_weights(checkpoint) or checkpoint)
        top1, _ = training.score()
    assert splits.report is not None
    result = {
        "network": job.network.name,
        "checkpoint": str(checkpoint),
        "data": splits.name,
        "split": "report",
        "images": len(splits.report),
        "top1": top1,
    }
    if rank() == 0:
        text = f"{job.network.name}, {checkpoint}: top-1 {top1:.4f} on {len(splits.report):,} images of {splits.name}"
        say(json.dumps(result) if as_json else text)
    return 0


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """A SIGTERM, as batch systems send it, ends a training as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
