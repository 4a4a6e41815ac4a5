#!/usr/bin/env bash
# torch.fx silently drops `with torch.autocast(...)` from the modules that it traces.
#
# Versions: torch 2.14.1, numpy 2.4.6; Python 3.11.
# Expected: a network that computes one layer in float32 with `with torch.autocast("cpu", enabled=False)` still does so after
#   torch.fx.symbolic_trace, which timm's and torchvision's feature extractors use.
# Behaviour: the context is active while the network is traced and leaves no node. The traced network computes that layer in
#   the precision of its caller.
# Output seen:
#   the layer kept in float32 computes in float32, traced in bfloat16
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import fx, nn


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.careful = nn.Linear(8, 8)
        self.other = nn.Linear(8, 8)

    def forward(self, x):
        with torch.autocast("cpu", enabled=False):
            x = self.careful(x.float())
        return self.other(x)


seen = []
network = Network()
traced = fx.symbolic_trace(network)
network.careful.register_forward_hook(lambda module, inputs, output: seen.append(str(output.dtype).split(".")[1]))
with torch.autocast("cpu", dtype=torch.bfloat16):
    network(torch.randn(4, 8))
    traced(torch.randn(4, 8))
print(f"the layer kept in float32 computes in {seen[0]}, traced in {seen[1]}")
sys.exit(seen != ["float32", "bfloat16"])
PYTHON
