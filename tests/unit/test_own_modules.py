"""Hosts, attention modes and sources of a user's own by dotted path: searched with where they fit, else refused."""

import json
import sys
from dataclasses import replace

import pytest
import yaml
from click.testing import CliRunner
from study_pieces import small_setting

from acmix_nas import files, plugins
from acmix_nas.cli import acmix
from acmix_nas.data import absolute, load_splits, open_source
from acmix_nas.errors import AcmixError, DataError, UsageError
from acmix_nas.plugins import PluginError
from acmix_nas.space import load_space
from acmix_nas.train import run_trial

MODULES = {
    "mode.py": "from acmix_nas.operators.attention.local import FORMULAS, Attention, count\n",
    "uncounted.py": "from acmix_nas.operators.attention.local import FORMULAS, Attention\n",
    "broken.py": """
from acmix_nas.operators.attention import local
from acmix_nas.operators.attention.local import FORMULAS, count

class Attention(local.Attention):
    def forward(self, *args, **options):
        raise ValueError("no window here")
""",
    "empty.py": "",
    "host.py": "from acmix_nas.hosts.resnet import FEATURES, MODELS, build, count\n",
    "headless.py": """
from dataclasses import replace

from acmix_nas.hosts import resnet
from acmix_nas.hosts.resnet import FEATURES, MODELS, count

def build(arch, make_mixer, options):
    return resnet.build(arch, make_mixer, replace(options, num_classes=options.num_classes + 1))
""",
    "data.py": '''
"""Squares and discs, drawn."""
import numpy as np
import torch

from acmix_nas.data.pixels import Pixels
from acmix_nas.data.source import Source
from acmix_nas.errors import DataError

def drawn(count, seed):
    rows, columns = np.mgrid[:16, :16] - 8
    kinds = np.arange(count) % 2
    sides = np.random.default_rng(seed).integers(3, 7, count)[:, None, None]
    squares = (abs(rows) < sides) & (abs(columns) < sides)
    discs = rows**2 + columns**2 < sides**2
    images = np.where(kinds[:, None, None] == 0, squares, discs).astype(np.uint8) * 255
    return Pixels(images=torch.from_numpy(images)[:, None], labels=kinds.astype(np.int64), where=f"drawn {seed}")

def shapes(rest):
    if rest and not rest.isdecimal():
        raise DataError(f"shapes/N draws N images; {rest!r} is no number.")
    count = int(rest or 60)
    return Source(
        kind="shapes",
        name=f"shapes ({count})",
        classes=("square", "disc"),
        train=drawn(count, 0),
        validation=drawn(20, 1),
        fingerprint=f"2:shapes{count}",
    )

def lost(rest):
    raise RuntimeError("the disk is gone")

def number(rest):
    return 3

NOT_A_FUNCTION = 3
''',
}


@pytest.fixture(autouse=True)
def lab(tmp_path, monkeypatch):
    """Modules on PYTHONPATH; each test begins with nothing named."""
    folder = tmp_path / "path" / "my_lab"
    folder.mkdir(parents=True)
    for name, text in MODULES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delenv("ACMIX_PLUGINS", raising=False)
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def space_file(folder, name, *, host=None, attention=None):
    """A shipped space with another host or mode, without its large proxy."""
    plain = yaml.safe_load(files.find_space(name).read_text())
    plain["host"] = host or plain["host"]
    if attention:
        plain["mixer"] = {**plain.get("mixer", {}), "attention": attention}
    plain["proxies"] = {"cpu": plain["proxies"]["cpu"] | {"epochs": 1, "images": 40}}
    file = folder / "theirs.yaml"
    file.write_text(yaml.safe_dump(plain))
    return file


def checked(file, *named):
    words = ["spaces", "check", str(file), "--json", *(word for name in named for word in ("--plugin", name))]
    return CliRunner().invoke(acmix, words, standalone_mode=False)


@pytest.mark.parametrize(("host", "attention"), [("my_lab.host", None), (None, "my_lab.mode")], ids=["host", "mode"])
def test_a_space_with_a_host_or_a_mode_of_ones_own_is_checked_and_trained(lab, host, attention):
    file = space_file(lab, "resnet26", host=host, attention=attention)
    done = checked(file, host or attention)
    assert done.exception is None, done.exception
    assert json.loads(done.stdout)["choices"]
    plugins.allow(host or attention)
    space, setting = load_space(str(file)), small_setting(images=40)
    arch = space.build(space.sample(lambda choice: "acmix" if "acmix" in choice.options else choice.options[0]))
    setting = replace(setting, proxy=space.proxies["cpu"])
    record = run_trial(arch, setting, number=0, label="", seeds={"init": 0, "order": 0})
    assert (record.status, record.error) == ("complete", None)
    assert (host or attention) in record.arch.named


