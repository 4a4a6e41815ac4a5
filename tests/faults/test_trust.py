"""What is read runs no code, writes nothing outside its folder, and nobody listens."""

import io
import tarfile
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from acmix_nas import registry
from acmix_nas.data import open_source, plan_subset, write_store
from acmix_nas.data.sources._tar import members
from acmix_nas.errors import AcmixError, DataError
from acmix_nas.reference import load_reference
from acmix_nas.train.checkpoint import ResumeError, read_checkpoint


def picture(shade: int) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, shade, shade)).save(stream, "PNG")
    return stream.getvalue()


def add(tar: tarfile.TarFile, name: str, content: bytes = b"", **facts) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in facts.items():
        setattr(info, field, value)
    tar.addfile(info, io.BytesIO(content))


def snapshot(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


@pytest.mark.parametrize("name", ["../../../escape", "/etc/escape", "usual/../../../../escape", "..", "./x", "usual"])
def test_an_archive_writes_nothing_outside_its_store(tmp_path, name):
    home = tmp_path / "a" / "b"
    home.mkdir(parents=True)
    with tarfile.open(home / "all.tar", "w") as tar:
        for part, count in (("train", 8), ("val", 2)):
            for folder in (name, "other"):
                for index in range(count):
                    add(tar, f"{part}/{folder}/{index}.png", picture(index))
        add(tar, "train/link", type=tarfile.SYMTYPE, linkname="/etc")
        add(tar, "val/other/device.png", type=tarfile.CHRTYPE)
    before = snapshot(tmp_path)
    with suppress(DataError):  # a name that leads out may be refused
        source = open_source(str(home / "all.tar"))
        write_store(plan_subset(source, images_per_class=2, search_images=2, size=8), home / "store")
    assert (home / "store").exists() or name != "usual"
    new = snapshot(tmp_path) - before
    assert all(path.is_relative_to(home / "store") for path in new)
    assert not Path("/etc/escape").exists()


def test_tar_files_inside_each_other_have_an_end(tmp_path):
    content = picture(0)
    for depth in range(30):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as tar:
            add(tar, "x.tar" if depth else "x.png", content)
        content = stream.getvalue()
    (tmp_path / "deep.tar").write_bytes(content)
    with pytest.raises(DataError, match="inside each other"):
        list(members(tmp_path / "deep.tar"))


class Loud:
    """Leaves a file where it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self):
        return (Path.touch, (self.file,))


def test_a_pickle_is_refused_as_a_checkpoint(tmp_path):
    file, mark = tmp_path / "0.ckpt", tmp_path / "mark"
    torch.save({"model": Loud(mark)}, file)
    with pytest.raises(ResumeError):
        read_checkpoint(file)
    with pytest.raises(AcmixError):
        load_reference(torch.nn.Linear(1, 1), file)
    assert not mark.exists()


@pytest.mark.parametrize("name", ["..os", "os.", "a/b.c", "../x", "a b.c", "os;x.y", ""])
def test_a_plug_in_is_a_dotted_path_and_nothing_else(name):
    assert not registry.known("operators", name)
    with pytest.raises(AcmixError):
        registry.load("operators", name)


def test_a_plug_in_that_raises_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "broken_lab").mkdir()
    (tmp_path / "broken_lab" / "op.py").write_text("1 / 0\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(AcmixError, match=r"broken_lab\.op.*ZeroDivisionError"):
        registry.load("operators", "broken_lab.op")
