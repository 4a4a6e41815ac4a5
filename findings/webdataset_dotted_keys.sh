#!/usr/bin/env bash
# WebDataset silently merges all images whose names agree up to the first dot into one sample.
#
# Versions: webdataset 1.0.2; Python 3.11.
# Expected: cat.0000.jpg .. cat.0049.jpg in a shard (named like `cat.0000.jpg` in Kaggle's cats and dogs) are 50 samples.
# Behaviour: the key ends at the first dot of the file name. The result is one sample with the key "cat" and the fields
#   "0000.jpg" .. "0049.jpg". A reader that takes the first image of each sample trains on one image of fifty.
# Output seen:
#   50 files, 1 sample, key cat, 50 fields, the first 0000.jpg
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" --quiet --disable-pip-version-check install webdataset==1.0.2
"$folder/venv/bin/python" -W ignore - "$folder/shard.tar" <<'PYTHON'
import io
import sys
import tarfile

import webdataset

path = sys.argv[1]
with tarfile.open(path, "w") as archive:
    for number in range(50):
        member = tarfile.TarInfo(f"cat.{number:04}.jpg")
        member.size = 4
        archive.addfile(member, io.BytesIO(b"data"))
samples = list(webdataset.WebDataset(path, shardshuffle=False))
fields = [name for name in samples[0] if not name.startswith("__")]
print(f"50 files, {len(samples)} sample, key {samples[0]['__key__']}, {len(fields)} fields, the first {fields[0]}")
sys.exit(not (len(samples) == 1 and len(fields) == 50))
PYTHON
