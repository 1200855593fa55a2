"""Pinhole cameras and the four template views.

Pixels: x to the right, y down, the centre of the top-left pixel at (0.5, 0.5). Camera space: x right, y down, z forward
(OpenCV's). World space: the rig file's own (glTF: right-handed, Y up unless the rig's stance says otherwise).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from animax.assets.rig import Rig

Array = NDArray[np.float64]

AZIMUTHS = (0.0, 90.0, 180.0, 270.0)
"""Degrees (paper § 3.2; its printed 190 read as 180). 0 sees the model's face, 90 its left side."""
ELEVATION = 15.0
"""Degrees. Opposite cameras at the paper's 0 cannot give the depth of a joint that the other two miss."""
FIELD_OF_VIEW = 30.0
"""Degrees, horizontal and vertical; not stated in the paper."""
_WORLD_AXES: Array = np.eye(3)
ROOM = 1.2
"""Radius of the sphere that the views show, in half diagonals of the rest box: the body and room to move."""


@dataclass(frozen=True, eq=False)
class Cameras:
    """V pinhole cameras with one image size.

    Attributes:
        intrinsics: (V, 3, 3), pixels.
        extrinsics: (V, 3, 4), world to camera.
        size: width and height of the square image, pixels.
    """

    intrinsics: Array
    extrinsics: Array
    size: int

    def __len__(self) -> int:
        return len(self.intrinsics)

    def __getitem__(self, views: slice | list[int] | NDArray[np.int64]) -> Cameras:
        return Cameras(self.intrinsics[views], self.extrinsics[views], self.size)

    def resized(self, size: int) -> Cameras:
        """The same views as images of another size."""
        scale = np.array([size / self.size, size / self.size, 1.0])
        return Cameras(self.intrinsics * scale[:, None], self.extrinsics, size)

    @property
    def matrices(self) -> Array:
        """Projection matrices (V, 3, 4), world to homogeneous pixels."""
        return self.intrinsics @ self.extrinsics

    @property
    def centers(self) -> Array:
        """(V, 3) world positions of the cameras."""
        rotation = self.extrinsics[:, :, :3]
        centers: Array = -np.einsum("vji,vj->vi", rotation, self.extrinsics[:, :, 3])
        return centers

    def project(self, points: ArrayLike) -> tuple[Array, Array]:
        """Pixels (V, ..., 2) and depths (V, ...) of world points (..., 3)."""
        points = np.asarray(points, np.float64)
        m = self.matrices
        homogeneous = np.einsum("vij,...j->v...i", m[:, :, :3], points)
        homogeneous += m[:, :, 3].reshape(len(m), *([1] * (points.ndim - 1)), 3)
        depth = homogeneous[..., 2]
        safe = np.where(np.abs(depth) > 1e-9, depth, 1e-9)
        return homogeneous[..., :2] / safe[..., None], depth

    def rays(self, size: int | None = None) -> tuple[Array, Array]:
        """World-space unit directions (V, H, W, 3) through the pixel centres, and camera centres (V, 3)."""
        cameras = self if size is None else self.resized(size)
        axis = np.arange(cameras.size) + 0.5
        pixels = np.stack([*np.meshgrid(axis, axis), np.ones((cameras.size, cameras.size))], axis=-1)
        local = np.einsum("vij,hwj->vhwi", np.linalg.inv(cameras.intrinsics), pixels)
        world = np.einsum("vji,vhwj->vhwi", cameras.extrinsics[:, :, :3], local)
        return world / np.linalg.norm(world, axis=-1, keepdims=True), cameras.centers

    def pluecker(self, size: int, origin: ArrayLike, unit: float, axes: ArrayLike = _WORLD_AXES) -> Array:
        """Plücker ray maps (V, 6, size, size): moment o × d and direction d (paper § 3.2, camera conditioning).

        ``origin`` (3,) is taken as the world's origin, ``unit`` as its length and the rows of ``axes`` (3, 3) as its
        axes, so that the map does not depend on where a rig stands, how large it is and which way it faces.
        """
        directions, centers = self.rays(size)
        turn = np.asarray(axes, np.float64).T
        directions = directions @ turn
        o = (centers - np.asarray(origin, np.float64)) @ turn / unit
        moments = np.cross(np.broadcast_to(o[:, None, None], directions.shape), directions)
        return np.moveaxis(np.concatenate([moments, directions], axis=-1), -1, 1)


def look_at(eye: ArrayLike, target: ArrayLike, up: ArrayLike) -> Array:
    """Extrinsics (3, 4) of a camera at ``eye`` that looks at ``target``."""
    eye, target, up = (np.asarray(v, np.float64) for v in (eye, target, up))
    z = target - eye
    z /= np.linalg.norm(z)
    x = np.cross(z, up)
    x /= np.linalg.norm(x)
    rotation = np.stack([x, np.cross(z, x), z])
    return np.concatenate([rotation, -(rotation @ eye)[:, None]], axis=1)


def orbit(
    center: ArrayLike,
    radius: float,
    forward: ArrayLike,
    up: ArrayLike,
    *,
    size: int,
    azimuths: tuple[float, ...] = AZIMUTHS,
    elevation: float = ELEVATION,
    field_of_view: float = FIELD_OF_VIEW,
) -> Cameras:
    """Cameras around ``center`` that each show the sphere of ``radius`` (world units) whole.

    Azimuths turn about ``up`` (unit) from ``forward`` (unit, perpendicular to it) by the right-hand rule.
    """
    center, forward, up = (np.asarray(v, np.float64) for v in (center, forward, up))
    left = np.cross(up, forward)
    half = np.deg2rad(field_of_view) / 2
    distance = radius / np.sin(half)
    focal = size / 2 / np.tan(half)
    lift = np.deg2rad(elevation)
    extrinsics = []
    for azimuth in np.deg2rad(azimuths):
        direction = np.cos(lift) * (np.cos(azimuth) * forward + np.sin(azimuth) * left) + np.sin(lift) * up
        extrinsics.append(look_at(center + distance * direction, center, up))
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    return Cameras(np.repeat(intrinsics[None], len(azimuths), axis=0), np.stack(extrinsics), size)


def template_cameras(
    rig: Rig,
    *,
    size: int,
    azimuths: tuple[float, ...] = AZIMUTHS,
    elevation: float = ELEVATION,
    room: float = ROOM,
) -> Cameras:
    """The template views of a rig: around its rest box, from the way it faces, with room to move."""
    low, high = rig.rest_box
    return orbit(
        (low + high) / 2,
        room * rig.size / 2,
        rig.stance.forward,
        rig.stance.up,
        size=size,
        azimuths=azimuths,
        elevation=elevation,
    )
