"""A model whose network is a function of the test's."""

from __future__ import annotations

from animax.diffusion.latents import LatentSpace
from animax.diffusion.manifest import Manifest
from animax.diffusion.model import Model
from animax.diffusion.sampler import Denoiser, Schedule
from animax.diffusion.text import TextEncoder
from animax.views.camera import ROOM
from animax.views.splat import SplatPoseMap

FPS = 16.0
SPACE = LatentSpace(SplatPoseMap(64, 4), 24)


def model_of(denoiser: Denoiser, space: LatentSpace = SPACE, *, steps: int = 2) -> Model:
    """A model of 33 frames a window that runs ``denoiser``."""
    schedule = Schedule(steps, 2.0)
    manifest = Manifest(
        name="stand-in",
        licence="CC0-1.0",
        file="none",
        files={},
        precision="fp32",
        codec="splat",
        channels=64,
        pose_size=4,
        rgb_size=24,
        views=4,
        room=ROOM,
        frames=schedule.frames,
        patch=schedule.patch,
        fps=FPS,
        steps=steps,
        guidance=2.0,
        text_encoder="0" * 64,
    )
    return Model(manifest, "cpu", space, schedule, denoiser, TextEncoder())
