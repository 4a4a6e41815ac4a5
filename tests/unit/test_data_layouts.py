"""The layouts in which data sets are published, and people's own photographs, each as a small real tree."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow
import pytest
from data_kinds import write_parquet
from data_trees import make_tar, packed
from PIL import Image
from scipy.io import savemat

from acmix_nas import registry
from acmix_nas.data import Source, load_splits, open_source
from acmix_nas.errors import DataError

WNIDS = ("n01440764", "n02102040", "n03028079")


class Tree:
    """Images and lists below a folder; each image has pixels of its own and knows its class."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.classes: dict[bytes, str] = {}

    def image(self, path: str, label: str) -> str:
        content = packed(len(self.classes))
        self.classes[content] = label
        self.write(path, content)
        return path

    def write(self, path: str, content: str | bytes) -> None:
        (self.root / path).parent.mkdir(parents=True, exist_ok=True)
        (self.root / path).write_bytes(content.encode() if isinstance(content, str) else content)

    def each(self, pattern: str, count: int, labels=WNIDS) -> list[tuple[str, str]]:
        """(path, class) of so many new images of each class; `pattern` takes their class and number."""
        paths = [(pattern.format(label=label, number=n), label) for n in range(count) for label in labels]
        return [(self.image(path, label), label) for path, label in paths]


def classes_of(tree: Tree, source: Source) -> dict[str, list[str]]:
    """Class names of each part, checked against what each image is."""
    found = {}
    for name, part in (("train", source.train), ("validation", source.validation)):
        found[name] = [source.classes[label] for label in part.labels]
        for index, label in enumerate(found[name]):
            assert tree.classes[Path(part.name(index)).read_bytes()] == label, part.name(index)
    return found


def flat_photographs(tree: Tree) -> None:
    tree.each("{label}/{number}.jpg", 10, ("cat", "dog", "emu"))


def flat_below_one_folder(tree: Tree) -> None:
    tree.each("101_ObjectCategories/{label}/image_{number:04d}.jpg", 10)


def imagenet_v2(tree: Tree) -> None:
    tree.each("{label}/{number}.jpeg", 10, ("0", "1", "2", "10"))


def train_alone(tree: Tree) -> None:
    tree.each("train/{label}/{number}.JPEG", 10)


def unlabelled_test(tree: Tree) -> None:
    train_alone(tree)
    tree.image("test/ILSVRC2012_test_00000001.JPEG", "?")


HELD_OUT = {
    "flat photographs": flat_photographs,
    "flat below one folder": flat_below_one_folder,
    "ImageNet-V2": imagenet_v2,
    "train alone": train_alone,
    "a test part without labels": unlabelled_test,
}


@pytest.mark.parametrize("make", HELD_OUT.values(), ids=HELD_OUT)
def test_a_stratified_share_is_held_out_without_a_validation_part(tmp_path, make):
    tree = Tree(tmp_path / "photos")
    make(tree)
    source = open_source(tree.root)
    parts = classes_of(tree, source)
    assert {name: parts["validation"].count(name) for name in source.classes} == dict.fromkeys(source.classes, 2)
    assert {name: parts["train"].count(name) for name in source.classes} == dict.fromkeys(source.classes, 8)
    names = [{part.name(i) for i in range(len(part.labels))} for part in (source.train, source.validation)]
    assert not names[0] & names[1]
    several = [load_splits(tree.root, input_size=5, train_images=None, seed=s, with_report=True) for s in (0, 1)]
    reports = [{image.numpy().tobytes() for image in splits.report.images} for splits in several]
    assert reports[0] == reports[1]  # the report split is one, whatever the seed of a run
    for splits in several:
        sets = [{i.numpy().tobytes() for i in s.images} for s in (splits.train, splits.search, splits.report)]
        assert sum(map(len, sets)) == len(set.union(*sets)) == 10 * len(source.classes)
        assert any("photos has no validation images of its own" in note for note in splits.notes)


def test_a_part_without_labels_is_passed_over_and_said(tmp_path):
    tree = Tree(tmp_path)
    unlabelled_test(tree)
    assert any("test is skipped: its images lie in no class folders" in note for note in open_source(tmp_path).notes)
    tree.each("val/{label}/{number}.JPEG", 1)
    source = open_source(tmp_path)
    assert len(source.validation.labels) == 3
    assert not any("has no validation images" in note for note in source.notes)


