"""Pictures for a paper: which there are, what they say, and that they are the same twice."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from report_records import COMBINES, make_ablation, make_failed, make_mixing, make_search

from acmix_nas.report.figures import mixing, picture_files
from acmix_nas.report.published import published

FIGURES = ("accuracy-macs", "accuracy-params", "curves", "hypervolume", "importance", "effects", "mixing-front")


def names(files: Iterable[str]) -> set[str]:
    return {Path(file).name for file in files}


def test_a_search_has_its_pictures() -> None:
    files = picture_files(*make_search(), ["svg"])
    expected = {f"{name}.svg" for name in FIGURES}
    best, paper = mixing.groups(*make_search())
    assert names(files) - expected == {f"mixing-{best.replace(' ', '-')}.svg", "mixing-paper.svg"}
    assert (best.startswith("trial "), paper) == (True, "paper")
    assert all(content.startswith(b"<?xml") for content in files.values())


@pytest.mark.slow
@pytest.mark.nightly
def test_an_ablation_has_its_pictures_in_every_form_and_twice_the_same() -> None:
    header, records = make_ablation(seeds=3)
    files = picture_files(header, records, ["svg", "pdf", "png"])
    assert names(files) == {
        f"{name}.{form}"
        for name in ("accuracy-macs", "accuracy-params", "curves", "mixing", "intervals")
        for form in ("svg", "pdf", "png")
    }
    heads = {"svg": b"<?xml", "pdf": b"%PDF", "png": b"\x89PNG"}
    assert all(content.startswith(heads[name[-3:]]) for name, content in files.items())
    again = picture_files(header, records, ["svg"])
    assert again == {name: content for name, content in files.items() if name.endswith(".svg")}


@pytest.mark.parametrize("records", [[], [make_failed(0)]], ids=["none", "failed"])
def test_without_a_complete_trial_there_is_no_picture(records: list[object]) -> None:
    assert picture_files(make_search()[0], records, ["svg"]) == {}  # type: ignore[arg-type]


@pytest.mark.slow
def test_one_seed_is_drawn_without_a_band() -> None:
    header, records = make_ablation(seeds=1)
    files = picture_files(header, [r for r in records if r.status == "complete"], ["svg"])
    assert "mixing.svg" in names(files)


def test_names_with_markup_are_text() -> None:
    header, records = make_ablation(seeds=2)
    text = "$\\frac{1}{0}$ <b> {{7*7}} ../x"
    odd = [replace(record, label=text if record.label == "att" else record.label) for record in records]
    files = picture_files(replace(header, name=text, rows=(), baseline=text), odd, ["png"])
    assert {Path(file).parent for file in files} == {Path("figures")}


def test_a_weight_has_moved_when_its_band_leaves_out_the_start() -> None:
    band = mixing._band([0.5, 0.5001, 0.4999])
    assert band is not None
    assert not mixing.moved(band, 0.5)
    assert mixing.moved(mixing._band([0.6, 0.61, 0.605]), 0.5)  # type: ignore[arg-type]
    assert not mixing.moved(mixing._band([0.9]), 0.5)  # type: ignore[arg-type]
    assert mixing._band([]) is None


def test_the_band_is_students() -> None:
    mean, low, high = mixing._band([0.1, 0.2, 0.3])  # type: ignore[misc]
    assert mean == pytest.approx(0.2)
    assert high - mean == pytest.approx(mean - low) == pytest.approx(4.303 * 0.1 / 3**0.5, rel=0.02)


def test_rows_that_learn_their_weights_are_shown() -> None:
    header, records = make_ablation(seeds=2)
    assert list(mixing.groups(header, records)) == ["learned"]
    fixed = [replace(r, mixing=make_mixing(r.arch, 6)) for r in records if r.label in COMBINES[:2]]
    assert mixing.groups(header, fixed) == {}


def test_contributions_are_shown_where_all_records_have_them() -> None:
    first, second = mixing.groups(*make_ablation(seeds=2))["learned"]
    for trials, panels in (([first, second], 4), ([first, replace(second, norms=())], 2)):
        figure = Figure()
        mixing.draw(figure, "learned", trials)
        texts = [axes.get_ylabel() for axes in figure.axes]
        assert len(texts) == panels
        assert ("norm on the scored images" in texts) == (panels == 4)


def test_every_family_of_the_paper_has_a_look() -> None:
    from acmix_nas.report.figures.families import LOOKS

    assert {model.family for model in published()} == set(LOOKS)
    assert len({look[0] for look in LOOKS.values()}) == len({look[2] for look in LOOKS.values()}) == len(LOOKS)
