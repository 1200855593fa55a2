"""From a rig and a prompt to a clip, stage by stage: the paper's figure, to be read aloud."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet, choose_markers
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.diffusion.model import Model
from animax.diffusion.sampler import (
    Condition,
    Known,
    Latents,
    Prompt,
    Sample,
    Schedule,
    Take,
    nothing_known,
    sample,
)
from animax.errors import Cancelled
from animax.motion.calibration import solve_drawn
from animax.motion.clean import clean
from animax.motion.clip import Clip
from animax.motion.control import Controls, resolve
from animax.motion.localise import reject_jumps
from animax.motion.triangulate import Points, triangulate
from animax.request import OnProgress, Progress, Request, ShouldStop, Stage
from animax.views.camera import Cameras, template_cameras
from animax.views.debug import SIDE, write_debug
from animax.views.pose_map import Maps, Observations
from animax.views.render import render_frames

VIEW_SIZE = 96
"""Pixels of the image that decoded positions refer to."""
LOOP_MARGIN = 8
"""Frames of a loop that are repeated at either end while it is decoded and solved."""
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
        rest: (V, 1, M, 2) places of the markers, in widths of the image.
    """

    markers: MarkerSet
    cameras: Cameras
    pictures: NDArray[np.uint8]
    maps: NDArray[np.float32]
    rest: NDArray[np.float64]


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
        OptionError: the request names a joint or a clip that the rig does not have.
        RigError: the rig has no joint that moves a vertex.
        GenerationError: the network's output cannot be turned into motion.
        Cancelled: ``should_stop`` said so.
    """
    controls = resolve(rig, request)
    run = _Run(progress, should_stop or (lambda: False))
    with run.stage(Stage.TEMPLATE):
        template = make_template(rig, model)
    with run.stage(Stage.TEXT):
        texts, unheard = model.hear([request.prompt, *(change.prompt for change in request.prompt_changes)])
    with run.stage(Stage.DENOISE):
        generated = _denoise(rig, template, texts, request, controls, model, run)
    with run.stage(Stage.TRIANGULATE):
        seen = observe(template, generated, model, margin=LOOP_MARGIN if request.loop else 0)
        points = seen.points
        if controls is not None:
            points = _placed(rig, template, points, controls, model.fps)
    with run.stage(Stage.ROTATIONS):
        pose = solve_drawn(rig.skeleton, template.markers, points, model.fps)
        pose = pose[seen.margin : len(pose.rotations) - seen.margin]
    with run.stage(Stage.CLEAN):
        clip = clean(rig, pose, model.fps, request, controls)
    if debug is not None:
        write_debug(
            debug,
            model.space.codec,
            template_rgb=template.pictures,
            template_maps=template.maps,
            rgb=model.space.pictures(generated),
            maps=model.space.maps(generated),
            places=map_places(template, model),
            fps=model.fps,
        )
    return Animation(clip, request, run.timings, seen.confidence, seen.residual, (*rig.warnings, *unheard))


def make_template(rig: Rig, model: Model) -> Template:
    """The template views and pose maps of a rig (paper § 3.1)."""
    codec = model.space.codec
    markers = choose_markers(rig, model.space.markers)
    cameras = template_cameras(rig, size=VIEW_SIZE, room=model.manifest.room)
    pictures = render_frames(rig.mesh, rig.rest_vertices[None], cameras.resized(model.space.rgb_size), up=rig.stance.up)
    points, depths = cameras.project(markers.positions(rig.skeleton.rest_globals)[None])
    maps = codec.draw(points, depths, markers, VIEW_SIZE)
    return Template(markers, cameras, pictures[:, 0], maps[:, 0], points / VIEW_SIZE)


def map_places(template: Template, model: Model) -> NDArray[np.float64] | None:
    """What ``write_debug`` needs to show a clip's markers in their places; None where its maps show them there."""
    pixels = (np.arange(SIDE) + 0.5) / SIDE
    rest = np.full((len(template.rest), 1, model.space.codec.channels, 2, 1), 0.5)
    if np.array_equal(model.space.drawn_at(pixels, rest), pixels):
        return None
    rest[:, :, template.markers.channels] = template.rest[..., None]
    return model.space.drawn_at(pixels, rest)


