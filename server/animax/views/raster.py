"""Visibility: which triangle each pixel centre of an image sees, and where in it. OpenCV's software rasteriser does the
work: exact at pixel centres, perspective-correct, and it lets other threads run meanwhile.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

BLOCK = 1 << 20
"""Triangles drawn at once. Their number is a float32 colour to the rasteriser: 24 bits, 4 of them for rounding."""

_SETTINGS = (
    cv2.TriangleRasterizeSettings()
    .setShadingType(cv2.RASTERIZE_SHADING_SHADED)
    .setCullingMode(cv2.RASTERIZE_CULLING_NONE)
    .setGlCompatibleMode(cv2.RASTERIZE_COMPAT_DISABLED)
)
_IDENTITY = np.eye(4, dtype=np.float32)


def rasterise(corners: Floats, size: int) -> tuple[NDArray[np.int32], Floats, Floats]:
    """Find the nearest triangle at every pixel centre of a square image.

    Args:
        corners: (K, 3, 3) of the triangles' corners in camera space (x right, y down, z forward > 0), scaled so that
            the image ends at x = ±z and y = ±z.
        size: width and height of the image.

    Returns:
        (size, size) index of the triangle, -1 where there is none; (size, size, 3) whose first two are the barycentric
        weights of its second and third corner; (size, size) z, meaningless where there is no triangle.
    """
    index = np.full((size, size), -1, np.int32)
    seen = np.zeros((size, size, 3), np.float32)
    depth = np.zeros((size, size), np.float32)
    if not len(corners):
        return index, seen, depth
    near, far = float(corners[..., 2].min()) * 0.99, float(corners[..., 2].max()) * 1.01
    depth.fill(far)
    for start in range(0, len(corners), BLOCK):
        block = corners[start : start + BLOCK]
        # OpenCV's camera looks down -z with y up; its field of view is the 90° of the corners
        points = block.reshape(-1, 1, 3) * np.array([1, -1, -1], np.float32)
        colours = np.zeros((len(block), 3, 3), np.float32)
        colours[:, 1, 0] = 1
        colours[:, 2, 1] = 1
        colours[:, :, 2] = (np.arange(1, len(block) + 1, dtype=np.float32) / BLOCK)[:, None]
        order = np.arange(len(points), dtype=np.int32).reshape(-1, 1, 3)
        seen[..., 2] = 0
        cv2.triangleRasterize(
            points, order, colours.reshape(-1, 1, 3), seen, depth, _IDENTITY, np.pi / 2, near, far, _SETTINGS
        )
        number = np.rint(seen[..., 2] * BLOCK).astype(np.int32)
        np.copyto(index, number + (start - 1), where=number > 0)
    return index, seen, depth
