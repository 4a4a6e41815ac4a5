"""`acmix train`: a network at full size, from the first epoch to its weights."""

from pathlib import Path
from typing import Any

import click

from acmix_nas.cli._options import data_option, device_option, json_option, out_option, plugin_option


@click.command()
@click.argument("network", metavar="ARCH|MODEL")
@data_option
@click.option(
    "--recipe",
    metavar="NAME|FILE",
    help="pvt, resnet, san, swin, or a YAML file of your own (docs/train.md).  [default: that of the network's host]",
)
@click.option(
    "--epochs",
    type=click.IntRange(min=1),
    help="Passes over the training images.  [default: the recipe's; embedded: 3]",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    metavar="N",
    help="Images in an optimizer step, over all processes; the learning rate follows.  [default: the recipe's]",
)
@click.option(
    "--lr",
    "learning_rate",
    type=click.FloatRange(min=0, min_open=True),
    metavar="RATE",
    help="Peak learning rate.  [default: the recipe's]",
)
@click.option(
    "--input-size",
    type=click.IntRange(min=1),
    metavar="PIXELS",
    help="Height and width of the images.  [default: the recipe's; embedded: 28]",
)
@click.option(
    "--images",
    type=click.IntRange(min=1),
    metavar="N",
    help="Training images, drawn evenly from the classes.  [default: all]",
)
@click.option("--seed", type=click.IntRange(min=0), help="Seed of weights, draws and image order.  [default: 0]")
@click.option(
    "--precision",
    type=click.Choice(["fp32", "bf16", "fp16"]),
    help="What autocast computes in.  [default: bf16 where the processor has it, else fp32]",
)
@click.option(
    "--accumulate",
    type=click.IntRange(min=1),
    metavar="N",
    help="Compute a step's images in N parts, to need less memory.  [default: 1]",
)
@click.option("--compile", is_flag=True, help="Compile the network with torch.compile.")
@click.option("--deterministic", is_flag=True, help="Let torch take deterministic algorithms only.")
@click.option("--study", help="Name of the training and its folder.  [default: counted up, like acmix_resnet26-001]")
@out_option
@click.option("--resume", is_flag=True, help="Go on after the last epoch; without --study, of the newest training.")
@click.option(
    "--eval",
    "checkpoint",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="CHECKPOINT",
    help="Score these weights on the validation images, and train nothing.",
)
@device_option
@plugin_option
@json_option
def train(network: str, as_json: bool, **asked: Any) -> int:
    """Train the network ARCH or MODEL at full size, and score it on the validation images after every epoch.

    ARCH is a timm name of ours, a study's best.yaml, or STUDY:TRIAL; MODEL is a name of timm's own.
    The folder of the training gets log.csv, last.safetensors to resume from, best.safetensors with the weights of the
    best epoch, train.yaml with everything that was asked, and log.txt. Ctrl-C keeps the last epoch.
    `torchrun -m acmix_nas train ...` trains in several processes.

    \b
    Examples:
      acmix train acmix_resnet26 --epochs 1
      acmix train reports/swin_t-001/best.yaml --data ~/imagenet
      torchrun --nproc-per-node 8 -m acmix_nas train acmix_resnet50 --data ~/imagenet
      acmix train acmix_resnet50 --data ~/imagenet --eval reports/acmix_resnet50-001/best.safetensors
    """
    from acmix_nas.cli.train_run import run
    from acmix_nas.experiments.training_job import Asked

    return run(Asked(network=network, **asked), as_json=as_json)
