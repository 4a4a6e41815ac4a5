"""`load_reference`: outputs and gradients are those of the published formulation, for operators and for networks."""

from copy import deepcopy

import published
import pytest
import torch
from torch import nn

from acmix_nas import ACmix, Arch, build_model, load_reference
from acmix_nas.models import named_arch

OPERATOR, NETWORK = 2e-5, 2e-4
"""How far the largest entry may be off, relative to the largest entry, in float32."""


def distance(actual, expected):
    return ((actual - expected).abs().max() / expected.abs().max()).item()


def gradients(module, image, upstream):
    """The output, the gradient of the input, and those of the parameters by name."""
    image = image.clone().requires_grad_()
    y = module(image)
    y.backward(upstream)
    return y.detach(), image.grad, {name: parameter.grad for name, parameter in module.named_parameters()}


def compare(ours, theirs, image, tolerance, *, turned=lambda y: y):
    """Loads their weights; every output and gradient agrees. Their gradients travel by the names of the weights."""
    with torch.no_grad():
        for name, value in theirs.state_dict().items():
            if value.is_floating_point() and "mask" not in name:
                value.copy_(value + 0.3 * value.abs().mean() * torch.rand_like(value))
    ours, theirs = ours.eval(), theirs.eval()
    assert load_reference(ours, theirs.state_dict()) is ours
    with torch.no_grad():
        upstream = ours(image)  # as of a squared loss: sums over the map do not cancel to nothing
    y, x_grad, grads = gradients(ours, image, upstream)
    their_y, their_x_grad, their_grads = gradients(theirs, turned(image), turned(upstream))
    for name in [name for name in their_grads if name.endswith("conv_p.bias")]:
        rounding = their_grads[name].abs().max() / their_grads[name.replace("bias", "weight")].abs().max()
        assert rounding < tolerance, "softmax removes this bias"
    carrier = load_reference(deepcopy(ours), {**theirs.state_dict(), **their_grads})
    expected = dict(carrier.named_parameters())
    found = {f"gradient of {name}": distance(grads[name], expected[name].detach()) for name in grads}
    found |= {"output": distance(turned(y), their_y), "gradient of the input": distance(turned(x_grad), their_x_grad)}
    worst = max(found, key=found.get)
    print(f"worst: {worst} {found[worst]:.2e}")
    assert found[worst] < tolerance, worst


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize(
    ("channels", "size", "options"),
    [
        ((12, 12), (11, 13), {}),
        ((5, 12), (9, 7), {"heads": 3, "kernel_att": 3, "kernel_conv": 5}),
        ((6, 8), (4, 10), {"heads": 2, "kernel_conv": 1}),
    ],
)
def test_local_operator(channels, size, options, stride):
    ours_by_theirs = {"heads": "num_heads", "kernel_att": "attn_kernel", "kernel_conv": "conv_kernel"}
    named = {ours_by_theirs[name]: value for name, value in options.items()}
    theirs = published.Operator(*channels, stride=stride, **options)
    compare(ACmix(*channels, stride=stride, **named), theirs, torch.randn(2, channels[0], *size), OPERATOR)


@pytest.mark.parametrize("conv_kernel", [3, 5])
def test_window_operator(conv_kernel):
    theirs = published.WindowAttention(15, heads=3, window=4, kernel_conv=conv_kernel)
    ours = ACmix(15, num_heads=3, attention="window", attn_kernel=4, conv_kernel=conv_kernel, fc_bias=True)
    compare(ours, theirs, torch.randn(2, 15, 8, 12), OPERATOR, turned=lambda y: y.permute(0, 2, 3, 1))


class BlockOnMap(nn.Module):
    """The published attention in its place in a shifted block: rolled there and back."""

    def __init__(self, block):
        super().__init__()
        self.attn = block.attn
        self.block = [block]

    def forward(self, x):
        (block,) = self.block
        y = self.attn(torch.roll(x, (-block.shift,) * 2, (1, 2)), block.attn_mask)
        return torch.roll(y, (block.shift,) * 2, (1, 2))

    def state_dict(self):
        return self.attn.state_dict()

    def named_parameters(self):
        return self.attn.named_parameters()


def test_shifted_operator_of_a_swin():
    """The convolution path sees the rolled map, where opposite edges of the image meet."""
    model = build_model(named_arch("acmix_swin_tiny_patch4_window7_224"), img_size=56, width=0.25, num_classes=2)
    ours = model.mixers()[1]
    theirs = BlockOnMap(published.SwinBlock(24, heads=3, window=7, size=14, shifted=True))
    compare(ours, theirs, torch.randn(2, 24, 14, 14), OPERATOR, turned=lambda y: y.permute(0, 2, 3, 1))


def reduced(name, depths, **changes):
    """A named arch with the first blocks of each stage."""
    whole = named_arch(name)
    stages = [
        [mixer.having(**changes) for mixer in stage[:depth]] for stage, depth in zip(whole.stages, depths, strict=True)
    ]
    return Arch.canonical(host=whole.host, stages=stages, conv_on=whole.conv_on)


def test_whole_resnet():
    ours = build_model(reduced("acmix_resnet38", (1, 2, 2, 1)), width=0.25, num_classes=7)
    theirs = published.ResNet((16, 32, 64, 128), (1, 2, 2, 1), num_classes=7)
    compare(ours, theirs, torch.randn(2, 3, 64, 96), NETWORK)


def test_whole_swin():
    arch = reduced("acmix_swin_tiny_patch4_window7_224", (2, 1, 2, 1), attn_kernel=3)
    ours = build_model(arch, img_size=96, width=0.25, num_classes=7)
    theirs = published.Swin(24, (2, 1, 2, 1), (3, 6, 12, 24), window=3, img_size=96, num_classes=7)
    compare(ours, theirs, torch.randn(2, 3, 96, 96), NETWORK)


def test_published_names_fit_the_named_models():
    """Key for key and shape for shape, the whole Swin-T and ResNet-26."""
    with torch.device("meta"):
        theirs = published.Swin(96, (2, 2, 6, 2), (3, 6, 12, 24), window=7, img_size=224, num_classes=1000)
        load_reference(build_model(named_arch("acmix_swin_tiny_patch4_window7_224")), theirs.state_dict())
        theirs = published.ResNet((64, 128, 256, 512), (1, 2, 4, 1), num_classes=1000)
        load_reference(build_model(named_arch("acmix_resnet26")), theirs.state_dict())
