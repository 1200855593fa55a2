"""Export: a checkpoint's averaged weights as an ONNX model folder that ``animax.diffusion.model`` loads."""

from __future__ import annotations

import argparse
import json
import pickle
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from animax.diffusion.clock import FEATURES
from animax.diffusion.engine import CLOCK, INPUTS, OUTPUTS, PLAN, OnnxDenoiser, OnnxGraph
from animax.diffusion.manifest import FORMAT, MANIFEST, VIEWS, file_entry, read_manifest
from animax.diffusion.registry import model_folder
from animax.diffusion.repertoire import Repertoire, read_repertoire, write_repertoire
from animax.diffusion.sampler import SPACINGS
from animax.diffusion.text import TextEncoder
from animax.errors import ModelError
from animax.views.camera import ROOM
from animax_engine.dataset.bank import FPS
from animax_engine.network import NetworkConfig, VideoPoseTransformer
from animax_engine.suitability import Profile, obstacles
from animax_engine.triton import write_repository
from animax_engine.weight_storage import HALF_FROM, HALVES, PRECISIONS, store_weights

DENOISER = "denoiser.onnx"
REPERTOIRE = "repertoire.npz"
OPSET = 20
LARGEST_MESSAGE = 2**31 - 2**24
"""Bytes of weights up to which a graph is one file: protobuf's limit, less room for the graph itself."""
EXTERNAL_FROM = 1024
"""Bytes from which a weight goes to the file beside."""
PROFILES = {"batch": Profile(1, 2, 16)}
"""Of the one dynamic dimension; the token layout is static."""
CHECKPOINT = frozenset(("network", "averaged", "frames", "room"))
"""What a checkpoint holds at least."""
TRAINABLE = tuple(precision for precision in PRECISIONS if precision != "int8")
"""Stored weights that training can start from."""
NOTICE = "NOTICE.md"
"""Of a model's folder: whose work is in it."""
HALF_TYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}
"""Of weights that are stored in half, in torch."""
TOLERANCE = 1e-3
"""Largest relative difference of a step between torch and ONNX Runtime, where both compute in fp32."""


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say otherwise."""

    steps: int = 8
    guidance: float = 4.0
    spacing: str = "log_snr"
    boldness: float = 1.0
    licence: str = "Apache-2.0"


PLANNED = Defaults(steps=4, guidance=1.0, boldness=0.3)
"""Of networks that are given a plan (docs/decisions.md)."""


class Wrapped(nn.Module):
    """The network with the clean latents as outputs, in the order of ``OUTPUTS``."""

    def __init__(self, network: VideoPoseTransformer) -> None:
        super().__init__()
        self.network = network

    def forward(self, *inputs: Tensor) -> tuple[Tensor, Tensor]:
        """Inputs in the order of ``inputs_of``. A velocity v = ε − x becomes x = z − σ v."""
        rgb, pose = self.network(*inputs)
        assert rgb is not None
        if self.network.config.prediction == "velocity":
            level = self.network.per_frame(inputs[INPUTS.index("sigma")])[:, None, :, None, None, None]
            rgb, pose = inputs[0] - level * rgb, inputs[1] - level * pose
        return rgb, pose


def read_network(path: Path) -> tuple[VideoPoseTransformer, int]:
    """The averaged weights of a checkpoint, or a model folder's, in evaluation mode; and the frames of its windows.

    Raises:
        ModelError: see ``read_state``; or the weights do not fit the network.
    """
    state = read_state(path)
    return network_of(state, path.name), int(state["frames"])


def network_of(state: dict[str, Any], name: str) -> VideoPoseTransformer:
    """The averaged weights of a ``state``, which an error calls ``name``, in evaluation mode.

    Raises:
        ModelError: the weights do not fit the network.
    """
    network = VideoPoseTransformer(NetworkConfig.from_dict(state["network"]))
    try:
        network.load_state_dict(state["averaged"])
    except RuntimeError as error:
        raise ModelError(f"the weights of {name} are not of the network that it describes") from error
    return network.eval().requires_grad_(False)


def example_inputs(
    config: NetworkConfig, frames: int, batch: int, seed: int = 0, *, tokens: int = TextEncoder.TOKENS
) -> dict[str, NDArray[np.float32]]:
    """Random inputs of the right shapes: ``frames`` latent frames, prompts of ``tokens`` states."""
    random = np.random.default_rng(seed)
    slots = 1 + (frames - 1) // config.pose.patch[0]
    rgb, pose = (config.rgb.channels, config.rgb.size, config.rgb.size), (config.pose.channels, *[config.pose.size] * 2)
    shapes = {
        "rgb": (batch, VIEWS, frames, *rgb),
        "pose": (batch, VIEWS, frames, *pose),
        "template_rgb": (batch, VIEWS, *rgb),
        "template_pose": (batch, VIEWS, *pose),
        "sigma": (batch, slots),
        "text": (batch, tokens, config.text_width),
        "rays": (batch, VIEWS, 6, config.pose.size, config.pose.size),
    }
    values = {name: random.standard_normal(shape, np.float32) for name, shape in shapes.items()}
    if config.clock:
        values[CLOCK] = random.standard_normal((*shapes["sigma"], FEATURES), np.float32)
    if config.plan:
        values[PLAN] = random.standard_normal(shapes["pose"], np.float32)
    values["sigma"] = random.random(shapes["sigma"], np.float32)
    values["text"] /= np.linalg.norm(values["text"], axis=-1, keepdims=True)
    return values


def inputs_of(config: NetworkConfig) -> tuple[str, ...]:
    """Names of a graph's inputs, in order."""
    return (*INPUTS, *((CLOCK,) if config.clock else ()), *((PLAN,) if config.plan else ()))


