"""The network that a full training trains: one of ours by its arch, or a model of timm's own by its name."""

from pathlib import Path
from typing import Any

import timm
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError
from acmix_nas.models import build_features, build_model
from acmix_nas.segmentor import padded, timm_features
from acmix_nas.sizes import Size, pair, size_text


def build_network(
    name: str,
    arch: Arch | None,
    *,
    num_classes: int | None,
    in_chans: int,
    input_size: Size,
    drop_path: float,
    weights: Path | None = None,
) -> nn.Module:
    """Builds a network at full size, with fresh weights.

    Args:
        name: timm name, where `arch` is None.
        arch: A network of ours.
        num_classes: Outputs of its linear head; None for the maps of its stages instead of a head.
        in_chans: Channels of an image.
        input_size: Height and width of the images in pixels, one number for squares.
        drop_path: Stochastic depth of the last block.
        weights: A checkpoint of timm's own network, which gives maps.

    Raises:
        UsageError: timm does not build its model so.
    """
    if arch is not None:
        ours: dict[str, Any] = {"in_chans": in_chans, "img_size": input_size, "drop_path_rate": drop_path}
        if num_classes is None:
            return build_features(arch, feature_cls="getter", class_token=False, **ours)
        return build_model(arch, num_classes=num_classes, **ours)
    options: dict[str, Any] = {"in_chans": in_chans, **({"drop_path_rate": drop_path} if drop_path else {})}
    if num_classes is None:
        if weights is not None:  # timm drops the classifier and resamples positions
            options |= {"pretrained": True, "pretrained_cfg_overlay": {"file": str(weights)}}
        return timm_features(name, options, padded(pair(input_size)))
    options |= {"num_classes": num_classes}
    try:
        model: nn.Module = timm.create_model(name, **options)
        # Windows and positions of timm's transformers are built for one size.
        if hasattr(model, "set_input_size"):
            model = timm.create_model(name, img_size=input_size, **options)
    except Exception as error:  # timm refuses in ways of its models' own
        shown = ", ".join(f"{option} {value}" for option, value in options.items())
        size = size_text(input_size)
        raise UsageError(f"timm does not build {name} with {shown}, images of {size} pixels: {error}.") from error
    return model


def usual_drop_path(arch: Arch | None) -> float:
    """Stochastic depth of the named model that is as deep as an arch; 0 if none is."""
    if arch is None:
        return 0.0
    named = registry.load("hosts", arch.host).MODELS.values()
    return next((float(model.drop_path_rate) for model in named if model.arch().depths == arch.depths), 0.0)