def test_classes_of_two_images_cannot_be_shared_out(tmp_path):
    tree = Tree(tmp_path)
    tree.each("{label}/{number}.jpg", 5)
    tree.each("{label}/{number}.jpg", 2, ("rare",))
    with pytest.raises(DataError, match=r"each class needs three images.* 1 of its 4 classes have fewer.*rare"):
        open_source(tmp_path)


def validation_names(tree: Tree, folder: str, end: str = ".JPEG") -> list[tuple[str, str]]:
    """Six images without class folders, their classes not in order."""
    labels = [WNIDS[number] for number in (2, 0, 1, 1, 2, 0)]
    paths = [f"{folder}/ILSVRC2012_val_{number:08d}{end}" for number in range(1, 7)]
    return [(tree.image(path, label), label) for path, label in zip(paths, labels, strict=True)]


def kaggle(tree: Tree) -> None:
    base = "ILSVRC/Data/CLS-LOC"
    tree.each(base + "/train/{label}/{label}_{number}.JPEG", 4)
    rows = [f"{Path(path).stem},{label} 85 1 499 272 " for path, label in validation_names(tree, f"{base}/val")]
    tree.write("LOC_val_solution.csv", "\n".join(["ImageId,PredictionString", *rows[::-1]]) + "\n")
    tree.write("LOC_train_solution.csv", "ImageId,PredictionString\n")
    tree.write("LOC_synset_mapping.txt", "".join(f"{wnid} a word, another\n" for wnid in WNIDS))
    tree.image(f"{base}/test/ILSVRC2012_test_00000001.JPEG", "?")
    tree.write("ILSVRC/ImageSets/CLS-LOC/val.txt", "ILSVRC2012_val_00000001 1\n")


