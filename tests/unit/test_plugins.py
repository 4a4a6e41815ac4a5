"""Modules of a user's own: imported if the user names them, from PYTHONPATH, and checked."""

import json
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import warm_commands
import yaml
from click.testing import CliRunner

from acmix_nas import files, plugins, registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.cli import acmix as command
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.executors import Job
from acmix_nas.executors._worker import read_job, write_job
from acmix_nas.experiments.ablation import load_ablation
from acmix_nas.plugins import PluginError
from acmix_nas.space import load_space
from acmix_nas.space.arch_file import load_arch

MODE = "from acmix_nas.operators.attention.local import Attention, count, FORMULAS\n"
LOUD = "from pathlib import Path\nPath({mark!r}).touch()\n"


@pytest.fixture(autouse=True)
def forgetful(monkeypatch):
    """Each test begins and ends with nothing named."""
    monkeypatch.delenv("ACMIX_PLUGINS", raising=False)
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab with a mode of attention; a mark is left where it is imported."""
    folder = tmp_path / "path" / "my_lab"
    folder.mkdir(parents=True)
    (folder / "attention.py").write_text(LOUD.format(mark=str(tmp_path / "imported")) + MODE)
    monkeypatch.syspath_prepend(str(folder.parent))
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def network(attention: str = "my_lab.attention") -> Arch:
    mixer = Mixer(attention=attention, attn_kernel=3, num_heads=2, combine="att")
    plain = Mixer(operator="conv")
    return Arch(host="resnet", stages=((mixer,), (plain,), (plain,), (plain,)))


def arch_file(folder: Path, attention: str = "my_lab.attention") -> Path:
    file = folder / "best.yaml"
    file.write_text(yaml.safe_dump({"arch": network(attention).to_dict()}))
    return file


def space_file(folder: Path) -> Path:
    plain = yaml.safe_load(files.find_space("swin_t").read_text())
    plain["mixer"] = {**plain.get("mixer", {}), "attention": "my_lab.attention"}
    file = folder / "theirs.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def imported(lab: Path) -> bool:
    return (lab / "imported").exists()


def test_what_is_written_in_python_loads(lab):
    assert registry.load("operators.attention", "my_lab.attention").Attention
    assert imported(lab)


@pytest.mark.parametrize("read", [load_arch, load_space], ids=lambda read: read.__name__)
def test_what_a_file_names_loads_only_if_the_user_names_it_too(lab, monkeypatch, read):
    file = arch_file(lab) if read is load_arch else space_file(lab)
    with pytest.raises(PluginError, match=rf"{file.name} names the module 'my_lab.attention'.*--plugin my_lab\.att"):
        read(file)
    assert not imported(lab)
    monkeypatch.setenv("ACMIX_PLUGINS", "other.module, my_lab.attention")
    assert read(file)
    monkeypatch.delenv("ACMIX_PLUGINS")
    plugins.allow("my_lab.attention")
    assert read(file)


def test_a_table_of_somebody_elses_is_refused_too(lab):
    table = yaml.safe_load(files.find_space("kernel", "ablations").read_text())
    table = {name: value for name, value in table.items() if name not in ("axes", "combine")}
    table["rows"] = {"a": {"attention": "my_lab.attention"}, "b": {"attn_kernel": 3}}
    table["baseline"] = "b"
    file = lab / "table.yaml"
    file.write_text(yaml.safe_dump(table))
    with pytest.raises(PluginError, match=r"--plugin my_lab\.attention"):
        load_ablation(file)
    plugins.allow("my_lab.attention")
    assert "a" in load_ablation(file).rows


def test_a_record_is_read_without_importing_its_module(lab):
    from report_records import make_record

    from acmix_nas.models import build_model
    from acmix_nas.record import TrialRecord

    values = make_record(0).to_dict()
    values["arch"] = network().to_dict()
    values["arch_id"] = network().id
    record = TrialRecord.from_dict(values)
    assert not imported(lab)
    with pytest.raises(PluginError, match=r"acmix_nas.plugins.allow\(.my_lab.attention.\)"):
        build_model(record.arch, num_classes=2)
    assert not imported(lab)
    plugins.allow("my_lab.attention")
    assert build_model(record.arch, num_classes=2)


def test_a_configuration_of_timm_is_a_file(lab):
    import timm

    import acmix_nas.models

    assert acmix_nas.models
    described = {"arch": network().to_dict()}
    with pytest.raises(PluginError, match="a configuration of acmix_resnet26"):
        timm.create_model("acmix_resnet26", **described)
    folder = lab / "folder"
    folder.mkdir()
    config = {"architecture": "acmix_resnet26", "model_args": {"attention": "my_lab.attention"}, "num_classes": 2}
    (folder / "config.json").write_text(json.dumps({**config, "pretrained_cfg": {"num_classes": 2}}))
    with pytest.raises(PluginError, match="a configuration of acmix_resnet26"):
        timm.create_model(f"local-dir:{folder}")
    assert not imported(lab)
    assert timm.create_model("acmix_resnet26", attention="my_lab.attention", attn_kernel=3)  # typed


@pytest.mark.parametrize(
    "words",
    [
        ("profile", "best.yaml", "--no-memory"),
        ("export", "best.yaml", "--format", "torch", "--out", "x"),
        ("train", "best.yaml", "--epochs", "1"),
        ("ablate", "combine", "--base", "best.yaml"),
        ("search", "--space", "theirs.yaml"),
        ("search", "--space", "swin_t", "--first", "best.yaml"),
        ("spaces", "check", "theirs.yaml"),
        ("data", "fidelity", "--space", "theirs.yaml"),
    ],
    ids=lambda words: " ".join(words[:2]),
)
def test_commands_load_nothing_that_only_a_file_names(lab, words):
    arch_file(lab)
    space_file(lab)
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert isinstance(done.exception, PluginError), (done.exception, done.output)
    assert done.exception.exit_code == 2
    assert "--plugin my_lab.attention" in str(done.exception)
    assert not imported(lab)


@pytest.mark.slow
@pytest.mark.nightly
def test_a_command_takes_the_modules_that_it_is_given_and_forgets_them(lab):
    space_file(lab)
    words = ("spaces", "check", "theirs.yaml", "--plugin", "my_lab.attention")
    done = CliRunner().invoke(command, words, standalone_mode=False)
    assert done.exception is None, done.exception
    assert plugins.allowed() == ()


def test_a_command_imports_only_modules_that_the_user_named(lab):
    with plugins.named_only():
        with pytest.raises(PluginError, match=r"names the module 'my_lab\.attention'"):
            registry.load("operators.attention", "my_lab.attention")
        assert not imported(lab)
        plugins.allow("my_lab.attention")
        assert registry.load("operators.attention", "my_lab.attention")
    assert plugins.allowed() == ()


@pytest.mark.parametrize(
    "name",
    [
        *("os.path", "__main__.x", "my_lab.__main__", "my_lab._private", "acmix_nas.cli", "importlib.util", "a..b"),
        *(".a.b", "a.b.", "a b.c", "a/b.c", "my_lab", "", "my_lab.attention\n"),
    ],
)
def test_these_are_no_plug_ins(name):
    assert not plugins.is_plug_in(name)
    assert not registry.known("operators", name) or name in registry.names("operators")
    with pytest.raises(UsageError, match="a plug-in is the dotted path"):
        plugins.allow(name)
    with pytest.raises(AcmixError):
        registry.load("operators.attention", name)


@pytest.mark.parametrize(
    ("folder", "code"),
    [
        ("operators.attention", ""),
        ("operators.attention", "Attention = print"),
        ("operators.attention", "class Attention: ..."),
        ("operators", "def count(mixer): ..."),
        ("operators", "build = count = 3"),
        ("hosts", "def build(): ...\ncount = options = build"),
        ("hosts", "def build(): ...\ncount = options = build\nMODELS = FEATURES = 7"),
        ("executors", "make = None"),
        ("export", "def write(): ...\nFORMS = 1"),
    ],
)
def test_what_was_loaded_is_ours(tmp_path, monkeypatch, folder, code):
    name = f"lab_{abs(hash((folder, code)))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match=f"not a plug-in of acmix_nas.{folder}"):
        registry.load(folder, f"{name}.x")


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit(3)", "import nothing_like_it", "import sys; sys.exit()"])
def test_a_plug_in_that_fails_is_one_error(tmp_path, monkeypatch, code):
    name = f"lab_{abs(hash(code))}"
    (tmp_path / name).mkdir()
    (tmp_path / name / "x.py").write_text(code + "\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(PluginError, match="cannot be imported"):
        registry.load("operators", f"{name}.x")


def test_a_worker_is_handed_what_its_driver_may_load(lab):
    job = Job(number=0, label="x", arch=network(), seeds={"init": 0}, checkpoint=lab / "0.ckpt")
    with plugins.named_only(), pytest.raises(PluginError, match=r"--plugin my_lab\.attention"):
        write_job(job)
    plugins.allow("my_lab.attention")
    sent = json.loads(json.dumps(write_job(job)))
    assert sent["plugins"] == ["my_lab.attention"]
    plugins._allowed.clear()
    with plugins.named_only():
        assert read_job(sent) == job
        assert registry.load("operators.attention", "my_lab.attention")


def begun_with_a_plug_in(tmp_path, start: str, path: str) -> subprocess.CompletedProcess[str]:
    """A command begun beside the folder of a plug-in, which leaves a mark where it is imported from."""
    work = tmp_path / "work"
    for place in (work, tmp_path / "path"):
        (place / "my_lab").mkdir(parents=True)
        mark = tmp_path / f"{place.name}.mark"
        (place / "my_lab" / "attention.py").write_text(LOUD.format(mark=str(mark)) + MODE)
    arch_file(work)
    words = ["profile", "best.yaml", "--no-memory", "--no-counters", "--input-size", "32", "--time-limit", "0.1"]
    words += ["--plugin", "my_lab.attention"]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "1", "-m", "acmix_nas"]
    python = [sys.executable]
    line = {
        "console script": [*python, str(Path(sys.executable).with_name("acmix"))],
        "-m": [*python, "-m", "acmix_nas"],
        "torchrun": [*python, *torchrun],
        "-c": [*python, "-c", "from acmix_nas.cli import main; main()"],
    }[start]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    env.pop("PYTHONSAFEPATH", None)
    return subprocess.run([*line, *words], cwd=work, env=env, capture_output=True, text=True)


OWN = str(Path(plugins.__file__).parents[1])


def test_a_plug_in_is_not_found_in_the_working_folder(tmp_path):
    done = begun_with_a_plug_in(tmp_path, "-m", OWN)
    assert done.returncode != 0
    assert "my_lab" in done.stderr
    assert "Is it on PYTHONPATH?" in done.stderr
    assert not list(tmp_path.glob("*.mark"))


@pytest.mark.nightly
@pytest.mark.parametrize("start", ["-m", "console script", "torchrun", "-c"])
def test_a_plug_in_is_found_on_pythonpath_first(tmp_path, start):
    """What is imported from the working folder, if it is there twice, would leave its own mark."""
    done = begun_with_a_plug_in(tmp_path, start, os.pathsep.join([OWN, str(tmp_path / "path")]))
    assert done.returncode == 0, done.stderr
    assert [mark.name for mark in tmp_path.glob("*.mark")] == ["path.mark"]


def test_the_working_folder_is_left_unless_pythonpath_names_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONSAFEPATH", "")
    monkeypatch.setenv("PYTHONPATH", "")
    monkeypatch.setattr(sys, "path", ["", str(tmp_path), "/elsewhere"])
    plugins.leave_working_folder()
    assert sys.path == ["/elsewhere"]
    assert os.environ["PYTHONSAFEPATH"] == "1"  # for processes begun here
    monkeypatch.setenv("PYTHONPATH", f"/x{os.pathsep}{tmp_path}")
    monkeypatch.setattr(sys, "path", [str(tmp_path), "/elsewhere", "/driver"])
    plugins.leave_working_folder()
    assert sys.path == [str(tmp_path), "/elsewhere", "/driver"]
    plugins.leave_working_folder("/driver")  # as Ray puts it into its workers' path
    assert sys.path == [str(tmp_path), "/elsewhere"]


@pytest.mark.nightly
def test_workers_import_what_the_user_named_and_the_study_goes_on(lab, few_images):
    space = yaml.safe_load(files.find_space("resnet26").read_text())
    space["choices"].pop("attention", None)
    space["mixer"] = {**space.get("mixer", {}), "attention": "my_lab.attention"}
    space.pop("first", None)
    (lab / "mine.yaml").write_text(yaml.safe_dump(space))
    own = str(Path(plugins.__file__).parents[1])
    env = {"OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([own, str(lab / "path")])}
    words = ["search", "--space", "mine.yaml", "--study", "mine"]
    asked = [*words, "--workers", "2", "--trials", "2", "--data", few_images, "--epochs", "1", "--proxy-images", "32"]
    acmix = partial(warm_commands.run, cwd=lab, env=env)
    done = acmix(*asked)
    assert done.returncode == 2
    assert "--plugin my_lab.attention" in done.stderr
    assert not imported(lab)
    line = [sys.executable, "-m", "acmix_nas", *map(str, asked), "--plugin", "my_lab.attention"]
    done = subprocess.run(line, cwd=lab, env={**os.environ, **env}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--plugin my_lab.attention" in done.stderr  # of the command that goes on
    (lab / "imported").unlink()
    assert acmix("report", "mine").returncode == 0
    assert not imported(lab)
    done = acmix(*words, "--resume", "--trials", "3", env={**env, "ACMIX_PLUGINS": "my_lab.attention"})
    assert done.returncode == 0, done.stderr
