#!/usr/bin/env bash
# FlopCounterMode raises an AssertionError under no_grad if a module gets a view of a parameter as input.
#
# Versions: torch 2.14.1, numpy 2.4.6; Python 3.11.
# Expected: counting works without gradients for a network that expands its class token to the batch and passes it to its
#   blocks, as timm's PiT does.
# Behaviour: the counter's module tracker hooks the gradient of every input that requires one. A view of a parameter requires
#   a gradient under no_grad too, but has no gradient function there. Counting works with gradients on, or after
#   requires_grad_(False).
# Output seen:
#   gradients on: 1024; off: AssertionError: Expected gradient function to be set; off, parameters frozen: 1024
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install torch==2.14.1 numpy==2.4.6
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.proj = nn.Linear(8, 8)

    def forward(self, x, token):
        return self.proj(torch.cat([token, x], dim=1))


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.token = nn.Parameter(torch.zeros(1, 1, 8))
        self.block = Block()

    def forward(self, x):
        return self.block(x, self.token.expand(len(x), -1, -1))


def count(network, gradients):
    try:
        with torch.set_grad_enabled(gradients), FlopCounterMode(display=False) as counter:
            network(torch.randn(2, 3, 8))
    except AssertionError as error:
        return f"AssertionError: {error}"
    return counter.get_total_flops()


network = Network()
answers = [count(network, True), count(network, False), count(network.requires_grad_(False), False)]
print("gradients on: {}; off: {}; off, parameters frozen: {}".format(*answers))
sys.exit(not (answers[0] == answers[2] == 2 * 8 * 8 * 8 and "Expected gradient function" in str(answers[1])))
PYTHON
