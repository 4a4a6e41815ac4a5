"""The networks that a command names: timm names, files of an arch, rows of an ablation table."""

from pathlib import Path
from typing import TYPE_CHECKING

from acmix_nas.errors import UsageError

if TYPE_CHECKING:
    from acmix_nas.cost.network import Network


def find_network(name: str) -> "Network":
    """The network of a timm name, ours or timm's own, or of the path of a best.yaml.

    Raises:
        UsageError: There is no such model; the message has names like it.
    """
    from acmix_nas.cost.network import Network
    from acmix_nas.space.arch_file import load_arch

    path = Path(name)
    if path.suffix in (".yaml", ".yml") or path.is_file():
        named = path.stem if path.stem != "best" else f"{path.resolve().parent.name}/best"
        return Network(name=named, arch=load_arch(path))
    import timm

    from acmix_nas.models import model_names, named_arch

    if name in model_names():
        return Network(name=name, arch=named_arch(name))
    if timm.is_model(name):
        return Network(name=name)
    raise _unknown(name)


def ablation_networks(name_or_path: str) -> tuple[list["Network"], int, int, str]:
    """The rows of an ablation table, the place of the baseline, the extent of the images in pixels, the summary."""
    from acmix_nas.ablate import load_ablation
    from acmix_nas.cost.network import Network

    table = load_ablation(name_or_path)
    networks = [Network(name=name, arch=arch) for name, arch in table.rows.items()]
    return networks, list(table.rows).index(table.baseline), table.space.input_size, table.summary


def _unknown(name: str) -> UsageError:
    from difflib import get_close_matches

    import timm

    close = get_close_matches(name, timm.list_models(), n=4, cutoff=0.5)
    hint = f"did you mean {', '.join(close)}?" if close else "`acmix models` lists ours."
    return UsageError(f"there is no model {name!r}; {hint} A file is given by its path, ending in .yaml.")
