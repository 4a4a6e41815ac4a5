"""What all tests share."""

import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import run

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in all processes of tests: the cores run tests
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # where a test asks for more threads, those that wait leave the cores alone

sys.path.insert(0, str(Path(__file__).parent / "unit"))  # the pieces that tests share are there

settings.register_profile(
    "acmix",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # as Hypothesis's own profile for CI: the same commit, the same verdict
)
settings.register_profile("nightly", settings.get_profile("acmix"), max_examples=400, derandomize=False)
settings.load_profile("acmix")


@pytest.fixture(autouse=True)
def _one_server() -> None:
    """Workers and commands of tests are forked from one process, which loads what any of them needs."""
    if start := sys.modules.get("acmix_nas.executors._start"):
        import fork_server

        start.PRELOADED = fork_server.MODULES


@pytest.fixture(autouse=True)
def _fresh_torch() -> None:
    """Every test begins with one thread and the same random numbers, whatever ran before it in this process."""
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)
        torch.manual_seed(0)


@pytest.fixture(scope="session")
def few_images(tmp_path_factory) -> Path:
    """An ImageFolder tree of 60 + 4 images in each of two classes: what a command does with images, in a moment."""
    from PIL import Image

    root = tmp_path_factory.mktemp("images") / "imagenet"
    for split, count in (("train", 60), ("val", 4)):
        for name in ("dark", "light"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (40, 32), (index, index, 60 if name == "dark" else 200)).save(folder / f"{index}.png")
    return root


@pytest.fixture
def shallow_swin_t(tmp_path) -> Path:
    """The space swin_t with two blocks in each stage: its networks are exported in a third of the time."""
    whole = (ROOT / "search_spaces" / "swin_t.yaml").read_text(encoding="utf-8")
    shallow = whole.replace("depths: [2, 2, 6, 2]", "depths: [2, 2, 2, 2]")
    assert shallow != whole
    file = tmp_path / "shallow" / "swin_t.yaml"
    file.parent.mkdir()
    file.write_text(shallow, encoding="utf-8")
    return file


@pytest.fixture
def on_few_images(few_images, monkeypatch) -> Path:
    """Commands without --data take these images, not the thousands that are embedded."""
    monkeypatch.setenv("ACMIX_DATA", str(few_images))
    return few_images


@pytest.fixture(scope="session")
def once(tmp_path_factory) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder that all test processes share: the first that asks for it fills it, others wait."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        folder, filled = shared / name, shared / f"{name}.filled"
        with (shared / f"{name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not filled.exists():
                folder.mkdir()
                fill(folder)
                filled.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def installed(once) -> Path:
    """The folder of an installed wheel: what a user gets, apart from the checkout."""
    return once("site", install_wheel)


def install_wheel(site: Path) -> None:
    """Builds the wheel and installs it into the folder."""
    wheels = site.with_name("wheels")
    build = ["build", "--wheel", "--no-isolation", "--outdir", wheels, ROOT]
    install = ["pip", "--quiet", "--disable-pip-version-check", "install", "--no-deps", "--target", site]
    run([sys.executable, "-m", *build], check=True, capture_output=True)
    run([sys.executable, "-m", *install, *wheels.glob("*.whl")], check=True, capture_output=True)
