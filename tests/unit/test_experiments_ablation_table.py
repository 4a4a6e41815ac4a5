"""What a file of an ablation table means, and what is told when it means nothing."""

import pytest

from acmix_nas import files
from acmix_nas.arch import COMBINE, CONV_IMPL
from acmix_nas.errors import SpaceError
from acmix_nas.experiments.ablation import load_ablation
from acmix_nas.space import load_space

SPACE = load_space("swin_t")
PAPER = SPACE.build(SPACE.first["paper"])
MANY = list(range(1, 12))
HEAD = "space: swin_t\nbase: paper\n"


@pytest.fixture
def load(tmp_path):
    def read(text, **options):
        file = tmp_path / "mine.yaml"
        file.write_text(HEAD + text, encoding="utf-8")
        return load_ablation(file, **options)

    return read


def fields(arch, name):
    return [{getattr(mixer, name) for mixer in stage} for stage in arch.stages]


@pytest.mark.parametrize("name", files.space_names("ablations"))
def test_every_table_reads_and_its_rows_are_different_networks(name):
    table = load_ablation(name)
    assert table.baseline in table.rows
    assert table.summary
    assert table.notes == ()
    assert len({arch.id for arch in table.rows.values()}) == len(table.rows)


def test_combine_has_the_nine_rules_and_shift_the_four_implementations():
    rules = [{mixer.combine for mixer in arch.mixers} for arch in load_ablation("combine").rows.values()]
    assert rules == [{rule} for rule in COMBINE]
    impls = [{mixer.conv_impl for mixer in arch.mixers} for arch in load_ablation("shift").rows.values()]
    assert impls == [*({impl} for impl in CONV_IMPL), {"full"}]


def test_a_grid_has_every_pair_of_options(load):
    table = load(
        "baseline: conv_kernel 3, stages.0.combine att\naxes:\n  conv_kernel: [3, 5]\n  stages.0.combine: [att, half]\n"
    )
    assert list(table.rows) == [
        f"conv_kernel {kernel}, stages.0.combine {rule}" for kernel in (3, 5) for rule in ("att", "half")
    ]
    row = table.rows["conv_kernel 5, stages.0.combine half"]
    assert fields(row, "conv_kernel") == [{5}] * 4
    assert fields(row, "combine") == [{"half"}, {"learned"}, {"learned"}, {"learned"}]


def test_one_at_a_time_has_the_base_and_single_changes(load):
    table = load("axes: {conv_kernel: [3, 5, 7], stages.*.combine: [learned, att]}\ncombine: one-at-a-time\n")
    assert list(table.rows) == [
        "base",
        "conv_kernel 5",
        "conv_kernel 7",
        *(f"stages.{i}.combine att" for i in range(4)),
    ]
    assert table.baseline == "base"
    assert table.rows["base"] == PAPER


def test_an_option_may_be_several_changes_with_a_name(load):
    table = load(
        "baseline: plain\n"
        "axes: {design: {plain: {combine: att}, deep: {stages.3.blocks.1.combine: conv, head_dim: 16}}}\n"
    )
    deep = table.rows["deep"]
    assert [mixer.combine for mixer in deep.stages[3]] == ["learned", "conv"]
    assert fields(deep, "num_heads") == [{6}, {12}, {24}, {48}]


def test_rows_and_axes_stand_in_one_table(load):
    table = load("baseline: mine\nrows: {mine: {combine: att}}\naxes: {conv_impl: [shift, full]}\n")
    assert list(table.rows) == ["mine", "shift", "full"]


def test_neighbours_are_those_of_the_space():
    table = load_ablation("neighbours")
    near = {SPACE.build(values).id for values in SPACE.neighbours(SPACE.first["paper"])}
    assert {arch.id for name, arch in table.rows.items() if name != "base"} == near
    assert table.rows["base"] == PAPER


def test_placements_mix_the_base_and_the_plain_host():
    table = load_ablation("placement")
    rules = {name: [next(iter(values)) for values in fields(arch, "combine")] for name, arch in table.rows.items()}
    assert rules["none"] == ["att"] * 4
    assert rules["stage 2"] == ["att", "learned", "att", "att"]
    assert rules["stages 3-4"] == ["att", "att", "learned", "learned"]
    assert rules["all"] == ["learned"] * 4


def test_a_network_twice_is_left_out_and_said():
    table = load_ablation("kernel", host="pvt")
    assert list(table.rows) == [f"conv_kernel {kernel}, attn_kernel 3" for kernel in (3, 5, 7)]
    assert table.baseline == "conv_kernel 3, attn_kernel 3"
    assert "the same network" in table.notes[0]


def test_seeds_and_budget_are_read(load):
    table = load(
        "baseline: shift\naxes: {conv_impl: [shift, full]}\nseeds: 5\nbudget: {epochs: 4, images: 300, proxy: cpu}\n"
    )
    assert (table.seeds, table.budget) == (5, {"epochs": 4, "images": 300, "proxy": "cpu"})


def test_a_base_given_is_changed_in_place_of_the_files():
    resnet = load_space("resnet26")
    plain = resnet.build(resnet.first["plain host"])
    own = load_ablation("combine", base="plain host")
    assert own.base == SPACE.build(SPACE.first["plain host"])
    assert own.rows["learned"] == PAPER
    there = load_ablation("placement", base=resnet.build(resnet.first["paper"]))
    assert (there.name, there.rows["none"]) == ("placement-resnet26", plain)


