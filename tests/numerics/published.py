"""ACmix as it was published, in the layout and with the names of its checkpoints: the oracle of `load_reference`.

Written from the formulas alone, step by step, in plain torch on maps (B, C, H, W); nothing of the package is used.
"""

import torch
import torch.nn.functional as F
from torch import nn


def convolve(q_BNDP, k_BNDP, v_BNDP, size, fc, dep_conv, head_dim):
    """The light layer mixes the stacked 3N maps of every depth; its maps are convolved, a group for each depth."""
    stacked_BMDP = torch.cat((q_BNDP, k_BNDP, v_BNDP), 1)
    mixed_BKDP = fc(stacked_BMDP)
    maps = mixed_BKDP.permute(0, 2, 1, 3).reshape(len(mixed_BKDP), -1, *size)
    assert dep_conv.groups == head_dim
    return dep_conv(maps)


class Operator(nn.Module):
    """Local attention and convolution over q, k, v = conv1, conv2, conv3 of x."""

    def __init__(self, in_planes, out_planes, heads=4, kernel_att=7, kernel_conv=3, stride=1):
        super().__init__()
        self.heads, self.kernel_att, self.stride = heads, kernel_att, stride
        self.head_dim = out_planes // heads
        self.rate1 = nn.Parameter(torch.full((1,), 0.5))
        self.rate2 = nn.Parameter(torch.full((1,), 0.5))
        self.conv1 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv2 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv3 = nn.Conv2d(in_planes, out_planes, 1)
        self.conv_p = nn.Conv2d(2, self.head_dim, 1)
        self.fc = nn.Conv2d(3 * heads, kernel_conv**2, 1, bias=False)
        around = {"stride": stride, "padding": kernel_conv // 2, "groups": self.head_dim, "bias": False}
        self.dep_conv = nn.Conv2d(kernel_conv**2 * self.head_dim, out_planes, kernel_conv, **around)

    def forward(self, x):
        q, k, v = self.conv1(x), self.conv2(x), self.conv3(x)
        pieces = (part.reshape(len(x), self.heads, self.head_dim, -1) for part in (q, k, v))
        conv = convolve(*pieces, x.shape[2:], self.fc, self.dep_conv, self.head_dim)
        return self.rate1 * self.attend(q, k, v) + self.rate2 * conv

    def attend(self, q, k, v):
        batch, _, height, width = q.shape
        columns = torch.linspace(-1, 1, width).expand(height, width)
        rows = torch.linspace(-1, 1, height)[:, None].expand(height, width)
        pe = self.conv_p(torch.stack((columns, rows))[None])
        q = q.reshape(batch * self.heads, self.head_dim, height, width) * self.head_dim**-0.5
        q_att = q[:, :, :: self.stride, :: self.stride]
        q_pe = pe[:, :, :: self.stride, :: self.stride]
        size = q_att.shape[2:]
        unfold_k, unfold_v = (self.unfold(part.reshape(q.shape), size) for part in (k, v))
        difference = q_pe[:, :, None] - self.unfold(pe, size)
        weights = (q_att[:, :, None] * (unfold_k + difference)).sum(1).softmax(1)
        return (weights[:, None] * unfold_v).sum(2).reshape(batch, -1, *size)

    def unfold(self, x, size):
        """(B, D, K, h, w): the window of each query, reflected at the borders."""
        margin = self.kernel_att // 2
        padded = F.pad(x, (margin,) * 4, mode="reflect")
        windows = F.unfold(padded, self.kernel_att, stride=self.stride)
        return windows.reshape(len(x), -1, self.kernel_att**2, *size)


class Bottleneck(nn.Module):
    def __init__(self, inputs, planes, stride, options):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = Operator(planes, planes, stride=stride, **options)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, 4 * planes, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = None
        if stride > 1 or inputs != 4 * planes:
            skip = nn.Conv2d(inputs, 4 * planes, 1, stride, bias=False)
            self.downsample = nn.Sequential(skip, nn.BatchNorm2d(4 * planes))

    def forward(self, x):
        y = self.bn1(self.conv1(x)).relu()
        y = self.bn2(self.conv2(y)).relu()
        y = self.bn3(self.conv3(y))
        return (y + (x if self.downsample is None else self.downsample(x))).relu()


class ResNet(nn.Module):
    """A bottleneck ResNet with torchvision's names; `planes` and `depths` of its stages."""

    def __init__(self, planes, depths, num_classes, **options):
        super().__init__()
        self.conv1 = nn.Conv2d(3, planes[0], 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        inputs = planes[0]
        for i, (width, depth) in enumerate(zip(planes, depths, strict=True)):
            blocks = []
            for j in range(depth):
                blocks.append(Bottleneck(inputs, width, 2 if i and not j else 1, options))
                inputs = 4 * width
            self.add_module(f"layer{i + 1}", nn.Sequential(*blocks))
        self.stages = len(depths)
        self.fc = nn.Linear(inputs, num_classes)

    def forward(self, x):
        x = F.max_pool2d(self.bn1(self.conv1(x)).relu(), 3, 2, 1)
        for i in range(self.stages):
            x = getattr(self, f"layer{i + 1}")(x)
        return self.fc(x.mean((2, 3)))


class WindowAttention(nn.Module):
    """Window attention with proj, and the convolution of the same q, k, v, on a map (B, H, W, C) that may be rolled."""

    def __init__(self, dim, heads, window, kernel_conv=3):
        super().__init__()
        self.heads, self.window, self.head_dim = heads, window, dim // heads
        self.relative_position_bias_table = nn.Parameter(torch.randn((2 * window - 1) ** 2, heads))
        axis = torch.arange(window)
        places = torch.stack(torch.meshgrid(axis, axis, indexing="ij")).flatten(1)
        rows, columns = places[:, :, None] - places[:, None, :] + window - 1
        self.register_buffer("relative_position_index", rows * (2 * window - 1) + columns)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.fc = nn.Conv2d(3 * heads, kernel_conv**2, 1)
        around = {"padding": kernel_conv // 2, "groups": self.head_dim, "bias": False}
        self.dep_conv = nn.Conv2d(kernel_conv**2 * self.head_dim, dim, kernel_conv, **around)
        self.rate1 = nn.Parameter(torch.full((1,), 0.5))
        self.rate2 = nn.Parameter(torch.full((1,), 0.5))

    def forward(self, x, mask=None):
        batch, height, width, dim = x.shape
        qkv = self.qkv(x).reshape(batch, height, width, 3, self.heads, self.head_dim)
        pieces = (part.reshape(batch, -1, self.heads, self.head_dim).permute(0, 2, 3, 1) for part in qkv.unbind(3))
        conv = convolve(*pieces, (height, width), self.fc, self.dep_conv, self.head_dim).permute(0, 2, 3, 1)
        windows = [self.partition(part.reshape(x.shape)) for part in qkv.unbind(3)]
        q, k, v = (part.reshape(*part.shape[:2], self.heads, self.head_dim).transpose(1, 2) for part in windows)
        bias = self.relative_position_bias_table[self.relative_position_index.flatten()]
        logits = (q * self.head_dim**-0.5) @ k.transpose(2, 3)
        logits = logits + bias.reshape(self.window**2, self.window**2, self.heads).permute(2, 0, 1)
        if mask is not None:
            logits = logits + mask.repeat(batch, 1, 1)[:, None]
        att = (logits.softmax(-1) @ v).transpose(1, 2).reshape(-1, self.window, self.window, dim)
        att = att.reshape(batch, height // self.window, width // self.window, self.window, self.window, dim)
        att = att.transpose(2, 3).reshape(x.shape)
        return self.rate1 * self.proj(att) + self.rate2 * conv

    def partition(self, x):
        """(B, H, W, C) -> (B * windows, window ** 2, C)."""
        batch, height, width, dim = x.shape
        x = x.reshape(batch, height // self.window, self.window, width // self.window, self.window, dim)
        return x.transpose(2, 3).reshape(-1, self.window**2, dim)


class SwinBlock(nn.Module):
    def __init__(self, dim, heads, window, size, shifted):
        super().__init__()
        self.shift = window // 2 if shifted and size > window else 0
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, heads, window)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = nn.Sequential()
        self.mlp.add_module("fc1", nn.Linear(dim, 4 * dim))
        self.mlp.add_module("act", nn.GELU())
        self.mlp.add_module("fc2", nn.Linear(4 * dim, dim))
        self.register_buffer("attn_mask", self.mask(size, window) if self.shift else None)

    def mask(self, size, window):
        """-100 between pixels of a window that come from opposite edges of the image."""
        region = torch.zeros(size, size)
        cuts = (slice(0, -window), slice(-window, -self.shift), slice(-self.shift, None))
        for number, (rows, columns) in enumerate((rows, columns) for rows in cuts for columns in cuts):
            region[rows, columns] = number
        region = self.attn.partition(region[None, :, :, None]).squeeze(-1)
        return torch.where(region[:, None, :] != region[:, :, None], -100.0, 0.0)

    def forward(self, x):
        y = torch.roll(self.norm1(x), (-self.shift, -self.shift), (1, 2))
        y = torch.roll(self.attn(y, self.attn_mask), (self.shift, self.shift), (1, 2))
        x = x + y
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, x):
        corners = [x[:, 0::2, 0::2], x[:, 1::2, 0::2], x[:, 0::2, 1::2], x[:, 1::2, 1::2]]
        return self.reduction(self.norm(torch.cat(corners, -1)))


class SwinStage(nn.Module):
    def __init__(self, dim, depth, heads, window, size, last):
        super().__init__()
        self.blocks = nn.Sequential(*(SwinBlock(dim, heads, window, size, j % 2 == 1) for j in range(depth)))
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x):
        x = self.blocks(x)
        return x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """A Swin Transformer with the names of microsoft/Swin-Transformer, for images of img_size x img_size."""

    def __init__(self, dim, depths, heads, window, img_size, num_classes):
        super().__init__()
        self.patch_embed = nn.Module()
        self.patch_embed.proj = nn.Conv2d(3, dim, 4, 4)
        self.patch_embed.norm = nn.LayerNorm(dim)
        size, last = img_size // 4, len(depths) - 1
        stages = []
        for i, depth in enumerate(depths):
            stages.append(SwinStage(dim * 2**i, depth, heads[i], window, size // 2**i, i == last))
        self.layers = nn.Sequential(*stages)
        self.norm = nn.LayerNorm(dim * 2**last)
        self.head = nn.Linear(dim * 2**last, num_classes)

    def forward(self, x):
        x = self.patch_embed.norm(self.patch_embed.proj(x).permute(0, 2, 3, 1))
        return self.head(self.norm(self.layers(x)).mean((1, 2)))
