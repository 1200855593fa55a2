"""``animax-engine wan export``: a trained large network, with Wan's VAE and text encoder, as a model folder to serve.

Both come from diffusers and transformers as they are. The VAE is causal in time and keeps features from one chunk of
frames to the next; for a fixed number of frames that loop is unrolled, so that the graph has no control flow.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from animax.diffusion.manifest import VIEWS, file_entry
from animax.diffusion.model import HISTORY_FRAMES
from animax.errors import ModelError
from animax.views.camera import ROOM
from animax.views.rgb import RADIUS, RgbPoseMap
from animax_engine.dataset.bank import FPS
from animax_engine.export import (
    DENOISER,
    HALF_TYPES,
    OPSET,
    TOLERANCE,
    TRAINABLE,
    Parity,
    checked_parity,
    in_precision,
    save_graph,
    strip_notes,
    write_manifest,
    written_beside,
)
from animax_engine.export import to_onnx as network_to_onnx
from animax_engine.network import WAN_1_3B, NetworkConfig, VideoPoseTransformer
from animax_engine.suitability import Profile, obstacles
from animax_engine.wan.cache import TOKENS, VAE_STRIDE, VaeDecoder, VaeEncoder, load_parts
from animax_engine.wan.train import NETWORK, read_network
from animax_engine.weight_storage import HALF_FROM

PROFILES = {"batch": Profile(1, 1, 8)}
"""Of views and prompts, which the server runs one by one."""
TOKENIZER = "tokenizer.json"
SPOKEN = ("", "walks", "A dog sits, wags its tail and barks twice!", "läuft 走る 🐎  twice")
"""Prompts by which tokenizers are compared."""


@dataclass(frozen=True)
class Defaults:
    """What a request gets that does not say otherwise.

    Attributes:
        steps: network calls; Wan's.
        guidance: on the prompt; Wan's.
        guidance_image: on the template views; the paper's.
        shift: of the noise schedule, as in training (``Recipe``).
    """

    steps: int = 50
    guidance: float = 5.0
    guidance_image: float = 3.0
    shift: float = 5.0


@dataclass(frozen=True)
class Part:
    """One graph.

    Attributes:
        name: of its file, without suffix.
        module: to be traced.
        inputs: by name, in the order of ``module.forward``; the first axis is the batch.
        output: name.
    """

    name: str
    module: nn.Module
    inputs: dict[str, Tensor]
    output: str


class Prompt(nn.Module):
    """Pieces (B, T) int32 and mask (B, T) int32, 1 for pieces, to states (B, T, width), zero beyond the prompt."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Wan's network is trained on zeros after the prompt's end."""
        states: Tensor = self.encoder(pieces, mask).last_hidden_state
        return states * mask[:, :, None].to(states.dtype)


def parts_of(vae: Any, encoder: Any, frames: int, size: int, tokens: int = TOKENS) -> list[Part]:
    """The graphs to write for windows of ``frames`` frames of ``size`` pixels. The VAE encodes templates and the frames
    that a window goes on from, never a whole window.

    Raises:
        ModelError: the VAE cannot take the sizes.
    """
    if frames <= VAE_STRIDE[0] or (frames - 1) % VAE_STRIDE[0]:
        raise ModelError(f"frames is {frames}; accepted: 1 + a multiple of {VAE_STRIDE[0]}")
    if size % (2 * VAE_STRIDE[1]):
        raise ModelError(f"size is {size}; accepted: a multiple of {2 * VAE_STRIDE[1]}")
    slots, cells = 1 + (frames - 1) // VAE_STRIDE[0], size // VAE_STRIDE[1]
    history = min(1 + math.ceil(HISTORY_FRAMES / VAE_STRIDE[0]), slots - 1)
    generator = torch.Generator().manual_seed(0)
    begun = 1 + (history - 1) * VAE_STRIDE[0]
    pictures = torch.rand((2, 3, begun, size, size), generator=generator) * 2 - 1
    latents = torch.randn((2, vae.config.z_dim, slots, cells, cells), generator=generator)
    pieces = torch.randint(3, encoder.config.vocab_size, (2, tokens), generator=generator, dtype=torch.int32)
    mask = (torch.arange(tokens) < torch.tensor([[min(9, tokens)], [min(40, tokens)]])).to(torch.int32)
    return [
        Part("vae_encoder", VaeEncoder(vae), {"pictures": pictures}, "latents"),
        Part("vae_decoder", VaeDecoder(vae), {"latents": latents}, "pictures"),
        Part("text_encoder", Prompt(encoder), {"pieces": pieces, "mask": mask}, "states"),
    ]


