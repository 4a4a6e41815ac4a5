"""What all tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).parent.parent
os.environ["OMP_NUM_THREADS"] = "1"  # before torch is loaded, here and in all processes of tests: the cores run tests

settings.register_profile(
    "acmix",
    deadline=None,
    max_examples=40,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),  # as Hypothesis's own profile for CI: the same commit, the same verdict
)
settings.load_profile("acmix")


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
def on_few_images(few_images, monkeypatch) -> Path:
    """Commands without --data take these images, not the thousands that are embedded."""
    monkeypatch.setenv("ACMIX_DATA", str(few_images))
    return few_images


@pytest.fixture(scope="session")
def installed(tmp_path_factory) -> Path:
    """The folder of an installed wheel: what a user gets, apart from the checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run(
        [*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, ROOT],
        check=True,
        capture_output=True,
    )
    (wheel,) = folder.glob("acmix_nas-*.whl")
    site = folder / "site"
    subprocess.run([*pip, "install", "--no-deps", "--target", site, wheel], check=True, capture_output=True)
    return site
