"""Networks that score every pixel: a backbone, ours or timm's, its four maps, and a head of `acmix_nas.heads`."""

from collections.abc import Sequence
from inspect import signature
from typing import Any

import timm
import torch
import torch.nn.functional as F
from timm.models.swin_transformer import SwinTransformerStage
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.errors import ArchError, UsageError
from acmix_nas.models import build_features
from acmix_nas.sizes import Pair, Size

STRIDES = (4, 8, 16, 32)
"""Of the maps that a head reads, in a network of full size; a proxy with smaller patches has them all smaller."""


class Backbone(nn.Module):
    """The maps of a network at strides 4, 8, 16 and 32, for images of any size.

    Images are padded below and on the right to a multiple of 32 pixels, with zeros, the mean of normalised images. Of a
    network with smaller patches, as proxies have, the strides and that multiple are smaller in proportion.
    Swin's maps get a LayerNorm each, as in its published dense networks; PVT has neither class token nor final norm.

    Args:
        net: A network that gives maps, as timm's `features_only` makes it.
        norms: Whether each map gets a LayerNorm.

    Attributes:
        channels: Of the four maps.
        strides: Of the four maps.
        arch: The description of a network of ours; None for timm's.
    """

    def __init__(self, net: nn.Module, *, norms: bool) -> None:
        super().__init__()
        info: Any = net.feature_info
        strides, channels = info.reduction(), info.channels()
        self.net = net
        self.arch: Arch | None = getattr(getattr(net, "model", net), "arch", None)
        self.strides = _strides_of(strides)
        self._places = [len(strides) - 1 - strides[::-1].index(stride) for stride in self.strides]
        self._channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"
        self.channels: list[int] = [channels[place] for place in self._places]
        self.norms = nn.ModuleList(nn.LayerNorm(width) for width in self.channels) if norms else None

    def forward(self, images: torch.Tensor) -> list[torch.Tensor]:
        """(B, C, H, W) -> four maps (B, channels[i], ceil(H / 32) * 32 / strides[i], ...)."""
        height, width = images.shape[-2:]
        rows, columns = padded((height, width), self.strides[-1])
        found = self.net(F.pad(images, (0, columns - width, 0, rows - height)))
        maps = [found[place] for place in self._places]
        maps = [x.permute(0, 3, 1, 2) for x in maps] if self._channels_last else maps
        if self.norms is None:
            return maps
        return [norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) for norm, x in zip(self.norms, maps, strict=True)]


