"""``animax-engine wan export``: the large model's VAE and text encoder as ONNX, beside its denoiser.

Both come from diffusers and transformers as they are. The VAE is causal in time and keeps features from one chunk of
frames to the next; for a fixed number of frames that loop is unrolled, so that the graph has no control flow.
"""

from __future__ import annotations

import argparse
import json
import shutil
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

from animax.diffusion.manifest import file_entry
from animax.errors import ModelError
from animax_engine.export import OPSET, TOLERANCE, save_graph, strip_notes
from animax_engine.suitability import Profile, obstacles
from animax_engine.wan.cache import VAE_STRIDE, load_parts

PROFILES = {"batch": Profile(1, 4, 8)}
"""Of views and prompts."""
TOKENS = 512
"""Pieces of a prompt; what is left is padding that the mask leaves out."""
PARTS = "parts.json"


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


class VaeEncoder(nn.Module):
    """Pictures (B, 3, F, H, W) in [−1, 1] to latents (B, C, f, h, w) of about unit variance."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).reshape(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(vae.config.latents_std).reshape(1, -1, 1, 1, 1))

    def forward(self, pictures: Tensor) -> Tensor:
        """The mode of the posterior."""
        latents: Tensor = (self.vae.encode(pictures, return_dict=False)[0].mode() - self.mean) / self.std
        return latents


class VaeDecoder(nn.Module):
    """The inverse of ``VaeEncoder``."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).reshape(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(vae.config.latents_std).reshape(1, -1, 1, 1, 1))

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures in [−1, 1]."""
        pictures: Tensor = self.vae.decode(latents * self.std + self.mean, return_dict=False)[0]
        return pictures


class Prompt(nn.Module):
    """Pieces (B, T) int32 and mask (B, T) int32, 1 for pieces, to states (B, T, width), zero beyond the prompt."""

    def __init__(self, encoder: nn.Module) -> None:
        super().__init__()
        self.encoder = encoder

    def forward(self, pieces: Tensor, mask: Tensor) -> Tensor:
        """Wan's network is trained on zeros after the prompt's end."""
        states: Tensor = self.encoder(pieces, mask).last_hidden_state
        return states * mask[:, :, None].to(states.dtype)


def parts_of(folder: Path, frames: int, size: int) -> list[Part]:
    """The graphs to write for windows of ``frames`` frames of ``size`` pixels.

    Raises:
        ModelError: the folder lacks a part, or the VAE cannot take the sizes.
    """
    if (frames - 1) % VAE_STRIDE[0]:
        raise ModelError(f"frames is {frames}; accepted: 1 + a multiple of {VAE_STRIDE[0]}")
    if size % (2 * VAE_STRIDE[1]):
        raise ModelError(f"size is {size}; accepted: a multiple of {2 * VAE_STRIDE[1]}")
    vae, encoder, _ = load_parts(folder)
    slots, cells = 1 + (frames - 1) // VAE_STRIDE[0], size // VAE_STRIDE[1]
    generator = torch.Generator().manual_seed(0)
    pictures = torch.rand((2, 3, frames, size, size), generator=generator) * 2 - 1
    latents = torch.randn((2, vae.config.z_dim, slots, cells, cells), generator=generator)
    pieces = torch.randint(3, encoder.config.vocab_size, (2, TOKENS), generator=generator, dtype=torch.int32)
    mask = (torch.arange(TOKENS) < torch.tensor([[9], [40]])).to(torch.int32)
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


def write_parts(
    source: Path, folder: Path, frames: int, size: int, say: Callable[[str], None] = print
) -> dict[str, Any]:
    """Write the graphs, the tokenizer and ``parts.json``, which tells sizes and hashes.

    Raises:
        ModelError: a part is missing, or a graph does not compute what the module does.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files: list[Path] = []
    for part in parts_of(source, frames, size):
        model = to_onnx(part)
        path = folder / f"{part.name}.onnx"
        files += save_graph(model, path)
        error = difference(part, path)
        if error > TOLERANCE:
            raise ModelError(f"{path.name} is {error:.1e} from torch; accepted: {TOLERANCE:g} at most")
        problems = obstacles(model, PROFILES)
        fits = f"TensorRT cannot take it: {problems[0]}" if problems else "TensorRT can take it"
        say(f"{path.name}: {len(model.graph.node)} nodes, {error:.1e} from torch, {fits}")
    (folder / "tokenizer").mkdir(exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model"):
        found = source / "tokenizer" / name
        if found.is_file():
            shutil.copyfile(found, folder / "tokenizer" / name)
            files.append(folder / "tokenizer" / name)
    told = {
        "frames": frames,
        "size": size,
        "tokens": TOKENS,
        "files": {str(file.relative_to(folder)): asdict(file_entry(file)) for file in files},
    }
    (folder / PARTS).write_text(json.dumps(told, indent=1) + "\n")
    return told


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan export WAN FOLDER``."""
    parser = argparse.ArgumentParser(
        prog="animax-engine wan export", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("wan", type=Path, metavar="WAN", help="folder with vae, text_encoder and tokenizer")
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="to write")
    parser.add_argument("--frames", type=int, default=33, help="of a window (default: %(default)s)")
    parser.add_argument("--size", type=int, default=480, help="pixels (default: %(default)s)")
    args = parser.parse_args(argv)
    write_parts(args.wan, args.folder, args.frames, args.size)
