"""Tasks: classification, and tasks and metrics of a user's own by dotted path."""

import sys
from dataclasses import replace

import pytest
import torch
from study_pieces import SPACE, small_setting
from torch import nn

from acmix_nas import plugins
from acmix_nas.data import Images, load_splits
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.executors import Work
from acmix_nas.executors._node_folder import NodeFolder, arrays_of, facts_of, load_kept
from acmix_nas.metrics import Metric
from acmix_nas.plugins import PluginError
from acmix_nas.record import TrialRecord
from acmix_nas.tasks import Task, TaskError, load_task, pick_metric
from acmix_nas.tasks.classification import TASK
from acmix_nas.train import run_trial
from acmix_nas.train.augment import draw_shifts, shift_and_flip
from acmix_nas.train.loader import Feed
from acmix_nas.train.scoring import ScoreError, score

ARCH = SPACE.build(SPACE.sample(lambda choice: choice.options[0]))
SEEDS = {"init": 0, "order": 0}
REGRESSION = '''
"""The mean brightness of an image, with the mean absolute error."""
from torch.nn import functional as F

from acmix_nas.metrics import Metric
from acmix_nas.tasks import Task


class Brightness(Task):
    metrics = (Metric("mae", "lower", "levels", ".2f", title="MAE", bounds=(0, None)),)

    def targets(self, part, chosen, images):
        return images[:].float().mean((1, 2, 3))

    def build(self, backbone, splits):
        return backbone.classifier(1)

    def loss(self, outputs, targets, recipe):
        return F.l1_loss(255 * outputs.squeeze(1).sigmoid(), targets)

    def tally(self, outputs, targets):
        return (255 * outputs.squeeze(1).sigmoid() - targets).abs().double().sum()[None]

    def scores(self, tally, images):
        return {"mae": float(tally) / images}


TASK = Brightness()
NUMBER = 3
'''
METRICS = """
import torch

from acmix_nas.metrics import Metric


def balanced(outputs, labels):
    right = outputs.argmax(1) == labels
    return float(torch.stack([right[labels == number].double().mean() for number in labels.unique()]).mean())


BALANCED = Metric("balanced", "higher", "%", ".2f", unit_size=0.01, bounds=(0, 1), compute=balanced)
WRONG = Metric("wrong", "higher", bounds=(0, 1), compute=lambda outputs, labels: 2.0)
BARE = Metric("bare", "higher")
"""


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """A lab with a task and metrics on PYTHONPATH; each test begins with nothing named."""
    folder = tmp_path / "path" / "my_lab"
    folder.mkdir(parents=True)
    (folder / "regression.py").write_text(REGRESSION)
    (folder / "metrics.py").write_text(METRICS)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.delenv("ACMIX_PLUGINS", raising=False)
    for name in ("_allowed", "_suspect", "_loaded"):
        monkeypatch.setattr(plugins, name, set())
    for name in [name for name in sys.modules if name.partition(".")[0] == "my_lab"]:
        monkeypatch.delitem(sys.modules, name)
    return folder


def setting_of(task: str, metric: str | None = None, **changes):
    setting = small_setting(images=64)
    proxy = setting.proxy
    splits = load_splits(
        None, input_size=28, train_images=64, seed=0, with_report=False, search_images=300, reads=load_task(task)
    )
    return replace(setting, splits=splits, proxy=proxy, task=task, metric=metric, **changes)


def test_a_task_of_a_users_own_is_trained_and_recorded(lab):
    setting = setting_of("my_lab.regression:TASK")
    setting = replace(setting, budget=replace(setting.budget, epochs=2))
    record = run_trial(ARCH, setting, number=0, label="", seeds=SEEDS)
    assert (record.status, record.task, record.metric) == ("complete", "my_lab.regression:TASK", "mae")
    assert record.metrics == {"mae": record.scores}
    assert 0 < record.scores[1] < 100
    assert TrialRecord.from_json(record.to_json()) == record
    again = run_trial(ARCH, setting, number=0, label="", seeds=SEEDS)
    assert again.scores == record.scores


