"""From a rig and a prompt to a clip, stage by stage: the paper's figure, to be read aloud."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet, choose_markers
from animax.assets.rig import Rig
from animax.diffusion.model import Model
from animax.diffusion.sampler import Condition, Sample, sample
from animax.errors import Cancelled
from animax.motion.clean import clean
from animax.motion.clip import Clip
from animax.motion.inverse_kinematics import solve_rotations
from animax.motion.localise import reject_jumps
from animax.motion.triangulate import triangulate
from animax.request import OnProgress, Progress, Request, ShouldStop, Stage
from animax.views.camera import Cameras, template_cameras
from animax.views.debug import write_debug
from animax.views.render import render_frames

VIEW_SIZE = 96
"""Pixels of the image that decoded positions refer to."""
_SHARES = {
    Stage.TEMPLATE: 0.05,
    Stage.TEXT: 0.01,
    Stage.DENOISE: 0.74,
    Stage.TRIANGULATE: 0.05,
    Stage.ROTATIONS: 0.10,
    Stage.CLEAN: 0.05,
}
"""Share of a typical request's time, for its progress."""


@dataclass(frozen=True, eq=False)
class Animation:
    """What a request made.

    Attributes:
        clip: the motion of all joints.
        request: as it was carried out.
        timings: seconds by stage.
        confidence: mean over views, frames and markers of how sure the decoding was, 0 to 1.
        residual: median distance between decoded and reprojected markers, as a share of the image.
        warnings: one sentence each.
    """

    clip: Clip
    request: Request
    timings: dict[str, float]
    confidence: float
    residual: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Template:
    """A rig as the network sees it, at rest.

    Attributes:
        markers: what is drawn.
        cameras: the template views, ``VIEW_SIZE`` pixels.
        pictures: (V, H, W, 3) template views.
        maps: (V, C, h, w) template pose maps.
    """

    markers: MarkerSet
    cameras: Cameras
    pictures: NDArray[np.uint8]
    maps: NDArray[np.float32]


def animate(
    rig: Rig,
    request: Request,
    model: Model,
    *,
    progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
    debug: Path | None = None,
) -> Animation:
    """Animate ``rig`` as ``request`` asks.

    Args:
        rig: from ``load_rig``.
        request: prompt and options.
        model: from ``load_model``.
        progress: called before and after every stage and after every denoising step.
        should_stop: asked at the same places.
        debug: folder to write template views, generated views and pose maps into, as pictures.

    Raises:
        RigError: the rig has no joint that moves a vertex.
        GenerationError: the network's output cannot be turned into motion.
        Cancelled: ``should_stop`` said so.
    """
    run = _Run(progress, should_stop or (lambda: False))
    with run.stage(Stage.TEMPLATE):
        template = make_template(rig, model)
    with run.stage(Stage.TEXT):
        text = model.text.encode([request.prompt])[0]
    with run.stage(Stage.DENOISE):
        generated = _denoise(rig, template, text, request, model, run)
    with run.stage(Stage.TRIANGULATE):
        maps = model.space.decode_pose(generated.pose)
        observations = reject_jumps(model.space.codec.decode(maps, template.markers, VIEW_SIZE), VIEW_SIZE)
        points = triangulate(template.cameras, observations)
    with run.stage(Stage.ROTATIONS):
        # what the network draws is never exact: bones that seem to stretch are noise
        pose = solve_rotations(rig.skeleton, template.markers, points, model.fps, stretch=False)
    with run.stage(Stage.CLEAN):
        clip = clean(rig, pose, model.fps, request)
    if debug is not None:
        write_debug(
            debug,
            model.space.codec,
            template_rgb=template.pictures,
            template_maps=template.maps,
            rgb=model.space.decode_rgb(generated.rgb),
            maps=maps,
            fps=model.fps,
        )
    residual = float(np.median(points.residual[points.confidence > 0])) / VIEW_SIZE
    return Animation(clip, request, run.timings, float(observations.confidence.mean()), residual, rig.warnings)


def make_template(rig: Rig, model: Model) -> Template:
    """The template views and pose maps of a rig (paper § 3.1)."""
    codec = model.space.codec
    markers = choose_markers(rig, codec.channels)
    cameras = template_cameras(rig, size=VIEW_SIZE)
    pictures = render_frames(rig.mesh, rig.rest_vertices[None], cameras.resized(model.space.rgb_size), up=rig.stance.up)
    points, depths = cameras.project(markers.positions(rig.skeleton.rest_globals)[None])
    maps = codec.draw(points, depths, markers, VIEW_SIZE)
    return Template(markers, cameras, pictures[:, 0], maps[:, 0])


def _denoise(
    rig: Rig, template: Template, text: NDArray[np.float32], request: Request, model: Model, run: _Run
) -> Sample:
    low, high = rig.rest_box
    channels = np.zeros(model.space.codec.channels, bool)
    channels[template.markers.channels] = True
    rays = template.cameras.pluecker(model.space.codec.size, (low + high) / 2, rig.size / 2, rig.stance.axes)
    condition = Condition(
        rgb=model.space.encode_rgb(template.pictures),
        pose=model.space.encode_pose(template.maps),
        channels=channels,
        rays=rays.astype(np.float32),
        text=text,
    )
    schedule = replace(
        model.schedule,
        steps=request.steps or model.schedule.steps,
        guidance=model.schedule.guidance if request.guidance is None else request.guidance,
    )
    frames = max(2, math.ceil(request.seconds * model.fps - 1e-6) + 1)
    return sample(
        model.denoiser,
        condition,
        frames,
        request.seed,
        schedule,
        on_step=run.denoised,
        should_stop=run.should_stop,
    )


class _Run:
    """Times the stages of one request, tells its progress and stops it between stages."""

    def __init__(self, progress: OnProgress | None, should_stop: ShouldStop) -> None:
        self.timings: dict[str, float] = {}
        self.should_stop = should_stop
        self._progress = progress
        self._done = 0.0

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        if self.should_stop():
            raise Cancelled(f"cancelled before stage {stage.value}")
        self._tell(Progress(stage, self._done))
        begin = time.perf_counter()
        yield
        self.timings[stage.value] = time.perf_counter() - begin
        self._done = min(1.0, self._done + _SHARES[stage])
        self._tell(Progress(stage, self._done))

    def denoised(self, step: int, steps: int) -> None:
        self._tell(Progress(Stage.DENOISE, self._done + _SHARES[Stage.DENOISE] * step / steps, step, steps))

    def _tell(self, progress: Progress) -> None:
        if self._progress is not None:
            self._progress(progress)
