"""The two identities that ACmix rests on (Pan et al. 2022, section 3)."""

import torch
import torch.nn.functional as F
from tolerances import assert_close
from torch import nn

from acmix_nas.operators._shift import TensorShift
from acmix_nas.operators.attention.window import Attention


def test_a_convolution_is_its_shifted_pointwise_projections():
    torch.manual_seed(0)
    x = torch.randn(2, 5, 11, 7, dtype=torch.float64)
    for kernel, stride, dilation in ((3, 1, 1), (5, 2, 1), (3, 3, 2), (1, 1, 1)):
        weight = torch.randn(3, 5, kernel, kernel, dtype=torch.float64)
        projections = weight.permute(0, 2, 3, 1).reshape(3 * kernel**2, 5, 1, 1)
        shifted = TensorShift(1, kernel, stride, dilation)(F.conv2d(x, projections))
        assert_close(shifted, F.conv2d(x, weight, None, stride, dilation * (kernel // 2), dilation))


def test_multi_head_attention_is_its_two_stages():
    torch.manual_seed(0)
    whole = nn.MultiheadAttention(15, 3, batch_first=True, dtype=torch.float64)
    staged = Attention(15, 3, 5).double()
    nn.init.zeros_(staged.relative_position_bias_table)
    nn.init.normal_(whole.in_proj_bias)
    staged.proj.load_state_dict(whole.out_proj.state_dict())
    x = torch.randn(2, 5, 5, 15, dtype=torch.float64)
    q, k, v = F.linear(x, whole.in_proj_weight, whole.in_proj_bias).chunk(3, -1)
    tokens = x.flatten(1, 2)
    assert_close(staged(q, k, v).flatten(1, 2), whole(tokens, tokens, tokens)[0])
