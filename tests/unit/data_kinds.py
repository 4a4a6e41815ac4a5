"""The images of `data_trees` as every kind of source."""

import json
from pathlib import Path

import pyarrow
import pyarrow.parquet
from data_trees import CLASSES, files, make_folder, make_tar


def by_part(content: dict[str, bytes], part: str) -> dict[str, bytes]:
    return {name.removeprefix(f"{part}/"): value for name, value in content.items() if name.startswith(f"{part}/")}


FILES = files()


def as_one_tar(root: Path, content: dict[str, bytes] = FILES) -> str:
    return str(make_tar(root / "all.tar", {f"./data/{name}": value for name, value in content.items()}))


def as_tar_of_each_part(root: Path, content: dict[str, bytes] = FILES) -> str:
    for part in ("train", "val"):
        make_tar(root / f"{part}.tar", by_part(content, part))
    return str(root)


def as_tar_of_each_class(root: Path, content: dict[str, bytes] = FILES) -> str:
    for part in ("train", "val"):
        for name in CLASSES:
            found = by_part(content, f"{part}/{name}")
            make_tar(root / part / f"{name}.tar", found)
    return str(root)


def as_tar_of_tars(root: Path, content: dict[str, bytes] = FILES) -> str:
    for part in ("train", "val"):
        inner = {}
        for name in CLASSES:
            tar = make_tar(root / "inner.tar", by_part(content, f"{part}/{name}"))
            inner[f"{name}.tar"] = tar.read_bytes()
            tar.unlink()
        make_tar(root / f"{part}.tar", inner)
    return str(root)


def as_shards(root: Path, content: dict[str, bytes] = FILES, *, names: bool = True) -> str:
    for part in ("train", "val"):
        items = list(by_part(content, part).items())
        for shard in range(2):
            members = {}
            for number, (name, value) in enumerate(items[shard::2]):
                members[f"{shard}{number:04d}.png"] = value
                members[f"{shard}{number:04d}.cls"] = b"%d\n" % CLASSES.index(name.split("/")[0])
                members[f"{shard}{number:04d}.json"] = b"{}"
            make_tar(root / f"set-{part}-{shard:04d}.tar", members)
    if names:
        (root / "classnames.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return str(root)


def write_parquet(file: Path, items: list[tuple[str, bytes]], labels: pyarrow.Array, rows: int = 5, **metadata) -> None:
    images = pyarrow.array([{"bytes": value, "path": name} for name, value in items])
    table = pyarrow.table({"image": images, "label": labels})
    file.parent.mkdir(parents=True, exist_ok=True)
    if metadata:
        table = table.replace_schema_metadata({"huggingface": json.dumps(metadata)})
    pyarrow.parquet.write_table(table, file, row_group_size=rows)


def as_parquet(root: Path, content: dict[str, bytes] = FILES) -> str:
    features = {"label": {"names": list(CLASSES), "_type": "ClassLabel"}}
    for part, name in (("train", "train"), ("val", "validation")):
        items = list(by_part(content, part).items())
        for shard, some in enumerate((items[::2], items[1::2])):
            labels = pyarrow.array([CLASSES.index(path.split("/")[0]) for path, _ in some])
            write_parquet(
                root / "data" / f"{name}-0000{shard}-of-00002.parquet", some, labels, info={"features": features}
            )
    return str(root)


def as_parquet_of_names(root: Path, content: dict[str, bytes] = FILES) -> str:
    for part in ("train", "val"):
        items = list(by_part(content, part).items())
        write_parquet(root / f"{part}.parquet", items, pyarrow.array([path.split("/")[0] for path, _ in items]))
    return str(root)


KINDS = {
    "folder": lambda root, content=FILES: str(make_folder(root, content)),
    "one tar": as_one_tar,
    "a tar of each part": as_tar_of_each_part,
    "a tar of each class": as_tar_of_each_class,
    "a tar of tars": as_tar_of_tars,
    "shards": as_shards,
    "wds/shards": lambda root, content=FILES: f"wds/{as_shards(root, content)}",
    "parquet": as_parquet,
    "parquet of names": as_parquet_of_names,
}
