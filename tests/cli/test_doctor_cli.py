"""`acmix doctor`: what it finds here, and what it says where something is wrong."""

import importlib
import json

import torch
from profile_pieces import run

doctor = importlib.import_module("acmix_nas.cli.doctor")


def test_doctor_finds_this_machine_in_order(tmp_path):
    result = run("doctor", "--out", str(tmp_path / "not" / "yet"), "--json")
    checks = {check["name"]: check for check in json.loads(result.stdout)["checks"]}
    assert result.exit_code == 0, result.output
    assert checks["torch"]["detail"] == torch.__version__.split("+")[0]
    for name in ("cpu", "bf16 attention step", "output folder", "sqlite"):
        assert checks[name]["status"] == "ok"
    assert not (tmp_path / "not").exists()


def test_doctor_fails_with_the_fix(tmp_path, monkeypatch):
    monkeypatch.setattr(doctor, "LEAST_FREE", 1e30)
    monkeypatch.setattr(doctor, "file_system_type", lambda folder: "nfs4")
    result = run("doctor", "--out", str(tmp_path))
    assert result.exit_code == 1
    assert "failed  output folder" in result.stdout
    assert "fix: free" in result.stdout
    assert "warning file system: nfs4, a network file system" in result.stdout


def test_the_deepest_mount_holds_a_folder(tmp_path):
    mounts = tmp_path / "mounts"
    mounts.write_text(f"/dev/sda / ext4 rw 0 0\nserver:/x {tmp_path} nfs4 rw 0 0\nproc /proc proc rw 0 0\n")
    assert doctor.file_system_type(tmp_path / "a", mounts) == "nfs4"
    assert doctor.file_system_type(tmp_path.parent, mounts) == "ext4"
    assert doctor.file_system_type(tmp_path, tmp_path / "none") is None
