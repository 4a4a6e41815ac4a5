#!/usr/bin/env bash
# fvcore counts 0 for a convolution with padding="same".
#
# Versions: fvcore 0.1.5.post20221221, torch 2.14.1; Python 3.11.
# Expected: nn.Conv2d(16, 32, 3, padding="same") on an 8 x 8 map has the same 294912 multiply-adds as with padding=1, because
#   it is the same layer.
# Behaviour: torch traces a padding given as a string as aten::_convolution_mode. fvcore has no handle for it, counts 0 and
#   writes a line to the log. timm's ConvMixer loses 94 % of its multiply-adds in this way.
# Output seen:
#   padding=1: 294912, padding="same": 0; unsupported: aten::_convolution_mode
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install fvcore==0.1.5.post20221221 torch==2.14.1
"$folder/venv/bin/python" -W ignore - <<'PYTHON'
import logging
import sys

import torch
from fvcore.nn import FlopCountAnalysis
from torch import nn

logging.disable(logging.WARNING)
x = torch.randn(1, 16, 8, 8)
by_number, by_word = (FlopCountAnalysis(nn.Conv2d(16, 32, 3, padding=padding), x) for padding in (1, "same"))
counts = int(by_number.total()), int(by_word.total())
print(f'padding=1: {counts[0]}, padding="same": {counts[1]}; unsupported: {", ".join(by_word.unsupported_ops())}')
sys.exit(counts != (64 * 9 * 16 * 32, 0))
PYTHON
