"""Sampling error of a share of images, such as an accuracy."""

from collections.abc import Iterable, Mapping
from math import sqrt

from acmix_nas.fields import COUNT
from acmix_nas.metrics import TOP1, Metric
from acmix_nas.record import TrialRecord

WORTH_SAYING = 3.0
"""Points from which on it is said before a study begins."""


def sampling_error(metric: Metric, record: TrialRecord) -> float | None:
    """The standard error of a trial's score, a share p of n images, in points: 100 sqrt(p (1 - p) / n).

    None where its metric is no share of the images, it has no score, or does not say how many images that was read on.
    """
    images = scored_images(record)
    if record.score is None or images is None or not metric.is_share:
        return None
    return metric.shown(sqrt(record.score * (1 - record.score) / images))


def scored_images(record: TrialRecord) -> int | None:
    """The images that a trial's scores are read on; None where the record does not say."""
    counts = record.data.get("counts")
    images = counts.get(record.split) if isinstance(counts, Mapping) else None
    return images if isinstance(images, int) and images > 0 and COUNT.fits(images) else None


def largest(images: int) -> float:
    """The standard error at an accuracy of one half, in points: no accuracy has a larger one."""
    return 50 / sqrt(images)


def sampling_fact(metric: Metric, records: Iterable[TrialRecord]) -> dict[str, str]:
    """What a report says of it, as name -> text; nothing where no record says on how many images."""
    known = [(sampling_error(metric, record), scored_images(record)) for record in records]
    errors = [(error, images) for error, images in known if error is not None and images is not None]
    if not errors:
        return {}
    most = max(error for error, _ in errors)
    counts = " or ".join(f"{images:,}" for images in sorted({images for _, images in errors}))
    return {"Sampling error": f"up to {most:.1f} points (standard error of an accuracy on {counts} images)"}


def sampling_notes(images: int, split: str, metric: Metric = TOP1) -> list[str]:
    """What is said before a study begins: nothing if the images are enough to distinguish networks.

    Args:
        images: How many images a score is read on.
        split: Which: "search" or "report".
        metric: What the score is.
    """
    error = largest(images)
    if error <= WORTH_SAYING or not metric.is_share:
        return []
    return [
        f"scores are read on {images:,} {split} images: the standard error of an accuracy is up to {error:.1f} "
        "points, and smaller differences may be chance; a source with more images is more precise"
    ]