def devkit(tree: Tree) -> None:
    tree.each("train/{label}/{label}_{number}.JPEG", 4)
    number_of = {wnid: number for number, wnid in zip((2, 3, 1), WNIDS, strict=True)}  # not in order, as there
    lines = [f"{number_of[label]}\n" for _, label in validation_names(tree, "val")]
    tree.write("ILSVRC2012_devkit_t12/data/ILSVRC2012_validation_ground_truth.txt", "".join(lines))
    dtype = [("ILSVRC2012_ID", "O"), ("WNID", "O"), ("words", "O"), ("num_children", "O")]
    synsets = np.array([[(number, wnid, "a word", 0)] for wnid, number in number_of.items()], dtype=dtype)
    savemat(tree.root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat", {"synsets": synsets})


def synset_labels(tree: Tree) -> None:
    tree.each("train/{label}/{label}_{number}.JPEG", 4)
    lines = [f"{label}\n" for _, label in validation_names(tree, "val")]
    tree.write("imagenet_2012_validation_synset_labels.txt", "".join(lines))


def caffe(tree: Tree) -> None:
    tree.each("train/{label}/{label}_{number}.JPEG", 4)
    lines = [f"{Path(path).name} {WNIDS.index(label)}\n" for path, label in validation_names(tree, "val")]
    tree.write("val.txt", "".join(lines))


def tiny_imagenet(tree: Tree) -> None:
    tree.each("train/{label}/images/{label}_{number}.JPEG", 4)
    for wnid in WNIDS:
        tree.write(f"train/{wnid}/{wnid}_boxes.txt", f"{wnid}_0.JPEG\t0\t0\t62\t62\n")
    pictures = [(f"val/images/val_{n}.JPEG", WNIDS[label]) for n, label in enumerate((2, 0, 1, 1, 2, 0, 0, 1, 2, 2, 1))]
    rows = [f"{Path(tree.image(path, label)).name}\t{label}\t0\t32\t44\t62\n" for path, label in pictures]
    tree.write("val/val_annotations.txt", "".join(rows))
    tree.image("test/images/test_0.JPEG", "?")
    tree.write("wnids.txt", "\n".join(WNIDS))
    tree.write("words.txt", "".join(f"{wnid}\ta word\n" for wnid in WNIDS))


def imagenette(tree: Tree) -> None:
    rows = tree.each("train/{label}/{label}_{number}.JPEG", 4) + tree.each("val/{label}/{label}_9{number}.JPEG", 2)
    lines = [f"{path},{label},{WNIDS[0]}" for path, label in rows]
    tree.write("noisy_imagenette.csv", "\n".join(["path,noisy_labels_0,noisy_labels_1", *lines]))


def cub(tree: Tree) -> None:
    names = ("001.Black_footed_Albatross", "002.Laysan_Albatross", "010.Red_winged_Blackbird")
    rows = tree.each("images/{label}/{label}_{number:04d}.jpg", 6, names)
    numbered = [*enumerate(rows, 1)]
    tree.write("images.txt", "".join(f"{n} {path.removeprefix('images/')}\n" for n, (path, _) in numbered))
    tree.write("image_class_labels.txt", "".join(f"{n} {names.index(label) + 1}\n" for n, (_, label) in numbered))
    tree.write("classes.txt", "".join(f"{n} {name}\n" for n, name in enumerate(names, 1)))
    tree.write("train_test_split.txt", "".join(f"{n} {int(n <= 12)}\n" for n, _ in numbered))
    tree.write("bounding_boxes.txt", "")


def food(tree: Tree) -> None:
    names = ("apple_pie", "baby_back_ribs", "waffles")
    for part, count, start in (("train", 4, 0), ("test", 2, 100)):
        rows = tree.each("images/{label}/" + f"{start + 1}" + "{number}.jpg", count, names)
        lines = [path.removeprefix("images/").removesuffix(".jpg") for path, _ in rows]
        tree.write(f"meta/{part}.txt", "\n".join(lines))
        tree.write(f"meta/{part}.json", "{}")
    tree.write("meta/classes.txt", "\n".join(names))


def textures(tree: Tree) -> None:
    for part in ("train", "val", "test"):
        rows = tree.each("images/{label}/" + part + "_{number:04d}.jpg", 3, ("banded", "dotted"))
        for division in (1, 2):
            tree.write(f"labels/{part}{division}.txt", "".join(f"{path.removeprefix('images/')}\n" for path, _ in rows))


def aircraft(tree: Tree) -> None:
    numbers = iter(range(100_000, 100_100))
    for part in ("train", "val", "test"):
        lines = []
        for name in ("707-320", "Falcon 900", "F/A-18") * 2:
            number = next(numbers)
            tree.image(f"data/images/{number}.jpg", name)
            lines.append(f"{number} {name}\n")
        tree.write(f"data/images_variant_{part}.txt", "".join(lines))


def pets(tree: Tree) -> None:
    for part, start in (("trainval", 1), ("test", 7)):
        lines = []
        for number in range(start, start + 3):
            for place, name in enumerate(("Abyssinian", "american_bulldog"), 1):
                tree.image(f"images/{name}_{number}.jpg", name)
                lines.append(f"{name}_{number} {place} 1 1\n")
        tree.write(f"annotations/{part}.txt", "".join(lines))
    tree.write("annotations/list.txt", "#Image CLASS-ID SPECIES BREED ID\n")


def flowers(tree: Tree) -> None:
    labels = np.array([2, 1, 3] * 6)
    for number, label in enumerate(labels, 1):
        tree.image(f"jpg/image_{number:05d}.jpg", str(label))
    savemat(tree.root / "imagelabels.mat", {"labels": labels[None]})
    sets = {"trnid": np.arange(1, 10)[None], "valid": np.arange(10, 13)[None], "tstid": np.arange(13, 19)[None]}
    savemat(tree.root / "setid.mat", sets)


def cars(tree: Tree, *, labelled: bool = True) -> None:
    names = ["AM General Hummer SUV 2000", "Acura RL Sedan 2012", "Ford F-150"]
    dtype = [(name, "O") for name in ("bbox_x1", "bbox_y1", "bbox_x2", "bbox_y2", "class", "fname")]

    def part(folder: str, count: int) -> np.ndarray:
        rows = [(f"{number:05d}.jpg", number % 3) for number in range(1, count + 1)]
        for file, label in rows:
            tree.image(f"{folder}/{file}", names[label])
        return np.array([[(1, 1, 2, 2, label + 1, file) for file, label in rows]], dtype=dtype)

    train, test = part("cars_train", 12), part("cars_test", 6)
    (tree.root / "devkit").mkdir()
    savemat(tree.root / "devkit" / "cars_meta.mat", {"class_names": np.array([names], dtype=object)})
    savemat(tree.root / "devkit" / "cars_train_annos.mat", {"annotations": train})
    if labelled:
        savemat(tree.root / "cars_test_annos_withlabels.mat", {"annotations": test})


def dogs(tree: Tree) -> None:
    names = ("n02085620-Chihuahua", "n02113978-Mexican_hairless")
    for part, count, start in (("train", 5, 0), ("test", 2, 50)):
        rows = tree.each("Images/{label}/{label}_" + f"{start}" + "{number}.jpg", count, names)
        paths = np.array([[path.removeprefix("Images/")] for path, _ in rows], dtype=object)
        (tree.root / "lists").mkdir(exist_ok=True)
        savemat(tree.root / "lists" / f"{part}_list.mat", {"file_list": paths})


def places(tree: Tree) -> None:
    names = ("airfield", "airplane_cabin", "field/cultivated")
    tree.write("categories_places365.txt", "".join(f"/{n[0]}/{n} {number}\n" for number, n in enumerate(names)))
    lines = []
    for number in range(12):
        name = names[number % 3]
        path = f"/{name[0]}/{name}/{number:08d}.jpg"
        tree.image(f"data_256_standard{path}", name)
        lines.append(f"{path} {number % 3}\n")
    tree.write("places365_train_standard.txt", "".join(lines))
    rows = [(f"Places365_val_{number:08d}.jpg", number % 3) for number in range(6)]
    for path, label in rows:
        tree.image(f"val_256/{path}", names[label])
    tree.write("places365_val.txt", "".join(f"{path} {label}\n" for path, label in rows))


def two_tables(tree: Tree) -> None:
    for part, count in (("train", 4), ("val", 2), ("test", 1)):
        rows = tree.each("images/" + part + "{label}{number}.jpg", count)
        lines = [f"{path.removeprefix('images/')},{label}" for path, label in rows]
        tree.write(f"{part}.csv", "\r\n".join(["filename,label", *lines]))


def metadata_of_parts(tree: Tree) -> None:
    for part, count in (("train", 4), ("validation", 2)):
        rows = tree.each(part + "/{label}{number}.png", count, ("cat", "dog, small"))
        lines = [json.dumps({"file_name": Path(path).name, "text": "a", "label": label}) for path, label in rows]
        tree.write(f"{part}/metadata.jsonl", "\n".join(lines))


def metadata_of_all(tree: Tree) -> None:
    rows = tree.each("train/{label}{number}.png", 4) + tree.each("test/{label}{number}.png", 2)
    lines = [f'"{path}","a caption, long",{label}' for path, label in rows]
    tree.write("metadata.csv", "\n".join(["file_name,text,label", *lines]))


def metadata_with_a_split(tree: Tree) -> None:
    rows = [(p, n, "train") for p, n in tree.each("imgs/a{label}{number}.png", 4)]
    rows += [(p, n, "test") for p, n in tree.each("imgs/b{label}{number}.png", 2)]
    lines = [f"{path};{split};{label}" for path, label, split in rows]
    tree.write("metadata.csv", "\ufeff" + "\n".join(["image;split;label", *lines]))


def capitals(tree: Tree) -> None:
    tree.each("Training/{label}/{number}.jpg", 4, ("a", "b"))
    tree.each("Test/{label}/{number}.jpg", 2, ("a", "b"))


LAYOUTS = {
    "Kaggle's ImageNet": kaggle,
    "ImageNet with its development kit": devkit,
    "ImageNet with TensorFlow's labels": synset_labels,
    "ImageNet with Caffe's val.txt": caffe,
    "Tiny ImageNet": tiny_imagenet,
    "Imagenette": imagenette,
    "CUB-200-2011": cub,
    "Food-101": food,
    "DTD": textures,
    "FGVC-Aircraft": aircraft,
    "Oxford-IIIT Pet": pets,
    "Oxford Flowers 102": flowers,
    "Stanford Cars": cars,
    "Stanford Dogs": dogs,
    "Places365": places,
    "train.csv and val.csv": two_tables,
    "metadata.jsonl of each part": metadata_of_parts,
    "metadata.csv of all parts": metadata_of_all,
    "metadata.csv with a column of splits": metadata_with_a_split,
    "parts in capitals": capitals,
}


@pytest.mark.parametrize("make", LAYOUTS.values(), ids=LAYOUTS)
def test_a_published_layout_is_read_where_it_lies(tmp_path, make):
    tree = Tree(tmp_path / "set")
    make(tree)
    source = open_source(tree.root)
    parts = classes_of(tree, source)
    assert set(parts["train"]) == set(parts["validation"]) == set(source.classes)
    assert len(parts["train"]) >= 6
    assert not any("has no validation images" in note for note in source.notes)
    assert source.fingerprint.startswith("2:")
    splits = load_splits(tree.root, input_size=5, train_images=None, seed=0, with_report=True)
    assert splits.skipped == ()
    assert splits.to_dict()["counts"]["report"] == len(parts["validation"])
    assert all("?" not in name for name in source.classes)


@pytest.mark.parametrize("make", [*HELD_OUT.values(), *LAYOUTS.values()], ids=[*HELD_OUT, *LAYOUTS])
def test_one_kind_reads_a_layout(tmp_path, make):
    make(Tree(tmp_path))
    kinds = {name: registry.load("data.sources", name) for name in registry.names("data.sources")}
    assert len([name for name, kind in kinds.items() if kind.matches(str(tmp_path))]) == 1


def test_a_part_of_kaggle_s_copy_is_read_too(tmp_path):
    tree = Tree(tmp_path)
    kaggle(tree)
    whole = open_source(tmp_path)
    for below in ("ILSVRC", "ILSVRC/Data", "ILSVRC/Data/CLS-LOC"):
        assert open_source(tmp_path / below).fingerprint == whole.fingerprint


def parquet_items(tree: Tree, count: int) -> list[tuple[str, bytes]]:
    """(name, bytes) of so many images, of three classes in turn."""
    for number in range(count):
        tree.image(f"made/{number}.png", WNIDS[number % 3])
    items = [(str(number), content) for number, content in enumerate(tree.classes)]
    shutil.rmtree(tree.root / "made")
    return items[-count:]


def rows(tree: Tree, path: str, count: int, labels=None) -> None:
    items = parquet_items(tree, count)
    numbers = [number % 3 for number in range(count)] if labels is None else labels
    features = {"label": {"names": list(WNIDS), "_type": "ClassLabel"}}
    write_parquet(tree.root / path, items, pyarrow.array(numbers), info={"features": features})


def a_configuration(tree: Tree) -> None:
    rows(tree, "plain_text/train-00000-of-00002.parquet", 12)
    rows(tree, "plain_text/train-00001-of-00002.parquet", 6)
    rows(tree, "plain_text/test-00000-of-00001.parquet", 6)


def a_converted_configuration(tree: Tree) -> None:
    rows(tree, "default/train/0000.parquet", 18)
    rows(tree, "default/validation/0000.parquet", 6)


def a_configuration_in_data(tree: Tree) -> None:
    rows(tree, "data/160px/train-00000-of-00001.parquet", 18)
    rows(tree, "data/160px/validation-00000-of-00001.parquet", 6)


def pixels_of(source: Source) -> dict[str, set[tuple[str, bytes]]]:
    return {
        name: {(source.classes[label], part.open(i).convert("RGB").tobytes()) for i, label in enumerate(part.labels)}
        for name, part in (("train", source.train), ("validation", source.validation))
    }


def true_pixels(tree: Tree) -> set[tuple[str, bytes]]:
    return {(label, Image.open(io.BytesIO(content)).tobytes()) for content, label in tree.classes.items()}


@pytest.mark.parametrize("make", [a_configuration, a_converted_configuration, a_configuration_in_data])
def test_parquet_files_of_a_configuration_are_read(tmp_path, make):
    tree = Tree(tmp_path)
    make(tree)
    source = open_source(tmp_path)
    found = pixels_of(source)
    assert (len(found["train"]), len(found["validation"])) == (18, 6)
    assert found["train"] | found["validation"] == true_pixels(tree)
    assert source.name == tmp_path.name


def without_validation(tree: Tree) -> None:
    rows(tree, "data/train-00000-of-00001.parquet", 30)


def without_labels(tree: Tree) -> None:
    rows(tree, "data/train-00000-of-00001.parquet", 30)
    rows(tree, "data/test-00000-of-00001.parquet", 4, labels=[-1] * 4)


@pytest.mark.parametrize("make", [without_validation, without_labels])
def test_a_share_of_parquet_files_is_held_out_where_no_part_has_labels(tmp_path, make):
    tree = Tree(tmp_path)
    make(tree)
    source = open_source(tmp_path)
    found = pixels_of(source)
    assert (len(found["train"]), len(found["validation"])) == (24, 6)
    assert found["train"] | found["validation"] <= true_pixels(tree)
    assert any("all its labels are -1" in note for note in source.notes) is (make is without_labels)


def shards(tree: Tree, label) -> None:
    """Shards whose samples have their label in a JSON file only."""
    number = iter(range(1000))
    for part, count in (("train", 12), ("val", 6)):
        members = {}
        for index in range(count):
            key = f"{next(number):06d}"
            content = packed(int(key))
            tree.classes[content] = WNIDS[index % 3]
            members[f"{key}.png"] = content
            members[f"{key}.json"] = json.dumps({"caption": "a picture", "label": label(index % 3)}).encode()
        make_tar(tree.root / f"set-{part}-0000.tar", members)


def test_labels_in_the_json_of_a_shard_are_read(tmp_path):
    for kind, label in (("numbers", lambda n: n), ("names", lambda n: WNIDS[n])):
        tree = Tree(tmp_path / kind)
        shards(tree, label)
        if kind == "numbers":
            tree.write("classnames.txt", "\n".join(WNIDS))
        source = open_source(tree.root)
        found = pixels_of(source)
        assert source.classes == WNIDS
        assert (len(found["train"]), len(found["validation"])) == (12, 6)
        assert found["train"] | found["validation"] == true_pixels(tree)


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (
            lambda n: WNIDS[n] if n else 1,
            r"all class numbers or all names; .*000000\.json has 1, .*000001\.json has 'n02",
        ),
        (lambda n: None, r"in KEY\.json, as one of label, cls, .*; .*000000\.json has b'"),
        (lambda n: 1.5, r"000000\.json has b'"),
        (lambda n: " ", r"a class has a name; .*000000\.json has ' '"),
        (lambda n: 10**9, r"a class number from 0 to .*000000\.json has 1000000000"),
    ],
)
def test_malformed_json_labels_are_refused(tmp_path, label, message):
    shards(Tree(tmp_path), label)
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


