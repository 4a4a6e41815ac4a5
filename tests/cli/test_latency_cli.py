"""`acmix latency` and `acmix profile --latency-table`, from a space file to the row of a network."""

import json

import pytest
import yaml
from click.testing import CliRunner

from acmix_nas.cli import acmix
from acmix_nas.cost.latency import LatencyTable
from acmix_nas.errors import AcmixError
from acmix_nas.space import load_space
from acmix_nas.space.arch_file import load_arch

SPACE = """
host: swin
input_size: 32
patch_size: 4
widths: [96, 192]
depths: [2, 2]
conv_on: rolled
per: stage
mixer: {attention: window, attn_kernel: 7, conv_init: shift, num_heads: 3, conv_kernel: 3, conv_impl: full}
choices:
  combine: [att, learned]
first:
  plain host: {combine: att}
proxies:
  cpu:
    {input_size: 32, patch_size: 4, width: 0.25, depths: [2, 2], epochs: 1, images: 9, batch_size: 8,
     learning_rate: 0.001, inert: allow}
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A space, the table that the command builds of it, and one of its networks."""
    folder = tmp_path_factory.mktemp("latency")
    (folder / "tiny.yaml").write_text(SPACE)
    result = call("latency", "--space", folder / "tiny.yaml", "--out", folder / "table.json", "--json")
    assert result.exit_code == 0, result.output
    (folder / "said.json").write_text(result.stdout)
    space = load_space(folder / "tiny.yaml")
    arch = space.build({"stages.0.combine": "att", "stages.1.combine": "learned"})
    (folder / "best.yaml").write_text(yaml.safe_dump({"arch": arch.to_dict()}))
    return folder


def call(*words):
    return CliRunner().invoke(acmix, list(map(str, words)))


def run(*args):
    return call("profile", *args)


def failure(*args):
    return refusal("profile", *args)


def refusal(*words):
    result = call(*words)
    assert isinstance(result.exception, AcmixError), result.output
    assert result.exception.exit_code == 2
    return str(result.exception)


def test_the_file_holds_what_is_said(folder):
    said, table = json.loads((folder / "said.json").read_text()), LatencyTable.load(folder / "table.json")
    assert said["blocks"] == len(table.mixers_ms) == 8
    assert said["held_out"] == 4
    assert (said["spearman"], said["median_error"]) == (table.check.spearman, table.check.median_error)
    assert table.env["threads"] == 1


def test_a_profile_shows_what_the_table_says(folder):
    common = ("--no-memory", "--no-counters", "--time-limit", 0.1, "--latency-table", folder / "table.json")
    result = run(folder / "best.yaml", "--input-size", 32, *common, "--threads", 1, "--json")
    assert result.exit_code == 0, result.output
    (row,) = json.loads(result.stdout)["rows"]
    arch = load_arch(folder / "best.yaml")
    assert row["latency_table_ms"] == LatencyTable.load(folder / "table.json").latency_ms(arch)
    assert "another machine" not in result.stderr
    warned = run(folder / "best.yaml", "--input-size", 32, *common, "--threads", 2)
    assert "another machine's table: threads 1 there, 2 here" in warned.stderr
    assert "latency by table (ms)" in warned.stdout


def test_a_table_of_another_space_or_another_run_is_refused(folder):
    table = ("--latency-table", folder / "table.json")
    assert "the latency table of tiny has no block 0" in failure(
        "--input-size", 32, "--no-memory", "--no-counters", *table
    )
    message = failure(folder / "best.yaml", "--batch-size", 2, *table)
    assert "measured in another way: batch size [1] there, [2] here; input size (32, 32) there, (224, 224)" in message
    assert "cannot be read" in failure(folder / "best.yaml", "--latency-table", folder / "none.json")


def test_conflicting_options_are_refused(folder, tmp_path):
    file = tmp_path / "table.json"
    words = ("latency", "--out", file, "--space")
    assert "there is no space 'swin'" in refusal(*words, "swin")
    assert "no folder" in refusal("latency", "--space", "swin_t", "--out", tmp_path / "none" / "table.json")
    assert not file.exists()


def test_what_0_1_called_a_profile_of_a_space_is_still_taken(folder, tmp_path):
    file = tmp_path / "table.json"
    assert "give both" in failure("--space", "swin_t")
    assert "give both" in failure("--build-table", file)
    assert "leave out MODEL, --impl" in failure(
        "resnet18", "--impl", "full", "--space", "swin_t", "--build-table", file
    )
    assert "one batch size; 1, 8 are given" in failure(
        "--space", "swin_t", "--build-table", file, "--batch-size", "1,8"
    )
    assert "there is no space 'swin'" in failure("--space", "swin", "--build-table", file)
    assert "hides them" in failure("--space", folder / "tiny.yaml", "--build-table", file, "--train")
    told = run("--space", "swin_t", "--build-table", tmp_path / "none" / "table.json")
    assert "no folder" in str(told.exception)
    assert "is now acmix latency --space SPACE --out FILE" in told.stderr
    assert not file.exists()
