"""SplatPoseMap: one channel per marker on a coarse grid, quadratic B-spline splats."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet
from animax.views.pose_map import Array, Maps, Observations


def spline_weights(positions: Array, cells: int) -> Array:
    """Quadratic B-spline weights (..., cells) of 1D ``positions`` (...,) in cell units (cell centres at +0.5).

    The weights sum to one and their centroid is the position, exactly, from 1 to ``cells`` - 1.
    """
    distance = np.abs(np.asarray(positions)[..., None] - (np.arange(cells) + 0.5))
    return np.where(distance < 0.5, 0.75 - distance**2, np.where(distance < 1.5, 0.5 * (1.5 - distance) ** 2, 0.0))


@dataclass(frozen=True)
class SplatPoseMap:
    """Each marker has a channel of its own. The image's edges lie one cell inside the grid's, so that a splat anywhere
    in the image is whole and its centroid exact; a marker outside the image is not drawn.

    Attributes:
        channels: C.
        size: height and width of the grid, cells.
    """

    channels: int = 64
    size: int = 8

    def drawn(self, markers: MarkerSet) -> NDArray[np.int64]:
        """See ``PoseMapCodec.drawn``: all of them."""
        return np.arange(len(markers))

    def draw(self, points: Array, depths: Array, markers: MarkerSet, frame: int) -> Maps:  # noqa: ARG002
        """See ``PoseMapCodec.draw``; depths are not used, since channels never cover one another."""
        cells = 1 + points * ((self.size - 2) / frame)
        inside = np.all((points >= 0) & (points <= frame), axis=-1)
        splats = (
            spline_weights(cells[..., 1], self.size)[..., :, None]
            * spline_weights(cells[..., 0], self.size)[..., None, :]
        )
        views, frames = points.shape[:2]
        maps = np.zeros((views, frames, self.channels, self.size, self.size), np.float32)
        maps[:, :, markers.channels] = splats * inside[..., None, None]
        return maps

    def decode(self, maps: Maps, markers: MarkerSet, frame: int) -> Observations:
        """Centroid of the 3 × 3 window that holds most of a channel's mass.

        The confidence is that mass (1 for a whole splat, at most 1) times the cosine between the window and the splat
        that belongs at the centroid.
        """
        values = np.maximum(np.asarray(maps, np.float64)[:, :, markers.channels], 0.0)
        windows = sliding_window_view(values, (3, 3), axis=(-2, -1))
        windows = windows.reshape(*values.shape[:3], -1, 3, 3)
        mass = windows.sum(axis=(-2, -1))
        best = np.argmax(mass, axis=-1)
        window = np.take_along_axis(windows, best[..., None, None, None], axis=-3)[..., 0, :, :]
        total = np.take_along_axis(mass, best[..., None], axis=-1)[..., 0]
        safe = np.maximum(total, 1e-9)
        offsets = np.arange(3) + 0.5
        local = np.stack([window.sum(axis=-2) @ offsets, window.sum(axis=-1) @ offsets], axis=-1) / safe[..., None]
        corner = np.stack([best % (self.size - 2), best // (self.size - 2)], axis=-1)
        ideal = spline_weights(local[..., 1], 3)[..., :, None] * spline_weights(local[..., 0], 3)[..., None, :]
        norm = np.linalg.norm(window, axis=(-2, -1)) * np.linalg.norm(ideal, axis=(-2, -1))
        cosine = np.sum(window * ideal, axis=(-2, -1)) / np.maximum(norm, 1e-9)
        points: NDArray[np.float64] = (corner + local - 1) * (frame / (self.size - 2))
        return Observations(points, np.where(total > 1e-3, np.minimum(total, 1.0) * cosine, 0.0))
