"""What is printed and cannot be: nobody reads it, there is no room, no such character, or no stream at all."""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from by_night import nightly_but

from acmix_nas.cli._streams import kept_open

PRINT = (
    "import sys, click\n"
    "from rich.console import Console\n"
    "from acmix_nas import cli\n"
    "@click.command()\n"
    "def say():\n"
    "    for number in range(2000):\n"
    "        click.echo(f'line {number} \\u00b1 \\u2212 \\u66f8 \\udcff')\n"
    "        Console(highlight=False).print(f'rich {number} \\u00b1 \\u66f8')\n"
    "        Console(stderr=True).print('progress \\u00b1')\n"
    "    open(sys.argv[1], 'w').write('to the end')\n"
    "cli.acmix.add_command(say)\n"
    "cli.LazyGroup.get_command = lambda self, ctx, name: say\n"
    "sys.argv[1:] = ['say', *sys.argv[1:]]\n"
    "file = sys.argv.pop()\n"
    "say.callback.__globals__['sys'] = type('S', (), {'argv': [0, file]})\n"
    "cli.main()\n"
)


def say(done: Path, *, shell: str = "", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """A command that prints 4,000 lines on stdout and 2,000 on stderr, then writes a file."""
    line = ["bash", "-c", f'"$0" -c "$1" "$2" {shell}', sys.executable, PRINT, str(done)]
    return subprocess.run(line, capture_output=True, env={**os.environ, **environment}, check=False)


@pytest.mark.parametrize(
    "shell",
    nightly_but(
        *("2>&1 | head -1", ">&- 2>&- <&-"),
        of=("| head -1", "2>&1 | head -1", "2> >(head -1)", ">&-", "2>&-", ">&- 2>&- <&-"),
    ),
)
def test_output_that_nobody_reads_is_dropped_and_the_command_goes_on(tmp_path, shell):
    done = say(tmp_path / "done", shell=f"{shell}; exit ${{PIPESTATUS[0]}}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "done").read_text() == "to the end"
    assert b"Traceback" not in done.stdout + done.stderr
    assert b"BrokenPipe" not in done.stdout + done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a disk that is always full is Linux's")
def test_a_full_disk_behind_stdout_is_reported_at_the_end(tmp_path):
    done = say(tmp_path / "done", shell="> /dev/full")
    assert done.returncode == 1
    assert (tmp_path / "done").read_text() == "to the end"
    assert b"Error: the output is incomplete, stdout cannot be written: No space left" in done.stderr
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", nightly_but("ascii", of=("ascii", "latin-1", "cp1252", "utf-8", "koi8-r")))
def test_a_character_that_cannot_be_encoded_is_shown_plainly(tmp_path, encoding):
    done = say(tmp_path / "done", PYTHONIOENCODING=encoding)
    assert done.returncode == 0, done.stderr[-500:]
    assert (tmp_path / "done").exists()
    rich = next(line for line in done.stdout.splitlines() if line.startswith(b"rich 7 ")).decode(encoding)
    assert rich == {"ascii": "rich 7 +- \\u66f8", "koi8-r": "rich 7 +- \\u66f8", "utf-8": "rich 7 ± 書"}.get(
        encoding, "rich 7 ± \\u66f8"
    )


def test_a_language_without_signs_is_no_error(tmp_path):
    done = say(tmp_path / "done", LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert done.returncode == 0, done.stderr[-500:]
    assert (tmp_path / "done").exists()


def test_a_closed_stream_takes_no_number_that_a_file_gets(tmp_path):
    code = (
        "import os, sys\n"
        "from acmix_nas.cli._streams import kept_open\n"
        "with kept_open():\n"
        f"    number = os.open({str(tmp_path / 'study.db')!r}, os.O_CREAT | os.O_RDWR)\n"
        "    print('x'); print('x', file=sys.stderr)\n"
        "    raise SystemExit(number)\n"
    )
    done = subprocess.run(["bash", "-c", '"$0" -c "$1" <&- >&- 2>&-', sys.executable, code], check=False)
    assert done.returncode > 2
    assert (tmp_path / "study.db").read_bytes() == b""


def test_the_log_notes_a_closed_pipe(caplog):
    reading, writing = os.pipe()
    os.close(reading)
    before = sys.stdout
    sys.stdout = os.fdopen(writing, "w", encoding="utf-8")
    try:
        with caplog.at_level(logging.INFO, logger="acmix_nas"), kept_open() as output:
            for _ in range(3):
                print("nobody", flush=True)
            sys.stdout.buffer.write(b"nobody")
    finally:
        sys.stdout.close()
        sys.stdout = before
    assert [record.getMessage() for record in caplog.records] == [
        "nobody reads stdout any more (Broken pipe): output to it is dropped"
    ]
    assert output == {}


def test_json_is_written_whole_to_a_pipe_that_does_not_block(tmp_path):
    code = (
        "import os, sys, json\n"
        "os.set_blocking(1, False)\n"
        "from acmix_nas.cli._streams import kept_open\n"
        "with kept_open():\n"
        "    print(json.dumps(['x' * 1000] * 1000))\n"
    )
    done = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    text, _ = done.communicate()
    assert done.returncode == 0
    assert len(json.loads(text)) == 1000
