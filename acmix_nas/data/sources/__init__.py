"""Kinds of source: one file each, and a new file is a new kind.

A file has `LAYOUT`, one line that says what it reads; `matches(spec) -> bool`, a quick look whether that is there; and
`open_source(spec) -> Source`, which lists the images and decodes none. At most one kind matches a source.
"""

from acmix_nas.data.sources._parts import class_folders, has_images, subfolders

__all__ = ["class_folders", "has_images", "subfolders"]
