"""`acmix models`: what timm can create once acmix_nas.models is imported."""

import json

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say


@click.command()
@_options.json
def models(as_json: bool) -> None:
    """List the models that timm can create, with parameters and multiply-adds at 224 x 224.

    \b
    Examples:
      acmix models
      acmix models --json
    """
    from acmix_nas.cli._console import plain_table, results
    from acmix_nas.cost import count
    from acmix_nas.models import model_names, named_model

    named = [(name, named_model(name)) for name in model_names()]
    rows = [(name, model.arch().host, count(model.arch()), model.summary) for name, model in named]
    if as_json:
        fields = [
            {"name": name, "host": host, "params": cost.params, "macs": cost.macs, "macs_deploy": cost.macs_deploy}
            for name, host, cost, _ in rows
        ]
        say(json.dumps(fields))
        return
    table = plain_table("model", "host", "params (M)", "MACs (G)", "summary")
    for name, host, cost, summary in rows:
        table.add_row(name, host, f"{cost.params / 1e6:.2f}", f"{cost.macs / 1e9:.2f}", summary)
    results().print(table)
