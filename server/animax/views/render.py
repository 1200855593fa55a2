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
from animax.views.appearance import Appearance, appearance_of, cross, frames
from animax.views.camera import Cameras
from animax.views.colour import decode_srgb, encode_srgb
from animax.views.raster import rasterise

Array = NDArray[np.float64]
Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]
Bytes = NDArray[np.uint8]

BACKGROUND = (128, 128, 128)
"""sRGB of every pixel that shows no surface: a contract between training data, template views and generated video."""
HEADLIGHT = 0.66
"""Radiance of a white surface that faces the camera, from the light at the camera."""
SKY, GROUND = 0.46, 0.18
"""Radiance of a white surface that faces up, and down, from the hemisphere light."""
SUPERSAMPLE = 3
"""Samples of a pixel, along x and along y."""
CHUNK = 1 << 16
"""Samples or triangles worked on at once: few enough for their buffers to stay in the processor's cache."""

OFF_EDGE = (7.3e-4, 4.1e-4)
"""Samples by which the picture is moved: the rasteriser leaves a hole where a sample lies exactly on the edge between
two triangles, as happens in symmetric models seen straight on."""
NEAR = 1e-5
"""Depth below which a point counts as behind the camera, in largest depths."""
TINY = np.float32(1e-30)
"""Keeps divisions by a length of zero finite."""


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

    Triangles are seen from their front, counter-clockwise side, and from both if their material is double-sided. The
    back of an open, single-sided one shows where nothing else would: a fin that is one sheet is there in every view,
    and the shell of a toon outline does not hide the body. What reaches behind a camera is not drawn. Light comes from
    the camera and from a hemisphere about ``up`` (3,).

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
    frames_ = vertices if vertices.ndim == 3 else vertices[None]
    scene = _Scene(appearance_of(mesh), frames_, cameras.resized(size * supersample), up)
    images = len(cameras) * len(scene.vertices)
    rgb = np.empty((images, size, size, 3), np.uint8)
    mask = np.empty((images, size, size), np.float32)
    depth = np.empty((images, size, size), np.float32)
    weight = max((size * supersample) ** 2, len(scene.appearance.triangles))
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
        appearance: T triangles.
        vertices: (F, N, 3) world space.
        cameras: see ``Cameras``.
        up: (3,) unit, world space.
    """

    appearance: Appearance
    vertices: Array
    cameras: Cameras
    up: Array

    def samples(self, images: IntArray) -> _Samples:
        """What the samples of ``images`` (I,) see."""
        view, frame = np.divmod(images, len(self.vertices))
        size, triangles = self.cameras.size, self.appearance.triangles
        # camera space, sheared so that the image ends at x = ±z and y = ±z
        across, down = (2 / size * shift for shift in OFF_EDGE)
        to_view = np.array([[2 / size, 0, across - 1], [0, 2 / size, down - 1], [0, 0, 1]]) @ self.cameras.matrices
        exact = self.vertices[frame] @ np.swapaxes(to_view[view, :, :3], 1, 2) + to_view[view, None, :, 3]
        points: Floats = exact.astype(np.float32)
        areas = self._areas(points)
        places, pairs, weights, depths = [], [], [], []
        for image in range(len(images)):
            kept = np.flatnonzero(areas[image])
            corners, push = self._backs_behind(points[image][triangles[kept]], areas[image, kept], kept)
            index, seen, depth = rasterise(corners, size)
            hit = np.flatnonzero(index >= 0)
            places.append(hit + image * size * size)
            pairs.append(kept[index.reshape(-1)[hit]] + image * len(triangles))
            weights.append(seen.reshape(-1, 3)[hit])
            depths.append(depth.reshape(-1)[hit] / push[index.reshape(-1)[hit]])
        light = self._light(view, frame, areas, np.concatenate(pairs), np.concatenate(weights))
        return _Samples(np.concatenate(places), light, np.concatenate(depths))

    def _backs_behind(self, corners: Floats, areas: Floats, kept: IntArray) -> tuple[Floats, Floats]:
        """Corners (K, 3, 3) with the backs of single-sided triangles moved along their rays behind everything else, and
        by which factor (K,) each was moved.
        """
        backs = (areas < 0) & ~self.appearance.double_sided[kept]
        depth = corners[..., 2]
        push = np.where(backs, np.float32(1.1) * depth.max(initial=1.0) / depth.min(initial=1.0), np.float32(1))
        return corners * push[:, None, None], push

    def _light(self, view: IntArray, frame: IntArray, areas: Floats, pairs: IntArray, weights: Floats) -> Floats:
        """Linear colour (S, 3) of samples: what each triangle needs once is worked out before what each sample needs.

        Args:
            view: (I,) of the images.
            frame: (I,) of the images.
            areas: (I, T) signed, of the triangles in the images, samples.
            pairs: (S,) image and triangle that a sample sees, index into ``areas`` as a flat array.
            weights: (S, 2 or more) barycentric weights of the second and third corner.
        """
        used = np.zeros(areas.size, bool)
        used[pairs] = True
        chosen = np.flatnonzero(used)
        rank = np.empty(areas.size, np.int32)
        rank[chosen] = np.arange(len(chosen), dtype=np.int32)
        images, triangle = np.divmod(chosen, max(1, areas.shape[1]))
        radiance = self._radiance(view[images], frame[images], triangle)
        corners = np.concatenate([radiance, self.appearance.texcoords[triangle]], axis=-1)
        level = self._levels(triangle, np.abs(areas.reshape(-1)[chosen]))

        which = rank[pairs]
        values = np.take(corners[:, 0], which, axis=0)
        values += weights[:, :1] * np.take(corners[:, 1] - corners[:, 0], which, axis=0)
        values += weights[:, 1:2] * np.take(corners[:, 2] - corners[:, 0], which, axis=0)
        light: Floats = values[:, :3] * self._texels(level[which], values[:, 3:])
        return light

    def _areas(self, points: Floats) -> Floats:
        """(I, T) of the triangles in samples, negative where the back is seen; 0 for those not drawn."""
        half = np.float32(self.cameras.size / 2)
        depth = points[..., 2]
        behind = depth <= NEAR * np.abs(depth).max(initial=0.0)
        depth = np.where(behind, np.float32(1), depth)
        x, y = (np.take(points[..., axis] / depth * half, self.appearance.triangles.T, axis=1) for axis in (0, 1))
        area = (x[:, 2] - x[:, 0]) * (y[:, 1] - y[:, 0]) - (x[:, 1] - x[:, 0]) * (y[:, 2] - y[:, 0])
        area[(area < 0) & ~(self.appearance.double_sided | self.appearance.open)] = 0
        if behind.any():
            area[behind[:, self.appearance.triangles].any(axis=-1)] = 0
        areas: Floats = area / np.float32(2)
        return areas

    def _radiance(self, view: IntArray, frame: IntArray, triangle: IntArray) -> Floats:
        """Linear colour (K, 3, 3) of the corners of triangles under the lights."""
        centers = self.cameras.centers
        corners = self.vertices[frame[:, None], self.appearance.triangles[triangle]]
        arms: Floats = (corners - centers[view][:, None]).astype(np.float32)
        first, second, normal = frames(arms)
        dual = np.stack([cross(second, normal), cross(normal, first), cross(first, second)], axis=-2)
        normals = _unit(self.appearance.normals[triangle] @ dual)
        seen_from_behind = np.sum(normal * arms[:, 0], axis=-1) > 0
        normals[seen_from_behind] *= -1
        facing = -np.sum(normals * _unit(arms), axis=-1)
        upward = normals @ self.up.astype(np.float32)
        light = HEADLIGHT * np.maximum(facing, 0) + (SKY + GROUND) / 2 + (SKY - GROUND) / 2 * upward
        radiance: Floats = self.appearance.tints[triangle] * light[..., None].astype(np.float32)
        return radiance

    def _levels(self, triangle: IntArray, areas: Floats) -> IntArray:
        """(K,) index into the surface's mip levels: about one texel a sample."""
        texels = self.appearance.texture_areas[triangle] / np.maximum(areas, 1e-6)
        level = np.rint(np.log2(np.maximum(texels, 1.0)) / 2).astype(np.int64)
        return self.appearance.first_level[triangle] + np.minimum(level, self.appearance.level_count[triangle] - 1)

    def _texels(self, level: IntArray, texcoords: Floats) -> Floats:
        """(S, 3) linear colour of the texel under each sample; textures repeat."""
        first, width, height = self.appearance.levels[level].T
        column = (texcoords[:, 0] - np.floor(texcoords[:, 0])) * width
        row = (texcoords[:, 1] - np.floor(texcoords[:, 1])) * height
        index = (
            first
            + np.minimum(row.astype(np.int64), height - 1) * width
            + np.minimum(column.astype(np.int64), width - 1)
        )
        return decode_srgb(self.appearance.texels[index])


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
    share = np.float32(1 / supersample**2)
    mask: Floats = total[..., 3] * share
    background = decode_srgb(np.array(BACKGROUND, np.uint8))
    rgb = encode_srgb(total[..., :3] * share + (1 - mask)[..., None] * background)
    depth: Floats = np.where(mask > 0, total[..., 4] / np.maximum(total[..., 3], 1), np.float32(np.inf))
    return rgb, mask, depth


def _unit(vectors: Floats) -> Floats:
    squares = np.sum(vectors * vectors, axis=-1, keepdims=True)
    unit: Floats = vectors / np.sqrt(np.maximum(squares, TINY))
    return unit


def _chunks(total: int, length: int) -> Iterator[IntArray]:
    for start in range(0, total, length):
        yield np.arange(start, min(start + length, total))
