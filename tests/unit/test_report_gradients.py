"""Reports name the trials of 0.1 that may have trained with a gradient which torch gets wrong."""

from pathlib import Path

import pytest
from report_records import make_record

from acmix_nas.arch import Arch, Mixer
from acmix_nas.record import TrialRecord
from acmix_nas.report.facts import gradient_fact, has_broken_gradient

GALLERY = Path(__file__).parent.parent.parent / "reports" / "gallery"


def trained(number: int = 0, *, conv_kernel=7, num_heads=48, conv_impl="learnable", **changes) -> TrialRecord:
    mixers = [
        Mixer.canonical(
            attention="window",
            attn_kernel=2,
            conv_kernel=conv_kernel if stage == 3 else 3,
            num_heads=num_heads if stage == 3 else 6,
            conv_impl=conv_impl,
            conv_init="shift",
            combine="learned",
        )
        for stage in range(4)
    ]
    arch = Arch.canonical(host="swin", stages=[[mixer] * 2 for mixer in mixers], conv_on="rolled")
    record = make_record(number, arch=arch)
    values = {
        "environment": {**record.environment, "acmix_nas": "0.1.0"},
        "budget": {**record.budget, "precision": "bf16"},
        "proxy": {**record.proxy, "input_size": 28, "patch_size": 2},
    }
    for name, change in changes.items():
        values[name] |= change
    return make_record(number, arch=arch, **values)


@pytest.mark.parametrize("impl", ["learnable", "groupconv"])
def test_the_stage_that_was_measured_is_named(impl):
    assert has_broken_gradient(trained(conv_impl=impl))
    fact = gradient_fact([trained(3, conv_impl=impl), make_record(4), trained(5, conv_impl=impl)])
    assert fact["Gradients"].startswith("trials 3, 5 have a stage")


@pytest.mark.parametrize(
    "record",
    [
        trained(conv_kernel=5),
        trained(num_heads=24),
        trained(conv_impl="full"),
        trained(proxy={"input_size": 112}),
        trained(budget={"precision": "fp32"}),
        trained(environment={"device": "cuda"}),
        trained(environment={"acmix_nas": "0.2.0"}),
        trained(proxy={"patch_size": "2"}),
        make_record(),
    ],
)
def test_no_other_is(record):
    assert not has_broken_gradient(record)
    assert gradient_fact([record]) == {}


def test_the_gallery_says_which_of_its_trainings_had_one():
    for path in sorted(GALLERY.rglob("*.jsonl")):
        records = [TrialRecord.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
        for text in gradient_fact(records).values():
            page = (
                path.parent / "report.md" if (path.parent / "report.md").exists() else path.parent.parent / "README.md"
            )
            assert text.split(";")[0] in " ".join(page.read_text(encoding="utf-8").split()), path
