"""A model: network, text encoder and latent space, loaded from a folder with a manifest."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from animax.diffusion.engine import choose_provider, load_denoiser
from animax.diffusion.latents import LatentSpace
from animax.diffusion.manifest import Manifest, read_manifest
from animax.diffusion.registry import model_folder
from animax.diffusion.sampler import Condition, Denoiser, Schedule, sample
from animax.diffusion.text import TextEncoder
from animax.errors import ModelError
from animax.views.splat import SplatPoseMap

HISTORY_FRAMES = 8
"""Beside a first one, that a window takes over from the one before: half a second shows where a motion leads."""


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that turns a condition into latents.

    Attributes:
        manifest: what it is.
        provider: what the network runs on.
        space: between maps and latents.
        schedule: default steps, guidance and window.
        denoiser: the network.
        text: the text encoder.
    """

    manifest: Manifest
    provider: str
    space: LatentSpace
    schedule: Schedule
    denoiser: Denoiser
    text: TextEncoder

    @property
    def name(self) -> str:
        """Of the model."""
        return self.manifest.name

    @property
    def sha256(self) -> str:
        """Of its weights, hex."""
        return self.manifest.sha256

    @property
    def fps(self) -> float:
        """Frames a second of what it generates."""
        return self.manifest.fps

    def warm_up(self) -> None:
        """Run every part once on a small input, so that the first request is not the slow one."""
        views, channels = self.manifest.views, self.space.codec.channels
        size, rgb = self.space.codec.size, self.space.rgb_size
        condition = Condition(
            rgb=np.zeros((views, 3, rgb, rgb), np.float32),
            pose=np.zeros((views, channels, size, size), np.float32),
            channels=np.ones(channels, bool),
            rays=np.zeros((views, 6, size, size), np.float32),
            text=self.text.encode(["warm up"])[0],
        )
        one_step = replace(self.schedule, steps=1)
        sample(self.denoiser, condition, self.schedule.frames, 0, one_step)


def load_model(
    name: str | Path = "embedded", provider: str = "auto", threads: int | None = None, max_batch: int | None = None
) -> Model:
    """Load a model by its name or from its folder, after checking every file against the manifest.

    Args:
        name: see ``registry.model_folder``.
        provider: auto, cpu, cuda or tensorrt.
        threads: of the network on the CPU; None takes all cores.
        max_batch: samples in one network call; None takes the provider's own, 0 lets requests not share calls.

    Raises:
        ModelError: no such model, or its folder is incomplete, altered or of another version.
        OptionError: no such provider.
        EngineError: the provider cannot start.
    """
    folder = model_folder(name)
    manifest = read_manifest(folder)
    manifest.verify(folder)
    text = TextEncoder()
    if text.encoder_hash != manifest.text_encoder:
        raise ModelError(
            f"model {manifest.name!r} was trained on text encoder {manifest.text_encoder[:12]}; "
            f"installed: {text.encoder_hash[:12]}"
        )
    provider = choose_provider(provider)
    return Model(
        manifest=manifest,
        provider=provider,
        space=LatentSpace(SplatPoseMap(manifest.channels, manifest.pose_size), manifest.rgb_size),
        schedule=Schedule(
            steps=manifest.steps,
            guidance=manifest.guidance,
            shift=manifest.shift,
            frames=manifest.frames,
            patch=manifest.patch,
            history=1 + math.ceil(HISTORY_FRAMES / manifest.patch),
        ),
        denoiser=load_denoiser(
            folder / manifest.file,
            provider,
            threads,
            max_batch,
            model=manifest.sha256,
            precision=manifest.precision,
        ),
        text=text,
    )
