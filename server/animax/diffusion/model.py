"""A model: network, text encoder and latent space, loaded from a folder with a manifest."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.engine import OnnxGraph, choose_provider, largest_batch, load_denoiser, load_graph
from animax.diffusion.latents import LatentSpace
from animax.diffusion.manifest import Manifest, read_manifest
from animax.diffusion.registry import model_folder
from animax.diffusion.repertoire import Repertoire, read_repertoire
from animax.diffusion.sampler import Condition, Denoiser, Prompt, Schedule, sample
from animax.diffusion.space import Space
from animax.diffusion.text import TextEncoder
from animax.diffusion.umt5 import PieceEncoder
from animax.diffusion.video_vae import VideoSpace
from animax.errors import ModelError, some_of
from animax.views.rgb import RgbPoseMap
from animax.views.splat import SplatPoseMap

HISTORY_FRAMES = 8
"""Beside a first one, that a window takes over from the one before: half a second shows where a motion leads."""

CALM = "idle"
"""What is heard of a prompt that names no motion."""
LEAST_LIKE = 0.345
"""Likeness to the nearest kind of motion below which a prompt names none: of 76 paraphrases one lies below, of six
prompts of nonsense five (docs/decisions.md)."""
LONGEST_SHOWN = 60
"""Characters of a prompt in a sentence about it."""


class PromptEncoder(Protocol):
    """Prompts to the states that the network attends to."""

    @property
    def null(self) -> NDArray[np.float32]:
        """(T, width) states of no prompt: zeros."""

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """States (B, T, width)."""

    def unknown_words(self, text: str) -> list[str]:
        """Words that the encoder cannot read."""


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
        repertoire: of motions; None: the network is given no plan and not told the time.
    """

    manifest: Manifest
    provider: str
    space: Space
    schedule: Schedule
    denoiser: Denoiser
    text: PromptEncoder
    repertoire: Repertoire | None = None

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

    def hear(self, prompts: Sequence[str]) -> tuple[NDArray[np.float32], list[str]]:
        """What prompts are to the network.

        Returns:
            states: (B, T, width). A prompt that names no motion that the model knows is heard as ``CALM``.
            said: a sentence on each that is not heard as it was meant.
        """
        states, said = self.text.encode(prompts), []
        for at, prompt in enumerate(prompts):
            unknown = list(dict.fromkeys(self.text.unknown_words(prompt)))
            if unknown:
                said.append(f"the model cannot read {some_of(unknown)} in the prompt: it knows English words")
            if self.repertoire is not None and self.repertoire.likeness(states[at]) < LEAST_LIKE:
                states[at] = self.text.encode([CALM])[0]
                shown = prompt if len(prompt) <= LONGEST_SHOWN else prompt[: LONGEST_SHOWN - 1] + "…"
                said.append(f"the prompt {shown!r} names no motion that the model knows: the body idles")
        return states, said

    def warm_up(self) -> None:
        """Run every part once on a small input, so that the first request is not the slow one."""
        views, codec, size = self.manifest.views, self.space.codec, self.space.rgb_size
        states, _ = self.hear([CALM])
        if self.repertoire is not None:
            self.repertoire.weigh(states[0], self.repertoire.shapes[0])
        blank = self.space.encode(
            np.zeros((views, 1, size, size, 3), np.uint8),
            np.zeros((views, 1, codec.channels, codec.size, codec.size), np.float32),
        )
        condition = Condition(
            rgb=blank.rgb[:, 0],
            pose=blank.pose[:, 0],
            channels=np.ones(blank.pose.shape[2], bool),
            rays=np.zeros((views, 6, self.space.rays_size, self.space.rays_size), np.float32),
            prompt=Prompt(0, states[0]),
        )
        one_step = replace(self.schedule, steps=1)
        self.space.maps(sample(self.denoiser, condition, self.schedule.frames, 0, one_step))


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
    provider = choose_provider(provider)
    graph = partial(_graph, folder, manifest, provider, threads)
    text = load_text(folder, manifest, graph)
    space = load_space(manifest, graph)
    history = 1 + math.ceil(HISTORY_FRAMES / manifest.patch)
    if isinstance(space, VideoSpace):
        history = space.history
    if max_batch is None:
        max_batch = largest_batch(provider, large=manifest.video is not None)
    return Model(
        manifest=manifest,
        provider=provider,
        space=space,
        schedule=Schedule(
            steps=manifest.steps,
            guidance=manifest.guidance,
            spacing=manifest.spacing,
            shift=manifest.shift,
            frames=manifest.frames,
            patch=manifest.patch,
            history=history,
            guidance_image=manifest.guidance_image,
            packed=manifest.video is not None,
            boldness=manifest.boldness,
        ),
        denoiser=load_denoiser(
            folder / manifest.file,
            provider,
            threads,
            max_batch,
            model=manifest.digest(manifest.file),
            precision=manifest.precision,
        ),
        text=text,
        repertoire=None if manifest.repertoire is None else read_repertoire(folder / manifest.repertoire),
    )


def load_text(folder: Path, manifest: Manifest, graph: Callable[[str], OnnxGraph]) -> PromptEncoder:
    """The model's own text encoder, else the package's.

    Raises:
        ModelError: the package's is not the one that the model was trained on, or the model's own is none.
        EngineError: a package or a provider is missing.
    """
    if manifest.prompt is not None:
        return PieceEncoder(graph(manifest.prompt.encoder), folder / manifest.prompt.tokenizer)
    text = TextEncoder()
    if text.encoder_hash != manifest.text_encoder:
        raise ModelError(
            f"model {manifest.name!r} was trained on text encoder {manifest.text_encoder[:12]}; "
            f"installed: {text.encoder_hash[:12]}"
        )
    return text


def load_space(manifest: Manifest, graph: Callable[[str], OnnxGraph]) -> Space:
    """The model's latent space.

    Raises:
        ModelError: its graphs are of another size than the manifest says.
        EngineError: they cannot be loaded.
    """
    video = manifest.video
    if video is None:
        splat = SplatPoseMap(manifest.channels, manifest.pose_size)
        return LatentSpace(splat, manifest.rgb_size)
    codec = RgbPoseMap(manifest.pose_size, video.radius * manifest.pose_size, colours=video.colours)
    space = VideoSpace(codec, graph(video.encoder), graph(video.decoder))
    if (space.frames, space.patch) != (manifest.frames, manifest.patch):
        raise ModelError(
            f"model {manifest.name!r}: {video.decoder} is for {space.frames} frames, {space.patch} a slot; "
            f"accepted: {manifest.frames} and {manifest.patch}"
        )
    return space


def _graph(folder: Path, manifest: Manifest, provider: str, threads: int | None, name: str) -> OnnxGraph:
    return load_graph(
        folder / name, provider, threads, digest=manifest.digest(name), precision=manifest.precision_of(name)
    )