LOOKS = {
    "COCO's captions": (("annotations/captions_train2017.json", "train2017/000000000009.jpg"), "looks like COCO"),
    "COCO of one part": (("train/_annotations.coco.json", "train/a.jpg"), "looks like COCO"),
    "Pascal VOC": (("VOC2012/Annotations/1.xml", "VOC2012/JPEGImages/1.jpg"), "looks like Pascal VOC"),
    "YOLO": (("images/train/a.jpg", "labels/train/a.txt", "data.yaml"), "looks like YOLO"),
    "masks": (("images/training/a.jpg", "annotations/training/a.png"), "with masks for segmentation"),
    "CIFAR": (("cifar-10-batches-py/data_batch_1",), "Give torch/cifar10:FOLDER"),
    "MNIST": (("MNIST/raw/train-images-idx3-ubyte.gz",), "MNIST's files. Give torch/mnist:FOLDER"),
    "save_to_disk": (("dataset_dict.json", "train/data-00000-of-00001.arrow"), "that `save_to_disk`"),
    "MosaicML": (("train/index.json",), "MosaicML's streaming shards"),
    "TFRecord": (("train-00000-of-01024",), "TFRecord files"),
    "LMDB": (("train.lmdb/data.mdb",), "an LMDB database"),
    "HDF5": (("images.h5",), "an HDF5 file"),
    "FFCV": (("train.beton",), "FFCV's files"),
    "NumPy": (("x_train.npy", "y_train.npy"), "NumPy arrays"),
    "loose images": (("a.jpg", "b.jpg"), "images without labels. Put them into folders named after their class"),
    "one class": (("cats/a.jpg",), "the images of one class"),
    "one folder too high": (("mine/set/cat/a.jpg", "mine/set/dog/b.jpg", "mine/x/a.txt"), "Give that one"),
    "an archive": (("imagenette2.tgz",), "It has the archive imagenette2.tgz. Unpack it"),
    "a table of other columns": (
        ("labels.csv",),
        "labels.csv, with the columns where, what. A table of labels has one",
    ),
}
CONTENT = {
    "_annotations.coco.json": '{"images": [], "annotations": []}',
    "index.json": '{"shards": []}',
    "labels.csv": "where,what\n",
}


