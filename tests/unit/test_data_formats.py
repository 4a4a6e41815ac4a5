"""What is read as an image, what is passed over with a number, and what is broken with a reason."""

import io
import os
import socket
import struct
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_kinds import KINDS, as_shards
from data_trees import CLASSES, files, make_folder, make_tar, packed, picture
from PIL import Image, ImageFile

from acmix_nas.data import describe, load_splits, open_source, plan_subset, write_store
from acmix_nas.data.formats import EXTENSIONS, FORMATS, open_image
from acmix_nas.errors import DataError


def saved(name: str, seed: int = 7, **options) -> bytes:
    buffer = io.BytesIO()
    picture(seed, size=(20, 16)).save(buffer, name, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_that_is_named_is_read(tmp_path, kind):
    content = files()
    for number, extension in enumerate(FORMATS[kind]):
        for name in CLASSES:
            content[f"train/{name}/{number}{extension.upper()}"] = saved(kind, number)
            content[f"val/{name}/more{number}{extension}"] = saved(kind, number + 10)
    source = open_source(make_folder(tmp_path, content))
    found = describe(source)
    assert (found.broken, found.passed_over) == ((), {})
    assert found.formats.get(kind, 0) >= 6 * len(FORMATS[kind])
    assert len(source.train.labels) == 36 + 3 * len(FORMATS[kind])


@pytest.mark.parametrize("extension", [".webp", ".bmp", ".tif"])
def test_classes_that_have_only_other_formats_are_classes(tmp_path, extension):
    kind = next(name for name, of_format in FORMATS.items() if extension in of_format)
    more = {f"train/dog/{n}{extension}": saved(kind, n) for n in range(4)}
    source = open_source(make_folder(tmp_path, {**files(), **more, f"val/dog/0{extension}": saved(kind, 9)}))
    assert source.classes == (*CLASSES, "dog")
    assert np.bincount(source.train.labels).tolist() == [12, 12, 12, 4]


def test_what_a_file_holds_decides_and_not_its_name(tmp_path):
    source = open_source(make_folder(tmp_path, {**files(), "train/ant/50.jpeg": saved("PNG")}))
    assert describe(source).formats == {"PNG": 43}


@pytest.mark.parametrize("kind", ["EPS", "TGA", "ICO", "PCX", "DDS", "SGI", "MSP", "SPIDER"])
def test_no_other_format_is_opened(kind):
    image = picture(7, size=(20, 16))
    buffer = io.BytesIO()
    image.convert({"MSP": "1", "SPIDER": "F"}.get(kind, "RGB")).save(buffer, kind)
    with pytest.raises(OSError, match="cannot identify"):
        open_image(buffer.getvalue())


def test_a_photograph_with_a_preview_in_it_is_read():
    image = open_image(saved("MPO", save_all=True, append_images=[picture(8)]))
    assert (image.format, image.size) == ("MPO", (20, 16))


def test_what_is_passed_over_is_counted_by_extension(tmp_path):
    more = dict.fromkeys(["train/ant/1.HEIC", "train/bee/2.heic", "val/cow/list.txt", "train/ant/README"], b"x")
    root = make_folder(tmp_path / "source", {**files(), **more, "train/ant/.DS_Store": b"x"})
    found = describe(open_source(root))
    assert found.passed_over == {".heic": 2, ".txt": 1, "hidden": 1, "without extension": 1}
    note = "5 files of source are not read: 2 .heic, 1 .txt, 1 hidden, 1 without extension"
    assert load_splits(root, input_size=5, train_images=None, seed=0, with_report=False).notes == (note,)
    plan = plan_subset(open_source(root), size=5)
    assert plan.notes == (note,)
    assert write_store(plan, tmp_path / "store").notes == (note,)


def test_a_class_folder_without_images_is_named(tmp_path):
    root = make_folder(tmp_path, {**files(), "train/dog/0.heic": b"x"})
    (root / "train" / "elk").mkdir()
    [note] = open_source(root).notes
    assert note.startswith("2 folders of ")
    assert note.endswith("have no images: dog, elk")


def test_two_folders_of_one_name_are_no_class(tmp_path):
    more = {f"train/{name}/same/{n}.png": packed(n) for n, name in enumerate("xy")}
    root = make_folder(tmp_path, {**files(), **more})
    with pytest.raises(DataError, match=r"in .*train, x/same and y/same would both be the class same\. Move"):
        open_source(root)


def test_folders_in_class_folders_that_all_have_one_name_name_no_class(tmp_path):
    content = {name.replace("/0", "/images/0"): value for name, value in files(1, 1).items()}
    content |= {f"train/{name}/images/{n}.png": packed(n) for n, name in enumerate(CLASSES, 50)}
    source = open_source(make_folder(tmp_path, content))
    assert source.classes == CLASSES
    assert np.bincount(source.train.labels).tolist() == [2, 2, 2]


@pytest.mark.parametrize("spread", [{"train/beasts/ant": "ant"}, {"val/beasts/ant": "ant"}])
def test_a_class_is_the_folder_that_its_images_lie_in(tmp_path, spread):
    content = {}
    for name, value in files().items():
        for to, of in spread.items():
            part = to.split("/")[0]
            content[name.replace(f"{part}/{of}/", f"{to}/")] = value
    assert open_source(make_folder(tmp_path, content)).classes == CLASSES


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: socket.socket(socket.AF_UNIX).bind(str(path))])
def test_pipes_and_sockets_are_broken_images_and_never_opened(tmp_path, make, monkeypatch):
    root = make_folder(tmp_path / "s")
    monkeypatch.chdir(root / "train" / "ant")  # a socket's path is short
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        make(Path("50.jpg"))
    (root / "val" / "ant" / "zero.jpg").symlink_to("/dev/zero")
    found = describe(open_source(root))
    assert [(Path(name).name, reason) for name, reason in found.broken] == [
        ("50.jpg", "OSError: it is no regular file"),
        ("zero.jpg", "OSError: it is no regular file"),
    ]