def to_onnx(network: VideoPoseTransformer, frames: int, tokens: int = TextEncoder.TOKENS) -> onnx.ModelProto:
    """The graph with a free batch size, in fp32."""
    values, names = example_inputs(network.config, frames, batch=2, tokens=tokens), inputs_of(network.config)
    batch = torch.export.Dim("batch", min=1, max=1024)
    program = torch.onnx.export(
        Wrapped(network).eval(),
        tuple(torch.from_numpy(values[name]) for name in names),
        dynamo=True,
        opset_version=OPSET,
        input_names=list(names),
        output_names=list(OUTPUTS),
        dynamic_shapes={"inputs": tuple({0: batch} for _ in names)},
        verbose=False,
        optimize=False,  # ONNX Runtime optimises as it loads; here it would fold and rename weights
    )
    assert program is not None
    model = program.model_proto
    strip_notes(model)
    return model


def in_precision(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of a graph with its weights in ``precision``."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return store_weights(copy, precision)


def save_graph(model: onnx.ModelProto, path: Path) -> list[Path]:
    """Write a graph, after checking it; gives the files. What is too large for one protobuf message (2 GiB) has its
    weights in a file beside.

    Raises:
        onnx.checker.ValidationError, onnx.shape_inference.InferenceError: the graph breaks a rule, or its shapes and
            types contradict each other.
    """
    if sum(len(weight.raw_data) for weight in model.graph.initializer) <= LARGEST_MESSAGE:
        check_graph(model)
        path.write_bytes(model.SerializeToString())
        return [path]
    weights = path.with_suffix(".weights")
    weights.unlink(missing_ok=True)  # onnx would add to it
    onnx.save_model(model, path, save_as_external_data=True, location=weights.name, size_threshold=EXTERNAL_FROM)
    onnx.checker.check_model(path, full_check=True)
    with tempfile.TemporaryDirectory() as folder:
        inferred = Path(folder) / path.name
        onnx.shape_inference.infer_shapes_path(path, inferred, check_type=True, strict_mode=True, data_prop=True)
    return [path, weights]


def check_graph(model: onnx.ModelProto) -> None:
    """Raise an error of ``onnx`` for a graph that breaks a rule, or whose shapes and types contradict each other."""
    onnx.checker.check_model(model, full_check=True)
    onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)


def strip_notes(model: onnx.ModelProto) -> None:
    """Remove what the exporter notes on every node and value (source lines of this machine, types, ranges)."""
    graph = model.graph
    for item in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer, graph):
        del item.metadata_props[:]
        item.ClearField("doc_string")
    del graph.value_info[:]


