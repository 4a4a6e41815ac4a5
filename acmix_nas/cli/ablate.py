"""`acmix ablate`: a table of networks, each row trained with paired seeds."""

from typing import Any

import click

from acmix_nas.cli.options import command_line, study_options


@click.command()
@click.argument("table", metavar="NAME|FILE")
@click.option(
    "--seeds",
    type=click.IntRange(1, 1000),
    default=3,
    show_default=True,
    help="Seeds of each row; with --resume the total.",
)
@study_options
def ablate(table: str, seeds: int, as_json: bool, **asked: Any) -> int:
    """Train the rows of an ablation table with paired seeds and render it.

    NAME is combine (nine rules for alpha and beta) or shift (implementations of shift-and-sum); FILE is a YAML file of
    your own. Scores are read on the report split, which no search reads.

    \b
    Examples:
      acmix ablate combine
      acmix ablate shift --seeds 5 --epochs 4
      acmix ablate combine --study combine-001 --resume --seeds 10
    """
    from acmix_nas.ablate import ablate as run
    from acmix_nas.ablate import load_ablation
    from acmix_nas.cli.console import progress
    from acmix_nas.cli.study import decoding, run_study
    from acmix_nas.search.setup import Asked, open_study

    ablation = load_ablation(table)
    console = progress()
    with decoding(console) as on_image:
        study, setting = open_study(
            Asked(**asked),
            ablation.space,
            kind="ablate",
            name=ablation.name,
            baseline=ablation.baseline,
            rows=tuple(ablation.rows),
            fixed={"rows": {name: arch.to_dict() for name, arch in ablation.rows.items()}},
            kept={},
            command=command_line(),
            progress=on_image,
        )
    return run_study(
        study,
        setting,
        console,
        total=seeds * len(ablation.rows),
        again=f"acmix ablate {table}",
        more=f"--seeds {2 * seeds}",
        as_json=as_json,
        run=lambda watcher: run(study, ablation, setting, seeds=seeds, watcher=watcher),
    )
