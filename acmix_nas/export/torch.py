"""Format `torch`: a program that `torch.export.load` reads without the code of the network."""

import json
from pathlib import Path

import torch
from torch import nn

from acmix_nas.export import _program
from acmix_nas.export._check import Outputs, Written, largest_difference
from acmix_nas.export._network import Settings, output_names

DESCRIBED = "acmix.json"
"""The extra file of a program that says what it is of."""
FORMS = ("merged", "train", "paper")


def write(model: nn.Module, path: Path, settings: Settings) -> Written:
    """Writes the program, and runs it as it is read back."""
    program = _program.captured(model, settings)
    with path.open("wb") as file:
        extra = {DESCRIBED: json.dumps(dict(settings.described))} if settings.described else {}
        torch.export.save(program, file, extra_files=extra)
    with path.open("rb") as stream:
        run = torch.export.load(stream).module()
    names = output_names(model, settings)

    def outputs(images: torch.Tensor) -> Outputs:
        with torch.no_grad():
            found = run(images)
        return found if settings.features_only else {names[0]: found}

    return Written(
        path=path,
        format="torch",
        form=settings.form,
        size=path.stat().st_size,
        inputs={"images": _program.input_shape(model, settings)},
        outputs=_program.output_shapes(program, names),
        dynamic_size=settings.dynamic,
        fixed_by=settings.fixed_by,
        least=settings.least,
        checked=settings.images(),
        difference=largest_difference(model, settings, outputs),
        facts={"torch": torch.__version__},
    )
