"""Export: a checkpoint's averaged weights as an ONNX model folder that ``animax.diffusion.model`` loads."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from animax.diffusion.engine import INPUTS, OUTPUTS, OnnxDenoiser
from animax.diffusion.manifest import FORMAT, MANIFEST, VIEWS, file_entry
from animax.diffusion.text import TextEncoder
from animax_engine.dataset.bank import FPS
from animax_engine.network import NetworkConfig, VideoPoseTransformer

OPSET = 20
HALF_FROM = 4096
"""Least size of a weight that is stored in half precision."""


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say otherwise."""

    steps: int = 12
    guidance: float = 4.0
    shift: float = 12.0


class Wrapped(nn.Module):
    """The network with the outputs in the order of ``OUTPUTS``."""

    def __init__(self, network: VideoPoseTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs in the order of ``INPUTS``."""
        rgb, pose = self.network(*inputs)
        assert rgb is not None
        return rgb, pose


def read_network(path: Path) -> tuple[VideoPoseTransformer, int]:
    """The averaged weights of a checkpoint, or a model folder's, in evaluation mode; and the frames of its windows."""
    state = read_checkpoint(path) if path.is_dir() else torch.load(path, map_location="cpu", weights_only=True)
    network = VideoPoseTransformer(NetworkConfig.from_dict(state["network"]))
    network.load_state_dict(state["averaged"])
    return network.eval().requires_grad_(False), int(state["frames"])


def example_inputs(config: NetworkConfig, frames: int, batch: int, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    """Random inputs of the right shapes."""
    random = np.random.default_rng(seed)
    slots = 1 + (frames - 1) // config.pose.patch[0]
    rgb, pose = (config.rgb.channels, config.rgb.size, config.rgb.size), (config.pose.channels, *[config.pose.size] * 2)
    shapes = {
        "rgb": (batch, VIEWS, frames, *rgb),
        "pose": (batch, VIEWS, frames, *pose),
        "template_rgb": (batch, VIEWS, *rgb),
        "template_pose": (batch, VIEWS, *pose),
        "sigma": (batch, slots),
        "text": (batch, TextEncoder.TOKENS, config.text_width),
        "rays": (batch, VIEWS, 6, config.pose.size, config.pose.size),
    }
    values = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    values["sigma"] = random.random(shapes["sigma"], np.float32)
    values["text"] /= np.linalg.norm(values["text"], axis=-1, keepdims=True)
    return values


def export_onnx(network: VideoPoseTransformer, frames: int, path: Path) -> None:
    """Write the graph with a free batch size and large weights in half precision (computed in fp32)."""
    values = example_inputs(network.config, frames, batch=2)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        Wrapped(network),
        tuple(torch.from_numpy(values[name]) for name in INPUTS),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(INPUTS),
        output_names=list(OUTPUTS),
        dynamic_shapes={"inputs": tuple({0: batch} for _ in INPUTS)},
        verbose=False,
        optimize=False,  # ONNX Runtime optimises as it loads; here it would fold and rename weights
    )
    assert program is not None
    model = program.model_proto
    strip_notes(model)
    halve_weights(model)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def halve_weights(model: onnx.ModelProto) -> None:
    """Store large fp32 weights as fp16 behind a Cast, which ONNX Runtime folds away when it loads the graph."""
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if weight.data_type != TensorProto.FLOAT or int(np.prod(weight.dims)) < HALF_FROM:
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), name + "_half")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [name + "_half"], [name], name=name + "_cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def strip_notes(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes on every node and value (source lines of this machine, types, ranges)."""
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    del graph.value_info[:]


def read_checkpoint(folder: Path) -> dict[str, Any]:
    """A model folder as a checkpoint to start training from: network, averaged weights (half precision), frames."""
    manifest = json.loads((folder / MANIFEST).read_text())
    graph = onnx.load(folder / manifest["file"]).graph
    stored = {w.name.removesuffix("_half"): numpy_helper.to_array(w) for w in graph.initializer}
    network = NetworkConfig.from_dict(manifest["network"])
    with torch.device("meta"):
        names = VideoPoseTransformer(network).state_dict()
    weights = {name: torch.from_numpy(stored[f"network.{name}"].astype(np.float32)) for name in names}
    return {"network": manifest["network"], "averaged": weights, "frames": manifest["frames"]}


def parity(network: VideoPoseTransformer, frames: int, path: Path) -> dict[str, float]:
    """Largest relative difference of one step between torch and ONNX Runtime, and of a batch of three against singles.

    Both compute in fp32 from the same half-precision weights.
    """
    halved = VideoPoseTransformer(network.config)
    halved.load_state_dict(
        {k: v.half().float() if v.numel() >= HALF_FROM else v for k, v in network.state_dict().items()}
    )
    values = example_inputs(network.config, frames, batch=3, seed=1)
    with torch.inference_mode():
        reference = [t.numpy() for t in Wrapped(halved.eval())(*(torch.from_numpy(values[n]) for n in INPUTS))]
    denoiser = OnnxDenoiser(path)
    made = denoiser(*(values[name] for name in INPUTS))
    singles = [denoiser(*(values[name][i : i + 1] for name in INPUTS)) for i in range(3)]
    joined = [np.concatenate([single[k] for single in singles]) for k in range(2)]

    def worst(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> float:
        return float(max(np.abs(x - y).max() / np.abs(y).max() for x, y in zip(a, b, strict=True)))

    return {"torch": worst(list(made), reference), "batch": worst(list(made), joined)}


def write_model(checkpoint: Path, folder: Path, name: str, defaults: Defaults) -> dict[str, float]:
    """Write a model folder; returns its parity figures."""
    network, frames = read_network(checkpoint)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "denoiser.onnx"
    export_onnx(network, frames, path)
    config = network.config
    manifest = {
        "format": FORMAT,
        "name": name,
        "licence": "Apache-2.0",
        "file": path.name,
        "files": {path.name: asdict(file_entry(path))},
        "precision": "fp16",
        "codec": "splat",
        "channels": config.pose.channels,
        "pose_size": config.pose.size,
        "rgb_size": config.rgb.size,
        "frames": frames,
        "patch": config.pose.patch[0],
        "views": VIEWS,
        "fps": FPS,
        "text_encoder": TextEncoder().encoder_hash,
        "network": config.as_dict(),
        **asdict(defaults),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n")
    return parity(network, frames, path)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine export CHECKPOINT FOLDER``."""
    parser = argparse.ArgumentParser(prog="animax-engine export", description=__doc__)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--name", default="embedded")
    for field, value in asdict(Defaults()).items():
        parser.add_argument(f"--{field}", type=type(value), default=value)
    args = parser.parse_args(argv)
    figures = write_model(args.checkpoint, args.folder, args.name, Defaults(args.steps, args.guidance, args.shift))
    print(
        f"one step: {figures['torch']:.1e} from torch, {figures['batch']:.1e} between batch of 3 and singles (relative)"
    )


if __name__ == "__main__":
    main()
