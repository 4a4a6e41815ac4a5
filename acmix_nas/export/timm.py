"""Format `timm`: a folder that `timm.create_model("local-dir:FOLDER")` builds the network from, to be trained further.

timm builds it from the package, so the folder holds the training form; what is merged no longer has its parameters.
"""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors.torch import save_file
from torch import nn

from acmix_nas import registry
from acmix_nas.arch import Arch
from acmix_nas.errors import UsageError
from acmix_nas.export._check import ExportError, Outputs, Written, export_errors, largest_difference
from acmix_nas.export._network import Settings, arch_of, head_of
from acmix_nas.hosts import options_of
from acmix_nas.models import named_arch, named_model
from acmix_nas.operators.merging import stored
from acmix_nas.sizes import pair

FORMS = ("train",)


def write(model: nn.Module, path: Path, settings: Settings) -> Written:
    """Writes config.json and model.safetensors, and builds the network from them.

    Raises:
        UsageError: Only maps are asked for: timm cuts a whole network itself.
        ExportError: What timm builds has other weights.
    """
    if settings.features_only:
        raise UsageError(
            "a timm folder holds the whole network; leave --features-only out, and call timm.create_model with "
            "features_only=True."
        )
    if head_of(model) is not None:
        raise UsageError("timm builds no networks that score every pixel; take the format onnx or torch.")
    path.mkdir()
    model = stored(model)
    config = _config(model)
    (path / "config.json").write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
    weights = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(weights, path / "model.safetensors")
    channels = config["pretrained_cfg"]["input_size"][0]
    return Written(
        path=path,
        format="timm",
        form=settings.form,
        size=sum(file.stat().st_size for file in path.iterdir()),
        inputs={"images": ["batch", channels, "height", "width"]},
        outputs={"logits": ["batch", config["num_classes"]]},
        dynamic_size=True,
        fixed_by=(),
        least=1,
        checked=settings.images(),
        difference=_difference(model, path, settings),
        facts={"timm": timm.__version__, "architecture": config["architecture"]},
    )


def _config(model: nn.Module) -> dict[str, Any]:
    """The config.json of timm: the named model that it starts from, its arguments, and its images."""
    arch = arch_of(model)
    name = _base(arch)
    options = options_of(model)
    sizes = {name: getattr(options, name) for name in ("in_chans", "img_size", "patch_size", "width")}
    arguments = {name: value for name, value in sizes.items() if value is not None}
    if arch != named_arch(name):
        arguments["arch"] = arch.to_dict()
    images = dict(named_model(name).cfg)
    size = pair(options.img_size or images["input_size"][1:])
    images |= {"input_size": [options.in_chans, *size], "num_classes": options.num_classes, "pool_size": None}
    return {
        "architecture": name,
        "num_classes": options.num_classes,
        "num_features": model.num_features,
        "model_args": arguments,
        "pretrained_cfg": images,
    }


def _base(arch: Arch) -> str:
    """A name of timm's for a network of this host: its own, or one that takes an arch."""
    if arch.host not in registry.names("hosts"):
        raise UsageError(f"timm knows the hosts {', '.join(registry.names('hosts'))} by name; this one is {arch.host}.")
    names: list[str] = list(registry.load("hosts", arch.host).MODELS)
    return next((name for name in names if named_arch(name) == arch), names[0])


def _difference(model: nn.Module, path: Path, settings: Settings) -> float:
    with export_errors("timm does not build the network again"):
        built = timm.create_model(f"local-dir:{path}", pretrained=True).eval()
    again, given = built.state_dict(), model.state_dict()
    for name, value in given.items():
        if name not in again or not torch.equal(again[name], value.cpu()):
            raise ExportError(f"the network that timm builds has another {name}.")

    def outputs(images: torch.Tensor) -> Outputs:
        with torch.no_grad():
            return {"logits": built(images)}

    return largest_difference(model, settings, outputs)
