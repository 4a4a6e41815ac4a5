import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from acmix_nas.cli.report import report
from acmix_nas.errors import StudyError
from acmix_nas.record import StudyHeader
from acmix_nas.study.folder import find_folder


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys, contextlib\n"
        "from acmix_nas.cli import acmix\n"
        "with contextlib.suppress(SystemExit): acmix.main(['report', '--help'])\n"
        "heavy = {'numpy', 'matplotlib', 'optuna', 'torch', 'timm'} & set(sys.modules)\n"
        "sys.exit(', '.join(heavy) or None)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "acmix report swin_t-001" in done.stdout


def test_an_unknown_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "swin_t-001").mkdir()
    assert find_folder("swin_t-001", tmp_path) == tmp_path / "swin_t-001"
    assert find_folder(str(tmp_path / "swin_t-001"), tmp_path / "other") == tmp_path / "swin_t-001"
    with pytest.raises(StudyError, match=r"no study 'swin_t-2'.*swin_t-001"):
        find_folder("swin_t-2", tmp_path)


@pytest.mark.parametrize("as_json", [False, True])
def test_the_report_is_rendered_from_the_storage(
    as_json: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = StudyHeader(name="swin_t-001", kind="search", space="swin_t", host="swin", split="search")
    monkeypatch.setattr("acmix_nas.study.load", lambda folder: (header, []))
    (tmp_path / "s").mkdir()
    done = CliRunner().invoke(report, ["s", "--out", str(tmp_path), *(["--json"] if as_json else [])])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "s" / "report.html").is_file()
    if as_json:
        told = json.loads(done.stdout)
        assert (told["header"]["name"], told["records"], told["front"]) == ("swin_t-001", [], [])
        assert len(told["files"]) == 6
    else:
        assert "Pareto front of swin_t-001" in done.stdout
        assert "report.html" in done.stdout
