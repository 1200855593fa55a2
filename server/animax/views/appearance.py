"""What all pictures of a mesh share: its triangles with colours, textures and normals, laid out for the renderer."""

from __future__ import annotations

from dataclasses import dataclass
from weakref import WeakKeyDictionary

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from animax.assets.mesh import Mesh
from animax.views.colour import decode_srgb, encode_srgb

Floats = NDArray[np.float32]
IntArray = NDArray[np.int64]
Bytes = NDArray[np.uint8]

INVISIBLE_ALPHA = 0.05
"""A material whose base colour has less alpha is not drawn; all others are drawn opaque."""


@dataclass(frozen=True, eq=False)
class Appearance:
    """T triangles that can be seen.

    Attributes:
        triangles: (T, 3) vertex indices.
        double_sided: (T,) of bool.
        open: (T,) of bool, part of a sheet or a shell with holes, whose back can come into sight.
        texcoords: (T, 3, 2) of the corners, in widths and heights of the texture.
        tints: (T, 3, 3) linear colour of the corners: vertex colour times base colour factor.
        normals: (T, 3, 3) of the corners: coordinates in the dual of the triangle's ``frames`` at rest. Where the
            triangle is deformed, that dual's deformed vectors give the deformed normals (inverse transpose of the
            deformation gradient). They point to the side from which the triangle is counter-clockwise.
        first_level: (T,) index into ``levels``.
        level_count: (T,) mip levels of the triangle's texture.
        texture_areas: (T,) in texels of the first level.
        levels: (L, 3) first texel, width and height of each mip level.
        texels: (P, 3) sRGB of all levels of all textures, row by row; the first one is white.
    """

    triangles: IntArray
    double_sided: NDArray[np.bool_]
    open: NDArray[np.bool_]
    texcoords: Floats
    tints: Floats
    normals: Floats
    first_level: IntArray
    level_count: IntArray
    texture_areas: Floats
    levels: IntArray
    texels: Bytes


_known: WeakKeyDictionary[Mesh, Appearance] = WeakKeyDictionary()


def appearance_of(mesh: Mesh) -> Appearance:
    """The appearance of a mesh, made once as long as the mesh lives."""
    appearance = _known.get(mesh)
    if appearance is None:
        appearance = _known[mesh] = _prepare(mesh)
    return appearance


def frames(corners: Floats) -> tuple[Floats, Floats, Floats]:
    """Two edges (..., 3) of triangles (..., 3, 3) and their normal, as long as the root of the edges' parallelogram, so
    that the frame scales as the triangle does."""
    first, second = corners[..., 1, :] - corners[..., 0, :], corners[..., 2, :] - corners[..., 0, :]
    normal = cross(first, second)
    area = np.sqrt(np.sum(normal * normal, axis=-1, keepdims=True))
    return first, second, normal / np.sqrt(np.maximum(area, np.finfo(np.float32).tiny))


def cross(a: Floats, b: Floats) -> Floats:
    """Cross product over the last axis (several times as fast as NumPy's)."""
    ax, ay, az = a[..., 0], a[..., 1], a[..., 2]
    bx, by, bz = b[..., 0], b[..., 1], b[..., 2]
    out = np.empty(np.broadcast_shapes(a.shape, b.shape), np.result_type(a, b))
    out[..., 0] = ay * bz - az * by
    out[..., 1] = az * bx - ax * bz
    out[..., 2] = ax * by - ay * bx
    return out


