"""Real ImageNet photographs, which the package foolbox carries, through describe, subset and load_splits."""

import importlib.util
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from acmix_nas.data import describe, load_splits, open_source, plan_subset, write_store

pytestmark = pytest.mark.slow


@pytest.fixture
def source(tmp_path) -> Path:
    """The 20 photographs as a folder of two classes, each of them in train and, under another name, in val."""
    spec = importlib.util.find_spec("foolbox")  # only found, not imported: it would load its own dependencies
    assert spec is not None, "pip install foolbox, as the extra dev does"
    assert spec.submodule_search_locations is not None
    found = sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*.jpg"))
    assert len(found) == 20
    for number, file in enumerate(found):
        for part in ("train", "val"):
            folder = tmp_path / "photographs" / part / ("even" if number % 2 == 0 else "odd")
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, folder / f"{part}_{file.name}")
    return tmp_path / "photographs"


def test_photographs_are_described_and_decoded_as_at_full_size(source, tmp_path):
    found = describe(open_source(source))
    assert (found.sampled, found.formats, found.broken) == (40, {"JPEG": 40}, ())
    assert found.widths.least >= 224
    plan = plan_subset(open_source(source), size=64, search_images=4)
    write_store(plan, tmp_path / "store")
    splits = load_splits(tmp_path / "store", input_size=64, train_images=None, seed=0, with_report=True)
    assert splits.to_dict()["counts"] == {"train": 16, "search": 4, "report": 20}
    for place, pixels in enumerate(splits.report.images):
        with Image.open(plan.splits["report"].part.name(place)) as image:
            whole = ImageOps.fit(image.convert("RGB"), (64, 64), Image.Resampling.BICUBIC)
        difference = pixels.permute(1, 2, 0).float() - torch.from_numpy(np.asarray(whole).copy())
        assert difference.abs().mean() < 3  # of 255: JPEG is decoded at a half or a quarter of its size
    assert splits.mean == pytest.approx((0.47, 0.44, 0.39), abs=0.1)
