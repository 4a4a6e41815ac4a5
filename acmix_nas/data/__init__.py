"""Labelled images for training: sources, the three disjoint splits, and the subsets that proxies train on."""

from acmix_nas.data.decode import Progress
from acmix_nas.data.describe import Description, describe
from acmix_nas.data.draw import Indices
from acmix_nas.data.images import Images, Splits, Targets
from acmix_nas.data.masks import IGNORED, MaskedPart
from acmix_nas.data.samples import Samples
from acmix_nas.data.source import Part, Source
from acmix_nas.data.sources import absolute, open_source
from acmix_nas.data.sources.store import Index, read_index
from acmix_nas.data.splits import load_splits
from acmix_nas.data.stored import StoredImages
from acmix_nas.data.subset import Plan, plan_subset
from acmix_nas.data.write import write_store

__all__ = [
    "IGNORED",
    "Description",
    "Images",
    "Index",
    "Indices",
    "MaskedPart",
    "Part",
    "Plan",
    "Progress",
    "Samples",
    "Source",
    "Splits",
    "StoredImages",
    "Targets",
    "absolute",
    "describe",
    "load_splits",
    "open_source",
    "plan_subset",
    "read_index",
    "write_store",
]
