"""Plug-ins by file name, and files that are never half written."""

import os
import subprocess
import sys

import pytest

from acmix_nas import files, registry
from acmix_nas.arch import Mixer
from acmix_nas.errors import AcmixError, DiskError, SpaceError


def test_names_are_the_public_files_of_a_folder():
    before = set(sys.modules)
    assert registry.names("operators") == ("acmix", "conv")
    assert set(registry.names("operators.attention")) >= {"local", "window"}
    assert registry.names("executors") == ("process", "ray", "serial")  # and not what else lies in their folder
    assert set(sys.modules) == before


@pytest.mark.parametrize("folder", ["operators", "operators.attention", "hosts"])
def test_every_name_loads(folder):
    for name in registry.names(folder):
        assert registry.load(folder, name).__name__ == f"acmix_nas.{folder}.{name}"


def test_a_dotted_path_loads_a_module_of_the_users_own(tmp_path, monkeypatch):
    package = tmp_path / "my_lab"
    package.mkdir()
    (package / "attention.py").write_text("from acmix_nas.operators.attention.local import Attention, count\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert registry.load("operators.attention", "my_lab.attention").Attention
    mixer = Mixer(attention="my_lab.attention", attn_kernel=3, num_heads=2, combine="att")
    assert registry.load("operators", "acmix").build(mixer, in_channels=4, out_channels=4)


@pytest.mark.parametrize("name", ["axial", "no_such_lab.attention"])
def test_an_unknown_name_is_one_clear_error(name):
    with pytest.raises(AcmixError, match=name):
        registry.load("operators.attention", name)


def fill_the_disk(file):
    with files.replacing(file) as temporary:
        temporary.write_text("half")
        raise OSError(28, "No space left on device")


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    file = tmp_path / "report.md"
    files.write_text(file, "old")
    with pytest.raises(DiskError, match="is full"):
        fill_the_disk(file)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("report.md", "old")]


def test_what_killed_processes_left_is_removed(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    file, living = tmp_path / "report.md", files.temporary_beside(tmp_path / "report.html")
    dead = [files.temporary_beside(path).with_name(_of(path, ended.pid)) for path in (file, tmp_path / "best.yaml")]
    far = tmp_path / f".report.md.0123abcd-{ended.pid}.tmp"
    for path in (*dead, far, living):
        path.touch()
    files.write_text(file, "new")
    assert {path.name for path in tmp_path.iterdir()} == {file.name, dead[1].name, far.name, living.name}
    os.utime(far, (0, 0))  # of another machine, and old
    dead[0].mkdir()
    (dead[0] / "config.json").touch()
    files.sweep_temporaries(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {file.name, living.name}
    assert files.temporary_beside(tmp_path / "report.html") == living  # containers give a number again
    assert not living.exists()


def _of(path, pid):
    return files.temporary_beside(path).name.replace(f"-{os.getpid()}.", f"-{pid}.")


def test_a_space_is_found_by_name_or_by_path(tmp_path):
    assert files.find_space("swin_t").name == "swin_t.yaml"
    mine = tmp_path / "mine.yaml"
    mine.write_text("")
    assert files.find_space(mine) == mine
    with pytest.raises(SpaceError, match="no file"):
        files.find_space(tmp_path / "none.yaml")
