"""Which values build an operator; each raises `ArchError` with the rule, the value and what may stand there."""

from acmix_nas.arch import CONV_IMPL, CONV_INIT
from acmix_nas.errors import ArchError


def check_extents(**extents: object) -> None:
    """Every extent is a whole number from 1 up."""
    for name, value in extents.items():
        if type(value) is not int or value < 1:
            raise ArchError(f"{name} is a whole number from 1 up; it is {value!r}.")


def check_heads(out_channels: int, num_heads: int) -> None:
    """Heads share the channels evenly."""
    if out_channels % num_heads:
        fits = [n for n in range(1, out_channels + 1) if out_channels % n == 0]
        near = sorted(sorted(fits, key=lambda n: abs(n - num_heads))[:3])
        raise ArchError(
            f"num_heads divides out_channels; {num_heads} does not divide {out_channels}. "
            f"Take {', '.join(map(str, near))}, or other channels."
        )


def check_convolution(conv_kernel: int, conv_impl: str, conv_init: str) -> None:
    """The kernel has a middle, and its implementation and start have known names."""
    check_extents(conv_kernel=conv_kernel)
    if conv_kernel % 2 == 0:
        raise ArchError(f"conv_kernel is odd; it is {conv_kernel}. Take {conv_kernel - 1} or {conv_kernel + 1}.")
    check_option("conv_impl", conv_impl, CONV_IMPL)
    check_option("conv_init", conv_init, CONV_INIT)


def check_option(name: str, value: object, options: tuple[str, ...]) -> None:
    """The value is one of the options."""
    if value not in options:
        raise ArchError(f"{name} is one of {', '.join(options)}; it is {value!r}.")


def check_head_width(keys: int, channels: int, num_heads: int) -> None:
    """The convolution path can cut q, k and v into maps of one depth.

    Args:
        keys: Channels of q and k.
        channels: Channels of v.
        num_heads: Heads that q and k are cut into.

    Raises:
        ArchError: It cannot.
    """
    if keys % num_heads or channels % (keys // num_heads):
        raise ArchError(
            f"num_heads divides the {keys} channels of q and k, and the head width the {channels} of v; "
            f"it is {num_heads}."
        )
