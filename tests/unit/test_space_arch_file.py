from pathlib import Path

import pytest
import yaml
from report_records import make_arch

from acmix_nas.errors import SpaceError
from acmix_nas.space.arch_file import load_arch
from acmix_nas.space.plain_yaml import MAX_BYTES

ARCH = make_arch(("att", "conv", "learned", "learned"))


def written(folder: Path, text: str) -> Path:
    file = folder / "best.yaml"
    file.write_text(text)
    return file


def test_a_handwritten_arch_needs_no_id(tmp_path: Path) -> None:
    assert load_arch(written(tmp_path, yaml.safe_dump({"arch": ARCH.to_dict()}))) == ARCH


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no field arch"),
        ("- a", "no field arch"),
        ("arch: [", "not plain YAML"),
        ("arch: !!python/object:os.system {}", "not plain YAML"),
        ("a: &x [1]\narch: *x", "aliases"),
        ("arch: {host: swin}", "field arch"),
        ("arch: 3", "field arch"),
        ("[" * 5000, "not plain YAML"),
        ("#" * (MAX_BYTES + 1), "larger"),
        (yaml.safe_dump({"arch_id": "0" * 16, "arch": ARCH.to_dict()}), "says arch_id"),
    ],
)
def test_a_mistake_is_reported_with_its_file(text: str, reason: str, tmp_path: Path) -> None:
    file = written(tmp_path, text)
    with pytest.raises(SpaceError, match=reason) as caught:
        load_arch(file)
    assert str(file) in str(caught.value)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(SpaceError, match="cannot be read"):
        load_arch(tmp_path / "none.yaml")
    (tmp_path / "best.yaml").write_bytes(b"\xff\xfe")
    with pytest.raises(SpaceError, match="UTF-8"):
        load_arch(tmp_path / "best.yaml")
