import pytest

from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.operators.acmix import ACmix


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"num_heads": 5}, "num_heads divides out_channels; 5 does not divide 24. Take 3, 4, 6, or other channels"),
        ({"conv_kernel": 4}, "conv_kernel is odd; it is 4. Take 3 or 5"),
        ({"attn_kernel": 4}, "attn_kernel of local attention is odd; it is 4"),
        ({"stride": 0}, "stride is a whole number from 1 up; it is 0"),
        ({"dilation": 1.5}, "dilation is a whole number from 1 up; it is 1.5"),
        ({"conv_impl": "fast"}, "conv_impl is one of shift, groupconv, learnable, full; it is 'fast'"),
        ({"conv_init": "zero"}, "conv_init is one of shift, kaiming; it is 'zero'"),
        ({"combine": "max"}, "combine is one of att, .*; it is 'max'"),
        ({"attention": "none"}, "operators.attention has no 'none'; there are .*local"),
    ],
)
def test_a_wrong_value_is_one_clear_error(values, message):
    with pytest.raises(AcmixError, match=message):
        ACmix(24, **values)


def test_wrong_channels():
    with pytest.raises(ArchError, match="in_channels is a whole number"):
        ACmix(0)


def test_values_without_effect_are_ignored():
    assert ACmix(24, combine="att", conv_kernel=4).convolution is None
    assert ACmix(24, combine="conv", attn_kernel=4, attention="none").attention is None


def test_a_users_own_mode(tmp_path, monkeypatch):
    (tmp_path / "my_lab").mkdir()
    (tmp_path / "my_lab" / "values.py").write_text(
        "from acmix_nas.operators.attention import AttentionMode\n"
        "class Attention(AttentionMode):\n"
        "    def __init__(self, channels, num_heads, kernel_size, *, stride=1, dilation=1):\n"
        "        super().__init__()\n"
        "        self.stride = stride\n"
        "    def forward(self, q, k, v):\n"
        "        return v[:, ::self.stride, ::self.stride]\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    import torch

    assert ACmix(24, attention="my_lab.values", stride=2)(torch.randn(1, 24, 5, 3)).shape == (1, 24, 3, 2)


def test_an_uncountable_operator_of_a_user_is_one_error(tmp_path, monkeypatch):
    (tmp_path / "my_rooms").mkdir()
    (tmp_path / "my_rooms" / "uncountable.py").write_text(
        "def build(mixer, **site): ...\ndef count(mixer, **site):\n    return 1 / 0\n"
    )
    (tmp_path / "my_rooms" / "uncounted.py").write_text(
        "def build(mixer, **site): ...\ndef count(mixer, **site):\n    return mixer.parts\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    from acmix_nas.arch import Mixer
    from acmix_nas.cost.count import count_mixer
    from acmix_nas.errors import AcmixError

    for name, reason in (("uncountable", "ZeroDivisionError"), ("uncounted", "AttributeError")):
        with pytest.raises(AcmixError, match=rf"my_rooms\.{name} cannot be counted: {reason}"):
            count_mixer(Mixer(operator=f"my_rooms.{name}", combine="conv", conv_kernel=3, num_heads=4))
