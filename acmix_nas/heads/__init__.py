"""Heads for dense tasks: from the maps of a backbone to scores for every pixel.

Each public file here is a head named by its file. It offers

    build(channels, num_classes, width=1.0) -> torch.nn.Module
    count(channels, maps, num_classes) -> Iterator[acmix_nas.parts.Part]: its parts for one image

`channels` are those of the four maps at strides 4, 8, 16 and 32, `maps` their (height, width). The module takes the
maps as a list, (B, channels[i], *maps[i]), and returns scores (B, num_classes, *maps[0]). In training it may return a
pair, the second being scores of an auxiliary head at another stride. `width` is a factor on its own channels, for
proxies; a head without the argument keeps its channels there. The `stage` of a part is "neck", "head" or
"auxiliary head"; the last runs in training only, so it has parameters and no multiply-adds.
"""

from torch import nn

NARROWEST = 8
"""Fewest channels of a layer, however narrow a proxy is."""
FIRST_SCORES = 0.01
"""Standard deviation of the weights of a last layer."""
DROPOUT = 0.1
"""Share of a head's features that are dropped, by channel, before its last layer."""


def convolution(inputs: int, outputs: int, kernel_size: int) -> nn.Sequential:
    """A convolution without bias, batch norm, ReLU: (B, inputs, h, w) -> (B, outputs, h, w)."""
    layer = nn.Conv2d(inputs, outputs, kernel_size, padding=kernel_size // 2, bias=False)
    return nn.Sequential(layer, nn.BatchNorm2d(outputs), nn.ReLU(inplace=True))


def narrowed(channels: int, width: float) -> int:
    """Channels at a factor on the width."""
    return max(NARROWEST, round(channels * width))


def init_head(module: nn.Module, *classifiers: nn.Conv2d) -> None:
    """Draws the convolutions of a head: He et al. 2015, for outputs of a ReLU; biases are 0.

    Args:
        module: The head.
        classifiers: Its last layers, whose first scores are near 0: standard deviation 0.01.
    """
    for part in module.modules():
        if isinstance(part, nn.Conv2d):
            if any(part is last for last in classifiers):
                nn.init.normal_(part.weight, std=FIRST_SCORES)
            else:
                nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
            if part.bias is not None:
                nn.init.zeros_(part.bias)