def read_state(source: str | Path) -> dict[str, Any]:
    """What a checkpoint holds; of a model, by name or folder: network, averaged weights, frames, room of
    its views, repertoire, licence and notice. Weights that a model of an earlier version lacks are left out.

    Raises:
        ModelError: there is no such model, its weights are stored as 8-bit integers, it lies behind a VAE, or it is of
            another version's network.
    """
    if Path(source).is_file():
        return _read_checkpoint(Path(source))
    folder = model_folder(source)
    manifest = json.loads((folder / MANIFEST).read_text())
    if manifest["precision"] == "int8":
        raise ModelError(f"model {manifest['name']} is stored as int8; accepted: {', '.join(TRAINABLE)}")
    if manifest["codec"] != "splat":
        raise ModelError(f"model {manifest['name']} has the codec {manifest['codec']}; accepted: splat")
    stored = stored_weights(folder / manifest["file"])
    try:
        network = NetworkConfig.from_dict(manifest["network"])
    except ModelError as error:
        raise ModelError(f"model {manifest['name']}: {error}") from error
    with torch.device("meta"):
        names = VideoPoseTransformer(network).state_dict()
    weights = {name: stored[f"network.{name}"] for name in names if f"network.{name}" in stored}
    state = {
        "network": manifest["network"],
        "averaged": weights,
        "frames": manifest["frames"],
        "room": manifest["room"],
        "licence": manifest["licence"],
    }
    if (folder / NOTICE).is_file():
        state["notice"] = (folder / NOTICE).read_text(encoding="utf-8")
    if manifest.get("repertoire"):
        state["repertoire"] = repertoire_state(read_repertoire(folder / manifest["repertoire"]))
    return state


def stored_weights(path: Path) -> dict[str, Tensor]:
    """The weights of a graph by the names that they were trained under."""
    suffixes = [f"_{suffix}" for _, suffix in HALVES.values()]
    stored = {}
    for weight in onnx.load(path).graph.initializer:
        name = next((weight.name.removesuffix(s) for s in suffixes if weight.name.endswith(s)), weight.name)
        stored[name] = torch.from_numpy(numpy_helper.to_array(weight).astype(np.float32))
    return stored


def repertoire_state(repertoire: Repertoire) -> dict[str, Tensor]:
    """What a checkpoint holds of a repertoire."""
    return {field.name: torch.from_numpy(getattr(repertoire, field.name)) for field in fields(repertoire)}


def repertoire_in(state: dict[str, Any]) -> Repertoire | None:
    """The repertoire of a ``state`` that has one."""
    if "repertoire" not in state:
        return None
    return Repertoire(**{name: values.numpy() for name, values in state["repertoire"].items()})


def _read_checkpoint(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
    ) as error:  # torch has no one error for what is no checkpoint
        raise ModelError(f"{path.name} is no whole checkpoint of `animax-engine train`") from error
    lacking = CHECKPOINT - set(state) if isinstance(state, dict) else CHECKPOINT
    if lacking:
        raise ModelError(
            f"{path.name} lacks {', '.join(sorted(lacking))}; accepted: checkpoints of `animax-engine train`"
        )
    return dict(state)


@dataclass(frozen=True)
class Parity:
    """Largest relative differences of one step.

    Attributes:
        torch: between ONNX Runtime and torch with the same stored weights; for int8 with the weights as trained.
        trained: between ONNX Runtime and torch with the weights as trained.
        batch: between a batch of three and its samples one by one.
    """

    torch: float
    trained: float
    batch: float


def parity(
    network: VideoPoseTransformer, frames: int, path: Path, precision: str, tokens: int = TextEncoder.TOKENS
) -> Parity:
    """Compare an exported graph with the network."""
    values, names = example_inputs(network.config, frames, batch=3, seed=1, tokens=tokens), inputs_of(network.config)

    def run(state: dict[str, Tensor]) -> list[NDArray[np.float32]]:
        copy = VideoPoseTransformer(network.config)
        copy.load_state_dict(state)
        with torch.inference_mode():
            return [t.numpy() for t in Wrapped(copy.eval())(*(torch.from_numpy(values[n]) for n in names))]

    trained = network.state_dict()
    kind = HALF_TYPES.get(precision, torch.float32)
    stored = {k: v.to(kind).float() if v.numel() >= HALF_FROM else v for k, v in trained.items()}
    denoiser = OnnxDenoiser(OnnxGraph(path))
    made = list(denoiser(*(values[name] for name in names)))
    singles = [denoiser(*(values[name][i : i + 1] for name in names)) for i in range(3)]
    joined = [np.concatenate([single[k] for single in singles]) for k in range(2)]

    def worst(a: list[NDArray[np.float32]], b: list[NDArray[np.float32]]) -> float:
        return float(max(np.abs(x - y).max() / np.abs(y).max() for x, y in zip(a, b, strict=True)))

    return Parity(worst(made, run(stored)), worst(made, run(trained)), worst(made, joined))