def to_onnx(part: Part) -> onnx.ModelProto:
    """The graph with a free batch size and everything else fixed."""
    batch = torch.export.Dim("batch", min=1, max=1024)
    with torch.no_grad():
        program = torch.onnx.export(
            part.module.eval(),
            tuple(part.inputs.values()),
            dynamo=True,
            opset_version=OPSET,
            input_names=list(part.inputs),
            output_names=[part.output],
            dynamic_shapes=tuple({0: batch} for _ in part.inputs),
            verbose=False,
            optimize=True,  # makes Split of what torch calls chunks; TensorRT knows no sequences
        )
    assert program is not None
    model = program.model_proto
    strip_notes(model)
    return model


def difference(part: Part, path: Path) -> float:
    """Largest relative difference between torch and ONNX Runtime, of batches of one and three."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for count in (1, 3):
        inputs = {name: torch.cat([value, value.flip(-1)])[:count] for name, value in part.inputs.items()}
        if "mask" in inputs:  # flipped it would begin with padding
            inputs["mask"] = torch.cat([part.inputs["mask"]] * 2)[:count]
        (made,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
        with torch.inference_mode():
            wanted: NDArray[np.float32] = part.module(*inputs.values()).numpy()
        worst = max(worst, float(np.abs(made - wanted).max() / np.abs(wanted).max()))
    return worst


def write_part(part: Part, folder: Path, precision: str, say: Callable[[str], None] = print) -> list[Path]:
    """Write a graph with its weights in ``precision``; gives the files.

    Raises:
        ModelError: it does not compute what the module does with such weights.
    """
    if precision in HALF_TYPES:
        with torch.no_grad():
            for weight in part.module.parameters():
                if weight.numel() >= HALF_FROM:
                    weight.copy_(weight.to(HALF_TYPES[precision]).to(weight.dtype))
    model = in_precision(to_onnx(part), precision)
    path = folder / f"{part.name}.onnx"
    files = save_graph(model, path)
    error = difference(part, path)
    if error > TOLERANCE:
        raise ModelError(f"{path.name} is {error:.1e} from torch; accepted: {TOLERANCE:g} at most")
    _tell(path, model, f"{error:.1e} from torch", PROFILES, say)
    return files


def write_tokenizer(tokenizer: Any, path: Path) -> Path:
    """Write the file that the package ``tokenizers`` reads.

    Raises:
        ModelError: the tokenizer has no such file, or it gives other pieces.
    """
    from tokenizers import Tokenizer

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"the tokenizer is a {type(tokenizer).__name__}; accepted: one with a tokenizer.json")
    backend.save(str(path))
    written = Tokenizer.from_file(str(path))
    written.no_padding()
    written.no_truncation()
    for prompt in SPOKEN:
        seen, accepted = written.encode(prompt).ids, list(tokenizer(prompt).input_ids)
        if seen != accepted:
            raise ModelError(f"{path.name} makes {seen} of {prompt!r}; accepted: {accepted}, as in training")
    return path


def check_network(config: NetworkConfig, vae: Any, encoder: Any) -> None:
    """Refuse a network that the VAE and the text encoder are not those of.

    Raises:
        ModelError: it is one.
    """
    if not (config.joint and config.multi_view and config.rgb == config.pose and config.pose.patch[0] == 1):
        raise ModelError("the network lacks pictures, views or a shared latent space; accepted: one of `wan train`")
    seen = (config.pose.channels, config.text_width)
    accepted = (vae.config.z_dim, encoder.config.d_model)
    if seen != accepted:
        raise ModelError(
            f"the network takes latents and states of {seen} channels; accepted by VAE and text: {accepted}"
        )


def write_model(
    network: VideoPoseTransformer,
    wan: Path,
    folder: Path,
    name: str,
    defaults: Defaults = Defaults(),
    *,
    frames: int = 81,
    precision: str = "fp16",
    tokens: int = TOKENS,
    room: float = ROOM,
    radius: float = RADIUS,
    compared: bool = True,
    say: Callable[[str], None] = print,
) -> Parity | None:
    """Write the folder of a model that ``animax serve`` takes, the manifest last.

    Args:
        network: of stage 2.
        wan: folder with vae, text_encoder and tokenizer.
        folder: to write.
        name: of the model.
        defaults: of a request.
        frames: of a window.
        precision: of the weights of network and text encoder; the VAE's stay whole.
        tokens: pieces of a prompt.
        room: of the views, as in ``CacheConfig``.
        radius: of the pose maps' circles, likewise.
        compared: run the network's graph beside torch, nine samples in all.
        say: takes a line of progress.

    Raises:
        ModelError: a part is missing or does not fit, or a graph does not compute what its module does.
    """
    vae, encoder, tokenizer = load_parts(wan)
    config = network.eval().requires_grad_(False).config
    check_network(config, vae, encoder)
    size = config.pose.size * VAE_STRIDE[1]
    parts = parts_of(vae, encoder, frames, size, tokens)
    with written_beside(folder) as beside:
        files = [write_tokenizer(tokenizer, beside / TOKENIZER)]
        for part in parts:
            files += write_part(part, beside, precision if part.name == "text_encoder" else "fp32", say)
        slots = 1 + (frames - 1) // VAE_STRIDE[0]
        model = in_precision(network_to_onnx(network, slots, tokens), precision)
        written = save_graph(model, beside / DENOISER)
        figures = checked_parity(network, slots, written[0], precision, tokens) if compared else None
        _tell(written[0], model, f"{figures.torch:.1e} from torch" if figures else "not compared", PROFILES, say)
        values = {
            "name": name,
            "file": DENOISER,
            "precision": precision,
            "codec": "rgb",
            "channels": 3,
            "pose_size": size,
            "rgb_size": size,
            "views": VIEWS,
            "room": room,
            "frames": frames,
            "patch": VAE_STRIDE[0],
            "fps": FPS,
            "text_encoder": file_entry(beside / "text_encoder.onnx").sha256,
            "video": {
                "encoder": "vae_encoder.onnx",
                "decoder": "vae_decoder.onnx",
                "radius": radius,
                "colours": RgbPoseMap().colours,
            },
            "prompt": {"encoder": "text_encoder.onnx", "tokenizer": TOKENIZER},
            "network": config.as_dict(),
            **asdict(defaults),
        }
        write_manifest(beside, values, [*written, *files])
    return figures


def _tell(
    path: Path, model: onnx.ModelProto, error: str, profiles: dict[str, Profile], say: Callable[[str], None]
) -> None:
    problems = obstacles(model, profiles)
    fits = f"TensorRT cannot take it: {problems[0]}" if problems else "TensorRT can take it"
    say(f"{path.name}: {len(model.graph.node)} nodes, {error}, {fits}")


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan export TWO WAN FOLDER``."""
    parser = argparse.ArgumentParser(
        prog="animax-engine wan export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("network", type=Path, metavar="TWO", help="folder of `animax-engine wan train --stage 2`")
    parser.add_argument("wan", type=Path, metavar="WAN", help="folder with vae, text_encoder and tokenizer")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="model folder to write")
    parser.add_argument("--name", default="large", help="of the model (default: %(default)s)")
    parser.add_argument("--frames", type=int, default=81, help="of a window, as in the cache (default: %(default)s)")
    parser.add_argument(
        "--tokens", type=int, default=TOKENS, help="pieces of a prompt, likewise (default: %(default)s)"
    )
    parser.add_argument("--room", type=float, default=ROOM, help="likewise (default: %(default)s)")
    parser.add_argument("--radius", type=float, default=RADIUS, help="likewise (default: %(default)s)")
    parser.add_argument(
        "--precision", choices=TRAINABLE, default="fp16", help="of the stored weights (default: %(default)s)"
    )
    parser.add_argument(
        "--unchecked", action="store_true", help="do not run the network beside torch, which takes nine samples' time"
    )
    for field, value in asdict(Defaults()).items():
        parser.add_argument(
            f"--{field.replace('_', '-')}", type=type(value), default=value, help="(default: %(default)s)"
        )
    args = parser.parse_args(argv)
    if not (args.network / NETWORK).is_file():
        raise ModelError(f"{args.network.name!r} has no {NETWORK}; accepted: a folder of `animax-engine wan train`")
    defaults = Defaults(**{field: getattr(args, field) for field in asdict(Defaults())})
    write_model(
        read_network(args.network, WAN_1_3B), args.wan, args.folder, args.name, defaults,
        frames=args.frames, precision=args.precision, tokens=args.tokens, room=args.room, radius=args.radius,
        compared=not args.unchecked,
    )  # fmt: skip
