"""Which class the images of a folder have."""

from collections.abc import Sequence

from acmix_nas.errors import DataError

Folder = tuple[str, ...]
"""Names of the folders from a part of a source down to one that has images."""


def name_depth(folders: Sequence[Folder]) -> int:
    """Which folder names the class: 1 for the one that the images lie in, 2 for the one above it.

    It is the innermost, as in timm. Where all of them have one name, as in CLASS/images/*.jpg, that name says no
    classes apart and the folder above it names the class.
    """
    is_constant = len(folders) > 1 and len({folder[-1:] for folder in folders}) == 1
    return 2 if is_constant and all(len(folder) > 1 for folder in folders) else 1


def name_classes(folders: Sequence[Folder], where: str) -> list[str]:
    """The class of each of some different folders with images.

    Args:
        folders: None of them empty.
        where: What they lie in, for the message.

    Raises:
        DataError: Two folders would be one class.
    """
    depth = name_depth(folders)
    first: dict[str, Folder] = {}
    for folder in folders:
        other = first.setdefault(folder[-depth], folder)
        if other != folder:
            raise DataError(
                f"a class is one folder; in {where}, {'/'.join(other)} and {'/'.join(folder)} would both be the class "
                f"{folder[-depth]}. Move their images into one folder, or give the folders different names."
            )
    return [folder[-depth] for folder in folders]
