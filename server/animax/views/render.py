"""Template renderer: textured, lit pictures of a skinned mesh on the CPU, without a display.

OpenCV's rasteriser answers which triangle each sample sees (``views.raster``); colour, light and anti-aliasing are
computed here for the samples that hit one, for many frames and views at once. Images follow ``views.camera``: pixel
centres at +0.5, image edges at 0 and ``size``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.assets.mesh import Mesh
from animax.errors import OptionError
from animax.views.camera import Cameras
from animax.views.colour import decode_srgb, encode_srgb
from animax.views.raster import MAX_TRIANGLES, rasterise
from animax.views.surface import Surface, cross, frames, surface_of

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]
Bytes = NDArray[np.uint8]

BACKGROUND = (128, 128, 128)
"""sRGB of every pixel that shows no surface: a contract between training data, template views and generated video."""
HEADLIGHT = 0.62
"""Radiance of a white surface that faces the camera, from the light at the camera."""
SKY, GROUND = 0.42, 0.18
"""Radiance of a white surface that faces up, and down, from the hemisphere light."""
SUPERSAMPLE = 3
"""Samples of a pixel, along x and along y."""
CHUNK = 1 << 16
"""Samples or triangles worked on at once: few enough for their buffers to stay in the processor's cache."""


@dataclass(frozen=True, eq=False)
class Rendering:
    """Pictures of V views (and, where the vertices had a leading dimension, F frames after it).

    Attributes:
        rgb: (V, [F,] H, W, 3) sRGB; ``BACKGROUND`` where no sample of the pixel hit a surface.
        mask: (V, [F,] H, W) share of the pixel's samples that hit a surface, in [0, 1].
        depth: (V, [F,] H, W) mean distance of those along the camera's axis, world units; infinite where there is none.
    """

    rgb: Bytes
    mask: Floats
    depth: Floats


