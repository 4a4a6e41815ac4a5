"""Networks from descriptions, and the names that timm knows them by. Importing this module registers the names."""

import warnings
from collections.abc import Callable
from functools import cache, partial
from inspect import signature
from typing import Any

import torch
from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models._features_fx import register_notrace_module
from torch import nn

from acmix_nas import plugins, registry
from acmix_nas.arch import DEFAULTS, Arch, Mixer
from acmix_nas.errors import AcmixError, ArchError
from acmix_nas.hosts import HostOptions, NamedModel
from acmix_nas.hosts.layers import Float32Conv2d
from acmix_nas.operators.acmix import ACmix
from acmix_nas.operators.forms import change_of, plain_form
from acmix_nas.operators.merging import (
    absorbs,
    affine,
    is_affine,
    is_merged,
    merged,
    stored,
    unsynchronised,
    why_unmerged,
)

__all__ = ["build_model", "merge", "mixing", "model_names", "named_arch", "plain_form"]

MIXER_OPTIONS = ("attention", "attn_kernel", "conv_kernel", "conv_impl", "conv_init", "combine")
"""Fields that `timm.create_model` can change in every ACmix mixer at once, beside `conv_on` of the arch."""

CONVOLUTIONS = (nn.Conv2d, Float32Conv2d)
"""What `merge` folds a batch norm into; others may compute something else from their weights."""

TIMM_OPTIONS = (
    *("features_only", "out_indices", "feature_cls", "cache_dir"),
    *("pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args"),
)
"""Arguments that timm passes through its entry points and reads itself."""


def build_model(
    arch: Arch,
    *,
    num_classes: int = 1000,
    in_chans: int = 3,
    img_size: int | tuple[int, int] | None = None,
    patch_size: int | None = None,
    width: float = 1.0,
    drop_path_rate: float = 0.0,
    drop_rate: float = 0.0,
    global_pool: str = "avg",
    class_token: bool = True,
) -> nn.Module:
    """Builds the network that an arch describes, with fresh weights.

    Args:
        arch: The network.
        num_classes: Classes of the head; 0 for none.
        in_chans: Channels of the image.
        img_size: Height and width in pixels that it is built for; the host's own if None.
        patch_size: Extent of a patch in pixels, for hosts with patches; the host's own if None.
        width: Multiplier of all widths, for proxies.
        drop_path_rate: Stochastic depth of the last block, in [0, 1].
        drop_rate: Dropout before the classifier, in [0, 1].
        global_pool: Pooling of the head, by its timm name.
        class_token: Whether PVT has its class token, which dense heads do not read.

    Returns:
        A module (B, in_chans, H, W) -> (B, num_classes) with timm's methods; its attribute `arch` is the arch.

    Raises:
        ArchError: The widths of the host do not fit the mixers.
    """
    options = HostOptions(
        num_classes=num_classes,
        in_chans=in_chans,
        img_size=img_size,
        patch_size=patch_size,
        width=width,
        drop_path_rate=drop_path_rate,
        drop_rate=drop_rate,
        global_pool=global_pool,
        class_token=class_token,
    )
    model: nn.Module = registry.load("hosts", arch.host).build(arch, _make_mixer, options)
    return model


def build_features(arch: Arch, *, feature_cls: str | None = None, **options: Any) -> nn.Module:
    """The network without its head, as timm's `features_only` gives it.

    Args:
        arch: The network.
        feature_cls: "getter" keeps the network whole and gives every map as (B, C, H, W); None is the host's own way,
            in which the maps of Swin are (B, H, W, C).
        options: As of `build_model`.

    Returns:
        A module (B, in_chans, H, W) -> the map of each stage, with timm's `feature_info`.
    """
    usual = dict(registry.load("hosts", arch.host).FEATURES)
    model: nn.Module = build_model_with_cfg(
        partial(build_model, arch),
        arch.host,
        False,
        pretrained_cfg={"architecture": arch.host},
        feature_cfg={"out_indices": usual["out_indices"], "feature_cls": feature_cls} if feature_cls else usual,
        features_only=True,
        **options,
    )
    return model


def model_names() -> list[str]:
    """The names that timm creates our models by, sorted."""
    return sorted(_named_models())


def named_arch(name: str) -> Arch:
    """The arch behind a timm name.

    Raises:
        AcmixError: There is no such model.
    """
    return named_model(name).arch()


def named_model(name: str) -> NamedModel:
    """What a host says about one of its models.

    Raises:
        AcmixError: There is no such model.
    """
    models = _named_models()
    if name not in models:
        raise AcmixError(f"there is no model {name!r}; there are {', '.join(sorted(models))}.")
    return models[name]


def mixing(model: nn.Module) -> tuple[tuple[float, float] | None, ...]:
    """(alpha, beta) of each block, first to last; None for a block without ACmix or with weights that follow the data.

    Args:
        model: A model of `build_model`.
    """
    mixers: list[Any] = model.mixers()  # type: ignore[operator]
    return tuple(mixer.mixing() if hasattr(mixer, "mixing") else None for mixer in mixers)