@pytest.mark.parametrize(("paths", "said"), LOOKS.values(), ids=LOOKS)
def test_an_unknown_layout_is_refused_with_the_known_ones(tmp_path, paths, said):
    tree = Tree(tmp_path)
    for path in paths:
        tree.write(path, CONTENT.get(Path(path).name) or packed(0))
    with pytest.raises(DataError) as raised:
        open_source(tmp_path / "mine" if paths[0].startswith("mine/") else tmp_path)
    assert said in str(raised.value)
    assert "train/CLASS/*.jpg" in str(raised.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [("a.zip", "an archive"), ("a.jpg", "one image"), ("train.parquet", "a table"), ("train.csv", "a table")],
)
def test_a_file_says_what_to_give_instead(tmp_path, name, said):
    (tmp_path / name).write_bytes(b"")
    with pytest.raises(DataError, match=f"looks like {said}"):
        open_source(tmp_path / name)


def mini_imagenet(tree: Tree) -> None:
    for part, labels in (("train", WNIDS), ("val", ("n04146614",)), ("test", ("n04149813",))):
        rows = tree.each("images/{label}{number:08d}.jpg", 10, labels)
        lines = [f"{path.removeprefix('images/')},{label}" for path, label in rows]
        tree.write(f"{part}.csv", "\n".join(["filename,label", *lines]))


