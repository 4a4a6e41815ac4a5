"""Format `onnx`: one .onnx file, checked with onnxruntime."""

import json
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acmix_nas.errors import AcmixError
from acmix_nas.export import _program
from acmix_nas.export._check import Outputs, Written, export_errors, largest_difference
from acmix_nas.export._network import Settings, output_names

FORMS = ("merged", "train", "paper")
NEEDED = ("onnx", "onnxruntime", "onnxscript")


def write(model: nn.Module, path: Path, settings: Settings) -> Written:
    """Writes the file, checks it, and runs it.

    Raises:
        AcmixError: The extra `export` is not installed.
        ExportError: onnx finds the file wrong.
    """
    _check_installed()
    names = output_names(model, settings)
    _translate(_program.captured(model, settings), path, names, settings)
    _describe(path, settings)
    graph = _checked(path)
    return Written(
        path=path,
        format="onnx",
        form=settings.form,
        size=path.stat().st_size,
        inputs={value.name: _shape(value) for value in graph.graph.input},
        outputs={value.name: _shape(value) for value in graph.graph.output},
        dynamic_size=settings.dynamic,
        fixed_by=settings.fixed_by,
        least=settings.least,
        checked=settings.images(),
        difference=largest_difference(model, settings, _runner(path, names)),
        facts=_facts(graph),
    )


def _check_installed() -> None:
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise AcmixError(
            f"ONNX files are written with {', '.join(NEEDED)}; {', '.join(missing)} is not installed: "
            "pip install 'acmix-nas[export]'."
        )


def _translate(program: torch.export.ExportedProgram, path: Path, names: list[str], settings: Settings) -> None:
    with export_errors("torch.onnx does not translate the network"), warnings.catch_warnings():
        # Constants are computed beforehand, and the mask of local attention has log 0.
        warnings.filterwarnings("ignore", "divide by zero encountered in log", RuntimeWarning)
        translated = torch.onnx.export(
            program,
            input_names=["images"],
            output_names=names,
            dynamic_shapes=(_program.axes(settings),),
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        assert translated is not None
        translated.save(path, external_data=False)


def _describe(path: Path, settings: Settings) -> None:
    """Writes what the file says of itself into its metadata, each value as JSON."""
    import onnx

    if settings.described:
        graph = onnx.load(path)
        onnx.helper.set_model_props(graph, {name: json.dumps(value) for name, value in settings.described.items()})
        onnx.save(graph, path)


def _checked(path: Path) -> Any:
    import onnx

    graph = onnx.load(path)
    with export_errors("onnx rejects the file"):
        onnx.checker.check_model(graph, full_check=True)
    return graph


def _runner(path: Path, names: list[str]) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def outputs(images: torch.Tensor) -> Outputs:
        found = session.run(names, {"images": images.numpy()})
        return {name: torch.from_numpy(values) for name, values in zip(names, found, strict=True)}

    return outputs


def _shape(value: Any) -> list[int | str]:
    return [axis.dim_param or axis.dim_value for axis in value.type.tensor_type.shape.dim]


def _facts(graph: Any) -> dict[str, Any]:
    import onnxruntime

    (opset,) = [entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")]
    return {"opset": opset, "nodes": len(graph.graph.node), "onnxruntime": onnxruntime.__version__}
