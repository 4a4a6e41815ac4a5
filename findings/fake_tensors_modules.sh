#!/usr/bin/env bash
# A module made under FakeTensorMode cannot be converted or moved, and fake CUDA tensors have a forward pass only.
#
# Versions: torch 2.14.1, numpy 2.4.6; Python 3.11; a machine without a CUDA driver.
# Expected: a network that is traced without memory takes .to(dtype) and .half() as any other; fake CUDA tensors, which
#   need no device, are differentiated as they are computed with.
# Behaviour: Module.to raises for every parameter that is a fake tensor, also where nothing changes: it swaps the tensor,
#   to which the mode holds a weak reference. Tensor.to works. A module that was converted on the meta device before, and
#   gets fake CUDA tensors by to_empty, runs forward; the autograd engine then asks for the CUDA device.
# Output seen:
#   module.to(bfloat16): RuntimeError: _apply(): Couldn't swap Linear.weight
#   module.to(float32): RuntimeError: _apply(): Couldn't swap Linear.weight
#   tensor.to(bfloat16): torch.bfloat16
#   forward: cuda:0 torch.bfloat16; backward: RuntimeError: hasPrimaryContext expects a valid device index
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode


def outcome(work):
    try:
        return str(work())
    except RuntimeError as error:
        return f"RuntimeError: {error}".split(", but")[0]


def passes(module, images):
    scores = module(images)
    back = outcome(lambda: scores.sum().backward())
    return f"{scores.device} {scores.dtype}; backward: {back}"


with FakeTensorMode():
    changed = outcome(lambda: nn.Linear(3, 3).to(torch.bfloat16).weight.dtype)
    same = outcome(lambda: nn.Linear(3, 3).to(torch.float32).weight.dtype)
    tensor = outcome(lambda: nn.Parameter(torch.zeros(3)).to(torch.bfloat16).dtype)
with torch.device("meta"):
    module = nn.Linear(3, 3).to(torch.bfloat16)
with FakeTensorMode(allow_non_fake_inputs=True):
    on_cuda = passes(module.to_empty(device="cuda"), torch.empty(2, 3, device="cuda", dtype=torch.bfloat16))
print(f"module.to(bfloat16): {changed}\nmodule.to(float32): {same}\ntensor.to(bfloat16): {tensor}\nforward: {on_cuda}")
swap = "RuntimeError: _apply(): Couldn't swap Linear.weight"
expected = "cuda:0 torch.bfloat16; backward: RuntimeError: hasPrimaryContext expects a valid device index"
sys.exit(not (changed == same == swap and tensor == "torch.bfloat16" and on_cuda == expected))
PYTHON
