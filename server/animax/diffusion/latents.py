"""The embedded model's latent space: scaled splat pose maps and small pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet
from animax.diffusion.sampler import Sample, Take, joined, latest
from animax.views.camera import Cameras
from animax.views.pose_map import Observations
from animax.views.render import BACKGROUND
from animax.views.splat import SplatPoseMap

Latents = NDArray[np.float32]

NEAR = 0.05
"""Of the image's width: moves that are smaller are drawn in proportion, 3.3 times as large; larger ones by their
logarithm (sinh⁻¹), up to half a width, which stays one."""
RGB_SCALE = 4.0
"""Latent units for the full range of a colour: with it, small renders on their grey background have about unit
variance."""
SPLINE_ENERGY = 0.30
"""Mean square sum of a two-dimensional quadratic B-spline's weights."""
TANGENT_STEP = 0.01
"""Of the markers' extent: far enough that rounding does not count, near enough that splats change in proportion."""
SEEN = 0.05
"""Share of the largest change below which a direction counts as not seen."""


@dataclass(frozen=True)
class LatentSpace:
    """Between maps and what the network sees; a ``Space``.

    A clip's pose maps show how far a marker has moved from its place in the template, which is in the middle; moves are
    companded, so that an ant's walk is drawn almost as large as a giant's fall.

    Attributes:
        codec: of the pose maps.
        rgb_size: height and width of the RGB stream's pictures.
    """

    codec: SplatPoseMap
    rgb_size: int

    @property
    def rays_size(self) -> int:
        """See ``Space``."""
        return self.codec.size

    @property
    def markers(self) -> int:
        """See ``Space``."""
        return self.codec.channels

    def channels(self, markers: MarkerSet, which: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """See ``Space``: every marker has a channel of its own."""
        used = np.zeros(self.codec.channels, bool)
        used[markers.channels[slice(None) if which is None else which]] = True
        return used

    def drawn_at(self, places: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
        """See ``Space``."""
        middle: NDArray[np.float64] = 0.5 + 0.5 * np.arcsinh((places - rest) / NEAR) / np.arcsinh(0.5 / NEAR)
        return middle

    def seen_at(self, drawn: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
        """See ``Space``."""
        places: NDArray[np.float64] = rest + NEAR * np.sinh((2 * drawn - 1) * np.arcsinh(0.5 / NEAR))
        return places

    def encode(self, pictures: NDArray[np.uint8] | None, maps: Latents, *, held: bool = False) -> Sample:  # noqa: ARG002
        """See ``Space``: a frame's latents do not depend on the others."""
        blank = np.zeros((*maps.shape[:2], 3, self.rgb_size, self.rgb_size), np.float32)
        return Sample(blank if pictures is None else self.encode_rgb(pictures), self.encode_pose(maps))

    def tangents(self, markers: MarkerSet, cameras: Cameras, positions: NDArray[np.float64]) -> Latents:
        """See ``Space``."""
        views, size = cameras.resized(1), self.codec.size
        step = TANGENT_STEP * float(np.ptp(positions, axis=0).max())
        moves = step * np.concatenate([np.eye(3), -np.eye(3)])
        points, depths = views.project(positions + moves[:, None])  # (V, 6, M, 2)
        rest, _ = views.project(positions)
        drawn = self.codec.draw(self.drawn_at(points, rest[:, None]), depths, markers, 1)
        derivative = np.moveaxis(drawn[:, :3] - drawn[:, 3:], 1, 2).reshape(len(drawn), -1, 3, size * size)
        left, lengths, right = np.linalg.svd(derivative, full_matrices=False)
        # the third is along the line of sight; a marker outside the picture has none
        seen = lengths > SEEN * np.maximum(lengths[..., :1], 1e-9)
        seen[..., 2] = False
        polar = (left * seen[..., None, :]) @ right
        return np.asarray(polar.reshape(*polar.shape[:3], size, size), np.float32)

    def latest(self, takes: Sequence[Take], count: int) -> Sample:
        """See ``Space``."""
        return latest(takes, count)

    def observe(self, takes: Sequence[Take], markers: MarkerSet, frame: int) -> Observations:
        """See ``Space``."""
        return self.codec.decode(self.maps(takes), markers, frame)

    def maps(self, takes: Sequence[Take]) -> Latents:
        """See ``Space``."""
        return self.decode_pose(joined(takes).pose)

    def pictures(self, takes: Sequence[Take]) -> NDArray[np.uint8]:
        """See ``Space``."""
        return self.decode_rgb(joined(takes).rgb)

    @property
    def pose_scale(self) -> float:
        """Factor that brings pose maps to about unit variance."""
        return float(self.codec.size / SPLINE_ENERGY**0.5)

    def encode_pose(self, maps: Latents) -> Latents:
        """Pose maps to latents."""
        return np.asarray(maps * self.pose_scale, np.float32)

    def decode_pose(self, latents: Latents) -> Latents:
        """Latents to pose maps."""
        return np.asarray(latents / self.pose_scale, np.float32)

    def encode_rgb(self, pictures: NDArray[np.uint8]) -> Latents:
        """Pictures (..., H, W, 3) to latents (..., 3, H, W), the background at zero."""
        values = (pictures.astype(np.float32) - np.array(BACKGROUND, np.float32)) * np.float32(RGB_SCALE / 255)
        return np.moveaxis(values, -1, -3)

    def decode_rgb(self, latents: Latents) -> NDArray[np.uint8]:
        """Latents (..., 3, H, W) to pictures (..., H, W, 3)."""
        values = np.moveaxis(latents, -3, -1) * (255 / RGB_SCALE) + np.array(BACKGROUND)
        pictures: NDArray[np.uint8] = np.clip(np.rint(values), 0, 255).astype(np.uint8)
        return pictures
