"""`acmix spaces`: the search spaces there are, and whether one is right."""

import json

import click

from acmix_nas.cli import _options
from acmix_nas.cli._say import say
from acmix_nas.plugins import is_plug_in


@click.group(invoke_without_command=True)
@_options.json
@click.pass_context
def spaces(context: click.Context, as_json: bool) -> None:
    """List the search spaces, or check one.

    \b
    Examples:
      acmix spaces
      acmix spaces check swin_t
      acmix spaces check my_space.yaml
    """
    if context.invoked_subcommand:
        return
    from acmix_nas.cli._console import plain_table, results
    from acmix_nas.files import space_names
    from acmix_nas.space import load_space

    found = [load_space(name) for name in space_names()]
    if as_json:
        rows = [
            {
                "name": space.name,
                "host": space.host,
                "size": space.size,
                "choices": len(space.choices),
                "proxies": list(space.proxies),
                "summary": space.summary,
            }
            for space in found
        ]
        say(json.dumps(rows))
        return
    table = plain_table("space", "host", "networks", "choices", "proxies", "summary")
    for space in found:
        numbers = f"{space.size:.3g}", str(len(space.choices))
        table.add_row(space.name, space.host, *numbers, ", ".join(space.proxies), space.summary)
    results().print(table)


@spaces.command()
@click.argument("space", metavar="SPACE")
@_options.plugin
@_options.json
def check(space: str, as_json: bool) -> None:
    """Check SPACE, a name or a YAML file: every choice at full size and in every proxy.

    The table shows, by stage and choice, which options build different functions in the proxy; an inert choice has
    options that build the same one. An invalid file gives one error with file, line and field, and exit code 2.
    Modules of your own that it names are imported, and networks with them are counted, built and run.
    """
    from acmix_nas.cli._console import plain_table, results
    from acmix_nas.sizes import pair, size_text
    from acmix_nas.space import load_space
    from acmix_nas.space.load import distinctions

    loaded = load_space(space)
    if any(is_plug_in(name) for name in loaded.named):  # which need torch; the package's own are tested
        from acmix_nas.experiments.plug_ins import check_space

        check_space(loaded)
    found = [(proxy.name, item) for proxy in loaded.proxies.values() for item in distinctions(loaded, proxy)]
    if as_json:
        rows = [
            {"proxy": proxy, "choice": item.choice.name, "map": item.map, "groups": item.groups, "inert": item.inert}
            for proxy, item in found
        ]
        say(json.dumps({"name": loaded.name, "size": loaded.size, "choices": rows}))
        return
    table = plain_table("proxy", "choice", "map", "options that differ")
    for proxy, item in found:
        options = "  ".join(" = ".join(map(str, group)) for group in item.groups)
        table.add_row(proxy, item.choice.name, size_text(pair(item.map)), options + ("  (inert)" if item.inert else ""))
    results().print(table)
    results().print(f"{loaded.name}: {loaded.size:,} distinct networks, {len(loaded.choices)} choices, no error.")