class Segmentor(nn.Module):
    """Scores of the classes of every pixel.

    Args:
        backbone: Gives four maps.
        head: Name of the head: a file of `acmix_nas.heads`, or the dotted path of a module of the user's own.
        num_classes: Classes.
        img_size: Height and width in pixels that the backbone is built for.
        width: Factor on the channels of the head.
    """

    def __init__(
        self, backbone: Backbone, head: str, num_classes: int, img_size: Size | None = None, width: float = 1.0
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.head_name, self.num_classes, self.img_size = head, num_classes, img_size
        build = registry.load("heads", head).build
        narrow = {"width": width} if width != 1.0 and "width" in signature(build).parameters else {}
        self.head: nn.Module = build(backbone.channels, num_classes, **narrow)

    @property
    def arch(self) -> Arch | None:
        """The description of a backbone of ours; None for timm's."""
        return self.backbone.arch

    @property
    def in_chans(self) -> int:
        """Channels of an image: those of the first convolution."""
        return next(part.in_channels for part in self.backbone.modules() if isinstance(part, nn.Conv2d))

    @property
    def feature_info(self) -> list[dict[str, Any]]:
        """Timm's description of the maps that the head reads."""
        pairs = zip(self.backbone.channels, self.backbone.strides, strict=True)
        return [{"num_chs": channels, "reduction": stride} for channels, stride in pairs]

    def forward(self, images: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """(B, C, H, W) -> scores (B, num_classes, H, W); in training a pair, if the head has an auxiliary one."""
        size = (images.shape[-2], images.shape[-1])
        scores = self.head(self.backbone(images))
        if isinstance(scores, tuple):
            first, second = (self._at(part, size) for part in scores)
            return first, second
        return self._at(scores, size)

    def coarse(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores as the head gives them, before they are brought to the size of the images.

        Args:
            images: (B, C, H, W).

        Returns:
            Scores (B, num_classes, h, w), and for each image H, W and the height and width that it was padded to,
            which the scores are of: (B, 4).
        """
        size = (images.shape[-2], images.shape[-1])
        scores = self.head(self.backbone(images))
        extents = torch.tensor([*size, *padded(size, self.backbone.strides[-1])])
        return scores[0] if isinstance(scores, tuple) else scores, extents.expand(len(images), 4)

    def no_weight_decay(self) -> set[str]:
        """Parameters of the backbone that are trained without weight decay, beside norms and biases."""
        return {
            f"backbone.net.{prefix}{name}"
            for prefix, part in (("", self.backbone.net), ("model.", getattr(self.backbone.net, "model", None)))
            for name in (part.no_weight_decay() if hasattr(part, "no_weight_decay") else ())  # type: ignore[operator, union-attr]
        }

    def _at(self, scores: torch.Tensor, size: Pair) -> torch.Tensor:
        """Scores at the size of the image: of the padded image, cut back."""
        whole = F.interpolate(scores, padded(size, self.backbone.strides[-1]), mode="bilinear", align_corners=False)
        return whole[..., : size[0], : size[1]]


class Coarse(nn.Module):
    """A network that scores every pixel, applied as `Segmentor.coarse` says.

    Args:
        model: The network.
    """

    def __init__(self, model: Segmentor) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As `Segmentor.coarse`."""
        return self.model.coarse(images)


def segmentor_on(
    net: nn.Module, head: str, num_classes: int, *, width: float = 1.0, img_size: Size | None = None
) -> Segmentor:
    """A head on a network that gives maps, ours or timm's: its maps get norms where it is a Swin.

    Args:
        net: The network, as `acmix_nas.models.build_features` or timm's `features_only` makes it.
        head: Name of the head.
        num_classes: Classes.
        width: Factor on the channels of the head.
        img_size: Height and width in pixels that the network is built for.

    Raises:
        ArchError: The network has no four maps, each half as fine as the one before.
        AcmixError: There is no such head.
    """
    arch = getattr(getattr(net, "model", net), "arch", None)
    if isinstance(arch, Arch):
        norms = bool(getattr(registry.load("hosts", arch.host), "MAP_NORMS", False))
    else:
        norms = any(isinstance(part, SwinTransformerStage) for part in net.modules())
    return Segmentor(Backbone(net, norms=norms), head, num_classes, img_size, width)


def build_segmentor(
    network: Arch | str,
    *,
    head: str,
    num_classes: int,
    in_chans: int = 3,
    img_size: Size | None = None,
    drop_path_rate: float = 0.0,
) -> Segmentor:
    """A network with random weights that scores every pixel.

    Args:
        network: An arch, or the name of one of timm's networks.
        head: Name of the head.
        num_classes: Classes.
        in_chans: Channels of the images.
        img_size: Height and width in pixels that positions are learned for and windows are cut to; the network's usual
            size if None. Ours take images of any size all the same, and so do most of timm's.
        drop_path_rate: Stochastic depth of the backbone's last block.

    Raises:
        ArchError: The network has no maps at strides 4, 8, 16 and 32.
        UsageError: timm takes no features of the network, or not at this size.
        AcmixError: There is no such head.
    """
    options: dict[str, Any] = {"in_chans": in_chans, **({"drop_path_rate": drop_path_rate} if drop_path_rate else {})}
    if isinstance(network, Arch):
        options |= {"img_size": img_size, "class_token": False}
        net = build_features(network, feature_cls="getter", **options)
    else:
        net = timm_features(network, options, img_size)
    return segmentor_on(net, head, num_classes, img_size=img_size)


def padded(size: Pair, multiple: int = STRIDES[-1]) -> Pair:
    """(height, width) that an image is padded to."""
    height, width = ((side + multiple - 1) // multiple * multiple for side in size)  # which torch.export simplifies
    return height, width


def timm_features(name: str, options: dict[str, Any], img_size: Size | None) -> nn.Module:
    """A network of timm that gives maps, for images of any size, else for this one.

    Args:
        name: Its name there.
        options: Further arguments of `timm.create_model`.
        img_size: Height and width in pixels.

    Raises:
        UsageError: timm takes no features of it.
    """
    sizes: list[dict[str, Any]] = [{"strict_img_size": False}, {} if img_size is None else {"img_size": img_size}, {}]
    reason: Exception | None = None
    for size in sizes:
        try:
            net = timm.create_model(name, features_only=True, **options, **size)
        except TypeError as error:  # it knows no such argument
            reason = error
        except Exception as error:  # timm refuses in ways of its models' own
            reason = error
            break
        else:
            features: nn.Module = net
            return features
    raise UsageError(f"timm takes no features of {name}: {reason}. Take another network.") from reason


def _strides_of(strides: Sequence[int]) -> tuple[int, ...]:
    """The strides of the four maps that a head reads: the usual ones, or those of a network with smaller patches.

    Raises:
        ArchError: There are none.
    """
    if set(STRIDES) <= set(strides):
        return STRIDES
    last = tuple(sorted(set(strides))[-len(STRIDES) :])
    if last[0] >= STRIDES[0] or last != tuple(last[0] * 2**level for level in range(len(STRIDES))):
        raise ArchError(
            f"a dense head reads maps at strides {', '.join(map(str, STRIDES))}; this network has them at "
            f"{', '.join(map(str, strides))}. Take a network with four such stages."
        )
    return last