def test_a_metric_of_a_users_own_is_computed_of_all_outputs(lab):
    record = run_trial(ARCH, setting_of("classification", "my_lab.metrics:BALANCED"), number=0, label="", seeds=SEEDS)
    assert (record.metric, set(record.metrics)) == ("balanced", {"balanced", "top1"})
    assert record.scores == record.metrics["balanced"]
    # The search split has as many images of each class, up to one: the mean over classes is near that over images.
    assert record.scores[0] == pytest.approx(record.metrics["top1"][0], abs=0.01)


def test_a_value_beyond_the_bounds_of_its_metric_is_no_score(lab):
    record = run_trial(ARCH, setting_of("classification", "my_lab.metrics:WRONG"), number=0, label="", seeds=SEEDS)
    assert record.status == "failed"
    assert record.error == (
        "the metric wrong gave 2, and its values are from 0 to 1. Correct its bounds, or what computes it."
    )


@pytest.mark.parametrize(
    ("task", "metric", "message"),
    [
        (
            "segmentation_of_cats",
            None,
            r"there is no task 'segmentation_of_cats'; there are classification.*dotted path",
        ),
        ("my_lab.regression:NUMBER", None, "module 'my_lab.regression' has no Task named 'NUMBER'"),
        ("my_lab.nothing:TASK", None, r"'my_lab.nothing' cannot be imported: No module .*PYTHONPATH"),
        ("classification", "mae", "there is no metric 'mae'"),
        ("classification", "miou", "scored by top1; miou is none of them, and no function computes it"),
        ("classification", "my_lab.metrics:BARE", "scored by top1; .*BARE is none of them"),
        ("my_lab.regression:TASK", "top1", "scored by mae; top1 is none of them"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_reason(lab, task, metric, message):
    with pytest.raises(AcmixError, match=message):
        pick_metric(load_task(task), metric)


def test_a_task_that_was_not_named_is_not_imported_where_modules_are_to_be_named(lab):
    with plugins.named_only():
        with pytest.raises(PluginError, match=r"--plugin my_lab\.regression"):
            load_task("my_lab.regression:TASK")
        plugins.allow("my_lab.regression")
        assert load_task("my_lab.regression:TASK").metrics[0].name == "mae"


def test_workers_may_import_what_the_driver_was_told_to(lab):
    setting = setting_of("my_lab.regression:TASK", None)
    work = Work.of(setting, load=lambda: setting.splits, source="my_lab.data:shapes/here")
    assert work.plugins == ("my_lab.regression", "my_lab.data")
    assert (work.made().task, work.made().metric) == ("my_lab.regression:TASK", None)


def test_a_task_without_labels_is_not_mixed(lab):
    setting = setting_of("my_lab.regression:TASK")
    budget = replace(setting.budget, mixup=0.8)
    record = run_trial(ARCH, replace(setting, budget=budget), number=0, label="", seeds=SEEDS)
    assert record.status == "failed"
    assert "mixup and cutmix mix the labels of classes" in (record.error or "")


class Echo(Task):
    """The target of an image is the image: it follows wherever that goes."""

    metrics = (Metric("same", "higher"),)

    def targets(self, part, chosen, images):
        return list(images[:])

    def follow(self, targets, motion):
        assert motion.boxes is None
        moved = []
        for image, down, right, mirrored in zip(targets, motion.down, motion.right, motion.mirrored, strict=True):
            image = torch.roll(nn.functional.pad(image, (9, 9, 9, 9)), (int(down), int(right)), (-2, -1))
            image = image[..., 9:-9, 9:-9]
            moved.append(image.flip(-1) if mirrored else image)
        return moved

    def build(self, backbone, splits):
        """A head on the maps of the stages, as dense tasks have one."""
        return Fused(backbone.features())

    def loss(self, outputs, targets, recipe):
        means = torch.stack([target.float().mean() for target in targets]) / 255
        return (outputs.sigmoid() - means).abs().mean()

    def tally(self, outputs, targets):
        return torch.tensor([len(targets)])

    def scores(self, tally, images):
        return {"same": int(tally) / images}


class Fused(nn.Module):
    def __init__(self, features):
        super().__init__()
        self.features = features
        self.heads = nn.ModuleList(nn.Linear(channels, 1) for channels in features.feature_info.channels())

    def forward(self, images):
        maps = self.features(images)
        return sum(head(each.mean((2, 3))) for head, each in zip(self.heads, maps, strict=True)).squeeze(1)


def test_targets_follow_their_images():
    setting = small_setting(images=40)
    part = setting.splits.train
    splits = replace(setting.splits, train=Images(images=part.images, targets=list(part.images)))
    feed = Feed(splits, replace(setting.budget, max_shift=0.2), "cpu", Echo())
    seen = 0
    for batch in feed.shuffled(splits.train, torch.Generator().manual_seed(3)):
        pixels = batch.images * feed.std[:, None, None] + feed.mean[:, None, None]
        for image, target in zip(255 * pixels, batch.targets, strict=True):
            torch.testing.assert_close(image, target.float(), atol=1e-3, rtol=0)
            seen += 1
    assert seen == 40
    images = torch.arange(3 * 5 * 7.0).reshape(3, 1, 5, 7)
    shifts = draw_shifts(3, (1, 2), torch.Generator().manual_seed(0))
    assert shift_and_flip(images, shifts, (1, 2)).shape == images.shape


def test_what_turns_images_is_refused_where_targets_follow():
    setting = small_setting(images=16)
    with pytest.raises(TaskError, match="rand_augment turns and shears"):
        Feed(setting.splits, replace(setting.budget, rand_augment="rand-m9"), "cpu", Echo())


def test_a_head_on_the_maps_of_the_stages_is_trained_with_targets_in_a_list(monkeypatch):
    import acmix_nas.train.training as training
    import acmix_nas.train.trial as trial

    echo = Echo()
    for module in (training, trial):
        monkeypatch.setattr(module, "load_task", lambda name, head=None: echo)
    setting = small_setting(images=30)
    splits = load_splits(None, input_size=28, train_images=30, seed=0, with_report=False, search_images=20, reads=echo)
    budget = replace(setting.budget, accumulate=3, images=30)
    record = run_trial(ARCH, replace(setting, splits=splits, budget=budget), number=0, label="", seeds=SEEDS)
    assert (record.status, record.error, record.scores) == ("complete", None, (1.0,))
    assert len(record.mixing[0]) == len(record.norms[0]) == sum(setting.proxy.depths)


def test_targets_of_any_kind_reach_another_node(tmp_path):
    splits = small_setting(images=16).splits
    targets = [{"boxes": torch.rand(number % 3, 4), "labels": [number]} for number in range(16)]
    splits = replace(splits, train=Images(images=splits.train.images, targets=targets))
    folder = NodeFolder("run", tmp_path / "base")
    kept = load_kept(folder.keep(lambda: arrays_of(splits)), facts_of(splits))
    folder.leave()
    assert torch.equal(kept.search.targets, splits.search.targets)
    for found, given in zip(kept.train.targets, targets, strict=True):
        assert torch.equal(found["boxes"], given["boxes"])
        assert found["labels"] == given["labels"]


def test_a_source_without_classes_is_not_classified():
    from acmix_nas.data import open_source

    bare = replace(open_source("embedded"), classes=(), **_unlabelled())
    with pytest.raises(TaskError, match=r"classification needs images of classes; .* has none"):
        TASK.check(bare)


def _unlabelled():
    from acmix_nas.data import open_source

    source = open_source("embedded")
    return {
        name: replace(getattr(source, name), labels=0 * getattr(source, name).labels)
        for name in ("train", "search", "validation")
    }


def test_scores_of_several_batches_add_up():
    outputs = torch.eye(4)[[0, 1, 2, 3, 0]]
    batches = [(outputs[:3], torch.tensor([0, 1, 0])), (outputs[3:], torch.tensor([3, 1]))]
    assert score(nn.Identity(), batches, 5, TASK, TASK.metrics[0]).values == {"top1": 0.6}
    pairs = Metric("pairs", "higher", compute=lambda outputs, labels: float(len(outputs) * 10 + len(labels)))
    assert score(nn.Identity(), batches, 5, TASK, pairs).values == {"pairs": 55.0, "top1": 0.6}
    with pytest.raises(ScoreError, match="gave nan"):
        score(nn.Identity(), batches, 5, TASK, Metric("x", "higher", compute=lambda outputs, labels: float("nan")))


def test_a_metric_is_chosen_by_name():
    assert pick_metric(TASK, None).name == pick_metric(TASK, "top1").name == "top1"
    with pytest.raises(UsageError):
        pick_metric(TASK, "box_ap")