RAISED = [
    TypeError("an odd type"),
    RuntimeError("out of order"),
    AttributeError("no such thing"),
    NotImplementedError("not yet"),
    RecursionError("too deep"),
    KeyError("a tag"),
    ZeroDivisionError("by zero"),
    MemoryError(),
    AssertionError(),
    OverflowError("too large"),
    struct.error("unpack requires 2 bytes"),
]


@pytest.mark.parametrize("error", RAISED, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("method", ["_open", "load"])
def test_an_image_that_raises_anything_is_broken_with_its_reason(tmp_path, monkeypatch, error, method):
    class Odd(ImageFile.ImageFile):
        """A reader of images that fails."""

        format = "BMP"

        def _open(self):
            self._mode, self._size, self.tile = "RGB", (4, 4), []
            if method == "_open":
                raise error

        def load(self):
            raise error

    monkeypatch.setitem(Image.OPEN, "BMP", (Odd, lambda prefix: prefix.startswith(b"odd")))
    root = make_folder(tmp_path / "source", {**files(train=60), "train/bee/7.bmp": b"odd image"})
    [(name, reason)] = describe(open_source(root)).broken
    assert name.endswith("train/bee/7.bmp")
    assert reason.startswith((type(error).__name__, "UnidentifiedImageError"))
    splits = load_splits(root, input_size=5, train_images=None, seed=0, with_report=True)
    assert splits.skipped == ((name, reason),)
    assert len(splits.train) + len(splits.search) == 180
    index = write_store(plan_subset(open_source(root), size=5), tmp_path / "store")
    assert index.broken == ((name, reason),)


ODD_TAGS = {"TypeError": (0x011A, 1), "AttributeError": (0x010E, 5), "error": (0x0100, 1), "ValueError": (0x02BC, 3)}
"""EXIF tags with a type that others have, and what Pillow raises as it turns such an image."""


def turned_with_an_odd_tag(tag: int, kind: int) -> bytes:
    """A JPEG to be turned by 90 degrees, with one further EXIF tag: eight bytes 0x0707... of a type."""
    fields = sorted([(0x0112, 3, 1, struct.pack("<HH", 6, 0)), (tag, kind, 1, struct.pack("<I", 8 + 2 + 2 * 12 + 4))])
    if kind != 5:  # what has eight bytes lies behind the table
        fields = [(t, k, n, b"\7\7\0\0" if t == tag else value) for t, k, n, value in fields]
    table = b"".join(struct.pack("<HHI", t, k, n) + value for t, k, n, value in fields)
    exif = b"II*\0" + struct.pack("<IH", 8, 2) + table + bytes(4) + b"\7" * 8
    return saved("JPEG", exif=b"Exif\0\0" + exif)


@pytest.mark.parametrize("name", ODD_TAGS)
def test_a_photograph_with_an_odd_exif_tag_is_broken_with_its_reason(tmp_path, name):
    odd = turned_with_an_odd_tag(*ODD_TAGS[name])
    root = make_folder(tmp_path, {**files(train=60), "train/bee/7.jpg": odd})
    [(file, reason)] = describe(open_source(root)).broken
    assert file.endswith("train/bee/7.jpg")
    assert reason.startswith(f"{name}: ")
    splits = load_splits(root, input_size=5, train_images=None, seed=0, with_report=True)
    assert splits.skipped == ((file, reason),)


def test_a_decompression_bomb_is_a_broken_image(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    bomb = io.BytesIO()
    Image.new("1", (50, 50)).save(bomb, "PNG")
    root = make_folder(tmp_path, {**files(train=60), "train/bee/7.png": bomb.getvalue()})
    [(name, reason)] = describe(open_source(root)).broken
    assert name.endswith("train/bee/7.png")
    assert reason.startswith("DecompressionBombError: Image size (2500 pixels) exceeds limit of 2000 pixels")
    assert load_splits(root, input_size=5, train_images=None, seed=0, with_report=True).skipped == ((name, reason),)


@pytest.mark.parametrize("mode", ["F", "I"])
def test_pixels_of_unknown_extent_are_broken(tmp_path, mode):
    buffer = io.BytesIO()
    picture(3).convert("L").convert(mode).save(buffer, "TIFF")
    found = describe(open_source(make_folder(tmp_path, {**files(train=60), "train/bee/7.tif": buffer.getvalue()})))
    [(name, reason)] = found.broken
    assert name.endswith("train/bee/7.tif")
    assert reason == "ValueError: its pixels have 32 bits, and nothing says which are black and white"


def test_only_the_first_of_several_frames_is_read_and_they_are_counted(tmp_path):
    for kind in ("GIF", "TIFF", "WEBP"):
        frames = saved(kind, 7, save_all=True, append_images=[picture(8, size=(20, 16))])
        root = make_folder(tmp_path / kind, {**files(), f"train/ant/50{FORMATS[kind][0]}": frames})
        assert describe(open_source(root)).traits["several_frames"] == 1


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "folder"])
def test_every_kind_reads_every_format(tmp_path, kind):
    content = {**files(train=60), "train/bee/3.png": saved("WEBP"), "train/bee/4.png": saved("BMP")}
    found = describe(open_source(KINDS[kind](tmp_path, content)))
    assert found.formats == {"PNG": 184, "BMP": 1, "WEBP": 1}
    assert found.passed_over == {}


