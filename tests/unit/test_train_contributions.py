"""What blocks mix: weights of every rule, and the norms of what each path contributes."""

from math import sqrt

import pytest
import torch
from study_pieces import SPACE
from torch import nn

from acmix_nas.arch import COMBINE, Arch
from acmix_nas.models import build_model, plain_form
from acmix_nas.operators._combine import Combination
from acmix_nas.space import Space, load_space
from acmix_nas.train.scoring import watch_mixing

PAPER = SPACE.build(SPACE.first["paper"])
BOTH = [rule for rule in COMBINE if rule not in ("att", "conv")]


class OnlyPath(Combination):
    """What a rule makes of one path, the other being nothing."""

    def __init__(self, rule: Combination, side: int) -> None:
        super().__init__()
        self.rule, self.side = rule, side

    def mixing(self):
        return self.rule.mixing()

    def weights(self):
        return None

    def forward(self, att, conv, x):
        paths = [att, conv]
        paths[1 - self.side] = torch.zeros_like(att)
        return self.rule(*paths, x)


def with_rule(arch: Arch, rule: str) -> Arch:
    stages = [[mixer.having(combine=rule) if mixer.num_heads else mixer for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=arch.conv_on)


def small(arch: Arch, space: Space = SPACE) -> nn.Module:
    proxy = space.proxies["cpu"]
    return build_model(
        proxy.shrink(arch),
        num_classes=10,
        in_chans=1,
        img_size=proxy.input_size,
        patch_size=proxy.patch_size,
        width=proxy.width,
    ).eval()


def disturbed(model: nn.Module) -> nn.Module:
    """With weights that are none of those before training."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model


def norms_by_zeroing(mixer: nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[float, float]:
    """The root mean square of the output, averaged over images, with one path and with the other."""
    norms, combine = [], mixer.combine
    for side in (0, 1):
        mixer.combine = OnlyPath(combine, side)
        output = mixer(*inputs)
        maps = output if isinstance(output, tuple) else (output,)
        values = torch.cat([part.flatten(1) for part in maps], 1).double()
        norms.append(float(sum(sqrt(row.square().mean()) for row in values) / len(values)))
    mixer.combine = combine
    return norms[0], norms[1]


@pytest.mark.parametrize("rule", COMBINE)
def test_weights_are_read_for_every_rule(rule):
    model = small(with_rule(PAPER, rule))
    with watch_mixing(model) as read:
        model(torch.randn(2, 1, 28, 28))
    start = {"att": (1, 0), "conv": (0, 1), "sum": (1, 1), "beta": (1, 0.5)}.get(rule, (0.5, 0.5))
    assert read().weights == tuple(pytest.approx(start) for _ in range(8))


@pytest.mark.parametrize(
    ("name", "rule"),
    [*(("swin_t", rule) for rule in BOTH), *((other, "channel") for other in ("san10", "resnet26", "pvt_tiny"))],
)
@pytest.mark.parametrize("plain", [False, True], ids=["fast", "plain"])
@torch.no_grad()
def test_norms_are_those_of_the_paths_alone(name, rule, plain):
    space = load_space(name)
    model = disturbed(small(with_rule(space.build(space.first["paper"]), rule), space))
    fed: dict[int, tuple[torch.Tensor, ...]] = {}
    mixers = model.mixers()
    hooks = [
        mixer.register_forward_pre_hook(lambda _, inputs, index=index: fed.update({index: inputs}))
        for index, mixer in enumerate(mixers)
    ]
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(1))
    with watch_mixing(model) as read:
        if plain:
            with plain_form(model):
                model(images)
        else:
            model(images)
    for hook in hooks:
        hook.remove()
    seen = read().norms
    for norms, mixer, inputs in zip(seen, mixers, fed.values(), strict=True):
        expected = None if mixer.convolution is None else pytest.approx(norms_by_zeroing(mixer, inputs), rel=1e-4)
        assert norms == expected


@torch.no_grad()
def test_norms_are_averaged_over_images_whatever_the_batches():
    model = disturbed(small(with_rule(PAPER, "learned")))
    images = torch.randn(5, 1, 28, 28, generator=torch.Generator().manual_seed(2))
    with watch_mixing(model) as at_once:
        model(images)
    with watch_mixing(model) as in_parts:
        model(images[:1])
        model(images[1:])
    for one, other in zip(at_once().norms, in_parts().norms, strict=True):
        assert one == pytest.approx(other, rel=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("rule", ["att", "conv"])
def test_a_block_of_one_path_has_no_norms(rule):
    model = small(with_rule(PAPER, rule))
    with watch_mixing(model) as read:
        model(torch.randn(2, 1, 28, 28))
    assert read().norms == (None,) * 8


@torch.no_grad()
def test_non_finite_and_unseen_contributions_are_null():
    model = small(with_rule(PAPER, "gated"))
    with watch_mixing(model) as read:
        assert read() == ((None,) * 8, (None,) * 8)
        model(torch.full((2, 1, 28, 28), float("nan")))
        assert read() == ((None,) * 8, (None,) * 8)


def test_a_network_that_is_not_ours_mixes_nothing():
    with watch_mixing(nn.Linear(2, 2)) as read:
        pass
    assert read() == ((), ())