def dog_breeds(tree: Tree) -> None:
    rows = tree.each("train/{label}{number}.jpg", 10, ("beagle", "pug"))
    tree.write("labels.csv", "\n".join(["id,breed", *(f"{Path(path).stem},{label}" for path, label in rows)]))
    tree.image("test/0.jpg", "?")
    tree.write("sample_submission.csv", "id,beagle,pug\n0,0.5,0.5\n")


@pytest.mark.parametrize(("make", "classes"), [(mini_imagenet, 5), (dog_breeds, 2)])
def test_a_share_of_a_table_s_images_is_held_out(tmp_path, make, classes):
    tree = Tree(tmp_path)
    make(tree)
    source = open_source(tmp_path)
    parts = classes_of(tree, source)
    assert (len(source.classes), len(parts["train"]), len(parts["validation"])) == (classes, 8 * classes, 2 * classes)
    assert any("no validation images of its own" in note for note in source.notes)


def test_cars_without_labels_of_their_test_part(tmp_path):
    tree = Tree(tmp_path)
    cars(tree, labelled=False)
    source = open_source(tmp_path)
    assert len(source.train.labels) + len(source.validation.labels) == 12
    assert any("cars_test is skipped" in note for note in source.notes)


def test_changed_labels_in_a_list_are_another_source(tmp_path):
    tree = Tree(tmp_path)
    caffe(tree)
    first = open_source(tmp_path).fingerprint
    text = (tmp_path / "val.txt").read_text()
    (tmp_path / "val.txt").write_text(text.replace("00000001.JPEG 2", "00000001.JPEG 1"))
    assert open_source(tmp_path).fingerprint != first


