"""Augmentation of batches against one image at a time, by other means."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance
from torch.nn import functional as F

from acmix_nas.train.augment import (
    RATIO,
    centre_boxes,
    draw_boxes,
    draw_jitter,
    draw_shifts,
    jitter,
    normalise,
    resample,
    shift_and_flip,
)


def pictures(count, channels, extent, seed=0):
    shape = (count, channels, extent, extent)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@given(st.integers(1, 4), st.sampled_from([1, 3]), st.integers(5, 23), st.integers(1, 17), st.integers(0, 99))
def test_boxes_are_scaled_as_each_image_would_be(count, channels, extent, size, seed):
    images = pictures(count, channels, extent, seed)
    boxes = draw_boxes(count, (extent, extent), (0.08, 1.0), torch.Generator().manual_seed(seed))
    result = resample(images, boxes, (size, size))
    assert result.shape == (count, channels, size, size)
    for image, (top, left, height, width), got in zip(images, boxes.tolist(), result, strict=True):
        part = image[None, :, top : top + height, left : left + width].float()
        expected = F.interpolate(part, size=(size, size), mode="bilinear", antialias=True, align_corners=False)
        torch.testing.assert_close(got, expected[0], atol=2e-3, rtol=1e-5)


def test_scaling_is_pillows():
    image = pictures(1, 3, 31)
    box = torch.tensor([[3, 5, 20, 17]])
    got = resample(image, box, (13, 13))[0].permute(1, 2, 0).numpy()
    picture = Image.fromarray(image[0].permute(1, 2, 0).numpy())
    expected = np.asarray(picture.crop((5, 3, 22, 23)).resize((13, 13), Image.Resampling.BILINEAR), dtype=np.float32)
    assert np.abs(got - expected).max() < 1.1  # Pillow rounds after each of its two passes


def test_an_image_that_is_not_scaled_stays_as_it_is():
    images = pictures(2, 3, 11)
    whole = torch.tensor([0, 0, 11, 11]).repeat(2, 1)
    torch.testing.assert_close(resample(images, whole, (11, 11)), images.float())


@given(st.integers(1, 50), st.integers(1, 60), st.integers(0, 9), st.floats(0.01, 1.0))
def test_boxes_lie_in_the_image_and_have_the_wanted_area(count, extent, seed, least):
    boxes = draw_boxes(count, (extent, extent), (least, 1.0), torch.Generator().manual_seed(seed))
    top, left, height, width = boxes.unbind(1)
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] >= 1).all()
    assert (top + height <= extent).all()
    assert (left + width <= extent).all()
    rounding = (height + width + 1) / 2  # half a pixel on each side
    assert (height * width + rounding >= least * extent**2).all()
    assert ((width + 1) / (height - 0.5).clamp(min=0.5) >= RATIO[0]).all()


def test_boxes_cover_all_areas_and_places():
    boxes = draw_boxes(4000, (100, 100), (0.08, 1.0), torch.Generator().manual_seed(0)).double()
    area = boxes[:, 2] * boxes[:, 3] / 100**2
    # Large boxes that are not square do not fit and are drawn again: the mean is below the middle, 0.54.
    assert 0.45 < area.mean() < 0.54
    assert area.min() < 0.1
    assert area.max() > 0.9
    small = boxes[area < 0.2]
    assert small[:, 0].min() < 5
    assert (small[:, 0] + small[:, 2]).max() > 95
    ratio = (boxes[:, 3] / boxes[:, 2]).log()
    assert ratio.mean().abs() < 0.02


def test_what_never_fits_is_the_whole_image():
    boxes = draw_boxes(300, (1000, 1000), (1.0, 1.0), torch.Generator().manual_seed(0))  # a square alone would
    assert (boxes == torch.tensor([0, 0, 1000, 1000])).all()


@pytest.mark.parametrize(
    ("extent", "size", "box"),
    [
        (256, 224, (16, 16, 224, 224)),
        (256, 112, (16, 16, 224, 224)),
        (230, 224, (3, 3, 224, 224)),
        (28, 28, (0, 0, 28, 28)),
    ],
)
def test_the_centre_is_scored(extent, size, box):
    assert centre_boxes(2, (extent, extent), (size, size)).tolist() == [list(box)] * 2


@given(st.integers(0, 99))
def test_jitter_is_pillows(seed):
    images = pictures(3, 3, 9, seed)
    factors = draw_jitter(3, 0.4, torch.Generator().manual_seed(seed))
    assert ((factors >= 0.6) & (factors <= 1.4)).all()
    for image, (brightness, contrast, saturation), got in zip(
        images, factors.tolist(), jitter(images, factors), strict=True
    ):
        picture = Image.fromarray(image.permute(1, 2, 0).numpy())
        picture = ImageEnhance.Brightness(picture).enhance(brightness)
        picture = ImageEnhance.Contrast(picture).enhance(contrast)
        picture = ImageEnhance.Color(picture).enhance(saturation)
        expected = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float()
        apart = (got - expected).abs()
        assert apart.max() <= 5  # Pillow cuts to whole numbers three times, and stretches what it cut off
        assert apart.mean() <= 2.5


def test_grey_images_have_no_saturation():
    images = pictures(2, 1, 7)
    dull, vivid = torch.tensor([[1.0, 1.0, 0.2]] * 2), torch.tensor([[1.0, 1.0, 1.4]] * 2)
    torch.testing.assert_close(jitter(images, dull), images.float())
    torch.testing.assert_close(jitter(images, vivid), images.float())


def test_without_shifts_images_are_mirrored_alone():
    images = pictures(40, 2, 5)
    shifts = draw_shifts(40, (0, 0), torch.Generator().manual_seed(0))
    result = shift_and_flip(images, shifts, (0, 0))
    for image, got, mirrored in zip(images, result, shifts.mirrored[:, 0].tolist(), strict=True):
        assert torch.equal(got, image.flip(-1) if mirrored else image)
    assert 5 < shifts.mirrored.sum() < 35


def test_normalised_pixels_have_mean_0_and_deviation_1():
    images = pictures(50, 3, 8)
    pixels = images.double() / 255
    mean, std = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    result = normalise(images, mean.float(), std.float())
    torch.testing.assert_close(result.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(result.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)
