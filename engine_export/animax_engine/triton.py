"""A model folder as a Triton Inference Server model repository: the denoiser's step, the text encoder, a video VAE.

DIR/<model>_denoiser/config.pbtxt, 1/model.onnx
DIR/<model>_text/config.pbtxt, 1/model.onnx
DIR/<model>_<graph>/config.pbtxt, 1/model.onnx    of a VAE, where the model has one
DIR/README.md
"""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx
from onnx import TensorProto

from animax.diffusion.engine import largest_batch
from animax.diffusion.manifest import read_manifest
from animax.diffusion.text import MODEL_FOLDER as TEXT_FOLDER
from animax.errors import ModelError

TYPES = {
    TensorProto.FLOAT: "TYPE_FP32",
    TensorProto.FLOAT16: "TYPE_FP16",
    TensorProto.BFLOAT16: "TYPE_BF16",
    TensorProto.INT32: "TYPE_INT32",
    TensorProto.INT64: "TYPE_INT64",
}
QUEUE_MICROSECONDS = 500
"""How long Triton may hold a step back for others to join: little against a step's own milliseconds."""
README = """\
# {name}: a Triton model repository

    docker run --rm --gpus all -p 8000:8000 -p 8001:8001 -p 8002:8002 \\
        -v "$PWD":/models nvcr.io/nvidia/tritonserver:25.06-py3 tritonserver --model-repository=/models

Without a GPU, leave `--gpus all` out. `curl localhost:8000/v2/models/{name}_denoiser/ready` answers 200 once it is
loaded.

- `{name}_denoiser`: one denoising step. Each sample of a batch has noise levels (`sigma`) of its own, so Triton may
  batch the steps of any requests. Inputs and outputs are those of `VideoPoseTransformer.forward`; the sampling loop,
  guidance and everything before and after are the client's (`animax.diffusion.sampler`).
- `{name}_text`: word pieces to states. Texts are run one by one, as they may differ in length. The tokenizer of a model
  that has its own lies beside.
- others, where there are any: the encoder and the decoder of the model's video VAE.

For TensorRT inside Triton's ONNX Runtime backend, add to the denoiser's config.pbtxt:

    optimization {{ execution_accelerators {{ gpu_execution_accelerator: [ {{ name: "tensorrt" }} ] }} }}
"""


def write_repository(model_folder: Path, repository: Path) -> None:
    """Write the repository of a model folder.

    Raises:
        ModelError: the model folder is incomplete, altered or of another version.
    """
    manifest = read_manifest(model_folder)
    manifest.verify(model_folder)
    text = [TEXT_FOLDER / "encoder.onnx"]
    for graph in manifest.graphs:
        files = [model_folder / name for name in manifest.files_of(graph)]
        if graph == manifest.file:
            most = largest_batch("cuda", large=manifest.video is not None)
            _write_model(repository / f"{manifest.name}_denoiser", files, most)
        elif manifest.prompt and graph == manifest.prompt.encoder:
            text = files
        else:
            _write_model(repository / f"{manifest.name}_{Path(graph).stem}", files)
    _write_model(repository / f"{manifest.name}_text", text)
    if manifest.prompt:
        name = manifest.prompt.tokenizer
        shutil.copyfile(model_folder / name, repository / f"{manifest.name}_text" / name)
    (repository / "README.md").write_text(README.format(name=manifest.name), encoding="utf-8")


def _write_model(folder: Path, files: list[Path], max_batch: int = 0) -> None:
    version = folder / "1"
    version.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(files[0], version / "model.onnx")
    for path in files[1:]:  # external weights, which the graph names
        shutil.copyfile(path, version / path.name)
    graph = onnx.load(files[0], load_external_data=False).graph
    (folder / "config.pbtxt").write_text(config(folder.name, graph, max_batch), encoding="utf-8")


def config(name: str, graph: onnx.GraphProto, max_batch: int = 0) -> str:
    """``config.pbtxt`` of a graph. Unless ``max_batch`` is 0, the first axis is left to Triton, which fills it from
    many requests, with so many samples at most.

    Raises:
        ModelError: an input or output is of a type that has no name in Triton.
    """
    weights = {weight.name for weight in graph.initializer}
    lines = [f'name: "{name}"', 'backend: "onnxruntime"', f"max_batch_size: {max_batch}"]
    for kind, values in (("input", graph.input), ("output", graph.output)):
        for value in values:
            if value.name in weights:
                continue
            tensor = value.type.tensor_type
            if tensor.elem_type not in TYPES:
                kind = TensorProto.DataType.Name(tensor.elem_type)
                raise ModelError(f"{value.name} of {name} is of type {kind}; accepted: {', '.join(TYPES.values())}")
            dims = [dim.dim_value or -1 for dim in tensor.shape.dim][1 if max_batch else 0 :]
            described = f'name: "{value.name}" data_type: {TYPES[tensor.elem_type]} dims: {dims}'
            lines.append(f"{kind} {{ {described} }}")
    if max_batch > 1:
        lines.append(
            f"dynamic_batching {{ preferred_batch_size: [ {max_batch // 2}, {max_batch} ] "
            f"max_queue_delay_microseconds: {QUEUE_MICROSECONDS} }}"
        )
    lines.append("instance_group { count: 1 kind: KIND_AUTO }")
    lines.append("version_policy { latest { num_versions: 1 } }")
    return "\n".join(lines) + "\n"
