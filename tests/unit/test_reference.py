import pickle

import pytest
import timm
import torch
from safetensors.torch import save_file

import acmix_nas
from acmix_nas import ACmix, load_reference
from acmix_nas.errors import AcmixError
from acmix_nas.reference import CheckpointError, load_weights

C_IN, C, N, D = 5, 12, 3, 4
LOCAL = {
    **{f"conv{i}.weight": (C, C_IN, 1, 1) for i in (1, 2, 3)},
    **{f"conv{i}.bias": (C,) for i in (1, 2, 3)},
    **{"conv_p.weight": (D, 2, 1, 1), "conv_p.bias": (D,)},
    **{"fc.weight": (9, 3 * N, 1, 1), "dep_conv.weight": (C, 9, 3, 3), "rate1": (1,), "rate2": (1,)},
}
WINDOW = {
    **{"qkv.weight": (3 * C, C), "qkv.bias": (3 * C,), "proj.weight": (C, C), "proj.bias": (C,)},
    **{"relative_position_bias_table": (7 * 7, N), "fc.weight": (9, 3 * N, 1, 1), "fc.bias": (9,)},
    **{"dep_conv.weight": (C, 9, 3, 3), "rate1": (1,), "rate2": (1,)},
}


def tensors(shapes):
    return {name: torch.randn(shape) for name, shape in shapes.items()}


def local_operator(**options):
    return ACmix(C_IN, C, num_heads=N, **options)


def window_operator():
    return ACmix(C, num_heads=N, attention="window", attn_kernel=4, fc_bias=True)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_local_operator():
    given, module = tensors(LOCAL), local_operator()
    assert load_reference(module, given) is module
    assert torch.equal(module.qkv.weight[C : 2 * C], given["conv2.weight"][:, :, 0, 0])
    assert torch.equal(module.qkv.bias[2 * C :], given["conv3.bias"])
    assert torch.equal(module.attention.position.weight, given["conv_p.weight"][:, :, 0, 0])
    assert torch.equal(module.convolution.fc.weight, given["fc.weight"][:, :, 0, 0])
    assert torch.equal(module.convolution.kernels.weight, given["dep_conv.weight"])
    assert module.mixing() == (given["rate1"].item(), given["rate2"].item())


def test_window_operator():
    given, module = tensors(WINDOW), window_operator()
    load_reference(module, given)
    assert torch.equal(module.qkv.weight, given["qkv.weight"])
    assert torch.equal(module.attention.relative_position_bias_table, given["relative_position_bias_table"])
    assert torch.equal(module.convolution.fc.bias, given["fc.bias"])


def test_dtype_stays():
    module = load_reference(local_operator().double(), tensors(LOCAL))
    assert {parameter.dtype for parameter in module.parameters()} == {torch.float64}


@pytest.mark.parametrize(
    ("options", "absent"),
    [
        ({"combine": "att"}, {"fc.weight", "dep_conv.weight", "rate1", "rate2"}),
        ({"combine": "conv"}, {"conv_p.weight", "conv_p.bias", "rate1", "rate2"}),
        ({"combine": "beta"}, {"rate1"}),
        ({"conv_impl": "groupconv"}, {"dep_conv.weight"}),
    ],
)
def test_what_an_operator_does_without(options, absent):
    present = tensors({name: shape for name, shape in LOCAL.items() if name not in absent})
    load_reference(local_operator(**options), present)
    with pytest.raises(CheckpointError, match="unknown: "):
        load_reference(local_operator(**options), tensors(LOCAL))


def write(folder, suffix, given):
    path = folder / f"weights{suffix}"
    if suffix == ".safetensors":
        save_file(given, path)
    else:
        torch.save({"model": given, "epoch": 3}, path)
    return path


