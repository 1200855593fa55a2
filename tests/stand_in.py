"""A model whose network is a function of the test's."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import choose_markers
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.diffusion.latents import LatentSpace
from animax.diffusion.manifest import Manifest
from animax.diffusion.model import Model
from animax.diffusion.sampler import Denoiser, Schedule
from animax.diffusion.text import TextEncoder
from animax.pipeline import VIEW_SIZE
from animax.views.camera import ROOM, template_cameras
from animax.views.splat import SplatPoseMap

FPS = 16.0
SPACE = LatentSpace(SplatPoseMap(64, 4), 24)


def true_maps(rig: Rig, pose: Pose) -> NDArray[np.float32]:
    """The latents (V, F, C, h, w) of pose maps that show ``pose``."""
    markers, cameras = choose_markers(rig, SPACE.codec.channels), template_cameras(rig, size=VIEW_SIZE)
    points, depths = cameras.project(markers.positions(rig.skeleton.globals(pose)))
    rest, _ = cameras.project(markers.positions(rig.skeleton.rest_globals)[None])
    places = VIEW_SIZE * SPACE.drawn_at(points / VIEW_SIZE, rest / VIEW_SIZE)
    return SPACE.encode_pose(SPACE.codec.draw(places, depths, markers, VIEW_SIZE))


def model_of(denoiser: Denoiser, *, steps: int = 2) -> Model:
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
    return Model(manifest, "cpu", SPACE, schedule, denoiser, TextEncoder())
