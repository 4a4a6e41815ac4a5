"""What loads when: names and help texts are cheap."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import acmix_nas
from acmix_nas.cli import COMMANDS

HEAVY = ("torch", "optuna", "timm", "fvcore", "numpy", "matplotlib")


def loaded_by(code: str) -> set[str]:
    """Which heavy packages a fresh interpreter has loaded after running the code."""
    code += f"\nimport sys\nprint(','.join(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stderr.strip().splitlines()[-1].split(",")) - {""} if done.stderr.strip() else set()


def test_importing_the_package_loads_nothing_heavy():
    assert loaded_by("import acmix_nas, acmix_nas.cli, acmix_nas.arch, acmix_nas.record, acmix_nas.space") == set()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_loads_nothing_heavy(command):
    call = f"from acmix_nas.cli import acmix; acmix.main({[*command.split(), '--help']!r}, standalone_mode=False)"
    assert loaded_by(call) == set()


def test_spaces_are_checked_without_torch():
    call = "from acmix_nas.cli import acmix; acmix.main(['spaces', 'check', 'swin_t'], standalone_mode=False)"
    assert loaded_by(call) == set()


TOUCHED = """
import os, timm
for touch in ("acmix_nas.ACmix", "acmix_nas.build_model", "import acmix_nas.models"):
    if (child := os.fork()) == 0:
        exec(f"import acmix_nas; {touch}")
        os._exit("acmix_swin_tiny_patch4_window7_224" not in timm.list_models())
    assert os.waitpid(child, 0)[1] == 0, touch
assert "acmix_swin_tiny_patch4_window7_224" not in timm.list_models()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="forks an interpreter that has loaded torch")
def test_a_public_model_name_registers_the_timm_names():
    assert "torch" in loaded_by(TOUCHED)


def test_every_public_name_is_there():
    assert all(getattr(acmix_nas, name) is not None for name in acmix_nas.__all__)
    assert set(acmix_nas.__all__) <= set(dir(acmix_nas))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = acmix_nas.nothing


GROUND = (
    "arch",
    "errors",
    "fields",
    "files",
    "metrics",
    "parts",
    "plugins",
    "log_format",
    "printable",
    "record",
    "registry",
    "sizes",
    "space",
)


def test_samplers_work_without_the_rest_of_the_package():
    code = f"""
import sys
from importlib import import_module
from pathlib import Path
import optuna
from acmix_nas.samplers import HammingGPSampler, make_sampler
from acmix_nas.space import load_space

for sampler in (HammingGPSampler(0, starts=2), make_sampler("tpe", 0)):
    study = optuna.create_study(sampler=sampler)
    study.optimize(lambda trial: trial.suggest_int("a", 0, 9) - trial.suggest_float("b", 0, 1), 5)
HammingGPSampler(0, space=load_space("swin_t"))
ours = {{name.split(".")[1] for name in sys.modules if name.startswith("acmix_nas.")}}
print(sorted(ours - {{*{GROUND!r}, "samplers"}}), [name for name in ("torch", "timm") if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] []"


def test_no_module_imports_private_names_of_another_module():
    package = Path(acmix_nas.__file__).parent
    for file in package.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("acmix_nas"):
                where = package.parent.joinpath(*str(node.module).split("."))
                private = [name.name for name in node.names if name.name.startswith("_") and not where.is_dir()]
                assert not private, f"{file}:{node.lineno} imports {private} of {node.module}"


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_imports_no_other_command(command):
    """What commands share is in cli/_*.py."""
    file = Path(import_module(f"acmix_nas.cli.{command}").__file__ or "")
    imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
    names = [f"{node.module}.{name.name}" for node in imports for name in node.names]
    rooms = [name for name in names if name.startswith("acmix_nas.cli.")]
    assert rooms
    assert all(room.startswith("acmix_nas.cli._") for room in rooms)


EXPERIMENTS = sorted((Path(__file__).parents[2] / "acmix_nas" / "experiments").rglob("*.py"))


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_an_experiment_knows_no_terminal(file):
    tree = ast.parse(file.read_text())
    names = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    names += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert not {name.split(".")[0] for name in names} & {"click", "rich"}
    assert not any(name.startswith("acmix_nas.cli") for name in names)
