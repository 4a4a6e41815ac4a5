#!/usr/bin/env bash
# clip_grad_norm_ turns finite gradients into zeros if their norm is beyond float32.
#
# Versions: torch 2.14.1, numpy 2.4.6; Python 3.11.
# Expected: clipping to norm 1 scales finite gradients to norm 1, or raises an error.
# Behaviour: the norm of four gradients of 2e19 is 4e19, which float32 can hold, but their squares overflow. The norm becomes
#   inf, the factor 1 / inf is 0, and the optimizer takes a step with zero gradients. error_if_nonfinite is False by default.
# Output seen:
#   norm inf (in float64 4e+19), gradients after clipping [0.0, 0.0, 0.0, 0.0]
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn

weight = nn.Parameter(torch.zeros(4))
weight.grad = torch.full((4,), 2e19)
exact = float(weight.grad.double().norm())
norm = float(nn.utils.clip_grad_norm_([weight], 1.0))
print(f"norm {norm} (in float64 {exact:.0e}), gradients after clipping {weight.grad.tolist()}")
sys.exit(not (norm == float("inf") and not weight.grad.any()))
PYTHON
