"""Which classes a subset has: so many, a named list, or a file's."""

import numpy as np
import pytest
from data_trees import CLASSES, files, make_folder

from acmix_nas.data import open_source, plan_subset
from acmix_nas.data.source import Source
from acmix_nas.data.subset import choose_classes, list_names
from acmix_nas.errors import DataError


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return open_source(make_folder(tmp_path_factory.mktemp("source")))


def test_a_class_with_fewer_images_gives_all_and_is_noted(tmp_path):
    content = {name: value for name, value in files().items() if "ant" not in name or name[-5] in "01"}
    plan = plan_subset(open_source(make_folder(tmp_path, content)), images_per_class=5, size=5)
    assert np.bincount(plan.splits["train"].labels).tolist() == [3, 5, 5]
    assert plan.notes == ("1 classes have fewer than 5 images to train on and give all they have, 3 at least",)


def test_classes_by_number_name_and_file(tmp_path):
    ids = open_ids()
    (tmp_path / "mine.txt").write_text("# two\nn02099601  # golden retriever\n\nn01440764\n")
    (tmp_path / "mine.yaml").write_text("classes: [n02099601, n01440764]")
    assert [ids[i] for i in choose_classes("imagenette", ids, 0)][:2] == ["n01440764", "n02102040"]
    assert [ids[i] for i in choose_classes(str(tmp_path / "mine.txt"), ids, 0)] == ["n01440764", "n02099601"]
    assert [ids[i] for i in choose_classes(str(tmp_path / "mine.yaml"), ids, 0)] == ["n01440764", "n02099601"]
    assert len(choose_classes("37", ids, 0)) == 37
    assert set(choose_classes("37", ids, 0)) != set(choose_classes("37", ids, 1))
    assert len(choose_classes(None, ids, 0)) == 1000


def open_ids() -> tuple[str, ...]:
    from timm.data import ImageNetInfo

    return tuple(ImageNetInfo("imagenet-1k").label_names())


@pytest.mark.parametrize(("name", "size"), [("imagenette", 10), ("imagewoof", 10), ("imagenet-100", 100)])
def test_named_lists_are_classes_of_imagenet_whatever_the_source_calls_them(name, size):
    from timm.data import ImageNetInfo

    chosen = choose_classes(name, open_ids(), 0)
    assert len(chosen) == size
    words = tuple(ImageNetInfo("imagenet-1k").label_descriptions())
    numbers = tuple(str(number) for number in range(1000))
    for classes in (words, numbers):
        np.testing.assert_array_equal(choose_classes(name, classes, 0), chosen)
    assert name in list_names()


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("1", "2 to all 3 classes .*; 1 were"),
        ("4", "2 to all 3 classes .*; 4 were"),
        ("imagenette", r"has each class of imagenette; 10 of 10 are missing: n01440764, .*classes are ant, bee, cow\."),
        ("missing.txt", "a number, one of imagenet-100, imagenette, imagewoof, or a file"),
    ],
)
def test_classes_that_cannot_be_chosen(asked, message):
    with pytest.raises(DataError, match=message):
        choose_classes(asked, CLASSES, 0)


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("ant\n", "a.txt", "two classes or more; .* names ant"),
        ("", "a.txt", "names none"),
        ("{", "a.yaml", "is not plain YAML"),
        ("classes: [1, 2]", "a.yaml", "quote names that are numbers"),
    ],
)
def test_lists_that_name_no_classes(tmp_path, text, name, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        choose_classes(str(tmp_path / name), CLASSES, 0)


@pytest.mark.parametrize("values", [{"size": 0}, {"images_per_class": 0}, {"search_images": 0}])
def test_values_that_mean_nothing(source, values):
    with pytest.raises(DataError, match="a whole number from 1 up; it is 0"):
        plan_subset(source, **{"size": 5, **values})
