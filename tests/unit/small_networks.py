"""Small networks of every host, with weights that hide nothing, for tests of what is written of them."""

import torch

from acmix_nas import registry
from acmix_nas.arch import Arch, Mixer
from acmix_nas.models import build_model, named_arch

HOSTS = registry.names("hosts")
NAMED = {
    "pvt": "acmix_pvt_tiny",
    "resnet": "acmix_resnet26",
    "san": "acmix_san10",
    "swin": "acmix_swin_tiny_patch4_window7_224",
}
MIXED = {"pvt": (0, 3), "resnet": (1, 3), "san": (1,)}
"""Stages with ACmix: of PVT one that reduces and the one with a class token, of ResNet two that stride."""


def small_arch(host, **fields):
    """Few blocks: of Swin three in two stages, so that windows are shifted; of others one a stage, some with ACmix."""
    whole = named_arch(NAMED[host])
    both = {"combine": "learned", "conv_kernel": 3, "conv_impl": "full", "conv_init": "shift", **fields}
    mixers = [stage[0].having(**{"num_heads": stage[0].num_heads or 4, **both}) for stage in whole.stages]
    if host == "swin":
        stages = [[mixers[0]] * 2, [mixers[1]]]
    else:
        stages = [[mixer] if i in MIXED[host] else [Mixer(operator="conv")] for i, mixer in enumerate(mixers)]
    return Arch.canonical(host=host, stages=stages, conv_on=whole.conv_on)


def small_model(host, *, img_size=64, num_classes=5, in_chans=3, **fields):
    """Such a network, where no norm, bias or weight has the value that it starts with."""
    torch.manual_seed(0)
    arch = small_arch(host, **fields)
    model = build_model(arch, img_size=img_size, width=0.25, num_classes=num_classes, in_chans=in_chans).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        for module in model.modules():
            if isinstance(getattr(module, "running_var", None), torch.Tensor):
                module.running_var.uniform_(0.5, 2)
                module.running_mean.normal_(std=0.2)
    return model
