"""Strips of images with truth and predictions: what records keep, and what the page and the figure show of it."""

import base64
import io
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image
from report_records import make_ablation, make_search
from test_report_by_class import dense

from acmix_nas.errors import RecordError
from acmix_nas.record import StudyHeader, TrialRecord
from acmix_nas.report import render
from acmix_nas.report.predictions import NO_CLASS, OTHER, STRONG, strips
from acmix_nas.tasks import load_task
from acmix_nas.thumbnails import LONGEST, classes_text, image_text, read_classes, read_image


def pictured(made, truth=None, predicted=None):
    """A study whose networks all predict the same."""
    header, records = dense(made)
    truth = np.array([[0, 1], [2, 255]], dtype=np.uint8) if truth is None else truth
    predicted = np.zeros_like(truth) if predicted is None else predicted
    example = {"image": image_text(np.full((*truth.shape, 3), 90, dtype=np.uint8)), "truth": classes_text(truth)}
    header = replace(header, settings={**header.settings, "examples": [example]})
    texts = (classes_text(predicted),)
    return header, [replace(each, predictions=texts if each.status == "complete" else ()) for each in records]


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, LONGEST), st.integers(1, LONGEST))))
def test_classes_of_small_images_are_kept_to_the_pixel(classes):
    assert np.array_equal(read_classes(classes_text(classes)), classes)


def test_large_pictures_are_scaled_down_and_invent_no_class():
    classes = np.zeros((300, 200), dtype=np.uint8)
    classes[:, 100:] = 9
    small = read_classes(classes_text(classes))
    assert small.shape == (96, 64)
    assert set(np.unique(small)) == {0, 9}
    assert read_image(image_text(np.zeros((10, 400, 3), dtype=np.uint8))).shape == (2, 96, 3)


def huge():
    buffer = io.BytesIO()
    Image.new("L", (LONGEST + 1, 5)).save(buffer, "PNG")
    return base64.b64encode(buffer.getvalue()).decode()


@pytest.mark.parametrize("text", ["", "no base64!", base64.b64encode(b"no picture").decode(), huge()])
def test_what_is_no_small_picture_is_one_error(text, tmp_path):
    header, records = pictured(make_ablation())
    header = replace(header, settings={**header.settings, "examples": [{"image": text, "truth": text}]})
    with pytest.raises(RecordError, match="a picture of the study"):
        render(tmp_path, header, records)


def test_an_ablation_shows_its_rows_and_colours_what_covers_most_first():
    truth = np.array([[2, 2, 2], [0, 0, 255]], dtype=np.uint8)
    found = strips(*pictured(make_ablation(), truth))
    header, records = make_ablation()
    shown = [row for row in header.rows if any(r.label == row and r.status == "complete" for r in records)]
    assert found.titles == ("image", "truth", *shown)
    assert found.legend == {"sky": STRONG[0], "land": STRONG[1], "no class": NO_CLASS}  # sky is all that is predicted
    painted = found.rows[0][1]
    assert tuple(painted[1, 2]) == (255, 255, 255)
    assert "#{:02X}{:02X}{:02X}".format(*painted[0, 0]) == found.legend["land"].upper()
    assert found.more is any(sum(r.label == row for r in records) > 1 for row in shown)


def test_colours_are_distinct_and_the_rest_is_grey():
    truth = np.arange(40, dtype=np.uint8).reshape(5, 8)
    header, records = pictured(make_search(), truth, truth)
    head = {"name": "semantic_fpn", "options": {}, "classes": [f"class {number}" for number in range(40)]}
    records = [replace(record, head=head, by_class={}) for record in records]
    found = strips(header, records)
    colours = [colour for name, colour in found.legend.items() if name != "other classes"]
    assert len(colours) == len(set(colours)) == 2 * len(STRONG)
    assert list(found.legend)[-1] == "other classes"
    assert found.legend["other classes"] == OTHER


def test_page_and_figure_show_them_and_escape_names(tmp_path):
    header, records = pictured(make_ablation(), np.array([[1, 1], [1, 0]], dtype=np.uint8))
    render(tmp_path, header, records, figures=("png",))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "What is predicted" in page
    assert "sea &amp; &lt;b&gt;" in page
    assert page.count('src="data:image/png;base64,') == len(strips(header, records).titles)
    with Image.open(tmp_path / "figures" / "predictions.png") as figure:
        assert figure.width > 500


def test_records_and_headers_keep_them():
    header, records = pictured(make_search())
    assert StudyHeader.from_dict(header.to_dict()) == header
    for record in records:
        assert TrialRecord.from_dict(record.to_dict()) == record
    done = next(record for record in records if record.status == "complete")
    assert done.cut(1).predictions == ()
    with pytest.raises(RecordError, match="predictions"):
        TrialRecord.from_dict({**done.to_dict(), "predictions": [3]})
    with pytest.raises(RecordError, match="examples"):
        StudyHeader.from_dict({**header.to_dict(), "settings": {"examples": [{"image": "x"}]}})


def test_a_study_without_pictures_has_no_strips(tmp_path):
    header, records = dense(make_search())
    assert strips(header, records) is None
    render(tmp_path, header, records)
    assert "What is predicted" not in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_what_is_shown_is_what_is_scored():
    task = load_task("segmentation")
    scores = torch.zeros(3, 2, 2, 2)
    scores[0, 1], scores[1, 0], scores[2, 1, :, 0] = 1, 1, 1
    masks = [torch.zeros(6, 4, dtype=torch.uint8), torch.zeros(2, 2, dtype=torch.uint8)]
    masks.append(torch.zeros(4, 4, dtype=torch.uint8))
    first, second, third = map(read_classes, task.pictures(scores, masks, 5))
    assert first.shape == (6, 4)
    assert first.min() == 1
    assert second.max() == 0
    assert third[:, 0].tolist() == [1] * 4
    assert third[:, -1].tolist() == [0] * 4
    assert len(task.pictures(scores, masks, 1)) == 1
