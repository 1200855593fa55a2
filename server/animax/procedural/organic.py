"""Bodies as one smooth skin: round cones and ellipsoids along the bones, melted together and meshed.

The surface is the zero set of a smooth union of signed distances, meshed with surface nets (Gibson 1998) and pulled
onto the exact surface along the field's gradient. The same distances give the skin weights, so a joint blends over the
width over which its two bones' flesh does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.procedural.armature import Armature
from animax.procedural.patch import SKIN, Finish, Patch

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

BLEND = 0.45
"""Width over which two bones' weights blend, in radii of the nearer one."""


@dataclass(frozen=True, eq=False)
class Flesh:
    """A round cone between two points, a ball where they coincide.

    Attributes:
        bone: key of the bone that carries it.
        start: (3,) metres.
        end: (3,) metres.
        radii: metres at ``start`` and at ``end``.
        color: (3,) linear RGB.
        stretch: (3,) scale along x, y and z about the middle of the segment, for flat or wide shapes.
    """

    bone: str
    start: Array
    end: Array
    radii: tuple[float, float]
    color: Array
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)

    def distance(self, points: Array) -> Array:
        """(N,) about the signed distance of ``points`` (N, 3), negative inside."""
        stretch = np.array(self.stretch)
        middle = (self.start + self.end) / 2
        p = (points - middle) / stretch
        a, b = (self.start - middle) / stretch, (self.end - middle) / stretch
        axis = b - a
        along = np.clip((p - a) @ axis / max(float(axis @ axis), 1e-12), 0.0, 1.0)
        radius = self.radii[0] + (self.radii[1] - self.radii[0]) * along
        gap = np.linalg.norm(p - a - along[:, None] * axis, axis=-1) - radius
        return np.asarray(gap * min(self.stretch), np.float64)

    def box(self) -> tuple[Array, Array]:
        """Corners (3,) of a box around it."""
        reach = max(self.radii) * np.array(self.stretch)
        middle = (self.start + self.end) / 2
        half = np.abs(self.end - self.start) / 2 + reach
        return middle - half, middle + half


def melt(
    armature: Armature,
    flesh: Sequence[Flesh],
    *,
    cell: float,
    soft: float,
    finish: Finish = SKIN,
    shade: Callable[[Array, Array, Array], Array] | None = None,
) -> Patch:
    """Mesh a body.

    Args:
        armature: the bones.
        flesh: its parts; those that stand apart stay apart.
        cell: metres between the vertices.
        soft: metres over which parts melt together.
        finish: material.
        shade: gives the colours (N, 3) from positions, normals and the parts' colours.
    """
    positions, triangles = _surface_nets(flesh, cell, soft)
    for _ in range(3):
        value, gradient = _field(flesh, positions, soft), _gradient(flesh, positions, soft, cell)
        step = value / np.maximum(np.sum(gradient**2, axis=-1), 1e-6)
        positions = positions - np.clip(step, -cell, cell)[:, None] * gradient
    gradient = _gradient(flesh, positions, soft, cell)
    normals = gradient / np.maximum(np.linalg.norm(gradient, axis=-1, keepdims=True), 1e-12)
    distances = np.stack([part.distance(positions) for part in flesh], axis=-1)
    weights = _weights(armature, flesh, distances, triangles)
    sharp = np.exp(-(distances - distances.min(axis=-1, keepdims=True)) / (0.08 * cell))
    colors = sharp @ np.array([part.color for part in flesh]) / sharp.sum(axis=-1, keepdims=True)
    if shade is not None:
        colors = shade(positions, normals, colors)
    return Patch(positions, normals, triangles, np.clip(colors, 0.0, 1.0), weights, finish)


def _field(flesh: Sequence[Flesh], points: Array, soft: float) -> Array:
    total = np.zeros(len(points))
    for part in flesh:
        total += _present(part, points[:, 0]) * np.exp(-np.clip(part.distance(points) / soft, -60.0, 60.0))
    return np.asarray(-soft * np.log(np.maximum(total, 1e-40)), np.float64)


def _present(part: Flesh, x: Array) -> NDArray[np.bool_]:
    """(N,) where a part counts: one of a pair only on its own side, so that the two legs do not grow together."""
    side = {".L": 1.0, ".R": -1.0}.get(part.bone[-2:], 0.0)
    present: NDArray[np.bool_] = x * side >= 0
    return present


def _gradient(flesh: Sequence[Flesh], points: Array, soft: float, cell: float) -> Array:
    h = 0.05 * cell
    sides = [(_field(flesh, points + h * e, soft) - _field(flesh, points - h * e, soft)) / (2 * h) for e in np.eye(3)]
    return np.stack(sides, axis=-1)


def _grid_field(flesh: Sequence[Flesh], axes: list[Array], soft: float) -> Array:
    """Field on a grid; every part is evaluated only where it can matter."""
    total = np.full(tuple(map(len, axes)), 1e-40)
    for part in flesh:
        low, high = part.box()
        spans = [
            slice(int(np.searchsorted(a, lo - 8 * soft)), int(np.searchsorted(a, hi + 8 * soft)))
            for a, lo, hi in zip(axes, low, high, strict=True)
        ]
        grid = np.stack(np.meshgrid(*(a[s] for a, s in zip(axes, spans, strict=True)), indexing="ij"), axis=-1)
        gap = part.distance(grid.reshape(-1, 3)).reshape(grid.shape[:3])
        here = _present(part, grid[..., 0])
        total[spans[0], spans[1], spans[2]] += here * np.exp(-np.clip(gap / soft, -60.0, 60.0))
    return np.asarray(-soft * np.log(total), np.float64)