def write_model(
    checkpoint: Path, folder: Path, name: str, given: Mapping[str, Any], precision: str = "fp16"
) -> tuple[Parity, list[str]]:
    """Write the model folder of a checkpoint, with ``given`` in place of some ``Defaults``; see ``write_folder``.
    Licence and notice of a model that it was trained on from stay with it.
    """
    state = read_state(checkpoint)
    network, frames = network_of(state, checkpoint.name), int(state["frames"])
    inherited = {"licence": state["licence"]} if "licence" in state else {}
    defaults = replace(PLANNED if network.config.plan else Defaults(), **{**inherited, **given})
    graph, room = to_onnx(network, frames), float(state["room"])
    known, notice = repertoire_in(state), state.get("notice", "")
    return write_folder(
        graph, network, frames, folder, name, defaults, precision, room=room, repertoire=known, notice=notice
    )


def write_folder(
    graph: onnx.ModelProto,
    network: VideoPoseTransformer,
    frames: int,
    folder: Path,
    name: str,
    defaults: Defaults,
    precision: str,
    *,
    room: float = ROOM,
    repertoire: Repertoire | None = None,
    notice: str = "",
) -> tuple[Parity, list[str]]:
    """Write a model folder; returns how near it is to the network, and what keeps TensorRT from taking it. Where it
    fails, a folder that is there stays as it was.

    Raises:
        ModelError: the name cannot be one, or the graph does not compute what the network does.
    """
    with written_beside(folder) as beside:
        model = in_precision(graph, precision)
        written = save_graph(model, beside / DENOISER)
        figures = checked_parity(network, frames, written[0], precision)
        config = network.config
        manifest = {
            "name": name,
            "file": DENOISER,
            "precision": precision,
            "codec": "splat",
            "channels": config.pose.channels,
            "pose_size": config.pose.size,
            "rgb_size": config.rgb.size,
            "frames": frames,
            "patch": config.pose.patch[0],
            "views": VIEWS,
            "room": room,
            "fps": FPS,
            "text_encoder": TextEncoder().encoder_hash,
            "network": config.as_dict(),
            **asdict(defaults),
        }
        if repertoire is not None:
            manifest["repertoire"] = REPERTOIRE
            write_repertoire(repertoire, beside / REPERTOIRE)
            written.append(beside / REPERTOIRE)
        if notice:
            (beside / NOTICE).write_text(notice, encoding="utf-8")
        write_manifest(beside, manifest, written)
        return figures, obstacles(model, PROFILES)