def no_list(tree: Tree) -> None:
    caffe(tree)
    (tree.root / "val.txt").unlink()


def short_list(tree: Tree) -> None:
    caffe(tree)
    tree.write("val.txt", "ILSVRC2012_val_00000001.JPEG 2\n")


def list_of_others(tree: Tree) -> None:
    synset_labels(tree)
    tree.write("imagenet_2012_validation_synset_labels.txt", "n09999999\n" * 6)


def lines_of_others(tree: Tree) -> None:
    synset_labels(tree)
    tree.write("imagenet_2012_validation_synset_labels.txt", "n09999999\n" * 7)


def no_meta(tree: Tree) -> None:
    devkit(tree)
    (tree.root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat").unlink()


def torn_meta(tree: Tree) -> None:
    devkit(tree)
    file = tree.root / "ILSVRC2012_devkit_t12" / "data" / "meta.mat"
    file.write_bytes(file.read_bytes()[:200])


def too_many_classes(tree: Tree) -> None:
    caffe(tree)
    tree.write("val.txt", (tree.root / "val.txt").read_text().replace(" 2", " 999"))


def climbing_list(tree: Tree) -> None:
    two_tables(tree)
    tree.write("train.csv", "filename,label\n../../secret.jpg,a\n")


def absent_images(tree: Tree) -> None:
    food(tree)
    tree.write("meta/train.txt", "apple_pie/77\n")


def nameless(tree: Tree) -> None:
    two_tables(tree)
    tree.write("train.csv", "filename,label\na.jpg,\n")


def label_of_a_list(tree: Tree) -> None:
    metadata_of_parts(tree)
    tree.write("train/metadata.jsonl", '{"file_name": "a.png", "label": ["cat"]}\n')


def torn_json(tree: Tree) -> None:
    metadata_of_parts(tree)
    with (tree.root / "train" / "metadata.jsonl").open("a") as file:
        file.write('\n{"file_name": ')


def twice(tree: Tree) -> None:
    two_tables(tree)
    with (tree.root / "train.csv").open("a") as file:
        file.write("\r\ntrainn014407640.jpg,n02102040\r\n")


def in_two_parts(tree: Tree) -> None:
    two_tables(tree)
    with (tree.root / "val.csv").open("a") as file:
        file.write("\r\ntrainn014407640.jpg,n01440764\r\n")


def cub_of_others(tree: Tree) -> None:
    cub(tree)
    tree.write("image_class_labels.txt", "1 1\n")


def binary_list(tree: Tree) -> None:
    food(tree)
    tree.write("meta/train.txt", b"\xff\xfe\x00")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            no_list,
            r"val lie in no class folders, and there is no list of their labels: none of val_annotations.txt, LOC_",
        ),
        (short_list, r"val\.txt has a label of each image .*; 5 have none, the first is ILSVRC2012_val_00000002"),
        (list_of_others, r"each class of .*labels\.txt.* needs training images; 1 have none: n09999999"),
        (lines_of_others, r"has a line for each image; it has 7 for 6 images"),
        (no_meta, r"has numbers, whose names are in meta\.mat of the development kit"),
        (torn_meta, r"meta\.mat cannot be read as a MATLAB file with synsets"),
        (too_many_classes, r"val\.txt numbers the 3 classes from 0 on; it has 999"),
        (climbing_list, r"a list names files below its own folder; .*train\.csv names '\.\./\.\./secret\.jpg'"),
        (absent_images, r"none of the 1 that .*train\.txt names is there, the first should be .*apple_pie/77\.jpg"),
        (nameless, r"a class has a name; .*train\.csv has none for a\.jpg"),
        (label_of_a_list, r"row 1 of .*metadata\.jsonl has 'a\.png' and \['cat'\]"),
        (torn_json, r"each line of .*metadata\.jsonl is a JSON object; line 9 is none"),
        (twice, r"a list names each image once; .*trainn014407640\.jpg and .*trainn014407640\.jpg are one file"),
        (in_two_parts, r"no image is in two parts of a source; .*trainn014407640\.jpg is in both"),
        (cub_of_others, r"has files of CUB-200-2011, but its lists are not as that has them: KeyError"),
        (binary_list, r"train\.txt is not UTF-8 text"),
    ],
)
def test_a_list_of_other_images_is_refused(tmp_path, make, message):
    make(Tree(tmp_path))
    with pytest.raises(DataError, match=message):
        open_source(tmp_path)


