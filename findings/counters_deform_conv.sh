#!/usr/bin/env bash
# Two counters of multiply-adds agree exactly on a network with a deformable convolution, and both miss most of its cost.
#
# Versions: torch 2.14.1, torchvision 0.29.1, fvcore 0.1.5.post20221221; Python 3.11.
# Expected: FlopCounterMode and FlopCountAnalysis count torchvision's deform_conv2d, or their results differ.
# Behaviour: both count 0 for it, so they agree. fvcore lists the operator as unsupported; FlopCounterMode prints nothing.
#   Agreement of two counters proves nothing if both ignore an operator that multiplies.
# Output seen:
#   FlopCounterMode 8128512, fvcore 8128512, by hand 37029888; unsupported: torchvision::deform_conv2d
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.14.1 torchvision==0.29.1 fvcore==0.1.5.post20221221
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging
import sys

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.ops import DeformConv2d

logging.disable(logging.WARNING)


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(64, 2 * 9, 3, padding=1, bias=False)
        self.conv = DeformConv2d(64, 64, 3, padding=1, bias=False)

    def forward(self, x):
        return self.conv(x, self.offset(x))


layer, x = Layer(), torch.randn(1, 64, 28, 28)
with FlopCounterMode(display=False) as counter:
    layer(x)
by_torch = counter.get_total_flops() // 2  # two operations in a multiply-add
analysis = FlopCountAnalysis(layer, x)
by_fvcore, unsupported = int(analysis.total()), ", ".join(analysis.unsupported_ops())
by_hand = 28 * 28 * 9 * 64 * (18 + 64)
print(f"FlopCounterMode {by_torch}, fvcore {by_fvcore}, by hand {by_hand}; unsupported: {unsupported}")
sys.exit(not (by_torch == by_fvcore == 28 * 28 * 9 * 64 * 18))
PYTHON
