"""Images that are unusual or broken, in a store."""

from pathlib import Path

import numpy as np
import pytest
from data_trees import files, make_folder, packed, picture
from PIL import Image

from acmix_nas.data import load_splits, open_source, plan_subset, write_store
from acmix_nas.data.decode import traits_of
from acmix_nas.errors import DataError


def save_odd(path: Path, kind: str) -> None:
    image = picture(7, size=(20, 16))
    if kind == "exif_rotated":
        exif = Image.Exif()
        exif[0x0112] = 6
        image.save(path.with_suffix(".jpg"), exif=exif)
    elif kind == "cmyk":
        image.convert("CMYK").save(path.with_suffix(".jpg"))
    elif kind == "sixteen_bit":
        Image.fromarray(np.full((9, 9), 30_000, dtype=np.uint16)).save(path.with_suffix(".png"))
    else:
        image.convert({"greyscale": "L", "palette": "P", "transparent": "RGBA"}[kind]).save(path.with_suffix(".png"))


@pytest.mark.parametrize("kind", ["greyscale", "cmyk", "palette", "transparent", "sixteen_bit", "exif_rotated"])
def test_unusual_images_are_decoded_and_counted(tmp_path, kind):
    save_odd(tmp_path / "a", kind)
    (file,) = tmp_path.iterdir()
    traits = {kind, "greyscale"} if kind == "sixteen_bit" else {kind}
    with Image.open(file) as image:
        assert set(traits_of(image)) == traits
    make_folder(tmp_path / "source")
    file.rename(tmp_path / "source" / "val" / "ant" / file.name)
    index = write_store(plan_subset(open_source(tmp_path / "source"), size=5), tmp_path / "store")
    assert index.traits == {"train": {}, "search": {}, "report": dict.fromkeys(sorted(traits), 1)}
    assert index.images["report"] == 7


@pytest.mark.parametrize("bad", [b"", b"no image", packed(3)[:100], b"<html></html>"])
def test_broken_images_are_counted_and_too_many_are_refused(tmp_path, bad):
    source = open_source(make_folder(tmp_path / "source", {**files(), "val/bee/1.png": bad}))
    plan = plan_subset(source, size=5)
    with pytest.raises(DataError, match=r"at most 1% .* 1 of 42 are: .*bee/1\.png .*--allow-broken"):
        write_store(plan, tmp_path / "store")
    index = write_store(plan, tmp_path / "store", allow_broken=0.05)
    [(name, reason)] = index.broken
    assert name.endswith("val/bee/1.png")
    assert "Error: " in reason
    assert index.images == {"train": 30, "search": 6, "report": 5}
    splits = load_splits(tmp_path / "store", input_size=5, train_images=None, seed=0, with_report=True)
    assert splits.report.targets.tolist() == [0, 0, 1, 2, 2]
    assert splits.report.images.flatten(1).any(1).all()