def make_condition(rig: Rig, template: Template, text: NDArray[np.float32], model: Model, seed: int = 0) -> Condition:
    """What the network is told of a rig and a prompt's states; ``seed``: of the motion that is planned."""
    low, high = rig.rest_box
    drawn = model.space.encode(template.pictures[:, None], template.maps[:, None])
    rays = template.cameras.pluecker(model.space.rays_size, (low + high) / 2, rig.size / 2, rig.stance.axes)
    return Condition(
        rgb=drawn.rgb[:, 0],
        pose=drawn.pose[:, 0],
        channels=model.space.channels(template.markers),
        rays=rays.astype(np.float32),
        prompt=prompted(rig, template, text, model, seed),
        tangents=model.space.tangents(
            template.markers, template.cameras, template.markers.positions(rig.skeleton.rest_globals)
        ),
    )


def prompted(rig: Rig, template: Template, text: NDArray[np.float32], model: Model, seed: int, at: int = 0) -> Prompt:
    """What is asked for from a frame on: a prompt's states (T, width), and the motion that is planned for it, as pose
    latents, where the model plans one; ``seed``: of which clip it follows and of where in its turn it begins."""
    if model.repertoire is None:
        return Prompt(at, text)
    rest = template.markers.positions(rig.skeleton.rest_globals)
    plan = model.repertoire.plan(rig.to_body(rest), text, seed)

    def latents(turns: NDArray[np.float64]) -> Latents:
        return draw_markers(template, rest + rig.moves_from_body(plan.moves(turns)), model)

    return Prompt(at, text, plan.tempo, latents)


def draw_markers(template: Template, positions: NDArray[np.float64], model: Model) -> Latents:
    """Pose latents (V, F, C, h, w) of a clip whose markers are at world ``positions`` (F, M, 3), each frame on its
    own."""
    return model.space.encode(None, _maps(template, positions, model)).pose


def _maps(template: Template, positions: NDArray[np.float64], model: Model) -> Maps:
    points, depths = template.cameras.project(positions)
    places = model.space.drawn_at(points / VIEW_SIZE, template.rest)
    return model.space.codec.draw(VIEW_SIZE * places, depths, template.markers, VIEW_SIZE)


def make_schedule(model: Model, guidance: float | None, steps: int | None) -> Schedule:
    """The model's schedule, with what a request wants otherwise."""
    return replace(
        model.schedule,
        steps=steps or model.schedule.steps,
        guidance=model.schedule.guidance if guidance is None else guidance,
    )


@dataclass(frozen=True, eq=False)
class Seen:
    """What was read off generated pose maps.

    Attributes:
        points: of F frames, with ``margin`` frames more at either end.
        margin: frames.
        confidence: mean over views, frames and markers.
        residual: median distance between decoded and reprojected markers, as a share of the image.
    """

    points: Points
    margin: int
    confidence: float
    residual: float


def observe(template: Template, generated: Sequence[Take], model: Model, *, margin: int = 0) -> Seen:
    """Generated pose maps to markers in space.

    Args:
        template: of the rig.
        generated: F frames.
        model: for its latent space.
        margin: frames of a loop that are repeated at either end, so that what follows in time knows no ends.
    """
    found = model.space.observe(generated, template.markers, VIEW_SIZE)
    found = Observations(VIEW_SIZE * model.space.seen_at(found.points / VIEW_SIZE, template.rest), found.confidence)
    if margin:
        frames = found.points.shape[1]
        at = np.arange(-margin, frames + margin) % frames
        found = Observations(found.points[:, at], found.confidence[:, at])
    observations = reject_jumps(found, VIEW_SIZE)
    points = triangulate(template.cameras, observations)
    residual = float(np.median(points.residual[points.confidence > 0])) / VIEW_SIZE
    drawn = model.space.codec.drawn(template.markers)
    return Seen(points, margin, float(observations.confidence[:, :, drawn].mean()), residual)


