"""Whether a network may be scored: one whose weights or outputs are no numbers gets the accuracy of a guess."""

import torch
from torch import nn

from acmix_nas.errors import AcmixError


class NotFiniteError(AcmixError):
    """Weights or outputs of a network hold NaN or infinity."""


def check_weights(network: nn.Module) -> None:
    """Refuses a network with a parameter that is not finite, or a buffer with NaN: a mask may hold infinity.

    Raises:
        NotFiniteError: The message names the first of them.
    """
    whole = {name: value.isfinite().all() for name, value in network.named_parameters()}
    whole |= {name: ~value.isnan().any() for name, value in network.named_buffers()}
    if not whole:
        return
    flags = torch.stack([flag.reshape(()) for flag in whole.values()]).tolist()  # one wait for a GPU
    wrong = [name for name, flag in zip(whole, flags, strict=True) if not flag]
    if wrong:
        raise NotFiniteError(
            f"{len(wrong)} of {len(whole)} tensors of the weights hold NaN or infinity, the first is {wrong[0]}; a "
            "score of them says nothing. Take another checkpoint, or train with a smaller learning rate."
        )


def check_outputs(wrong: int, images: int) -> None:
    """Refuses a score where outputs were NaN.

    Args:
        wrong: Images whose outputs hold NaN.
        images: Images in all.

    Raises:
        NotFiniteError: There are such images.
    """
    if wrong:
        raise NotFiniteError(
            f"the network's outputs hold NaN for {wrong:,} of {images:,} images; a score of them says nothing. "
            "Its values leave the range of the precision: score it in fp32, or train with a smaller learning rate."
        )