@pytest.mark.parametrize("list_file", ["train/metadata.csv", "train.csv"])
def test_a_name_with_a_nul_is_that_of_a_broken_image(tmp_path, list_file):
    tree = Tree(tmp_path)
    folder = "train/" if list_file == "train.csv" else ""
    for split in ("train", "val"):
        rows = [
            (path.removeprefix("" if folder else f"{split}/"), label)
            for path, label in tree.each(f"{split}/{{label}}-{{number}}.png", 4)
        ]
        rows += [("train/x\0.png" if folder else "x\0.png", WNIDS[0])] if split == "train" else []
        tree.write(list_file.replace("train", split), "file_name,label\n" + "".join(f"{a},{b}\n" for a, b in rows))
    with pytest.raises(DataError, match=r"1 of 13 are: .*embedded null byte"):  # more than may be broken
        load_splits(tmp_path, input_size=8, train_images=None, seed=0, with_report=False, search_images=3)


@pytest.mark.parametrize("kept", [0, 40, 127, 300])
def test_a_matlab_file_that_is_cut_off_is_one_error(tmp_path, kept):
    tree = Tree(tmp_path / "set")
    flowers(tree)
    file = tree.root / "imagelabels.mat"
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(DataError, match=r"imagelabels\.mat cannot be read as a MATLAB file with labels"):
        open_source(tree.root)


def test_a_reader_that_crashes_costs_a_message(tmp_path, monkeypatch):
    from acmix_nas.data.sources import _listed

    reader = tmp_path / "reader.py"
    reader.write_text("import os\nos.abort()\n")
    monkeypatch.setattr(_listed, "READER", reader)
    tree = Tree(tmp_path / "set")
    flowers(tree)
    with pytest.raises(DataError, match="its reader crashed"):
        open_source(tree.root)


def test_a_row_that_names_no_file_is_one_error(tmp_path):
    tree = Tree(tmp_path / "set")
    metadata_of_all(tree)
    file = tree.root / "metadata.csv"
    file.write_text(file.read_text() + '\n"","a caption",cat\n')
    with pytest.raises(DataError, match=r"row 19 of .*metadata\.csv names none"):
        open_source(tree.root)
