"""Previews of a clip: the skinned, textured mesh on a ground grid, seen from three quarters."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from animax.assets.rig import Rig
from animax.errors import OptionError
from animax.motion.clip import Clip
from animax.views.camera import Cameras, orbit
from animax.views.colour import decode_srgb, encode_srgb
from animax.views.picture_files import check_suffix, write_pictures
from animax.views.render import BACKGROUND, render

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

AZIMUTH, ELEVATION = 35.0, 14.0
"""Degrees: three quarters from the front, a little from above."""
MARGIN = 1.04
"""Half the picture's width, in half widths of what must be seen."""
TRAVEL = 0.75
"""Ground covered, in rest diagonals, beyond which the camera goes along."""
FLOOR, LINES, HORIZON = (0.58, 0.60, 0.63), 0.72, (0.78, 0.80, 0.83)
"""Linear colours of the floor and of what lies far away, and how much of the floor's light its lines reflect."""
SHADOW = 0.45
"""Share of light that the body takes from the floor below it."""
FRAMES_AT_ONCE = 16


def write_preview(
    path: Path | str,
    rig: Rig,
    clip: Clip,
    *,
    size: int = 384,
    columns: int = 8,
    azimuth: float = AZIMUTH,
    elevation: float = ELEVATION,
) -> None:
    """Write ``clip`` on ``rig`` as pictures of ``size`` × ``size`` pixels: ``.mp4`` or ``.gif`` with all frames at the
    clip's rate, ``.png`` with a strip of ``columns`` of them.

    Args:
        path: where to; its suffix says what.
        rig: the rig.
        clip: a motion of the rig's skeleton.
        size: width and height of a picture, at least 16.
        columns: pictures of a strip.
        azimuth: degrees about the rig's up axis from the way it faces towards its left.
        elevation: degrees above the ground.

    Raises:
        OptionError: the suffix is unknown, the size too small, or the clip has another skeleton.
    """
    if check_suffix(path) == ".png":
        chosen = np.unique(np.linspace(0, len(clip) - 1, max(1, columns)).round().astype(int))
        clip = clip.with_pose(clip.pose[chosen])
    pictures = preview_pictures(rig, clip, size=size, azimuth=azimuth, elevation=elevation)
    write_pictures(path, pictures, clip.fps, columns=len(clip))


def preview_pictures(
    rig: Rig, clip: Clip, *, size: int = 384, azimuth: float = AZIMUTH, elevation: float = ELEVATION
) -> Bytes:
    """The pictures (F, size, size, 3) sRGB of a preview. Arguments and errors as for ``write_preview``."""
    if size < 16:
        raise OptionError("size", size, "at least 16")
    if clip.pose.rotations.shape[-2] != len(rig.skeleton):
        raise OptionError("clip", f"{clip.pose.rotations.shape[-2]} joints", f"the {len(rig.skeleton)} of the rig")
    stage = _Stage.of(rig, clip, size, azimuth, elevation)
    out = np.empty((len(clip), size, size, 3), np.uint8)
    for frames in _blocks(len(clip), FRAMES_AT_ONCE):
        vertices = rig.mesh.skin(rig.skeleton.globals(clip.pose[frames])) - stage.path[frames, None]
        body = render(rig.mesh, vertices, stage.camera, up=stage.up, supersample=2)
        light = decode_srgb(body.rgb[0]) - (1 - body.mask[0])[..., None] * decode_srgb(np.array(BACKGROUND, np.uint8))
        shade = stage.shadows(rig, vertices)
        for i, frame in enumerate(range(frames.start, frames.start + len(vertices))):
            floor = stage.floor(stage.path[frame]) * (1 - SHADOW * shade[i])[..., None]
            out[frame] = encode_srgb(light[i] + (1 - body.mask[0, i])[..., None] * floor)
    return out


