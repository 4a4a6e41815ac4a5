"""Whether modules of the user's own fit: those that a space names are loaded, counted, built and run."""

import random
from collections.abc import Callable
from functools import partial

import torch

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.cost import count
from acmix_nas.errors import AcmixError, UsageError
from acmix_nas.models import build_model, mixing
from acmix_nas.plugins import is_plug_in
from acmix_nas.sizes import pair
from acmix_nas.space import Proxy, Space

CLASSES, CHANNELS, IMAGES = 5, 3, 2
DRAWS = 500


def check_space(space: Space) -> tuple[str, ...]:
    """Tries the modules of the user's own that a space names, on networks that hold every option of every choice.

    Each network is counted at full size, and built and run as each proxy has it.

    Args:
        space: The space.

    Returns:
        The modules; none where it names none.

    Raises:
        PluginError: One may not or cannot be imported, or does not offer what it must.
        UsageError: A network cannot be counted, built or run; the message says why.
    """
    names = [name for name in space.named if is_plug_in(name)]
    if not names:
        return ()
    archs = _covering(space)
    for arch in archs:
        for folder, name in _places(arch):
            registry.load(folder, name)
    for arch in archs:
        _try(names, "counted at full size", partial(count, arch, space.input_size))
        for proxy in space.proxies.values():
            _try(names, f"run as the proxy {proxy.name}", partial(_run, arch, proxy))
    return tuple(names)


def _covering(space: Space) -> list[Arch]:
    """A few networks that together hold every option of every choice."""
    chance, found = random.Random(0), list[Arch]()
    missing = {(choice.name, option) for choice in space.choices for option in choice.options}
    for _ in range(DRAWS):
        values = space.sample(lambda choice: chance.choice(choice.options))
        if missing & values.items():
            found.append(space.build(values))
            missing -= values.items()
    return found


def _places(arch: Arch) -> set[tuple[str, str]]:
    """The modules of a network: where they belong, and their names."""
    mixers = {("operators", mixer.operator) for mixer in arch.mixers}
    modes = {("operators.attention", mixer.attention) for mixer in arch.mixers if mixer.attention is not None}
    return {("hosts", arch.host), *mixers, *modes}


def _run(arch: Arch, proxy: Proxy) -> None:
    """Builds a proxy's network and passes images through it.

    Raises:
        UsageError: What comes out is no score for each class, or the network does not say which mixers it has.
    """
    model = build_model(
        proxy.shrink(arch),
        num_classes=CLASSES,
        in_chans=CHANNELS,
        img_size=proxy.input_size,
        patch_size=proxy.patch_size,
        width=proxy.width,
    )
    scores = model(torch.zeros(IMAGES, CHANNELS, *pair(proxy.input_size)))
    if tuple(scores.shape) != (IMAGES, CLASSES):
        raise UsageError(f"of {IMAGES} images and {CLASSES} classes the scores are {tuple(scores.shape)}")
    if len(mixing(model)) != sum(proxy.depths):
        raise UsageError(f"its mixers() are {len(mixing(model))}, the proxy has {sum(proxy.depths)} blocks")


def _try(names: list[str], what: str, run: Callable[[], object]) -> None:
    try:
        run()
    except Exception as error:  # modules of the user's own may raise anything
        said = str(error).rstrip(".") if isinstance(error, AcmixError) else f"{type(error).__name__}: {error}"
        raise UsageError(f"a network with {', '.join(names)} cannot be {what}: {said}.") from error