def _prepare(mesh: Mesh) -> Appearance:
    shown = np.array([material.base_color[3] >= INVISIBLE_ALPHA for material in mesh.materials])[
        mesh.triangle_materials
    ]
    triangles, materials = mesh.triangles[shown], mesh.triangle_materials[shown]
    texels, levels, first_level, level_count = _atlas([material.texture for material in mesh.materials])
    texcoords = mesh.texcoords[triangles]
    width, height = levels[first_level[materials], 1:].T
    edges = texcoords[:, 1:] - texcoords[:, :1]
    area = np.abs(edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
    factors = np.stack([material.base_color[:3] for material in mesh.materials])
    return Appearance(
        triangles=triangles,
        double_sided=np.array([material.double_sided for material in mesh.materials])[materials],
        open=_open(mesh.positions, triangles),
        texcoords=texcoords.astype(np.float32),
        tints=(mesh.colors[triangles][..., :3] * factors[materials, None]).astype(np.float32),
        normals=_dual_coordinates(mesh.positions[triangles], mesh.normals[triangles]).astype(np.float32),
        first_level=first_level[materials],
        level_count=level_count[materials],
        texture_areas=(area * width * height).astype(np.float32),
        levels=levels,
        texels=texels,
    )


def _open(positions: NDArray[np.float64], triangles: IntArray) -> NDArray[np.bool_]:
    """(T,) whether triangles belong to a connected part in which some edge is not run through once each way."""
    if not len(triangles):
        return np.zeros(0, bool)
    grid = max(float(np.ptp(positions, axis=0).max()), 1e-30) * 1e-6
    _, welded = np.unique(np.rint(positions / grid), axis=0, return_inverse=True)
    corners = welded.reshape(-1)[triangles]
    count = int(welded.max()) + 1
    whole = np.all(corners != np.roll(corners, 1, axis=1), axis=1)
    start, end = corners[whole].T.reshape(-1), np.roll(corners[whole], -1, axis=1).T.reshape(-1)
    _, edge = np.unique(np.minimum(start, end) * count + np.maximum(start, end), return_inverse=True)
    balance = np.bincount(edge, weights=np.where(start < end, 1.0, -1.0))
    graph = coo_array((np.ones(len(start)), (start, end)), shape=(count, count))
    parts, part = connected_components(graph, directed=False)
    holed = np.zeros(parts, bool)
    holed[part[start[balance[edge] != 0]]] = True
    out: NDArray[np.bool_] = holed[part[corners[:, 0]]]
    return out


def _dual_coordinates(corners: NDArray[np.float64], normals: NDArray[np.float64]) -> NDArray[np.float64]:
    axes = np.stack([f.astype(np.float64) for f in frames(corners)], axis=-1)  # type: ignore[arg-type]
    # the frame has the triangle's own size: dividing by it keeps files in centimetres and in metres alike
    length = np.linalg.norm(axes[..., 2], axis=-1)[:, None, None]
    out = normals @ axes / np.maximum(length, 1e-30)
    out *= np.where(out[..., 2:] < 0, -1.0, 1.0)
    usable = np.isfinite(out).all(axis=-1, keepdims=True) & (out[..., 2:] > 1e-3)
    return np.where(usable, out, np.array([0.0, 0.0, 1.0]))


def _atlas(textures: list[Bytes | None]) -> tuple[Bytes, IntArray, IntArray, IntArray]:
    """Texels, levels, and the first level and number of levels of each texture; None is one white texel."""
    texels, levels = [np.full((1, 3), 255, np.uint8)], [(0, 1, 1)]
    first, count = [], []
    end = 1
    for texture in textures:
        pyramid = [] if texture is None else _mip_levels(texture)
        first.append(len(levels) if pyramid else 0)
        count.append(max(1, len(pyramid)))
        for level in pyramid:
            levels.append((end, level.shape[1], level.shape[0]))
            texels.append(level.reshape(-1, 3))
            end += len(texels[-1])
    return np.concatenate(texels), np.array(levels), np.array(first), np.array(count)


def _mip_levels(texture: Bytes) -> list[Bytes]:
    """The texture and its halvings, averaged as light, until a side is one texel."""
    pyramid = [texture]
    while min(pyramid[-1].shape[:2]) > 1:
        height, width = (n // 2 for n in pyramid[-1].shape[:2])
        light = cv2.resize(decode_srgb(pyramid[-1]), (width, height), interpolation=cv2.INTER_AREA)
        pyramid.append(encode_srgb(light.astype(np.float32)))
    return pyramid
