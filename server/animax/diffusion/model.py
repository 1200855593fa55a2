"""A model: network, text encoder and latent space, loaded from a folder with a manifest."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from animax.diffusion.engine import OnnxDenoiser, choose_provider
from animax.diffusion.latents import LatentSpace
from animax.diffusion.sampler import Condition, Denoiser, Schedule, sample
from animax.diffusion.text import TextEncoder
from animax.errors import ModelError
from animax.views.splat import SplatPoseMap

MODELS = Path(__file__).resolve().parent.parent / "models"
FORMAT = "animax-model-1"
MANIFEST = "manifest.json"
_FIELDS = {
    "format": str,
    "name": str,
    "file": str,
    "sha256": str,
    "channels": int,
    "pose_size": int,
    "rgb_size": int,
    "frames": int,
    "patch": int,
    "fps": float,
    "steps": int,
    "guidance": float,
    "shift": float,
    "text_encoder": str,
}


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that turns a condition into latents.

    Attributes:
        name: of the model.
        sha256: of its network, hex.
        provider: what the network runs on.
        fps: frames a second of what it generates.
        space: between maps and latents.
        schedule: default steps, guidance and window.
        denoiser: the network.
        text: the text encoder.
    """

    name: str
    sha256: str
    provider: str
    fps: float
    space: LatentSpace
    schedule: Schedule
    denoiser: Denoiser
    text: TextEncoder

    def warm_up(self) -> None:
        """Run every part once on a small input, so that the first request is not the slow one."""
        views, channels = 4, self.space.codec.channels
        size, rgb = self.space.codec.size, self.space.rgb_size
        condition = Condition(
            rgb=np.zeros((views, 3, rgb, rgb), np.float32),
            pose=np.zeros((views, channels, size, size), np.float32),
            channels=np.ones(channels, bool),
            rays=np.zeros((views, 6, size, size), np.float32),
            text=self.text.encode(["warm up"])[0],
        )
        one_step = Schedule(1, self.schedule.guidance, frames=self.schedule.frames, patch=self.schedule.patch)
        sample(self.denoiser, condition, self.schedule.frames, 0, one_step)


def load_model(name: str | Path = "embedded", provider: str = "auto", threads: int | None = None) -> Model:
    """Load a model that ships with the package, by name, or one from a folder.

    Args:
        name: a name from ``available_models``, or a folder with a manifest.
        provider: auto, cpu, cuda or tensorrt.
        threads: of the network on the CPU; None takes all cores.

    Raises:
        ModelError: no such model, or its folder is incomplete, altered or of another version.
        OptionError: no such provider.
        EngineError: the provider cannot start.
    """
    folder = Path(name) if Path(name).is_dir() else MODELS / str(name)
    if not (folder / MANIFEST).is_file():
        raise ModelError(
            f"no model {str(name)!r}; accepted: {', '.join(available_models())}, or a folder with a manifest"
        )
    manifest = _manifest(folder)
    network = folder / manifest["file"]
    if not network.is_file():
        raise ModelError(f"model {manifest['name']!r} lacks its file {manifest['file']!r}")
    digest = hashlib.sha256(network.read_bytes()).hexdigest()
    if digest != manifest["sha256"]:
        raise ModelError(
            f"model {manifest['name']!r}: {manifest['file']} has SHA-256 {digest}; accepted: {manifest['sha256']}"
        )
    text = TextEncoder()
    if text.encoder_hash != manifest["text_encoder"]:
        raise ModelError(
            f"model {manifest['name']!r} was trained on text encoder {manifest['text_encoder'][:12]}; "
            f"installed: {text.encoder_hash[:12]}"
        )
    provider = choose_provider(provider)
    return Model(
        name=manifest["name"],
        sha256=digest,
        provider=provider,
        fps=float(manifest["fps"]),
        space=LatentSpace(SplatPoseMap(manifest["channels"], manifest["pose_size"]), manifest["rgb_size"]),
        schedule=Schedule(
            steps=manifest["steps"],
            guidance=float(manifest["guidance"]),
            shift=float(manifest["shift"]),
            frames=manifest["frames"],
            patch=manifest["patch"],
        ),
        denoiser=OnnxDenoiser(network, provider, threads),
        text=text,
    )


def available_models() -> list[str]:
    """Names of the models that come with the package."""
    return sorted(
        path.parent.name
        for path in MODELS.glob(f"*/{MANIFEST}")
        if json.loads(path.read_text()).get("format") == FORMAT
    )


def _manifest(folder: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{MANIFEST} is not JSON") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        seen = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise ModelError(f"{MANIFEST} has format {seen!r}; accepted: {FORMAT!r}")
    for name, kind in _FIELDS.items():
        value = manifest.get(name)
        if not (isinstance(value, kind) or (kind is float and isinstance(value, int))):
            raise ModelError(f"{MANIFEST}: {name} is {value!r}; accepted: a value of type {kind.__name__}")
    if Path(manifest["file"]).name != manifest["file"]:
        raise ModelError(f"{MANIFEST}: file is {manifest['file']!r}; accepted: a file name in the same folder")
    return manifest
