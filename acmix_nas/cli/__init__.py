"""The command `acmix`: one file for each subcommand, imported only when it is asked for."""

import io
import sys
from importlib import import_module
from types import TracebackType

import click

from acmix_nas import __version__, plugins
from acmix_nas.cli._say import say, warn_on_stderr
from acmix_nas.cli._streams import kept_open
from acmix_nas.errors import AcmixError

COMMANDS = {
    "search": "Search a space of ACmix networks on a proxy task.",
    "status": "Show the progress of studies, in 40 columns.",
    "stop": "Stop a study after the current epoch and keep everything.",
    "finalists": "Train the best networks of a search again, with fresh seeds, and score them on images that it never "
    "read.",
    "profile": "Count and time a network: params, MACs, latency, throughput, memory.",
    "latency": "Measure a latency table of a space on this machine.",
    "ablate": "Train the rows of an ablation table with the same seeds and render the table.",
    "report": "Render a study's report again from its stored records.",
    "train": "Train a network at full size with the recipe of its paper, or score a checkpoint.",
    "repeat": "Train a stored trial again and compare the scores.",
    "export": "Write a network as ONNX, as a torch.export program, or for timm.",
    "data": "Describe images to train on, make proxy subsets, score stored predictions.",
    "models": "List the models that timm can create.",
    "spaces": "List the search spaces, or check one.",
    "doctor": "Show versions, devices and disk, and check that they work.",
}
"""Name -> summary. The command has the name of its file; listing the commands imports none of them."""


class LazyGroup(click.Group):
    """A group that knows its commands by name and loads the one that is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of that name, imported now."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(f"acmix_nas.cli.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes names and summaries without importing a command."""
        with formatter.section("Commands"):
            formatter.write_dl([*COMMANDS.items()])


@click.command(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "show_default": True})
@click.version_option(__version__, prog_name="acmix")
@click.pass_context
def acmix(context: click.Context) -> None:
    """Design vision backbones with ACmix, the mixture of self-attention and convolution.

    \b
    Examples:
      acmix search --space swin_t
      acmix profile --impl groupconv --impl full
      acmix ablate combine --seeds 3
    """
    if context.obj is not None:  # what `main` does before a command, and a program that calls this group does not
        context.obj()
    context.with_resource(plugins.named_only())


def main() -> None:
    """Runs the command line; a mistake of the user's is one message and an exit code."""
    plugins.leave_working_folder()
    sys.excepthook = _say_traceback
    with kept_open() as lost:
        code = _run()
        for name, error in lost.items():
            say(f"Error: the output is incomplete, {name} cannot be written: {error.strerror}.", err=True)
    sys.exit(code or bool(lost))


def _run() -> int:
    try:
        result = acmix.main(standalone_mode=False, obj=warn_on_stderr)  # not for --help: it loads logging
        sys.stdout.flush()
    except click.exceptions.Abort:
        return 130
    except click.ClickException as error:
        shown = io.StringIO()
        error.show(shown)
        say(shown.getvalue(), err=True, nl=False)
        return error.exit_code
    except AcmixError as error:
        say(f"Error: {error}", err=True)
        return error.exit_code
    except OSError as error:
        if error.filename is None:
            raise
        say(f"Error: {error.filename}: {error.strerror}.", err=True)
        return 1
    return result if isinstance(result, int) else 0


def _say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Prints what Python prints of an exception that nobody expected."""
    import traceback  # takes as long to load as all of this package that is loaded by now

    say("".join(traceback.format_exception(kind, error, trace)), err=True, nl=False)