def test_a_deeper_base_keeps_its_depths():
    from acmix_nas.models import named_arch

    small = named_arch("acmix_swin_small_patch4_window7_224")
    table = load_ablation("placement", base=small)
    assert {arch.depths for arch in table.rows.values()} == {small.depths}


def test_carrying_says_what_is_lost():
    arch, notes = (table := load_ablation("combine", base=PAPER, host="pvt")).base, table.notes
    assert fields(arch, "attention") == [{"global"}] * 4
    assert fields(arch, "num_heads") == [{2}, {4}, {10}, {16}]  # heads of depth 32, as Swin's
    assert notes == (
        "stage 1, stage 2, stage 3, stage 4: attention window became global",
        "stage 1, stage 2, stage 3, stage 4: attn_kernel 7: global attention sees the whole map",
        "conv_on rolled: pvt does not roll maps",
    )
    assert fields(load_ablation("combine", base=PAPER, host="resnet").base, "attention") == [{"local"}] * 4
    five = load_ablation("combine", base=PAPER, host="san")
    assert fields(five.base, "attention") == [{"patchwise"}] * 5
    assert any(note.startswith("stage 1: swin has no counterpart") for note in five.notes)


def test_a_base_of_a_file_is_a_path_beside_it(load, tmp_path):
    import yaml

    plain = SPACE.build(SPACE.first["plain host"])
    (tmp_path / "found.yaml").write_text(yaml.safe_dump({"arch": plain.to_dict()}))
    file = tmp_path / "mine.yaml"
    file.write_text("space: swin_t\nbase: found.yaml\nbaseline: att\naxes: {combine: [att, half]}\n")
    assert load_ablation(file).base == plain


def test_a_space_of_a_file_is_a_path_beside_it(tmp_path, monkeypatch):
    (tmp_path / "own.yaml").write_text((files.search_spaces() / "swin_t.yaml").read_text(encoding="utf-8"))
    file = tmp_path / "mine.yaml"
    file.write_text("space: own.yaml\nbaseline: att\naxes: {combine: [att, half]}\n")
    monkeypatch.chdir("/")
    found = load_ablation(file)
    assert (found.name, found.space.name, found.space.widths) == ("mine", "own", SPACE.widths)
    file.write_text("space: other.yaml\nbaseline: att\naxes: {combine: [att, half]}\n")
    with pytest.raises(SpaceError, match=f"there is no file {tmp_path}/other.yaml"):
        load_ablation(file)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rows: {a: {combine: att}, b: {combine: conv}}\n", "baseline is missing"),
        ("baseline: c\nrows: {a: {combine: att}, b: {combine: conv}}\n", "line 3, field baseline: one of a, b"),
        ("baseline: a\nrows: {a: {combine: att}, b: {kernel: 3}}\n", "'kernel' is no field"),
        ("baseline: a\nrows: {a: {combine: att}, b: {combine: both}}\n", "line 4, field rows.b: combine is one of"),
        ("baseline: a\nrows: {a: {combine: att}, b: {stages.4.combine: att}}\n", "counted from 0 to 3"),
        ("baseline: a\nrows: {a: {combine: att}, b: {stages.0.blocks.2.combine: att}}\n", "counted from 0 to 1"),
        ("baseline: a\nrows: {a: {combine: att}, b: {head_dim: 7}}\n", "does not divide the 96 channels"),
        ("axes: {depth: [1, 2]}\n", "'depth' is no field"),
        ("axes: {conv_kernel: [3]}\nbaseline: conv_kernel 3\n", "all rows are one network"),
        ("axes: {conv_kernel: [3, 4]}\nbaseline: conv_kernel 3\n", "conv_kernel is an odd"),
        ("axes: {conv_kernel: 3}\n", "a list with at least one item"),
        ("axes: {conv_kernel: [3, 5]}\ncombine: all\n", "one of grid, one-at-a-time"),
        ("rows: {a: {combine: att}}\ncombine: grid\n", "there is no `axes`"),
        ("rows: {full: {combine: att}}\naxes: {conv_impl: [shift, full]}\nbaseline: full\n", "has already"),
        ("summary: nothing\n", "rows or axes is missing"),
        (f"axes: {{conv_kernel: {MANY}, attn_kernel: {MANY}, num_heads: {MANY}}}\n", "these are 1331"),
        ("rows: nearby\n", "a mapping"),
        ("baseline: shift\naxes: {conv_impl: [shift, full]}\nbudget: {proxy: tpu}\n", "one of cpu, gpu"),
        ("baseline: shift\naxes: {conv_impl: [shift, full]}\nseeds: 0\n", "whole number from 1"),
    ],
)  # fmt: skip
def test_a_wrong_table_is_one_error(load, text, said):
    with pytest.raises(SpaceError, match=said):
        load(text)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"host": "vit"}, "no space has the host 'vit'; there are"),
        ({"base": "mine"}, "--base 'mine' is none of them"),
    ],
)
def test_an_unknown_host_or_base_is_refused(options, said):
    with pytest.raises(SpaceError, match=said):
        load_ablation("shift", **options)


def test_neighbours_need_a_base_in_the_space():
    space = load_space("resnet26")
    outside = space.build(space.first["plain host"])
    stages = [[mixer.having(conv_init="kaiming") for mixer in stage] for stage in PAPER.stages]
    kaiming = type(PAPER).canonical(host="swin", stages=stages, conv_on="rolled")
    with pytest.raises(SpaceError, match="the base needs to be in the space"):
        load_ablation("neighbours", base=kaiming)
    assert "base" in load_ablation("neighbours", base=outside).rows