@pytest.mark.parametrize("suffix", [".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("kind", [str, lambda path: path], ids=["str", "Path"])
def test_files(tmp_path, suffix, kind):
    given = tensors(LOCAL)
    module = load_reference(local_operator(), kind(write(tmp_path, suffix, given)))
    assert torch.equal(module.convolution.kernels.weight, given["dep_conv.weight"])


class Command:
    """A pickle of this runs code when it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return self.path.touch, ()


def test_no_code_runs_when_a_file_is_read(tmp_path):
    torch.save({"model": tensors(LOCAL), "config": Command(tmp_path / "ran")}, tmp_path / "weights.pth")
    with pytest.raises(
        CheckpointError, match=r"weights\.pth cannot be read as a checkpoint: (?s:.*)contains only tensors"
    ):
        load_reference(local_operator(), tmp_path / "weights.pth")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 no archive", bytes(range(256)), pickle.dumps([1])])
def test_garbage_files(tmp_path, suffix, content):
    path = tmp_path / f"weights{suffix}"
    path.write_bytes(content)
    with pytest.raises(CheckpointError):
        load_reference(local_operator(), path)


def test_missing_and_truncated_files(tmp_path):
    with pytest.raises(CheckpointError, match=r"none\.pth cannot be read"):
        load_reference(local_operator(), tmp_path / "none.pth")
    path = write(tmp_path, ".pth", tensors(LOCAL))
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_reference(local_operator(), path)


def test_one_error_lists_all_and_changes_nothing():
    given = tensors(LOCAL)
    del given["conv1.weight"], given["conv_p.bias"]
    given |= {"conv4.weight": torch.ones(1), "rate3": torch.ones(1), "rate1": 0.5}
    given |= {"dep_conv.weight": torch.ones(C, 9, 5, 5), "rate2": torch.ones(1, dtype=torch.long)}
    module = local_operator()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(AcmixError) as raised:
        load_reference(module, given)
    assert str(raised.value).splitlines() == [
        "the checkpoint is not of this module; nothing was loaded.",
        "  missing: conv_p.bias, conv1.weight",
        "  unknown: conv4.weight, rate3",
        "  wrong: dep_conv.weight is (12, 9, 5, 5), not (12, 9, 3, 3), rate1 is a float, not a tensor, "
        "rate2 is torch.int64, not floating-point",
        "Build the module with the arch, num_classes and img_size that the checkpoint was trained with.",
    ]
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("name", [*LOCAL])
def test_every_key_is_needed(name):
    given = tensors(LOCAL)
    del given[name]
    with pytest.raises(CheckpointError, match=rf"missing: {name}\n"):
        load_reference(local_operator(), given)


@pytest.mark.parametrize("name", [*WINDOW])
def test_every_shape_is_checked(name):
    given = tensors(WINDOW)
    given[name] = given[name][..., None, None, None]
    with pytest.raises(CheckpointError, match=rf"wrong: {name} is \("):
        load_reference(window_operator(), given)


def test_ignored_keys():
    ignored = dict.fromkeys(("relative_position_index", "attn_mask", "bn1.num_batches_tracked"), torch.zeros(()))
    load_reference(window_operator(), {**tensors(WINDOW), **ignored})


@pytest.mark.parametrize("given", [3, None, [("rate1", torch.ones(1))]])
def test_no_checkpoint(given):
    with pytest.raises(CheckpointError, match="a checkpoint is a mapping of names to tensors, or the path of one"):
        load_reference(local_operator(), given)


@pytest.mark.parametrize(
    ("module", "message"),
    [
        (torch.nn.Linear(2, 2), "models of the hosts resnet and swin, and an ACmix; the module is a Linear"),
        (
            ACmix(16, attention="patchwise"),
            r"no published model has .*attention\.norm1\.weight, .*combine\.beta; build",
        ),
        (ACmix(16, attention="global"), r"no published model has qkv\.weight"),
        (ACmix(16, combine="convex"), r"no published model has combine\.alpha_logit"),
    ],
)
def test_modules_without_a_published_form(module, message):
    with pytest.raises(CheckpointError, match=message):
        load_reference(module, tensors(LOCAL))


def test_other_hosts_have_no_published_checkpoints():
    with torch.device("meta"):
        model = timm.create_model("acmix_san10")
    with pytest.raises(CheckpointError, match="hosts resnet and swin"):
        load_reference(model, {})


def microsoft_names(state_dict):
    """Of a plain Swin as timm has it, as microsoft/Swin-Transformer writes it."""
    for name, value in state_dict.items():
        words = name.split(".")
        if words[2:3] == ["downsample"]:
            words[1] = str(int(words[1]) - 1)
        yield ".".join(words).replace("head.fc", "head"), value


def test_plain_swin_checkpoints():
    options = {"img_size": 64, "num_classes": 3}
    theirs = timm.create_model("swin_tiny_patch4_window7_224", **options).eval()
    ours = timm.create_model("acmix_swin_tiny_patch4_window7_224", combine="att", **options).eval()
    load_reference(ours, {"model": dict(microsoft_names(theirs.state_dict()))})
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(ours(image), theirs(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_weights_by_our_names(tmp_path, suffix):
    given, module = window_operator(), window_operator()
    path = write(tmp_path, suffix, given.state_dict())
    assert load_weights(module, path) is module
    assert all(torch.equal(value, given.state_dict()[name]) for name, value in module.state_dict().items())


def test_weights_by_published_names():
    given = tensors(LOCAL)
    module = load_weights(local_operator(), {"model": given})
    assert torch.equal(module.convolution.kernels.weight, given["dep_conv.weight"])


def test_weights_of_hosts_that_were_not_published():
    arch = acmix_nas.models.named_arch("acmix_san10")
    models = [acmix_nas.build_model(arch, width=0.125, num_classes=3) for _ in range(2)]
    without_counts = {k: v for k, v in models[0].state_dict().items() if not k.endswith("num_batches_tracked")}
    load_weights(models[1], without_counts)
    assert torch.equal(models[1].head.fc.weight, models[0].head.fc.weight)


def test_weights_of_another_module_are_listed():
    given = {**window_operator().state_dict(), "more": torch.ones(1)}
    del given["attention.proj.bias"]
    module = window_operator()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError, match=r"missing: attention\.proj\.bias\n  unknown: more\n"):
        load_weights(module, given)
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


def test_a_resnet_checkpoint_without_batch_counts():
    with torch.device("meta"):
        model = acmix_nas.build_model(acmix_nas.models.named_arch("acmix_resnet26"), width=0.125, num_classes=3)
    with pytest.raises(CheckpointError) as raised:
        load_reference(model, {})
    assert "num_batches_tracked" not in str(raised.value)
    for name in ("bn1.running_mean", "layer1.0.conv2.conv_p.bias", "layer4.0.conv2.rate1", "fc.bias"):
        assert f"{name}," in str(raised.value) or f"{name}\n" in str(raised.value)