def _surface_nets(flesh: Sequence[Flesh], cell: float, soft: float) -> tuple[Array, IntArray]:
    boxes = [part.box() for part in flesh]
    low = np.min([b[0] for b in boxes], axis=0) - 3 * cell
    high = np.max([b[1] for b in boxes], axis=0) + 3 * cell
    # nodes at odd multiples of half a cell from the middle plane, so that both sides are meshed alike
    reach = int(np.ceil(max(-low[0], high[0]) / cell)) + 1
    axes: list[Array] = [np.asarray((np.arange(-reach, reach) + 0.5) * cell, np.float64)]
    counts = np.ceil((high - low) / cell).astype(int) + 1
    axes += [low[i] + cell * np.arange(counts[i], dtype=np.float64) for i in (1, 2)]
    values = _grid_field(flesh, axes, soft)
    shape = tuple(n - 1 for n in values.shape)
    corners = {o: values[o[0] :, o[1] :, o[2] :][: shape[0], : shape[1], : shape[2]] for o in product((0, 1), repeat=3)}
    count = sum((corner < 0).astype(np.int64) for corner in corners.values())
    cells = np.argwhere((np.asarray(count) > 0) & (np.asarray(count) < 8))
    at = tuple(cells.T)
    total, crossings = np.zeros((len(cells), 3)), np.zeros((len(cells), 1))
    for start, end in _cell_edges():
        a, b = corners[start][at], corners[end][at]
        crosses = (a < 0) != (b < 0)
        share = np.where(crosses, a / np.where(crosses, a - b, 1.0), 0.0)
        total += crosses[:, None] * (np.array(start) + share[:, None] * (np.array(end) - np.array(start)))
        crossings += crosses[:, None]
    origin = np.array([axis[0] for axis in axes])
    positions = origin + cell * (cells + total / crossings)
    vertex = np.full(shape, -1, np.int64)
    vertex[at] = np.arange(len(cells))
    return positions, _quads(values < 0, vertex)


def _cell_edges() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    corners = list(product((0, 1), repeat=3))
    return [(a, b) for a in corners for b in corners if a < b and sum(np.abs(np.subtract(a, b))) == 1]


def _quads(inside: NDArray[np.bool_], vertex: IntArray) -> IntArray:
    """Two triangles around every grid edge that the surface crosses."""
    out = []
    for axis in range(3):
        u, v = (axis + 1) % 3, (axis + 2) % 3
        first = np.take(inside, np.arange(inside.shape[axis] - 1), axis)
        second = np.take(inside, np.arange(1, inside.shape[axis]), axis)
        edges = np.argwhere(first != second)
        leaves = first[tuple(edges.T)]
        ring = []
        for du, dv in ((-1, -1), (0, -1), (0, 0), (-1, 0)):
            cell = edges.copy()
            cell[:, u] += du
            cell[:, v] += dv
            ring.append(vertex[tuple(cell.T)])
        quads = np.stack(ring, axis=-1)
        quads = np.where(leaves[:, None], quads, quads[:, ::-1])
        out += [quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]
    return np.concatenate(out)


def _weights(armature: Armature, flesh: Sequence[Flesh], distances: Array, triangles: IntArray) -> Array:
    nearest = np.argmin(distances, axis=-1)
    radius = np.array([np.mean(part.radii) * min(part.stretch) for part in flesh])[nearest]
    share = np.exp(-(distances - distances.min(axis=-1, keepdims=True)) / (BLEND / 3 * radius[:, None]))
    bones = np.array([armature.index[part.bone] for part in flesh])
    weights = np.zeros((len(distances), len(armature)))
    np.add.at(weights.T, bones, share.T)
    # the inside of one thigh is near the other, but not bound to it
    weights *= _related(armature)[bones[nearest]]
    weights /= weights.sum(axis=-1, keepdims=True)
    return _smoothed(weights, triangles)


def _related(armature: Armature) -> NDArray[np.bool_]:
    """(J, J) whether two bones are the same, or one is the other's parent or grandparent."""
    parents = armature.parents
    near = np.eye(len(parents), dtype=bool)
    for j in range(len(parents)):
        up = j
        for _ in range(2):
            up = int(parents[up])
            if up < 0:
                break
            near[j, up] = near[up, j] = True
    return near


def _smoothed(weights: Array, triangles: IntArray, rounds: int = 3) -> Array:
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    degree = np.bincount(edges.ravel(), minlength=len(weights))[:, None]
    for _ in range(rounds):
        total = np.zeros_like(weights)
        np.add.at(total, edges[:, 0], weights[edges[:, 1]])
        np.add.at(total, edges[:, 1], weights[edges[:, 0]])
        weights = 0.5 * weights + 0.5 * total / np.maximum(degree, 1)
    return weights


def cone(
    bone: str,
    start: ArrayLike,
    end: ArrayLike,
    radii: tuple[float, float],
    color: Array,
    stretch: tuple[float, float, float] = (1.0, 1.0, 1.0),
) -> Flesh:
    """A round cone; see ``Flesh``."""
    return Flesh(bone, np.array(start, np.float64), np.array(end, np.float64), radii, color, stretch)


def ball(
    bone: str, centre: ArrayLike, radius: float, color: Array, stretch: tuple[float, float, float] = (1.0, 1.0, 1.0)
) -> Flesh:
    """A ball or, with ``stretch``, an ellipsoid."""
    return cone(bone, centre, centre, (radius, radius), color, stretch)
