"""What a network is fed: every image once, the same images whoever prepares them, shared without overlap."""

import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from study_pieces import small_setting

from acmix_nas.data import Images
from acmix_nas.data.draw import seeded
from acmix_nas.tasks.classification import TASK, Mixup
from acmix_nas.train import augment as augment_module
from acmix_nas.train import loader as loader_module
from acmix_nas.train.augment import Draws, Erasing, RandAugmented, posterized
from acmix_nas.train.loader import AHEAD, Feed, ahead, batch_sizes
from acmix_nas.train.recipe_file import load_recipe, recipe_names


@pytest.fixture(scope="module")
def setting():
    return small_setting(images=50)


def larger(splits, extent=40):
    """The same source with images that are stored larger than they are trained on."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (13, 3, extent, extent), dtype=torch.uint8, generator=generator)
    part = Images(images=images, targets=torch.arange(13) % 10)
    return replace(splits, train=part, search=part, in_chans=3, mean=(0.5,) * 3, std=(0.25,) * 3)


def batches(splits, budget, seed=0):
    return list(Feed(splits, budget, "cpu", TASK).shuffled(splits.train, torch.Generator().manual_seed(seed)))


def test_every_image_comes_once_an_epoch(setting):
    budget = replace(setting.budget, max_shift=0.0, batch_size=16)
    fed = batches(setting.splits, budget)
    assert [len(batch.images) for batch in fed] == [16, 16, 16, 2]
    labels = torch.cat([batch.targets for batch in fed])
    assert labels.bincount().tolist() == setting.splits.train.targets.bincount().tolist()
    assert not torch.equal(labels, setting.splits.train.targets)


def test_images_that_are_not_changed_are_the_stored_ones(setting):
    budget = replace(setting.budget, max_shift=0.0, batch_size=50)
    (batch,) = batches(setting.splits, budget)
    splits = setting.splits
    pixels = (batch.images * splits.std[0] + splits.mean[0]) * 255
    stored = splits.train.images.float()
    for image in pixels:
        apart = torch.minimum((stored - image).abs().amax((1, 2, 3)), (stored.flip(-1) - image).abs().amax((1, 2, 3)))
        assert apart.min() < 1e-3


@pytest.mark.parametrize("change", [{}, {"crop": (0.3, 1.0)}, {"rand_augment": "rand-m9"}, {"jitter": 0.4}])
def test_larger_images_are_scaled_to_what_the_network_takes(setting, change):
    splits = larger(setting.splits)
    budget = replace(setting.budget, images=13, batch_size=8, **change)
    first, last = batches(splits, budget)
    assert (first.images.shape, last.images.shape) == ((8, 3, 28, 28), (5, 3, 28, 28))
    assert first.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(first.images, batches(splits, budget)[0].images)
    assert not torch.equal(first.images, batches(splits, budget, seed=1)[0].images)
    (scored, labels), *rest = Feed(splits, budget, "cpu", TASK).in_order(splits.search)
    assert (scored.shape, rest) == ((13, 3, 28, 28), [])
    assert torch.equal(labels, splits.search.targets)


@pytest.mark.parametrize("world", [2, 3])
def test_processes_share_every_batch_without_overlap(setting, monkeypatch, world):
    splits = larger(setting.splits)
    budget = replace(setting.budget, images=13, batch_size=6, crop=(0.3, 1.0), jitter=0.4)
    alone = batches(splits, budget)
    monkeypatch.setattr(augment_module, "world", lambda: world)
    shares = []
    for number in range(world):
        monkeypatch.setattr(augment_module, "rank", lambda number=number: number)
        shares.append(batches(splits, budget))
    for whole, *parts in zip(alone, *shares, strict=True):
        assert sum(part.counted for part in parts) == whole.whole == len(whole.images)
        for number, part in enumerate(parts):
            own = list(range(number, whole.whole, world))
            others = [index for index in range(whole.whole) if index not in own][: max(0, 2 - len(own))]
            assert part.counted == len(own)
            torch.testing.assert_close(part.images, whole.images[own + others])
    assert [part[-1].counted for part in shares] == [1, 1] + [0] * (world - 2)


@pytest.mark.parametrize(
    ("images", "batch_size", "sizes"),
    [(33, 32, [31, 2]), (34, 32, [32, 2]), (65, 32, [32, 31, 2]), (1, 32, [1]), (3, 2, [2, 1]), (2, 1, [1, 1])],
)
def test_a_single_image_is_left_over_only_where_it_must_be(images, batch_size, sizes):
    assert batch_sizes(images, batch_size) == sizes
    assert len(sizes) == -(-images // batch_size)


def test_each_pass_of_an_epoch_has_every_image_once(setting):
    budget = replace(setting.budget, max_shift=0.0, batch_size=16, repeats=3)
    fed = torch.cat([batch.targets for batch in batches(setting.splits, budget)])
    assert budget.steps_per_epoch == len(batches(setting.splits, budget)) == 10
    alone = batches(setting.splits, replace(budget, repeats=1))
    whole = torch.cat([batch.targets for batch in alone]).sort().values
    for part in fed.split(len(whole)):
        torch.testing.assert_close(part.sort().values, whole)
    assert not torch.equal(fed[: len(whole)], fed[len(whole) : 2 * len(whole)])


def test_what_is_scored_is_shared_without_overlap(setting, monkeypatch):
    monkeypatch.setattr(loader_module, "EVAL_BATCH", 7)
    monkeypatch.setattr(loader_module, "world", lambda: 3)
    seen = []
    for number in range(3):
        monkeypatch.setattr(loader_module, "rank", lambda number=number: number)
        fed = Feed(setting.splits, setting.budget, "cpu", TASK).in_order(setting.splits.search)
        seen += [labels for _, labels in fed]
    assert torch.cat(seen).bincount().tolist() == setting.splits.search.targets.bincount().tolist()


def test_what_is_made_ahead_comes_in_order_and_no_earlier_than_needed():
    asked = []

    def items():
        for item in range(20):
            asked.append(item)
            yield item

    made = ahead(lambda item: item * item, items())
    assert next(made) == 0
    assert len(asked) == AHEAD + 1
    assert list(made) == [item * item for item in range(1, 20)]


def test_an_error_ahead_is_raised_where_its_item_is_due():
    made = ahead(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(made), next(made)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(made)


def test_seeded_leaves_the_generators_of_the_process_alone():
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    expected = random.random(), np.random.rand()  # noqa: NPY002
    random.seed(1)
    np.random.seed(1)  # noqa: NPY002
    with seeded(5):
        first = random.random(), np.random.rand()  # noqa: NPY002
    with seeded(5):
        assert (random.random(), np.random.rand()) == first  # noqa: NPY002
    assert (random.random(), np.random.rand()) == expected  # noqa: NPY002


def drawn(images, seed=3):
    for start in (0, 4):
        numbers = torch.arange(start, start + 4)
        boxes = torch.tensor([[2, 1, 20, 30]] * 4)
        yield Draws(numbers, None, boxes, None, seed + start, 4, 4)


@pytest.mark.parametrize("channels", [1, 3])
def test_rand_augment_is_that_of_the_seed(setting, channels):
    images = Images(images=larger(setting.splits).train.images[:8, :channels], targets=torch.arange(8))
    changed = RandAugmented(images, (28, 28), "rand-m9-mstd0.5-inc1", (0.5,) * channels)
    one, same = (torch.cat([made for _, made in changed.batches(drawn(images), 0)]) for _ in range(2))
    other = torch.cat([made for _, made in changed.batches(drawn(images, seed=99), 0)])
    assert (one.shape, one.dtype) == ((8, channels, 28, 28), torch.uint8)
    assert torch.equal(one, same)
    assert not torch.equal(one, other)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # Python 3.12 on a fork beside threads
@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on a machine of one core
def test_how_many_processes_rand_augment_changes_nothing(setting):
    images = larger(setting.splits).train
    changed = RandAugmented(images, (28, 28), "rand-m9-mstd0.5-inc1", (0.5,) * 3)
    alone, two = (torch.cat([made for _, made in changed.batches(drawn(images), workers)]) for workers in (0, 2))
    assert torch.equal(alone, two)


RECIPES = sorted({load_recipe(name).values.get("rand_augment") for name in recipe_names()} - {None})
ANY = [*RECIPES, "rand-m9", "rand-m9-inc1-mmax15", "rand-tweights", "rand-t3a-inc1", "rand-t3aw"]
PICTURES = [
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (28, 28, 3), dtype=np.uint8)),
    Image.new("RGB", (28, 28)),
    Image.new("RGB", (28, 28), (255, 255, 255)),
    Image.new("RGB", (1, 1), (9, 99, 199)),
]


@pytest.mark.parametrize("recipe", ANY)
def test_every_operation_runs_at_every_magnitude(setting, recipe):
    change = RandAugmented(setting.splits.train, (28, 28), recipe, (0.5,))._change
    for operation in change.ops:
        operation.prob, operation.magnitude_std = 1.0, 0
        for magnitude in np.linspace(0, operation.magnitude_max or 10, 61).tolist():
            operation.magnitude = magnitude
            for picture in PICTURES:
                changed = operation(picture)
                assert (changed.size, changed.mode) == (picture.size, "RGB")


def test_there_is_a_recipe_with_rand_augment():
    assert RECIPES == ["rand-m9-mstd0.5-inc1"]


@pytest.mark.parametrize("bits", range(-2, 9))
def test_posterizing_keeps_the_first_bits_and_none_is_black(bits):
    pixels = np.asarray(PICTURES[0])
    mask = 0 if bits < 1 else 256 - 2 ** (8 - bits)
    assert np.array_equal(np.asarray(posterized(PICTURES[0], bits, fillcolor=(1, 2, 3))), pixels & mask)


@pytest.mark.nightly
@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipe_changes_20000_seeded_images(setting, monkeypatch, recipe):
    bits = []
    monkeypatch.setattr(
        augment_module, "posterized", lambda picture, kept, **_: bits.append(kept) or posterized(picture, kept)
    )
    changed = RandAugmented(setting.splits.train, (28, 28), recipe, (0.5,))
    for seed in range(20_000):
        assert changed[seed % 50, seed, (0, 0, 28, 28)].shape == (1, 28, 28)
    assert bits.count(0) > 5


def test_mixing_keeps_images_and_targets_together():
    labels = torch.tensor([0, 1, 2, 3, 4])
    images = torch.eye(5)[labels][:, :, None, None].repeat(1, 1, 8, 8)  # the mean of channel c is the share of class c
    for seed in range(12):
        mixed, targets = Mixup(0.8, 1.0, 0.0, 5)(images.clone(), labels, seed)
        torch.testing.assert_close(mixed.mean((2, 3)), targets)
        assert torch.equal(mixed[-1], images[-1])  # odd: nothing to mix it with
    torch.testing.assert_close(targets.sum(1), torch.ones(5))
    again, _ = Mixup(0.8, 1.0, 0.0, 5)(images.clone(), labels, seed)
    assert torch.equal(mixed, again)


def test_targets_of_mixed_images_are_smoothed():
    _, targets = Mixup(0.8, 0.0, 0.1, 4)(torch.zeros(3, 1, 2, 2), torch.tensor([0, 0, 0]), 0)
    torch.testing.assert_close(targets, torch.tensor([[0.925, 0.025, 0.025, 0.025]] * 3))


def test_erasing_replaces_a_rectangle_of_some_images():
    images = Erasing(0.5, "cpu")(torch.full((60, 3, 16, 16), 9.0), 0)
    changed = (images != 9).any(1)
    erased = changed.any((1, 2))
    assert 15 < erased.sum() < 45
    for mask in changed[erased]:
        rows, columns = mask.any(1).sum(), mask.any(0).sum()
        assert mask.sum() == rows * columns
