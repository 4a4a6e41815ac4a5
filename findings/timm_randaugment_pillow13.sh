#!/usr/bin/env bash
# timm's increasing RandAugment requests a posterization to 0 bits, which Pillow 13 rejects.
#
# Versions: timm 1.0.31, torch 2.14.1, Pillow 13.0.0 and 12.0.0; Python 3.11.
# Expected: "rand-m9-mstd0.5-inc1", the setting of the Swin and DeiT recipes, transforms any RGB image.
# Behaviour: with "inc1", posterization keeps 4 - int(magnitude / 10 * 4) bits. Magnitude 9 plus noise sometimes reaches 10,
#   which keeps 0 bits. Pillow 12 returns an image of zeros; Pillow 13 raises ValueError. About one image in a thousand ends
#   an epoch.
# Output seen:
#   Pillow 12.0.0: 0 of 20000 images raise
#   Pillow 13.0.0: 31 of 20000 images raise: bits must be between or equal to 1 and 8
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
pip=("$folder/venv/bin/pip" --quiet --disable-pip-version-check install)
"${pip[@]}" timm==1.0.31 torch==2.14.1 pillow==12.0.0
cat >"$folder/posterize.py" <<'PYTHON'
import random
import sys

import numpy as np
import PIL
from PIL import Image
from timm.data.auto_augment import rand_augment_transform

image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
transform = rand_augment_transform("rand-m9-mstd0.5-inc1", {})
random.seed(0)
np.random.seed(0)
raised, reasons = 0, set()
for _ in range(20_000):
    try:
        transform(image)
    except ValueError as error:
        raised += 1
        reasons.add(str(error))
print(f"Pillow {PIL.__version__}: {raised} of 20000 images raise" + "".join(f": {reason}" for reason in sorted(reasons)))
sys.exit((raised > 0) != (PIL.__version__ == "13.0.0"))
PYTHON
"$folder/venv/bin/python" "$folder/posterize.py"
"${pip[@]}" pillow==13.0.0
"$folder/venv/bin/python" "$folder/posterize.py"