@dataclass(frozen=True, eq=False)
class _Stage:
    """Where a clip is shown.

    Attributes:
        camera: one view; stands still, while the world moves by ``path``.
        path: (F, 3) what to take from world positions, so that the body stays in the picture.
        center: (3,) point of the ground below the middle of the picture.
        up: (3,) unit.
        spacing: of the grid's lines, world units.
        reach: of the floor that is drawn, world units.
    """

    camera: Cameras
    path: Array
    center: Array
    up: Array
    spacing: float
    reach: float

    @staticmethod
    def of(rig: Rig, clip: Clip, size: int, azimuth: float, elevation: float) -> _Stage:
        """Fit the camera to everything that the clip covers."""
        up, forward = rig.stance.up, rig.stance.forward
        lows, highs = [], []
        for frames in _blocks(len(clip), FRAMES_AT_ONCE):
            vertices = rig.mesh.skin(rig.skeleton.globals(clip.pose[frames]))
            lows.append(vertices.min(axis=1))
            highs.append(vertices.max(axis=1))
        low, high = np.concatenate(lows), np.concatenate(highs)
        path = _ground_path((low + high) / 2, up, clip.fps, TRAVEL * rig.size)
        corners = _corners((low - path).min(axis=0), (high - path).max(axis=0))
        middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
        radius = np.linalg.norm(corners - middle, axis=-1).max()

        def looking(radius: float) -> Cameras:
            return orbit(middle, radius, forward, up, size=size, azimuths=(azimuth,), elevation=elevation)

        for _ in range(3):
            pixels, _depth = looking(radius).project(corners)
            radius *= MARGIN * float(np.abs(pixels / (size / 2) - 1).max())
        ground = float((corners @ up).min())
        spacing = 10.0 ** np.round(np.log10(rig.size / 3))
        return _Stage(looking(radius), path, middle - (middle @ up - ground) * up, up, float(spacing), 14 * radius)

    def floor(self, shift: Array) -> Floats:
        """(size, size, 3) linear light of the empty floor, its grid fixed to the world, for a frame's ``path``."""
        directions, centers = self.camera.rays()
        height = (centers[0] - self.center) @ self.up
        slope = directions[0] @ self.up
        below = slope < -1e-4
        distance = np.where(below, np.minimum(height / np.where(below, -slope, 1.0), 4 * self.reach), 4 * self.reach)
        at = centers[0] + directions[0] * distance[..., None] + shift
        side = np.cross(self.up, _perpendicular(self.up))
        axes = np.stack([side, np.cross(side, self.up)])
        squares = (at @ axes.T) / self.spacing
        pixel = distance / (self.camera.intrinsics[0, 0, 0] * self.spacing)
        # a line as wide as a pixel or 2 % of a square, softened by a pixel's footprint on the floor
        footprint = pixel / np.maximum(-slope, 0.05)
        width = np.maximum(0.01, 0.5 * pixel)
        off = np.abs(squares - np.rint(squares)).min(axis=-1)
        line = np.clip((width + footprint / 2 - off) / np.maximum(footprint, 1e-9), 0, 1) * np.clip(1 - footprint, 0, 1)
        fade = np.where(below, np.exp(-((distance / self.reach) ** 2) * 6), 0.0)[..., None]
        floor = np.array(FLOOR) * (1 - (1 - LINES) * line)[..., None]
        light: Floats = (fade * floor + (1 - fade) * np.array(HORIZON)).astype(np.float32)
        return light

    def shadows(self, rig: Rig, vertices: Array) -> Floats:
        """(F, size, size) how much of the sky above each place of the floor the body hides, in [0, 1], softened."""
        height = (vertices - self.center) @ self.up
        flat = vertices - height[..., None] * self.up
        small = self.camera.resized(max(16, self.camera.size // 2))
        masks = render(rig.mesh, flat, small, up=self.up, supersample=1).mask[0]
        blur = small.size / 90
        size = (self.camera.size, self.camera.size)
        shades = [cv2.resize(cv2.GaussianBlur(mask, (0, 0), blur), size) for mask in masks]
        return np.stack(shades).astype(np.float32)


def _ground_path(centers: Array, up: Array, fps: float, travel: float) -> Array:
    """(F, 3) smoothed way of the body over the ground, from its middle; zero for one that stays about its place."""
    ground = centers - (centers @ up)[:, None] * up
    way = ground - ground[0]
    if np.linalg.norm(way, axis=-1).max() <= travel:
        return np.zeros_like(way)
    # the steady part goes as it is, so that the camera lags at neither end
    steady = np.linspace(0, 1, len(way))[:, None] * way[-1]
    swaying: Array = gaussian_filter1d(way - steady, sigma=0.25 * fps, axis=0, mode="nearest")
    path: Array = steady + swaying
    return path


def _corners(low: Array, high: Array) -> Array:
    return np.array([[(low, high)[i >> axis & 1][axis] for axis in range(3)] for i in range(8)])


def _perpendicular(up: Array) -> Array:
    guide = np.eye(3)[int(np.argmin(np.abs(up)))]
    out: Array = np.cross(guide, up)
    return out / np.linalg.norm(out)


def _blocks(total: int, length: int) -> Iterator[slice]:
    for start in range(0, total, length):
        yield slice(start, min(start + length, total))
