"""Visibility: which triangle each pixel centre of an image sees, and where in it. OpenCV's software rasteriser does the
work: exact at pixel centres, perspective-correct, and it lets other threads run meanwhile.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]

MAX_TRIANGLES = 1 << 20
"""A triangle's number is a float32 colour to the rasteriser: 24 bits, 4 of them for rounding."""

_SETTINGS = (
    cv2.TriangleRasterizeSettings()
    .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    .setGlCompatibleMode(cv2.RASTERIZE_COMPAT_DISABLED)
)
_IDENTITY = np.eye(4, dtype=np.float32)


def rasterise(corners: Floats, numbers: IntArray, seen: Floats, depth: Floats) -> None:
    """Find the nearest triangle at every pixel centre of a square image.

    Args:
        corners: (K, 3, 3) of the triangles' corners in camera space (x right, y down, z forward > 0), scaled so that the
            image ends at x = ±z and y = ±z.
        numbers: (K,) what to write where a triangle is seen, from 0 to below ``MAX_TRIANGLES``.
        seen: (size, size, 3) zeros; receives the barycentric weights of the second and third corner, and the number plus
            one over ``MAX_TRIANGLES``; stays zero where no triangle is seen.
        depth: (size, size) receives z where a triangle is seen.
    """
    if not len(corners):
        return
    # OpenCV's camera looks down -z with y up; its field of view is the 90° of ``corners``
    points = corners.reshape(-1, 1, 3) * np.array([1, -1, -1], np.float32)
    near, far = float(corners[..., 2].min()) * 0.99, float(corners[..., 2].max()) * 1.01
    colours = np.zeros((len(corners), 3, 3), np.float32)
    colours[:, 1, 0] = 1
    colours[:, 2, 1] = 1
    colours[:, :, 2] = ((numbers + 1) / MAX_TRIANGLES)[:, None]
    indices = np.arange(len(points), dtype=np.int32).reshape(-1, 1, 3)
    depth.fill(far)
    cv2.triangleRasterize(
        points, indices, colours.reshape(-1, 1, 3), seen, depth, _IDENTITY, np.pi / 2, near, far, _SETTINGS
    )
