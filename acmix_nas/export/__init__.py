"""Networks as files for other programs: each public file here is a format named by its file.

It offers

    FORMS                                   the forms it can hold, of train, merged and paper, the usual one first
    write(model, path, settings) -> Written

`write` compares what it wrote, read back, with the network itself and raises `ExportError` if they differ. It writes to
the given `path`; `acmix_nas.export.write` passes a temporary one, so no unchecked file is left anywhere.
"""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from acmix_nas import registry
from acmix_nas.errors import UsageError
from acmix_nas.export._check import ExportError, Written
from acmix_nas.export._network import Settings, settings_for
from acmix_nas.files import temporary_beside

__all__ = ["ExportError", "Settings", "Written", "write"]


def write(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    format: str,
    form: str | None = None,
    features_only: bool = False,
    input_size: int | tuple[int, int] | None = None,
    dynamic_size: bool = True,
    overwrite: bool = False,
    described: Mapping[str, Any] | None = None,
) -> Written:
    """Writes a network to a file or folder, and checks it there against the network itself.

    Args:
        model: A model of `acmix_nas.build_model`, of `build_segmentor`, or of `timm.create_model` by a name of ours; it
            is not changed, and is written as it is in evaluation.
        path: Where to; missing folders are made.
        format: "onnx", "torch", a program for `torch.export.load`, or "timm", a folder for `timm.create_model`.
        form: "train", the network as it is trained; "merged", what `acmix_nas.merge` makes of it; "paper", the
            formulation step by step. The format's own if None: merged, and train for timm.
        features_only: Whether the outputs are the maps of the stages, (B, C, h, w), "stage0" and on, instead of logits.
        input_size: Height and width in pixels of the images it is traced with; what the model was built for if None.
        dynamic_size: Whether it shall take images of any size, where the network allows; the batch is always dynamic.
        overwrite: Whether a file that is there is replaced.
        described: What the file says of itself, by name: plain values. ONNX keeps them as metadata, torch.export in the
            extra file `acmix.json`.

    Returns:
        What was written, with the largest difference that was found.

    Raises:
        UsageError: The format cannot hold this, or there is something at `path`.
        ExportError: What was written computes something else; nothing is left at `path`.
    """
    target, writer = Path(path), registry.load("export", format)
    settings = settings_for(
        model,
        form=_form(writer, format, form),
        features_only=features_only,
        input_size=input_size,
        dynamic=dynamic_size,
        described=described,
    )
    _check_free(target, overwrite)
    target.parent.mkdir(parents=True, exist_ok=True)
    with _beside(target) as path:
        written: Written = writer.write(model, path, settings)
        _move(path, target)
    return replace(written, path=target)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A path beside another; a file or folder that is still there when the block ends is removed."""
    path = temporary_beside(target)
    try:
        yield path
    finally:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _form(writer: Any, format: str, form: str | None) -> str:
    chosen: str = writer.FORMS[0] if form is None else form
    if chosen not in writer.FORMS:
        raise UsageError(f"{format} holds the form {', '.join(writer.FORMS)}; it is {chosen!r}. {writer.__doc__}")
    return chosen


def _check_free(target: Path, overwrite: bool) -> None:
    empty = target.is_dir() and not any(target.iterdir())
    if target.exists() and not overwrite and not empty:
        raise UsageError(f"{target} already exists; choose another path, or add --overwrite.")


def _move(source: Path, target: Path) -> None:
    """Takes the place of what is there: in one step, but for a folder with files in it, of which others stay."""
    if not source.is_dir():
        if target.is_dir():
            raise UsageError(f"{target} is a folder; choose a file in it.")
        source.replace(target)
        return
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file; choose a folder.")
    if not target.exists() or not any(target.iterdir()):
        source.replace(target.resolve())
        return
    for file in source.iterdir():
        file.replace(target / file.name)
