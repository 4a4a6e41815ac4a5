"""Host `swin`: Swin Transformer v1 (Liu et al. 2021, arXiv 2103.14030) on timm's parts.

With `combine="att"` in every block it is timm's Swin. Maps are channels-last tensors (B, H, W, C) between blocks.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from timm.layers.classifier import ClassifierHead
from timm.layers.drop import calculate_drop_path_rates
from timm.layers.helpers import to_2tuple
from timm.models import named_apply
from timm.models._input import update_model_input_size
from timm.models.swin_transformer import SwinTransformer
from torch import nn

from acmix_nas.arch import Arch, Mixer
from acmix_nas.errors import ArchError
from acmix_nas.hosts import UNDECAYED, HostOptions, NamedModel
from acmix_nas.hosts._swin_blocks import Block, MakeMixer, Stage
from acmix_nas.hosts._swin_count import PATCH_SIZE, dims_of, map_sizes
from acmix_nas.hosts._swin_count import count as count
from acmix_nas.hosts.layers import init_transformer, patches
from acmix_nas.sizes import Size

IMG_SIZE = 224
HEADS = (3, 6, 12, 24)

FEATURES = {"flatten_sequential": True, "out_indices": (0, 1, 2, 3)}


class Swin(SwinTransformer):
    """Swin Transformer with a mixer of its own in every block: x + mixer(norm(x)), then x + MLP(norm(x)).

    What it shares with timm's model it inherits; only the construction of the blocks differs. Attention windows are
    clamped to the maps of `img_size`; images of any other size are padded at run time.

    Args:
        arch: The network.
        make_mixer: Builds a block's mixing module.
        options: `img_size` is 224 if None; `patch_size` is the paper's if None.
    """

    arch: Arch
    patch_embed: Any
    layers: Any
    head: Any

    def __init__(self, arch: Arch, make_mixer: MakeMixer, options: HostOptions) -> None:
        nn.Module.__init__(self)
        img_size, patch_size = options.img_size or IMG_SIZE, options.patch_size or PATCH_SIZE
        dims = dims_of(arch, options.width)
        self.arch = arch
        self.width = options.width
        self.in_chans = options.in_chans
        self.embed_dim = dims[0]
        self.dynamic_img_size = True
        self.output_fmt = "NHWC"
        self.patch_embed = patches(
            options.in_chans,
            dims[0],
            img_size=to_2tuple(img_size),
            patch_size=to_2tuple(patch_size),
            norm_layer=nn.LayerNorm,
        )
        self._note_sizes()
        self._build_stages(make_mixer, dims, options.drop_path_rate)
        self._build_head(dims[-1], options.num_classes, options.global_pool, options.drop_rate)
        self.init_weights(needs_reset=False)

    def _note_sizes(self) -> None:
        self.img_size, self.patch_size = self.patch_embed.img_size, self.patch_embed.patch_size

    def _build_stages(self, make_mixer: MakeMixer, dims: list[int], drop_path_rate: float) -> None:
        maps = map_sizes(self.patch_embed.img_size, self.patch_embed.patch_size, len(dims))
        rates: Any = calculate_drop_path_rates(drop_path_rate, list(self.arch.depths), stagewise=True)
        reduction = max(self.patch_embed.patch_size)
        self.num_layers = len(dims)
        self.layers = nn.Sequential(
            *(
                Stage(self.arch, i, make_mixer, dims=(dims[max(i - 1, 0)], dim), map_size=maps[i], drop_path=rates[i])
                for i, dim in enumerate(dims)
            )
        )
        self.feature_info = [
            {"num_chs": dim, "reduction": reduction * 2**i, "module": f"layers.{i}"} for i, dim in enumerate(dims)
        ]
        # timm's prune_intermediate_layers cuts this list together with the stages
        self._ref_window_sizes: Any = maps

    def _build_head(self, dim: int, num_classes: int, global_pool: str, drop_rate: float) -> None:
        self.num_classes = num_classes
        self.num_features = dim
        self.global_pool = global_pool
        self.norm = nn.LayerNorm(dim)
        self.head = ClassifierHead(dim, num_classes, global_pool, drop_rate, input_fmt=self.output_fmt)
        self.head_hidden_size = self.head.num_features

    def init_weights(self, mode: str = "", needs_reset: bool = True) -> None:
        """Draws the weights as timm's Swin; the mixers' own layers come last and are set by themselves.

        Args:
            mode: Only timm's default "" is known.
            needs_reset: Whether layers that know their own start values draw them again, as after `to_empty`.
        """
        if mode:
            raise ArchError(f"weight initialisation of Swin has no mode {mode!r}; leave it empty.")
        named_apply(partial(init_transformer, needs_reset=needs_reset), self)

    def mixers(self) -> list[nn.Module]:
        """The mixing modules of all blocks, first to last."""
        return [module.attn for module in self.layers.modules() if isinstance(module, Block)]

    def no_weight_decay(self) -> set[str]:
        """Names of parameters without weight decay: the weights of the paths and the position biases."""
        return {name for name, _ in self.named_parameters() if name.rpartition(".")[2] in UNDECAYED}

    def set_input_size(
        self,
        img_size: Size | None = None,
        patch_size: Size | None = None,
        window_size: object = None,
        window_ratio: object = None,
        always_partition: object = None,
    ) -> None:
        """Fits the model to another image; windows stay those of the arch, clamped to the new maps.

        Args:
            img_size: Height and width in pixels; as it is if None.
            patch_size: Extent of a patch in pixels; as it is if None.
            window_size: None; timm's argument, but windows are the arch's.
            window_ratio: None, likewise.
            always_partition: None, likewise.

        Raises:
            ArchError: Windows are given.
        """
        if (window_size, window_ratio, always_partition) != (None, None, None):
            raise ArchError("windows are attn_kernel of the arch's mixers; change the arch, and build it again.")
        img_size = None if img_size is None else to_2tuple(img_size)
        patch_size = None if patch_size is None else to_2tuple(patch_size)
        self.patch_embed.set_input_size(img_size=img_size, patch_size=patch_size)
        self._note_sizes()
        for i, info in enumerate(self.feature_info):
            info["reduction"] = max(self.patch_embed.patch_size) * 2**i
        maps = map_sizes(self.patch_embed.img_size, self.patch_embed.patch_size, len(self.layers))
        for stage, map_size in zip(self.layers, maps, strict=True):
            stage.set_input_size(map_size)
        update_model_input_size(self, self.patch_embed.img_size, patch_size=patch_size)


build = Swin


def _arch(*, depths: Sequence[int]) -> Arch:
    """The paper's setting: window 7, kernel 3, `full` kernels that start as shifts, both weights learned."""
    mixers = [
        Mixer(
            attention="window",
            attn_kernel=7,
            conv_kernel=3,
            num_heads=heads,
            conv_impl="full",
            conv_init="shift",
            combine="learned",
        )
        for heads in HEADS
    ]
    stages = tuple((mixer,) * depth for mixer, depth in zip(mixers, depths, strict=True))
    return Arch(host="swin", stages=stages, conv_on="rolled")


CFG: dict[str, Any] = {"first_conv": "patch_embed.proj", "classifier": "head.fc", "crop_pct": 0.9}
"""Of timm's default_cfg."""

MODELS = {
    "acmix_swin_tiny_patch4_window7_224": NamedModel.of(
        "Swin-T with ACmix in every block", partial(_arch, depths=(2, 2, 6, 2)), 0.2, **CFG
    ),
    "acmix_swin_small_patch4_window7_224": NamedModel.of(
        "Swin-S with ACmix in every block", partial(_arch, depths=(2, 2, 18, 2)), 0.3, **CFG
    ),
}