@pytest.mark.parametrize(
    ("host", "attention", "error", "message"),
    [
        (None, "my_lab.nothing", PluginError, r"'my_lab.nothing' cannot be imported: No module .*PYTHONPATH"),
        ("my_lab.nothing", None, PluginError, r"'my_lab.nothing' cannot be imported: No module .*PYTHONPATH"),
        (None, "my_lab.empty", PluginError, "not a plug-in of acmix_nas.operators.attention: its Attention is missing"),
        ("my_lab.empty", None, PluginError, "not a plug-in of acmix_nas.hosts: its build is missing"),
        (None, "my_lab.uncounted", UsageError, r"with my_lab.uncounted cannot be counted at full size: .*count"),
        (
            None,
            "my_lab.broken",
            UsageError,
            r"broken cannot be run as the proxy cpu: ValueError: no window here",
        ),
        ("my_lab.headless", None, UsageError, r"cannot be run as the proxy cpu: of 2 images and 5 classes .* \(2, 6\)"),
    ],
)
def test_what_does_not_fit_is_refused_by_the_check(lab, host, attention, error, message):
    done = checked(space_file(lab, "resnet26", host=host, attention=attention), host or attention)
    with pytest.raises(error, match=message) as caught:
        raise done.exception
    assert caught.value.exit_code == 2


def test_the_package_is_checked_without_torch_and_its_own_modules_are_not_tried(lab):
    assert checked(files.find_space("swin_t")).exception is None


def test_a_source_of_ones_own_is_read_and_trained_on(lab):
    spec = "my_lab.data:shapes/80"
    source = open_source(spec)
    assert (source.name, source.classes, len(source.train.labels)) == ("shapes (80)", ("square", "disc"), 80)
    assert open_source("my_lab.data:shapes").name == "shapes (60)"
    splits = load_splits(spec, input_size=16, train_images=40, seed=0, with_report=True)
    assert (splits.classes, len(splits.report)) == (("square", "disc"), 20)
    space, setting = load_space("resnet26"), small_setting(images=40)
    proxy = replace(space.proxies["cpu"], input_size=16, epochs=1, images=40)
    setting = replace(setting, splits=splits, proxy=proxy)
    arch = space.build(space.sample(lambda choice: choice.options[0]))
    record = run_trial(arch, setting, number=0, label="", seeds={"init": 0, "order": 0})
    assert (record.status, record.data["name"]) == ("complete", "shapes (80)")
    shown = CliRunner().invoke(acmix, ["data", "describe", spec], standalone_mode=False)
    assert shown.exception is None, shown.exception
    assert "shapes (80): shapes, 2 classes" in shown.stdout


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        ("my_lab.data:shapes/many", DataError, "shapes/N draws N images; 'many' is no number"),
        ("my_lab.data:lost", DataError, "my_lab.data:lost cannot list its images: RuntimeError: the disk is gone"),
        ("my_lab.data:number", DataError, "my_lab.data:number returns a int; an acmix_nas.data.Source is needed"),
        ("my_lab.data:NOT_A_FUNCTION", PluginError, "the module 'my_lab.data' has no function named 'NOT_A_FUNCTION'"),
        ("my_lab.nothing:shapes", PluginError, "'my_lab.nothing' cannot be imported"),
        ("my_lab.data", DataError, r"there is no folder or file my_lab.data(.|\n)*as my_lab.data:shapes"),
        ("os.path:join", DataError, "there is no folder or file os.path:join"),
    ],
)
def test_a_source_that_does_not_fit_is_refused_with_the_reason(spec, error, message):
    with pytest.raises(error, match=message):
        open_source(spec)


def test_a_source_of_ones_own_is_found_from_any_folder(lab):
    (lab / "here").mkdir()
    assert absolute("my_lab.data:shapes/here") == f"my_lab.data:shapes/{lab / 'here'}"
    assert absolute("my_lab.data:shapes/80") == "my_lab.data:shapes/80"
    (lab / "my_lab.data:shapes").mkdir()  # a folder of that name comes first
    with pytest.raises(AcmixError, match="a source of images is one of"):
        open_source("my_lab.data:shapes")


def test_where_modules_are_to_be_named_a_source_is_not_imported_before(lab):
    with plugins.named_only(), pytest.raises(PluginError, match=r"--plugin my_lab\.data"):
        open_source("my_lab.data:shapes")
    assert "my_lab.data" not in sys.modules