@torch.no_grad()
def merge(module: nn.Module) -> nn.Module:
    """A copy for deployment, in evaluation mode and without gradients, that computes the same with fewer steps.

    In every ACmix alpha, beta, the light layer and the kernels become plain weights (`acmix_nas.operators.merging`);
    `gated` keeps its data-dependent pair. Batch norms that follow a convolution or an ACmix are folded into it, in the
    hosts that name these pairs (`norm_pairs`: ResNet and SAN).

    Args:
        module: Any module; it is not changed.
    """
    model = stored(module)
    for part in list(model.modules()):
        if isinstance(part, ACmix):
            unsynchronised(part)
    for owner in list(model.modules()):
        pairs: Any = getattr(owner, "norm_pairs", tuple)
        for name, norm_name in pairs():
            _fold_norm(owner, name, norm_name)
    left: dict[str, str] = {}
    for name, part in list(model.named_modules()):
        if not isinstance(part, ACmix) or is_merged(part):
            continue
        if (reason := why_unmerged(part)) is not None:
            left[name or "the operator"] = reason
        elif not name:
            return merged(part).requires_grad_(False)
        else:
            model.set_submodule(name, merged(part))
    if left:
        first, reason = next(iter(left.items()))
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        warnings.warn(f"merge folds nothing in {first}{more}, because {reason}.", stacklevel=3)
    return model.requires_grad_(False)


def _fold_norm(model: nn.Module, name: str, norm_name: str) -> None:
    """Folds a batch norm into what comes before it, where that can take it."""
    part, norm = model.get_submodule(name), model.get_submodule(norm_name)
    if not is_affine(norm):
        return
    if isinstance(part, nn.Conv2d) and change_of(part, CONVOLUTIONS) is None:
        scale, shift = affine(norm)
        part.weight.mul_(scale[:, None, None, None])
        part.bias = nn.Parameter(shift if part.bias is None else shift + scale * part.bias)
    elif absorbs(part):
        model.set_submodule(name, merged(part, norm))
    else:
        return
    model.set_submodule(norm_name, nn.Identity())


def _make_mixer(mixer: Mixer, **site: Any) -> nn.Module:
    module: nn.Module = registry.load("operators", mixer.operator).build(mixer, **site)
    return module


@cache
def _named_models() -> dict[str, NamedModel]:
    return {
        name: model for host in registry.names("hosts") for name, model in registry.load("hosts", host).MODELS.items()
    }


def _given(name: str, arch: Arch, options: dict[str, Any]) -> Arch:
    """The network that is to be built under a name: the option `arch` if it is given, which has to be of its host."""
    given = options.pop("arch", arch)
    other = given if isinstance(given, Arch) else Arch.from_dict(given)
    if other.host != arch.host:
        raise ArchError(f"{name} builds networks of the host {arch.host}; the arch is of {other.host}.")
    return other


def _changed(arch: Arch, changes: dict[str, Any]) -> Arch:
    """An arch with some fields changed in every ACmix mixer."""
    fields = {name: changes.pop(name) for name in MIXER_OPTIONS if name in changes}
    conv_on = changes.pop("conv_on", arch.conv_on)

    def changed(mixer: Mixer) -> Mixer:
        """What becomes needed takes the operator's own default."""
        return Mixer.canonical(**{**DEFAULTS, **mixer.to_dict(), **fields}) if mixer.operator == "acmix" else mixer

    stages = [[changed(mixer) for mixer in stage] for stage in arch.stages]
    return Arch.canonical(host=arch.host, stages=stages, conv_on=conv_on)


def _entry_point(name: str, named: NamedModel) -> Callable[..., nn.Module]:
    """The function that timm calls to create a model of ours."""

    def create(pretrained: bool = False, **options: Any) -> nn.Module:
        # timm hands on what config.json of a folder or of the hub says, which is not the user's own word.
        read = options.get("pretrained_cfg") is not None or not isinstance(options.get("arch", named.arch()), Arch)
        arch = _changed(_given(name, named.arch(), options), options)
        if read:
            plugins.check_named(arch.named, f"a configuration of {name}")
        if pretrained and not (options.get("pretrained_cfg") or options.get("pretrained_cfg_overlay")):
            raise AcmixError(
                f"no weights of {name} are published. Leave pretrained=True out, or give weights of your own as "
                "checkpoint_path."
            )
        options.setdefault("drop_path_rate", named.drop_path_rate)
        _check_options(name, options)
        features = dict(registry.load("hosts", arch.host).FEATURES)
        model: nn.Module = build_model_with_cfg(
            partial(build_model, arch), name, pretrained, feature_cfg=features, **options
        )
        return model

    create.__name__ = create.__qualname__ = name
    create.__doc__ = (
        f"{named.summary}; timm's arguments, and {', '.join(MIXER_OPTIONS)}, conv_on for every block, or arch."
    )
    return create


def _check_options(name: str, options: dict[str, Any]) -> None:
    own = [option for option in signature(build_model).parameters if option != "arch"]
    unknown = [option for option in options if option not in (*own, *TIMM_OPTIONS)]
    if unknown:
        known = ", ".join((*own, "features_only", "out_indices", *MIXER_OPTIONS, "conv_on", "arch"))
        raise ArchError(f"{name} has no option {', '.join(unknown)}; it has {known}.")


register_notrace_module(ACmix)  # torch.fx cannot follow what depends on sizes and weights

default_cfgs = generate_default_cfgs({name: dict(named.cfg) for name, named in _named_models().items()})

for _name, _named in _named_models().items():
    globals()[_name] = register_model(_entry_point(_name, _named))