def draw(
    rig: Rig, template: Template, pose: Pose, model: Model, *, pictures: bool = True, held: bool = False
) -> Sample:
    """Latents of known poses (F frames), each on its own; without ``pictures``, those are left zero."""
    skeleton = rig.skeleton
    globals_ = skeleton.globals(pose)
    maps = _maps(template, template.markers.positions(globals_), model)
    rendered = None
    if pictures:
        cameras = template.cameras.resized(model.space.rgb_size)
        rendered = render_frames(rig.mesh, rig.mesh.skin(globals_), cameras, up=rig.stance.up)
    return model.space.encode(rendered, maps, held=held)


def _denoise(
    rig: Rig,
    template: Template,
    texts: NDArray[np.float32],
    request: Request,
    controls: Controls | None,
    model: Model,
    run: _Run,
) -> list[Take]:
    if request.loop:
        frames = model.schedule.period(request.seconds * model.fps)
    else:
        frames = max(2, math.ceil(request.seconds * model.fps - 1e-6) + 1)
    condition = make_condition(rig, template, texts[0], model, request.seed)
    changes = [
        prompted(rig, template, text, model, request.seed, round(change.at * model.fps))
        for change, text in zip(request.prompt_changes, texts[1:], strict=True)
    ]
    return sample(
        model.denoiser,
        condition,
        frames,
        request.seed,
        make_schedule(model, request.guidance, request.steps),
        known=None if controls is None else known_latents(rig, template, condition, controls, frames, model),
        changes=changes,
        loop=request.loop,
        history=model.space.latest,
        on_step=run.denoised,
        should_stop=run.should_stop,
    )


def known_latents(
    rig: Rig, template: Template, condition: Condition, controls: Controls, frames: int, model: Model
) -> Known:
    """The latents that the controls give. Behind a VAE, joints that follow another motion are left to the network:
    their part of a picture has no latents of its own."""
    known = nothing_known(condition, frames)
    times = np.arange(frames) * (controls.seconds / frames if controls.loop else 1 / model.fps)
    markers = template.markers
    channels = model.space.channels(markers, controls.placed(rig)[markers.joints])
    if channels.any():
        base = draw(rig, template, controls.base_pose(rig, times), model, pictures=False)
        known.latents.pose[:] = base.pose
        known.pose[:, channels] = True
    for at, (seconds, pose) in zip(controls.pinned_frames(frames, model.fps), controls.pins, strict=True):
        held = at > 0 or controls.loop
        drawn = draw(rig, template, controls.pinned_pose(rig, seconds, pose), model, held=held)
        known.latents.rgb[:, at], known.latents.pose[:, at] = drawn.rgb[:, 0], drawn.pose[:, 0]
        known.rgb[at] = True
        known.pose[at] = True
    return known


def _placed(rig: Rig, template: Template, points: Points, controls: Controls, fps: float) -> Points:
    """The points with the markers whose place is known put there exactly, and pinned frames left to their neighbours.

    A pinned frame shows the pinned pose even where the frames around it do not lead there. To take it for evidence
    would be a jump; what is missing is shared out when the pose is made exact.
    """
    frames = len(points.points)
    margin = LOOP_MARGIN if controls.loop else 0
    period = frames - 2 * margin
    rate = period / controls.seconds if controls.loop else fps
    times = (np.arange(frames) - margin) / rate
    known, confidence, sigma = points.points, points.confidence.copy(), points.sigma
    pinned = controls.pinned_frames(period, fps)
    at = (np.arange(frames) - margin) % period
    if len(set(pinned)) < period:
        confidence[np.isin(at, pinned)] = 0.0
    placed = controls.placed(rig)[template.markers.joints]
    if placed.any():
        pose = controls.base_pose(rig, times % controls.seconds if controls.loop else times)
        true = template.markers.positions(rig.skeleton.globals(pose))
        known, sigma = np.where(placed[:, None], true, known), np.where(placed, 0.0, sigma)
        confidence[:, placed] = 1.0
    return replace(points, points=known, confidence=confidence, sigma=sigma)


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
