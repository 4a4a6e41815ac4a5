#!/usr/bin/env bash
# torch.onnx cannot export amax() and amin() over all dimensions, though max() and amax with all of them named export.
#
# Versions: torch 2.14.1, onnx 1.23.2, onnxscript 0.7.2, numpy 2.4.6; Python 3.11.
# Expected: `x.amax()` becomes a ReduceMax over all axes, as `x.max()` does; torch.export.export takes all three.
# Behaviour: the operator's `dim` has a default in PyTorch, which an exported program leaves out, and none in the function
#   that translates it. The export ends with a ConversionError, at the bottom of which the missing parameter is named.
#   Naming the dimensions exports.
# Output seen:
#   amax(): Required parameter 'dim' is not provided; amin(): Required parameter 'dim' is not provided; max(): exported;
#   amax((0, 1)): exported
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install \
  torch==2.14.1 onnx==1.23.2 onnxscript==0.7.2 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import contextlib
import io
import sys

import torch


class Reduced(torch.nn.Module):
    def __init__(self, reduce):
        super().__init__()
        self.reduce = reduce

    def forward(self, x):
        return self.reduce(x)


REDUCTIONS = {
    "amax()": lambda x: x.amax(),
    "amin()": lambda x: x.amin(),
    "max()": lambda x: x.max(),
    "amax((0, 1))": lambda x: x.amax((0, 1)),
}


def exported(reduce):
    network, images = Reduced(reduce).eval(), (torch.zeros(3, 4),)
    torch.export.export(network, images)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            torch.onnx.export(network, images, dynamo=True, verbose=False)
    except torch.onnx.errors.OnnxExporterError as error:
        cause = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        return str(cause).partition(".")[0]
    return "exported"


found = {name: exported(reduce) for name, reduce in REDUCTIONS.items()}
print("; ".join(f"{name}: {outcome}" for name, outcome in found.items()))
missing = "Required parameter 'dim' is not provided"
sys.exit(list(found.values()) != [missing, missing, "exported", "exported"])
PYTHON
