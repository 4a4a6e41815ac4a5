"""Segmentation: one confusion matrix, four means, crops that masks follow, and training to the bit."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn import functional as F

from acmix_nas.data import IGNORED
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.experiments.stored_scores import score_stored
from acmix_nas.inference import Inference
from acmix_nas.record import TrialRecord
from acmix_nas.segmentor import build_segmentor
from acmix_nas.space import load_space
from acmix_nas.tasks import Task, TaskError, load_images, load_task
from acmix_nas.tasks.segmentation import (
    AUXILIARY_WEIGHT,
    Segmentation,
    classes_of,
    confusion,
    iou,
    means,
    predicted,
)
from acmix_nas.train import Budget, Setting, Training, run_trial
from acmix_nas.train.frozen import prepared
from acmix_nas.train.recipe import RecipeError
from acmix_nas.train.sample_loader import SampleFeed
from acmix_nas.train.trial import build_proxy

ADE = Path(__file__).parents[1] / "data" / "ade"
TASK = Segmentation()
SPACE = load_space("pvt_tiny")
ARCH = SPACE.build(SPACE.first["paper"])
PROXY = replace(SPACE.proxies["dense_cpu"], epochs=2, images=24, width=0.125)
RECIPE = Budget.of_proxy(PROXY, images=24, device="cpu", **TASK.proxy_recipe)


def plainly(truth, found, classes):
    """IoU of each class in loops, as a definition reads."""
    values = []
    for number in range(classes):
        inside = sum(t == f == number for t, f in zip(truth, found, strict=True) if t != IGNORED)
        union = sum(number in (t, f) for t, f in zip(truth, found, strict=True) if t != IGNORED)
        values.append(inside / union if union else None)
    return values


@given(
    st.lists(st.tuples(st.sampled_from([0, 1, 2, 3, 255]), st.integers(0, 3)), min_size=1, max_size=60),
    st.integers(0, 59),
)
@settings(deadline=None)
def test_one_matrix_gives_what_loops_give_and_adds_up(pixels, cut):
    truth, found = (torch.tensor(column) for column in zip(*pixels, strict=True))
    matrix = confusion(found, truth, 4)
    assert iou(matrix) == tuple(plainly(truth.tolist(), found.tolist(), 4))
    parts = [confusion(found[part], truth[part], 4) for part in (slice(None, cut), slice(cut, None))]
    assert torch.equal(parts[0] + parts[1], matrix)
    assert all(0 <= value <= 1 for value in means(matrix).values())


def test_the_benchmarks_four_means_are_those_of_their_codes(tmp_path):
    expected = json.loads((ADE / "expected.json").read_text())
    for part in ("training", "validation"):
        for kind in ("images", "annotations"):
            (tmp_path / kind / part).mkdir(parents=True)
        for file in ADE.glob("*.png"):
            with Image.open(file) as image:
                Image.new("RGB", image.size).save(tmp_path / "images" / part / file.with_suffix(".jpg").name)
            (tmp_path / "annotations" / part / file.name).write_bytes(file.read_bytes())
    (tmp_path / "objectInfo150.txt").write_bytes((ADE / "objectInfo150.txt").read_bytes())
    found = score_stored(ADE / "predictions", str(tmp_path))
    names = {
        "miou": "miou_over_classes_with_a_union (mmsegmentation, IoU=nan dropped)",
        "miou_labelled": "miou_over_classes_in_ground_truth_only",
        "miou_all": "miou_over_all_150 (MIT devkit, absent = 0)",
        "pixel_accuracy": "pixel_accuracy",
        "mean_accuracy": "macc",
    }
    for name, theirs in names.items():
        assert found.values[name] == pytest.approx(expected[theirs], abs=1e-12), name
    for mine, theirs in zip(found.iou, expected["iou_by_class_1_to_150"], strict=True):
        assert mine == (None if theirs is None else pytest.approx(theirs, abs=1e-12))
    itself = score_stored(tmp_path / "annotations" / "validation", str(tmp_path))
    assert itself.values["miou"] == 1
    assert itself.values["miou_all"] == pytest.approx(expected["classes_in_ground_truth"] / 150)


def test_the_mean_is_that_of_torchmetrics():
    from torchmetrics.classification import MulticlassJaccardIndex

    generator = torch.Generator().manual_seed(0)
    truth = torch.randint(0, 6, (3, 11, 13), generator=generator)
    truth[0, :3] = IGNORED
    found = torch.randint(0, 5, (3, 11, 13), generator=generator)  # class 5 is in the truth alone
    theirs = MulticlassJaccardIndex(6, average="macro", ignore_index=IGNORED)(found, truth)
    assert means(confusion(found, truth, 6))["miou"] == pytest.approx(float(theirs), abs=1e-6)


def test_a_matrix_without_a_pixel_scores_nothing():
    assert set(means(torch.zeros(3, 3, dtype=torch.int64)).values()) == {0.0}


def test_a_task_that_keeps_sizes_says_how_it_crops():
    with pytest.raises(TaskError, match=r"Segmentation keeps images at their own sizes .* no method crop"):
        Task.crop(TASK, *sample(), size=(8, 8), recipe=RECIPE, fill=[0] * 3, seed=0)


def test_images_without_a_class_are_no_score():
    with pytest.raises(TaskError, match="no pixel of the scored images has a class"):
        TASK.scores(torch.zeros(9, dtype=torch.int64), 4)


@pytest.mark.parametrize("stages", [0, 1, 3])
def test_first_stages_keep_their_weights(setting, stages):
    model = prepared(build_proxy(ARCH, setting), replace(RECIPE, frozen_stages=stages))
    left = {name.split(".")[4] for name, p in model.named_parameters() if p.requires_grad and ".stages." in name}
    assert {"3"} <= left
    assert len({"0", "1", "2", "3"} - left) == max(0, stages - 1)
    with pytest.raises(RecipeError, match="frozen_stages is 9"):
        prepared(build_proxy(ARCH, setting), replace(RECIPE, frozen_stages=9))


def test_scores_of_another_size_are_brought_to_the_masks():
    outputs = torch.zeros(2, 3, 4, 4)
    outputs[:, 1, :, 2:] = 9.0
    masks = [torch.zeros(8, 8, dtype=torch.uint8), torch.ones(5, 7, dtype=torch.uint8)]
    matrix = TASK.tally(outputs, masks).reshape(3, 3)
    assert matrix.sum() == 64 + 35
    assert matrix[0].tolist() == [24, 40, 0]  # a score in between is above 0, so the column before is of it too


def sample(height=40, width=56):
    """An image whose first channel is the class of each pixel, so that a mask that does not follow is seen."""
    y, x = np.mgrid[:height, :width]
    mask = torch.from_numpy(((y // 8 + x // 8) % 3).astype(np.uint8))
    return torch.stack([mask * 80, mask * 80, mask * 80]), mask


@pytest.mark.parametrize("size", [(24, 32), (64, 48), (40, 56)])
@pytest.mark.parametrize("scale", [None, (0.5, 2.0)])
def test_masks_follow_their_images_through_crops(size, scale):
    recipe = replace(RECIPE, scale=scale)
    for seed in range(12):
        image, mask = TASK.crop(*sample(), size=size, recipe=recipe, fill=[9, 9, 9], seed=seed)
        assert tuple(image.shape) == (3, *size)
        assert tuple(mask.shape) == size
        assert image.dtype == mask.dtype == torch.uint8
        outside = mask == IGNORED
        assert (image[0][outside] == 9).all()
        inside = ~outside
        close = (image[0][inside].int() - 80 * mask[inside].int()).abs() <= (0 if scale is None else 45)
        assert close.float().mean() > 0.9  # edges are smoothed in the image, not in the mask
        again = TASK.crop(*sample(), size=size, recipe=recipe, fill=[9, 9, 9], seed=seed)
        assert torch.equal(again[0], image)
        assert torch.equal(again[1], mask)
    different = {TASK.crop(*sample(), size=(24, 32), recipe=recipe, fill=[9] * 3, seed=seed)[1].numpy().tobytes()
                 for seed in range(8)}  # fmt: skip
    assert len(different) > 4


def test_distortion_changes_colours_only_and_leaves_no_trace():
    recipe = replace(RECIPE, photometric=True)
    image = torch.randint(0, 255, (3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    mask = torch.zeros(16, 16, dtype=torch.uint8)
    before = torch.get_rng_state()
    crops = [TASK.crop(image, mask, size=(16, 16), recipe=recipe, fill=[0] * 3, seed=seed) for seed in range(6)]
    assert torch.equal(torch.get_rng_state(), before)
    assert len({pixels.numpy().tobytes() for pixels, _ in crops}) > 3
    assert all(torch.equal(each, mask) for _, each in crops)


def test_a_crop_of_one_class_is_drawn_again():
    mask = torch.zeros(64, 64, dtype=torch.uint8)
    mask[:, 40:] = 1
    image = torch.zeros(3, 64, 64, dtype=torch.uint8)
    shares = []
    for seed in range(40):
        _, part = TASK.crop(image, mask, size=(16, 16), recipe=RECIPE, fill=[0] * 3, seed=seed)
        shares.append(max((part == 0).float().mean(), (part == 1).float().mean()))
    drawn_evenly = 15 / 49 * 0.5  # of all places so many have both classes below 75 %
    assert sum(share <= 0.75 for share in shares) / len(shares) > 2 * drawn_evenly


def test_an_image_is_scored_at_its_own_size_or_with_a_shorter_side():
    image = torch.zeros(3, 30, 50, dtype=torch.uint8)
    assert TASK.whole(image, recipe=RECIPE) is image
    assert TASK.whole(image, recipe=replace(RECIPE, short_side=60)).shape == (3, 60, 100)
    long = torch.zeros(3, 10, 100, dtype=torch.uint8)
    assert TASK.whole(long, recipe=replace(RECIPE, short_side=20)).shape == (3, 8, 80)


def test_pixels_of_no_class_do_not_count_in_the_loss():
    outputs = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    truth = torch.randint(0, 3, (2, 4, 4), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    truth[0, :2] = IGNORED
    loss = TASK.loss(outputs, truth, RECIPE)
    kept = truth != IGNORED
    rows = outputs.permute(0, 2, 3, 1)[kept]
    assert loss.item() == pytest.approx(-(rows.log_softmax(1).gather(1, truth[kept].long()[:, None])).mean().item())
    both = TASK.loss((outputs, 0 * outputs), truth, RECIPE)
    assert both.item() == pytest.approx(loss.item() + AUXILIARY_WEIGHT * math.log(3), rel=1e-5)
    assert TASK.loss(outputs, torch.full_like(truth, IGNORED), RECIPE).item() == 0


@pytest.fixture(scope="module")
def setting():
    splits = load_images(
        "segmentation", None, input_size=64, train_images=24, seed=0, with_report=False, search_images=20
    )
    return Setting(
        proxy=PROXY,
        budget=RECIPE,
        splits=splits,
        split="search",
        input_size=512,
        device="cpu",
        environment={"device_name": "test"},
        task="segmentation",
    )


SEEDS = {"init": 3, "order": 4}


@pytest.fixture(scope="module")
def record(setting):
    return run_trial(ARCH, setting, number=0, label="paper", seeds=SEEDS)


def test_a_record_has_the_head_all_metrics_and_the_classes(record, setting):
    assert (record.status, record.error) == ("complete", None)
    assert record.head == {"name": "semantic_fpn", "options": {}, "classes": list(setting.splits.classes)}
    assert set(record.metrics) == {"miou", "pixel_accuracy", "mean_accuracy"}
    assert len(record.by_class["iou"]) == 14
    known = [value for value in record.by_class["iou"] if value is not None]
    assert record.score == pytest.approx(sum(known) / len(known))
    assert TrialRecord.from_json(record.to_json()) == record
    assert record.cut(1).by_class == {}


def test_a_training_repeats_and_goes_on_to_the_bit(record, setting, tmp_path):
    again = run_trial(ARCH, setting, number=0, label="paper", seeds=SEEDS)
    assert (again.scores, again.losses, again.by_class) == (record.scores, record.losses, record.by_class)
    file = tmp_path / "a.ckpt"
    paused = run_trial(ARCH, setting, number=0, label="paper", seeds=SEEDS, checkpoint=file, until=1)
    assert (paused.status, paused.by_class) == ("paused", {})
    resumed = run_trial(ARCH, setting, number=0, label="paper", seeds=SEEDS, checkpoint=file)
    assert (resumed.scores, resumed.losses, resumed.by_class) == (record.scores, record.losses, record.by_class)


def test_a_checkpoint_of_another_head_is_not_gone_on_with(setting, tmp_path):
    from acmix_nas.train import ResumeError

    file = tmp_path / "a.ckpt"
    run_trial(ARCH, setting, number=0, label="", seeds=SEEDS, checkpoint=file, until=1)
    with pytest.raises(ResumeError, match="head"):
        run_trial(ARCH, replace(setting, head="upernet"), number=0, label="", seeds=SEEDS, checkpoint=file)


@pytest.mark.parametrize(("space", "head"), [("swin_t", "upernet"), ("resnet26", "semantic_fpn"), ("san10", "upernet")])
def test_every_host_is_trained_with_a_head(setting, space, head):
    space = load_space(space)
    proxy = replace(space.proxies["dense_cpu"], epochs=1, width=0.25)
    small = replace(setting, proxy=proxy, head=head, budget=replace(setting.budget, epochs=1, batch_size=12))
    found = run_trial(space.build(space.first["paper"]), small, number=0, label="", seeds=SEEDS)
    assert (found.status, found.error) == ("complete", None)
    assert found.losses[0] < 3.3 * (1 + AUXILIARY_WEIGHT * (head == "upernet"))
    assert found.cost.input_size == 512


def test_what_is_for_images_of_one_size_is_refused(setting):
    with pytest.raises(TaskError, match="crop, erase of the recipe are for images of one size"):
        SampleFeed(setting.splits, replace(RECIPE, crop=(0.5, 1.0), erase=0.1), "cpu", TASK)


def test_whole_images_are_scored_each_once_those_of_one_size_together(setting):
    feed = SampleFeed(setting.splits, RECIPE, "cpu", TASK)
    batches = list(feed.in_order(setting.splits.search))
    assert sum(len(images) for images, _ in batches) == len(setting.splits.search) == 20
    masks = [mask for _, targets in batches for mask in targets]
    assert all(torch.equal(mask, pair[1]) for mask, pair in zip(masks, setting.splits.search.images, strict=True))


def test_a_step_has_each_image_of_an_epoch_once(setting):
    feed = SampleFeed(setting.splits, RECIPE, "cpu", TASK)
    batches = list(feed.shuffled(setting.splits.train, torch.Generator().manual_seed(0)))
    assert [len(batch.images) for batch in batches] == [8, 8, 8]
    assert all(batch.counted == batch.whole == 8 for batch in batches)
    mirrored = {
        min(mask.numpy().tobytes(), mask.flip(-1).numpy().tobytes()) for batch in batches for mask in batch.targets
    }
    own = {min(mask.numpy().tobytes(), mask.flip(-1).numpy().tobytes()) for _, mask in setting.splits.train.images}
    assert mirrored == own


class Shifted(torch.nn.Module):
    """Scores that depend on the place in what it is given: the red of a pixel, and the column."""

    def forward(self, images):
        column = torch.arange(images.shape[-1], dtype=torch.float32).expand_as(images[:, 0])
        return torch.stack([images[:, 0], 0 * column], 1)


@pytest.mark.parametrize(
    "how", [Inference(window=8), Inference(window=8, stride=3), Inference(flip=True), Inference(window=64)]
)
def test_windows_and_mirrors_score_every_pixel_where_it_is(how):
    images = torch.randn(2, 3, 19, 23, generator=torch.Generator().manual_seed(0))
    found = how.scores(Shifted(), images)
    assert found.shape == (2, 2, 19, 23)
    assert torch.allclose(found, Shifted()(images).softmax(1), atol=1e-6)


def test_scales_are_averaged_as_probabilities():
    images = torch.randn(1, 3, 8, 8, generator=torch.Generator().manual_seed(0)).expand(1, 3, 8, 8)
    found = Inference(scales=(1.0, 2.0), flip=True).scores(Shifted(), images)
    assert torch.allclose(found.sum(1), torch.ones(1, 8, 8), atol=1e-6)
    flat = torch.ones(1, 3, 8, 8)
    assert torch.allclose(Inference(scales=(0.5, 1.0, 2.0)).scores(Shifted(), flat), Shifted()(flat).softmax(1))


@pytest.mark.parametrize(
    "options", [{"window": 0}, {"stride": 4}, {"window": 4, "stride": 9}, {"scales": ()}, {"scales": (0.0,)}]
)
def test_images_cannot_be_scored_so(options):
    with pytest.raises(UsageError):
        Inference(**options)


def test_a_head_is_named_where_the_task_has_heads():
    with pytest.raises(UsageError, match="networks of this task have one of their own"):
        load_task("classification", "upernet")
    with pytest.raises(AcmixError, match="heads has no 'nothing'; there are semantic_fpn, upernet"):
        load_task("segmentation", "nothing")


def test_a_proxys_head_is_as_narrow_as_its_network(setting):
    full, narrow = (build_proxy(ARCH, replace(setting, proxy=replace(PROXY, width=width))) for width in (1.0, 0.25))
    assert (full.head.classifier.in_channels, narrow.head.classifier.in_channels) == (128, 32)
    assert full.backbone.strides == (4, 8, 16, 32)
    images = torch.zeros(1, 3, 70, 41)
    assert narrow.eval()(images).shape == (1, 14, 70, 41)
    fine = build_proxy(ARCH, replace(setting, proxy=replace(PROXY, patch_size=2)))
    assert fine.backbone.strides == (2, 4, 8, 16)


def test_an_untrained_network_scores_without_numbers_that_are_none(setting):
    training = Training(build_proxy(ARCH, setting), setting.splits, RECIPE, task="segmentation")
    (values, by_class, _), _ = training.score()
    assert 0 <= values["miou"] <= 1
    assert len(by_class["iou"]) == 14


@settings(max_examples=40, deadline=None)
@given(
    st.integers(2, 9),
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    st.tuples(st.integers(0, 5), st.integers(0, 5)),
    st.integers(0, 10**6),
)
def test_classes_are_those_of_scores_scaled_by_torch(classes, coarse, size, beyond, seed):
    scores = torch.randn(classes, *coarse, generator=torch.Generator().manual_seed(seed))
    whole = (size[0] + beyond[0], size[1] + beyond[1])
    scaled = F.interpolate(scores[None], whole, mode="bilinear", align_corners=False)[0, :, : size[0], : size[1]]
    found = predicted(scores, size, whole)
    best = scaled.gather(0, found[None])[0]
    assert found.shape == size
    assert torch.all(best >= scaled.amax(0) - 1e-5)


@pytest.mark.parametrize("size", [(64, 64), (50, 70)])
def test_coarse_scores_give_the_classes_of_the_networks_own(size):
    space = load_space("pvt_tiny")
    torch.manual_seed(0)
    model = build_segmentor(space.build(space.first["paper"]), head="semantic_fpn", num_classes=5, img_size=64).eval()
    images, masks = torch.randn(2, 3, *size), [torch.zeros(size, dtype=torch.uint8), torch.zeros(41, 33).byte()]
    with torch.no_grad():
        own, coarse = model(images), load_task("segmentation").scoring(model)(images)
    assert coarse[0].shape[-1] < own.shape[-1]
    for mine, plain in zip(classes_of(coarse, masks), classes_of(own, masks), strict=True):
        assert (mine == plain).float().mean() > 0.999
