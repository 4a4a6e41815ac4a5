"""Small real pieces that tests of training, search and ablation share."""

from dataclasses import replace
from pathlib import Path

from acmix_nas.data import load_splits
from acmix_nas.metrics import TOP1, Metric
from acmix_nas.record import StudyHeader
from acmix_nas.search import Study
from acmix_nas.space import Choice, Space, load_space
from acmix_nas.train import Budget, Setting

SPACE = load_space("swin_t")


def small_setting(*, split: str = "search", images: int = 160, epochs: int = 1) -> Setting:
    """The smoke proxy on a few embedded images, in float32."""
    proxy = replace(SPACE.proxies["cpu"], patch_size=4, epochs=epochs, images=images)
    splits = load_splits(
        None, input_size=28, train_images=images, seed=0, with_report=split == "report", search_images=200
    )
    return Setting(
        proxy=proxy,
        budget=Budget(epochs=epochs, images=images, batch_size=32, learning_rate=2e-3),
        splits=splits,
        split=split,
        input_size=224,
        device="cpu",
        environment={"device_name": "test"},
    )


def tiny_space(rules: tuple[str, ...] = ("att", "conv"), heads: tuple[int, ...] = (16, 32)) -> Space:
    """swin_t of which only the last stage varies: few enough networks to try them all."""
    name = "stages.3.combine"
    choices = (
        Choice(name, rules),
        Choice("stages.3.head_dim", heads, ordered=True),
        *(
            [Choice("stages.3.conv_kernel", (1, 3), ordered=True, when={name: tuple({*rules} - {"att"})})]
            if {*rules} - {"att"}
            else []
        ),
    )
    usual = {"combine": "att", "head_dim": 32, "conv_kernel": 3, "conv_impl": "groupconv"}
    fixed = tuple({**fields, **usual} for fields in SPACE.fixed)
    return replace(SPACE, choices=choices, fixed=fixed, first={})


def new_study(
    out: Path,
    name: str = "study",
    *,
    seed: int = 0,
    starts: int = 2,
    metric: Metric = TOP1,
    objectives: tuple[str, ...] = (),
    storage: str | None = None,
    **settings: object,
) -> Study:
    """An empty search study."""
    header = StudyHeader(
        name=name,
        kind="search",
        space="swin_t",
        host="swin",
        split="search",
        metric=metric,
        objectives=objectives,
        seed=seed,
        settings={"random_starts": starts, **settings},
    )
    return Study.create(out, header, storage=storage)


class Onlooker:
    """A callbacks that keeps what it is told, and may interrupt a trial."""

    def __init__(self, interrupt_at: int | None = None) -> None:
        self.begun: list[tuple[int, str]] = []
        self.ended: list[int] = []
        self.paused: list[int] = []
        self.notes: list[str] = []
        self.interrupt_at = interrupt_at

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, number, label, arch) -> None:
        self.begun.append((number, label))

    def step(self, number, progress) -> None:
        if self.begun[-1][0] == self.interrupt_at and progress.step == 2:
            raise KeyboardInterrupt

    def pause(self, record) -> None:
        self.paused.append(record.number)

    def end(self, record) -> None:
        self.ended.append(record.number)