def render(
    mesh: Mesh,
    vertices: ArrayLike,
    cameras: Cameras,
    *,
    up: ArrayLike = (0.0, 1.0, 0.0),
    supersample: int = SUPERSAMPLE,
) -> Rendering:
    """Render skinned ``vertices`` (N, 3) or (F, N, 3), world space, of ``mesh`` into every camera.

    Triangles are seen from their front, counter-clockwise side, and from both if their material is double-sided; what
    reaches behind a camera is not drawn. Light comes from the camera and from a hemisphere about ``up`` (3,).

    Raises:
        OptionError: the vertices are not those of the mesh, or not finite.
    """
    vertices = np.asarray(vertices, np.float64)
    if vertices.ndim not in (2, 3) or vertices.shape[-2:] != (len(mesh.positions), 3):
        raise OptionError("vertices", vertices.shape, f"({len(mesh.positions)}, 3), with or without frames before it")
    if not np.isfinite(vertices).all():
        raise OptionError("vertices", "NaN or infinity", "finite coordinates")
    if supersample < 1:
        raise OptionError("supersample", supersample, "1 or more")
    up = np.asarray(up, np.float64) / np.linalg.norm(up)
    size = cameras.size
    scene = _Scene(
        surface_of(mesh), vertices.reshape(-1, *vertices.shape[-2:]), cameras.resized(size * supersample), up
    )
    images = len(cameras) * len(scene.vertices)
    rgb = np.empty((images, size, size, 3), np.uint8)
    mask = np.empty((images, size, size), np.float32)
    depth = np.empty((images, size, size), np.float32)
    weight = max((size * supersample) ** 2, len(scene.surface.triangles))
    for chunk in _chunks(images, max(1, CHUNK // weight)):
        samples = scene.samples(chunk)
        rgb[chunk], mask[chunk], depth[chunk] = _resolve(samples, len(chunk), size, supersample)
    leading = (len(cameras), *vertices.shape[:-2])
    return Rendering(
        rgb.reshape(*leading, size, size, 3), mask.reshape(*leading, size, size), depth.reshape(*leading, size, size)
    )


def render_frames(
    mesh: Mesh,
    vertices: ArrayLike,
    cameras: Cameras,
    *,
    up: ArrayLike = (0.0, 1.0, 0.0),
    supersample: int = SUPERSAMPLE,
) -> Bytes:
    """Only the colours (V, F, H, W, 3) of ``render``, for the vertices (F, N, 3) of a clip."""
    return render(mesh, vertices, cameras, up=up, supersample=supersample).rgb


def check_background(rgb: Bytes) -> None:
    """Check that pictures (..., H, W, 3) sRGB stand on ``BACKGROUND``: that at least half of all border pixels show it.

    Raises:
        OptionError: they do not; a network trained on one background is misled by another.
    """
    border = np.concatenate([rgb[..., 0, :, :], rgb[..., -1, :, :], rgb[..., 0, :], rgb[..., -1, :]], axis=-2)
    if np.mean(np.all(border == np.array(BACKGROUND, np.uint8), axis=-1)) < 0.5:
        median = tuple(int(c) for c in np.median(border.reshape(-1, 3), axis=0))
        raise OptionError("background", median, f"sRGB {BACKGROUND} on at least half of the border")


@dataclass(frozen=True, eq=False)
class _Samples:
    """The S samples of some images that hit a surface.

    Attributes:
        places: (S,) index into the images' samples, image by image and row by row.
        light: (S, 3) linear.
        depth: (S,) along the camera's axis, world units.
    """

    places: IntArray
    light: Floats
    depth: Floats


@dataclass(frozen=True, eq=False)
class _Scene:
    """A surface in F frames before V cameras whose pixels are the samples. Image v · F + f is frame f in view v.

    Attributes:
        surface: T triangles.
        vertices: (F, N, 3) world space.
        cameras: see ``Cameras``.
        up: (3,) unit, world space.
    """

    surface: Surface
    vertices: Array
    cameras: Cameras
    up: Array

    def samples(self, images: IntArray) -> _Samples:
        """What the samples of ``images`` (I,) see."""
        view, frame = np.divmod(images, len(self.vertices))
        size, triangles = self.cameras.size, self.surface.triangles
        # camera space, sheared so that the image ends at x = ±z and y = ±z
        to_view = np.array([[2 / size, 0, -1], [0, 2 / size, -1], [0, 0, 1]]) @ self.cameras.matrices
        points = self.vertices[frame] @ np.swapaxes(to_view[view, :, :3], 1, 2) + to_view[view, None, :, 3]
        points = points.astype(np.float32)
        areas = self._signed_areas(points)
        seen = np.zeros((len(images), size, size, 3), np.float32)
        depth = np.empty((len(images), size, size), np.float32)
        for image in range(len(images)):
            kept = np.flatnonzero(areas[image])
            rasterise(points[image][triangles[kept]], kept, seen[image], depth[image])

        seen = seen.reshape(-1, 3)
        places = np.flatnonzero(seen[:, 2])
        seen = seen[places]
        pairs = np.rint(seen[:, 2] * MAX_TRIANGLES).astype(np.int64) - 1 + places // (size * size) * len(triangles)
        # first work for each triangle that is seen at all, then for each sample
        used = np.zeros(areas.size, bool)
        used[pairs] = True
        chosen = np.flatnonzero(used)
        rank = np.empty(areas.size, np.int32)
        rank[chosen] = np.arange(len(chosen), dtype=np.int32)
        image, triangle = np.divmod(chosen, max(1, len(triangles)))
        radiance = self._radiance(view[image], frame[image], triangle)
        corners = np.concatenate([radiance, self.surface.texcoords[triangle]], axis=-1)
        level = self._levels(triangle, np.abs(areas.reshape(-1)[chosen]))

        of_sample = rank[pairs]
        values = np.take(corners[:, 0], of_sample, axis=0)
        values += seen[:, :1] * np.take(corners[:, 1] - corners[:, 0], of_sample, axis=0)
        values += seen[:, 1:2] * np.take(corners[:, 2] - corners[:, 0], of_sample, axis=0)
        texels = self._texels(level[of_sample], values[:, 3:])
        return _Samples(places, values[:, :3] * texels, depth.reshape(-1)[places])

    def _signed_areas(self, points: Floats) -> Floats:
        """(I, T) areas in samples, positive where the front is seen; 0 for triangles that are not to be drawn."""
        half = self.cameras.size / 2
        depth = np.maximum(points[..., 2], 1e-20)
        x, y = (np.take(points[..., axis] / depth * half, self.surface.triangles.T, axis=1) for axis in (0, 1))
        area = (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0]) - (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
        area[(area < 0) & ~self.surface.double_sided] = 0
        behind = points[..., 2] <= 0
        if behind.any():
            area[behind[:, self.surface.triangles].any(axis=-1)] = 0
        return area / 2

    def _radiance(self, view: IntArray, frame: IntArray, triangle: IntArray) -> Floats:
        """Linear colour (K, 3, 3) of the corners of triangles under the lights."""
        centers = self.cameras.centers
        arms = self.vertices[frame[:, None], self.surface.triangles[triangle]] - centers[view][:, None]
        arms = arms.astype(np.float32)
        first, second, normal = frames(arms)
        dual = np.stack([cross(second, normal), cross(normal, first), cross(first, second)], axis=-2)
        normals = self.surface.normals[triangle] @ dual
        backs = np.einsum("ki,ki->k", normal, arms[:, 0]) > 0
        normals *= np.where(backs, -1, 1)[:, None, None] / _length(normals)
        facing = -np.einsum("kci,kci->kc", normals, arms) / _length(arms)[..., 0]
        upward = normals @ self.up.astype(np.float32)
        light = HEADLIGHT * np.maximum(facing, 0) + (SKY + GROUND) / 2 + (SKY - GROUND) / 2 * upward
        return self.surface.tints[triangle] * light[..., None]

    def _levels(self, triangle: IntArray, areas: Floats) -> IntArray:
        """(K,) index into the surface's mip levels: about one texel a sample."""
        texels = self.surface.texture_areas[triangle] / np.maximum(areas, 1e-6)
        level = np.rint(np.log2(np.maximum(texels, 1.0)) / 2).astype(np.int64)
        return self.surface.first_level[triangle] + np.minimum(level, self.surface.level_count[triangle] - 1)

    def _texels(self, level: IntArray, texcoords: Floats) -> Floats:
        """(S, 3) linear colour of the texel under each sample; textures repeat."""
        first, width, height = self.surface.levels[level].T
        column = (texcoords[:, 0] - np.floor(texcoords[:, 0])) * width
        row = (texcoords[:, 1] - np.floor(texcoords[:, 1])) * height
        index = (
            first
            + np.minimum(row.astype(np.int64), height - 1) * width
            + np.minimum(column.astype(np.int64), width - 1)
        )
        return decode_srgb(self.surface.texels[index])


def _resolve(samples: _Samples, images: int, size: int, supersample: int) -> tuple[Bytes, Floats, Floats]:
    """Colours, masks and depths of pixels from those of their samples."""
    light = np.zeros((images * (size * supersample) ** 2, 5), np.float32)
    light[samples.places, :3] = samples.light
    light[samples.places, 3] = 1
    light[samples.places, 4] = samples.depth
    grid = light.reshape(images, size, supersample, size, supersample, 5)
    total = np.zeros((images, size, size, 5), np.float32)
    for row in range(supersample):
        for column in range(supersample):
            total += grid[:, :, row, :, column]
    hit, mask = total[..., 3], total[..., 3] / supersample**2
    background = decode_srgb(np.array(BACKGROUND, np.uint8))
    rgb = encode_srgb(total[..., :3] / supersample**2 + (1 - mask)[..., None] * background)
    depth = np.where(hit > 0, total[..., 4] / np.maximum(hit, 1), np.float32(np.inf))
    return rgb, mask, depth


def _length(vectors: Floats) -> Floats:
    return np.sqrt(np.maximum(np.sum(vectors * vectors, axis=-1, keepdims=True), np.finfo(np.float32).tiny))


def _chunks(total: int, length: int) -> Iterator[IntArray]:
    for start in range(0, total, length):
        yield np.arange(start, min(start + length, total))
