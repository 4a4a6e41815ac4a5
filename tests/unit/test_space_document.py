"""A wrong YAML is one error that names file, line and field."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from acmix_nas import files
from acmix_nas.cli import acmix
from acmix_nas.errors import SpaceError
from acmix_nas.space import load_space
from acmix_nas.space.document import MAX_BYTES

GOOD = """\
host: swin
input_size: 224
patch_size: 4
widths: [96, 192, 384, 768]
depths: [2, 2, 6, 2]
conv_on: rolled
mixer: {attention: window, attn_kernel: 7, conv_init: shift}
choices:
  combine: [att, conv, learned]
  head_dim: {options: [16, 32], ordered: true}
  conv_kernel: {options: [3, 5], ordered: true}
  conv_impl: [groupconv, full]
first:
  paper: {combine: learned, head_dim: 32, conv_kernel: 3, conv_impl: full}
proxies:
  cpu: {input_size: 32, patch_size: 1, width: 0.5, depths: [2, 2, 2, 2], epochs: 1, batch_size: 8, learning_rate: 0.001}
"""

WRONG = [
    ("host: swin", "host: swim", 1, "host"),
    ("input_size: 224", "input_sise: 224", 1, "input_size"),
    ("patch_size: 4", "patch_size: 4\nflavour: mild", 4, "flavour"),
    ("patch_size: 4", "patch_size: four", 3, "patch_size"),
    ("patch_size: 4", "patch_size: true", 3, "patch_size"),
    ("depths: [2, 2, 6, 2]", "depths: [2, 2, 6]", 5, "depths"),
    ("conv_on: rolled", "conv_on: flat", 6, "conv_on"),
    ("combine: [att, conv, learned]", "combine: []", 9, "combine"),
    ("combine: [att, conv, learned]", "combine: [att, both]", 9, "combine[1]"),
    ("combine: [att, conv, learned]", "combine: [att, att]", 9, "combine"),
    ("combine: [att, conv, learned]", "combine: [att]", 11, "conv_kernel"),
    ("options: [16, 32]", "options: [16, 36]", 10, "head_dim"),
    ("options: [16, 32]", "options: [16, 0]", 10, "head_dim"),
    ("ordered: true}\n  conv_kernel", "ordered: maybe}\n  conv_kernel", 10, "ordered"),
    ("options: [3, 5]", "options: [3, 4]", 11, "conv_kernel"),
    ("options: [3, 5], ordered: true", "options: [3, 5], when: {combine: [half]}", 11, "when"),
    ("options: [3, 5], ordered: true", "options: [3, 5], stages: [4]", 11, "stages"),
    ("conv_init: shift", "conv_init: shift, combine: att", 9, "combine"),
    ("  conv_impl: [groupconv, full]", "  conv_impl: [groupconv, full]\n  num_heads: [3]", 10, "head_dim"),
    ("paper: {combine: learned, ", "paper: {", 14, "first.paper"),
    ("head_dim: 32, conv_kernel: 3", "head_dim: 8, conv_kernel: 3", 14, "head_dim"),
    ("width: 0.5", "width: 0.1", 10, "head_dim"),
    ("width: 0.5", "width: -1", 16, "width"),
    ("epochs: 1,", "epochs: 0,", 16, "epochs"),
    ("epochs: 1,", "epochs: 1, inert: perhaps,", 16, "inert"),
    ("input_size: 32", "input_size: 8", 16, "conv_kernel"),
    ("depths: [2, 2, 2, 2], epochs", "depths: [1, 2, 2, 2], epochs", 16, "depths"),
    ("depths: [2, 2, 2, 2], epochs", "depths: [2, 2, 8, 2], epochs", 16, "depths"),
    ("host: swin\n", "host: swin\nhost: swin\n", 2, "host"),
    ("host: swin\n", "host: &a swin\nsummary: *a\n", 2, "a"),
]


@pytest.fixture
def file(tmp_path):
    return tmp_path / "mine.yaml"


def test_the_good_file_is_good(file):
    file.write_text(GOOD)
    assert load_space(file).size == (2 + 2 * 2 * 2 * 2) ** 4


def test_the_example_of_the_documentation_is_a_space(file):
    text = (Path(__file__).parents[2] / "docs" / "spaces.md").read_text(encoding="utf-8")
    file.write_text(text.partition("```yaml\n")[2].partition("```")[0])
    space = load_space(file)
    assert space.size > 1
    assert len({choice.field for choice in space.choices}) == 4


@pytest.mark.parametrize(("old", "new", "line", "field"), WRONG)
def test_an_error_names_file_line_and_field(file, old, new, line, field):
    assert old in GOOD
    file.write_text(GOOD.replace(old, new, 1))
    with pytest.raises(SpaceError) as caught:
        load_space(file)
    message = str(caught.value)
    assert message.startswith(f"{file}, line {line}, field ")
    assert field in message


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1",
        "a: [",
        "- 1",
        "a: b: c",
        "{" * 5000,
        "[" * 50_000,
        "\x00",
        "%YAML 9",
        "? [a]\n: b",
        "host: !!python/name:os.system",
    ],
)
def test_what_is_not_a_space_is_one_error(file, text):
    file.write_text(text)
    with pytest.raises(SpaceError, match=r"mine\.yaml"):
        load_space(file)


def test_a_large_file_is_refused_unread(file):
    file.write_text("#" * 10_000_000)
    with pytest.raises(SpaceError, match=f"at most {MAX_BYTES}"):
        load_space(file)


def test_an_alias_bomb_is_refused(file):
    lines = ["a0: &a0 [x, x]"] + [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 40)]
    file.write_text("\n".join(lines))
    with pytest.raises(SpaceError, match="aliases"):
        load_space(file)


@given(st.text(max_size=200))
def test_any_text_is_a_space_or_one_error(tmp_path_factory, text):
    file = tmp_path_factory.mktemp("space") / "any.yaml"
    file.write_text(text, encoding="utf-8", errors="surrogatepass" if text.isascii() else "replace")
    with pytest.raises(SpaceError):
        load_space(file)


def test_an_unknown_name_lists_what_there_is():
    with pytest.raises(SpaceError, match=r"there are .*swin_t"):
        load_space("swin_x")


def test_the_command_checks_a_file_and_exits_with_2(file):
    file.write_text(GOOD)
    good = CliRunner().invoke(acmix, ["spaces", "check", str(file)])
    assert good.exit_code == 0
    assert "104,976 distinct networks" in good.stdout
    file.write_text(GOOD.replace("host: swin", "host: swim"))
    bad = CliRunner().invoke(acmix, ["spaces", "check", str(file)])
    assert isinstance(bad.exception, SpaceError)
    assert bad.exception.exit_code == 2


def test_the_command_lists_every_space():
    listed = CliRunner().invoke(acmix, ["spaces"]).stdout
    assert all(name in listed for name in files.space_names())