@contextmanager
def written_beside(folder: Path) -> Iterator[Path]:
    """A folder to write a model into, whose files then take their places in ``folder``, unless an error is raised."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as scratch:
        beside = Path(scratch) / folder.name
        beside.mkdir()
        yield beside
        folder.mkdir(exist_ok=True)
        for file in sorted(beside.iterdir(), key=lambda file: file.name == MANIFEST):  # it last: servers look at it
            file.replace(folder / file.name)


def checked_parity(
    network: VideoPoseTransformer, frames: int, path: Path, precision: str, tokens: int = TextEncoder.TOKENS
) -> Parity:
    """``parity``, refused where it is not near enough.

    Raises:
        ModelError: the graph does not compute what the network does.
    """
    figures = parity(network, frames, path, precision, tokens)
    for difference, where in ((figures.torch, "from torch"), (figures.batch, "between a batch and singles")):
        if precision != "int8" and difference > TOLERANCE:
            raise ModelError(f"{path.name} is {difference:.1e} {where}; accepted: {TOLERANCE:g} at most")
    return figures


def write_manifest(folder: Path, values: dict[str, Any], files: list[Path]) -> None:
    """Write the manifest of a folder whose other files are there.

    Raises:
        ModelError: the server would refuse it.
    """
    entries = {file.name: asdict(file_entry(file)) for file in files}
    told = {"format": FORMAT, "licence": "Apache-2.0", **values, "files": entries}
    (folder / MANIFEST).write_text(json.dumps(told, indent=1) + "\n")
    read_manifest(folder)


def compare(checkpoint: Path) -> list[str]:
    """A table of all precisions: size of the file, time of a sample on one CPU core, difference of a step."""
    network, frames = read_network(checkpoint)
    values = example_inputs(network.config, frames, batch=1, seed=1)
    rows = ["stored as        MB   load s   ms a sample   difference from fp32   TensorRT"]
    with tempfile.TemporaryDirectory() as folder:
        graph = to_onnx(network, frames)
        denoisers, seconds = {}, {}
        for precision in PRECISIONS:
            path = Path(folder) / f"{precision}.onnx"
            model = in_precision(graph, precision)
            size = sum(file.stat().st_size for file in save_graph(model, path))
            began = time.perf_counter()
            denoisers[precision] = OnnxDenoiser(OnnxGraph(path, threads=1))
            loading = time.perf_counter() - began
            figures = parity(network, frames, path, precision)
            seconds[precision] = [size / 1e6, loading, figures.trained, obstacles(model, PROFILES)]
        times: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
        for _ in range(12):  # in turns, so that a busy moment meets all of them
            for precision, denoiser in denoisers.items():
                began = time.process_time()
                denoiser(*(values[name] for name in inputs_of(network.config)))
                times[precision].append(1e3 * (time.process_time() - began))
    for precision, (size, loading, error, problems) in seconds.items():
        fits = f"no: {problems[0]}" if problems else "yes"
        milliseconds = float(np.median(times[precision]))
        rows.append(f"{precision:<10} {size:>8.1f} {loading:>8.2f} {milliseconds:>13.1f} {error:>22.1e}   {fits}")
    return rows


def main(argv: list[str] | None = None) -> int:
    """Command line: ``animax-engine export CHECKPOINT FOLDER``."""
    parser = argparse.ArgumentParser(prog="animax-engine export", description=__doc__)
    parser.add_argument(
        "checkpoint",
        type=Path,
        metavar="CHECKPOINT",
        help="of `animax-engine train`; with --triton alone, a model folder",
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", nargs="?", help="model folder to write")
    parser.add_argument("--name", default="embedded", help="of the model (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=PRECISIONS, default="fp16", help="of the stored weights (default: %(default)s)"
    )
    parser.add_argument("--triton", type=Path, metavar="DIR", help="write a Triton model repository too")
    parser.add_argument("--compare", action="store_true", help="measure all precisions, write nothing")
    planned, other = asdict(PLANNED), asdict(Defaults())
    for name, told in (
        ("steps", "denoising steps of a clip"),
        ("guidance", "weight of the prompt"),
        ("spacing", "of the noise levels"),
        ("boldness", "share of what differs from the plan that is taken"),
        ("licence", "of weights and repertoire, SPDX, where no model that was trained on from says"),
    ):
        same = f"default: {other[name]}"
        default = same if planned[name] == other[name] else f"{same}; with a plan: {planned[name]}"
        choices = SPACINGS if name == "spacing" else None
        parser.add_argument(f"--{name}", type=type(other[name]), choices=choices, help=f"{told} ({default})")
    args = parser.parse_args(argv)
    if args.compare:
        print("\n".join(compare(args.checkpoint)))
        return 0
    if args.folder is None and args.triton is None:
        parser.error("give a FOLDER to write, --triton, or --compare")
    if args.folder is not None:
        given = {name: getattr(args, name) for name in planned if getattr(args, name) is not None}
        figures, problems = write_model(args.checkpoint, args.folder, args.name, given, args.precision)
        print(
            f"one step, relative: {figures.torch:.1e} from torch, {figures.trained:.1e} from the weights as "
            f"trained, {figures.batch:.1e} between batch of 3 and singles"
        )
        print("\n".join(["TensorRT cannot take it:", *problems]) if problems else "TensorRT: suitable")
    if args.triton is not None:
        write_repository(args.folder or args.checkpoint, args.triton)
        print(f"Triton model repository: {args.triton}")
    return 0