def shards_of(root: Path, members: dict[str, bytes]) -> str:
    as_shards(root)
    make_tar(root / "set-train-0002.tar", members)
    return str(root)


@pytest.mark.parametrize(
    ("members", "message"),
    [
        (
            {"cat.0000.jpg": b"", "cat.0001.jpg": b"", "cat.cls": b"0"},
            r"tar/cat has the fields 0000\.jpg, 0001\.jpg\. Ren",
        ),
        ({"0.jpg": b"", "0.0.cls": b"0"}, r"a key has no dots, .*tar/0 has the fields 0\.cls"),
        ({"0.seg.png": b"", "0.jpg": b"", "0.cls": b"0"}, r"tar/0 has the fields seg\.png"),
        ({"0.jpg": b"", "0.png": b"", "0.cls": b"0"}, r"a sample has one image; .*tar/0 has jpg, png\. Make"),
        ({"0.jpg": b"", "0.JPG": b"", "0.cls": b"0"}, r"a sample has one image; .*tar/0 has jpg, jpg"),
        ({"0.jpg": b"", "0.cls": b"0", "0.CLS": b"1"}, r"a sample has one class number; .*tar/0 has cls, cls"),
        ({"0.jpg": b"", "0.cls": b"100000000"}, r"0 to 999,999; .*tar/0\.cls has 100000000\. Number"),
        ({"0.jpg": b"", "0.cls": b"9" * 60}, r"0 to 999,999; .*tar/0\.cls has 9999"),
        ({"0.jpg": b"", "0.cls": b"-7"}, r"0 to 999,999; .*tar/0\.cls has -7"),
        ({"0.jpg": b"", "0.cls": b""}, r"a \.cls file has a class number; .*0\.cls has b''"),
        ({"0.jpg": b"", "0.cls": b"nan"}, r"a \.cls file has a class number; .*0\.cls has b'nan'"),
        ({"0.jpg": b"", "0.cls": b"1" * 10**6}, r"0 to 999,999"),
    ],
)
def test_samples_that_are_unclear_are_refused_by_name(tmp_path, members, message):
    with pytest.raises(DataError, match=message):
        open_source(shards_of(tmp_path, members))


def test_samples_without_an_image_are_counted(tmp_path):
    members = {"0.heic": b"", "0.cls": b"0", "1.png": packed(1), "1.cls": b"1", "1.txt": b"", "._1.png": b""}
    source = open_source(shards_of(tmp_path, members))
    assert len(source.train.labels) == 37
    assert source.passed_over == {"heic without an image": 1, "cls without an image": 1, "hidden": 1}


def test_shards_without_images_show_what_was_looked_for(tmp_path):
    for part in ("train", "val"):
        make_tar(tmp_path / f"{part}-0.tar", {"0.npy": b"", "0.cls": b"0"})
    with pytest.raises(DataError, match=r"KEY\.EXTENSION, .*\.jpg, .*; .*train-0\.tar has none"):
        open_source(f"wds/{tmp_path}")


@pytest.mark.parametrize(("text", "message"), [(b"a\n\nc\n", "line 2 is empty"), (b"\xff\xfe", "is not UTF-8 text")])
def test_names_of_classes_that_would_shift_are_refused(tmp_path, text, message):
    root = as_shards(tmp_path)
    (tmp_path / "classnames.txt").write_bytes(text)
    with pytest.raises(DataError, match=message):
        open_source(root)


def test_one_class_shows_an_image_that_was_read(tmp_path):
    with pytest.raises(DataError, match=r"read as folder, has ant only; its first image is .*train/ant/0\.png"):
        open_source(make_folder(tmp_path, files(classes=("ant",))))


def test_a_folder_without_images_shows_what_was_looked_for(tmp_path):
    make_folder(tmp_path, {"train/a/0.heic": b"", "val/a/0.heic": b""})
    with pytest.raises(DataError, match=r"no images in .*/train; .*\.avif, .*\.webp files are read"):
        open_source(tmp_path)
    assert {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"} < EXTENSIONS
