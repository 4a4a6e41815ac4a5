"""`acmix search`: a study over a space, from the first trial to its report."""

from pathlib import Path
from typing import Any

import click

from acmix_nas.cli import _options
from acmix_nas.cli._next_command import PLACES, path_word, storage_words, typed

_goal_options = _options.together(
    click.option(
        "--objectives",
        metavar="LIST",
        help="Objectives, separated by commas: top1, and any of macs, macs_deploy, params, latency_ms, throughput.  "
        "[default: top1 and the space's cost]",
    ),
    click.option(
        "--max-macs",
        callback=_options.parse_amount,
        metavar="N",
        help="Train no network with more multiply-adds, e.g. 5G.",
    ),
    click.option(
        "--max-params",
        callback=_options.parse_amount,
        metavar="N",
        help="Train no network with more parameters, e.g. 30M.",
    ),
    click.option(
        "--max-latency-ms",
        callback=_options.parse_amount,
        metavar="MS",
        help="Train no network that is slower by --latency-table.",
    ),
    click.option(
        "--latency-table",
        type=_options.STORED_FILE,
        metavar="FILE",
        help="Latencies of the space's blocks, measured with `acmix latency --space SPACE --out FILE`.",
    ),
    click.option(
        "--sampler",
        type=_options.ChoiceOrPath(["hamming-gp", "random", "tpe", "nsga2"]),
        callback=_options.name_modules,
        help="Sampler that proposes networks after the random ones: a name, or your own subclass of Optuna's "
        "BaseSampler by its dotted path, e.g. my_lab.samplers:Mine.  [default: hamming-gp]",
    ),
    click.option(
        "--starts",
        type=click.Choice(["scored", "random"]),
        help="How half of the first random networks are chosen: by scores that need no training, where `acmix data "
        "fidelity` showed that these rank the space's networks, or at random.  [default: scored]",
    ),
    click.option(
        "--prune",
        type=click.Choice(["asha", "none"]),
        help="Whether to stop weak trials early.  [default: asha from 3 epochs]",
    ),
    click.option(
        "--order",
        type=click.Choice(["fixed", "free"]),
        help="With several workers, fixed proposes the same networks however long trainings take; free counts each "
        "result when it arrives.  [default: fixed; free if trials are pruned on more than 2 workers]",
    ),
    click.option(
        "--warm-start",
        multiple=True,
        metavar="STUDY",
        help="Copy the trials that another study trained on the same images with the same budget. Repeatable.",
    ),
)


@click.command()
@_options.space
@_options.count(
    "--trials", "Number of networks to train; with --resume the total.  [default: 12; with --resume as before]"
)
@click.option(
    "--first",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Network to train first, e.g. the best.yaml of another study. Repeatable.",
)
@_goal_options
@_options.workers
@_options.plugin
@_options.study
def search(as_json: bool, **options: Any) -> int:
    """Search a space: train small copies of its networks and find the front of accuracy and cost.

    Costs are exact and known before training, so a network that exceeds a limit is never trained. Ctrl-C stops after
    the current epoch, a second Ctrl-C at once. --resume continues as if the search had never stopped.

    \b
    Examples:
      acmix search --space swin_t
      acmix search --space swin_t --objectives top1,params --max-macs 4G
      acmix search --space swin_t --data ~/imagenet --proxy gpu --trials 100 --hours 12
      acmix search --space swin_t --study demo --resume
      acmix search --space swin_t --study demo --resume --trials 24
      acmix search --space my_space.yaml --warm-start demo
    """
    _options.check_hidden(options["executor"], options["storage"])
    from acmix_nas.cli._display import StudyDisplay
    from acmix_nas.cli._study import print_study
    from acmix_nas.experiments.search import SearchOptions, run
    from acmix_nas.report import View

    with StudyDisplay() as display:
        result = run(SearchOptions(command=_options.kept_command_line(), **options), display)
    return print_study(
        result,
        View(),
        again=["search", "--space", path_word(options["space"])],
        places=[*typed(PLACES), *storage_words()],
        more=["--trials", str(2 * result.study.asked["trials"])],
        as_json=as_json,
    )
