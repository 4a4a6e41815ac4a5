"""The command in this process, for the tests of `acmix profile`."""

from click.testing import CliRunner

from acmix_nas.cli import acmix
from acmix_nas.errors import AcmixError


def run(*arguments: str):
    return CliRunner().invoke(acmix, arguments)


def failure(*arguments: str) -> AcmixError:
    result = run(*arguments)
    assert isinstance(result.exception, AcmixError), result.output
    assert result.exception.exit_code == 2
    return result.exception
