"""Shapes with fewer vertices than a melted body needs: tubes, ellipsoids, blades, boxes and turned parts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.procedural.armature import Armature
from animax.procedural.patch import (
    GLOSS,
    SKIN,
    Finish,
    Patch,
    chain_weights,
    creased,
    rigid_weights,
    smooth_normals,
)

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


def tube(
    points: ArrayLike,
    radii: ArrayLike,
    weights: ArrayLike,
    colors: ArrayLike,
    *,
    sides: int = 8,
    up: ArrayLike = (0.0, 1.0, 0.0),
    finish: Finish = SKIN,
) -> Patch:
    """A closed tube with round ends along ``points`` (K, 3).

    Args:
        points: metres.
        radii: (K,) or (K, 2) across and along ``up``, metres.
        weights: (K, J) of each ring.
        colors: (3,), (K, 3) or (K, sides, 3).
        sides: vertices of a ring.
        up: where the second radius points at the first ring; carried along without twist.
        finish: material.
    """
    points = np.asarray(points, np.float64)
    rings = len(points)
    radii = np.broadcast_to(np.asarray(radii, np.float64).reshape(rings, -1), (rings, 2))
    weights = np.asarray(weights, np.float64)
    colors = np.broadcast_to(_as_ring_colors(np.asarray(colors, np.float64), rings), (rings, sides, 3))
    tangents = np.gradient(points, axis=0)
    tangents /= np.linalg.norm(tangents, axis=-1, keepdims=True)
    ups = _transported(tangents, np.asarray(up, np.float64))
    across = np.cross(ups, tangents)
    # round ends: two smaller rings on a quarter ellipse
    bows = ((0.55, 0.835), (0.9, 0.436))
    head = [(0, -advance, shrink) for advance, shrink in reversed(bows)]
    tail = [(rings - 1, advance, shrink) for advance, shrink in bows]
    plan = head + [(i, 0.0, 1.0) for i in range(rings)] + tail
    angle = 2 * np.pi * np.arange(sides) / sides
    vertices, ring_weights, ring_colors = [], [], []
    for i, advance, shrink in plan:
        centre = points[i] + advance * radii[i].min() * tangents[i]
        ring = np.cos(angle)[:, None] * radii[i, 0] * across[i] + np.sin(angle)[:, None] * radii[i, 1] * ups[i]
        vertices.append(centre + shrink * ring)
        ring_weights.append(np.repeat(weights[i][None], sides, axis=0))
        ring_colors.append(colors[i])
    first = len(vertices) * sides
    ends = [points[0] - radii[0].min() * tangents[0], points[-1] + radii[-1].min() * tangents[-1]]
    positions = np.concatenate([*vertices, np.array(ends)])
    all_weights = np.concatenate([*ring_weights, weights[:1], weights[-1:]])
    all_colors = np.concatenate([*ring_colors, colors[:1].mean(axis=1), colors[-1:].mean(axis=1)])
    faces = []
    for r in range(len(plan) - 1):
        for k in range(sides):
            a, b = r * sides + k, r * sides + (k + 1) % sides
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
    last = (len(plan) - 1) * sides
    for k in range(sides):
        faces += [(first, (k + 1) % sides, k), (first + 1, last + k, last + (k + 1) % sides)]
    triangles = np.array(faces)
    return Patch(positions, smooth_normals(positions, triangles), triangles, all_colors, all_weights, finish)


def _as_ring_colors(colors: Array, rings: int) -> Array:
    if colors.ndim == 1:
        return colors[None, None]
    return colors[:, None] if colors.ndim == 2 and len(colors) == rings else colors


def _transported(tangents: Array, up: Array) -> Array:
    """(K, 3) unit vectors perpendicular to the tangents, the first nearest ``up``, carried without twist."""
    first = up - (up @ tangents[0]) * tangents[0]
    out = [first / np.linalg.norm(first)]
    for before, after in pairwise(tangents):
        carried = rotations.rotate(rotations.shortest_arc(before, after), out[-1])
        carried = carried - (carried @ after) * after
        out.append(carried / np.linalg.norm(carried))
    return np.array(out)


def limb_tube(
    armature: Armature,
    keys: Sequence[str],
    radii: Sequence[tuple[float, float]],
    colors: ArrayLike,
    *,
    rings: int = 4,
    sides: int = 8,
    blend: float = 0.5,
    flat: float = 1.0,
    up: ArrayLike = (0.0, 1.0, 0.0),
    finish: Finish = SKIN,
) -> Patch:
    """A tube along bones that follow each other.

    Args:
        armature: the bones.
        keys: their keys.
        radii: (share of the whole length from 0 to 1, metres) keys, interpolated.
        colors: (3,), or (R, 3) spread evenly over the length.
        rings: rings for each bone.
        sides: vertices of a ring.
        blend: see ``chain_weights``.
        flat: second radius over the first.
        up: see ``tube``.
        finish: material.
    """
    joints = np.array([armature[keys[0]].head, *(armature[key].tail for key in keys)])
    lengths = np.linalg.norm(np.diff(joints, axis=0), axis=-1)
    ends = np.concatenate([[0.0], np.cumsum(lengths)])
    at = np.unique(np.concatenate([np.linspace(a, b, rings + 1) for a, b in pairwise(ends)]))
    points = np.stack([np.interp(at, ends, joints[:, axis]) for axis in range(3)], axis=-1)
    # rounded corners at the joints
    points[1:-1] = 0.25 * points[:-2] + 0.5 * points[1:-1] + 0.25 * points[2:]
    share = at / ends[-1]
    radius = np.interp(share, *np.array(radii, np.float64).T)
    weights = chain_weights(at, len(armature), [armature.index[key] for key in keys], list(lengths), blend)
    colors = np.asarray(colors, np.float64)
    if colors.ndim == 2:
        spread = np.linspace(0, 1, len(colors))
        colors = np.stack([np.interp(share, spread, colors[:, axis]) for axis in range(3)], axis=-1)
    return tube(points, np.stack([radius, flat * radius], axis=-1), weights, colors, sides=sides, up=up, finish=finish)


def ellipsoid(
    armature: Armature,
    bone: str,
    centre: ArrayLike,
    radii: ArrayLike,
    color: ArrayLike,
    *,
    rows: int = 6,
    sides: int = 10,
    turn: ArrayLike = (0.0, 0.0, 0.0, 1.0),
    finish: Finish = SKIN,
    pole_color: tuple[float, ArrayLike] | None = None,
) -> Patch:
    """An ellipsoid bound to one bone; its pole points along +Z before ``turn`` (a quaternion).

    ``pole_color`` = (cosine, colour) paints the cap around the pole: an eye's pupil.
    """
    polar = np.pi * np.arange(1, rows) / rows
    if pole_color is not None:
        # a pair of rings at the cap's rim keeps it sharp
        rim = float(np.arccos(pole_color[0]))
        polar = np.sort(np.concatenate([[rim * 0.97, rim * 1.03], polar[np.abs(polar - rim) > 0.25 * np.pi / rows]]))
    azimuth = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.cos(azimuth), np.sin(azimuth), np.zeros(sides)], axis=-1)
    unit = [np.sin(p) * ring + np.array([0.0, 0.0, np.cos(p)]) for p in polar]
    points = np.concatenate([*unit, [[0.0, 0.0, 1.0], [0.0, 0.0, -1.0]]])
    count, top = len(polar), len(polar) * sides
    faces = []
    for k in range(sides):
        n = (k + 1) % sides
        for r in range(count - 1):
            a, b = r * sides + k, r * sides + n
            faces += [(a, a + sides, b + sides), (a, b + sides, b)]
        faces += [(top, k, n), (top + 1, (count - 1) * sides + n, (count - 1) * sides + k)]
    colors = np.tile(np.asarray(color, np.float64), (len(points), 1))
    if pole_color is not None:
        colors[points[:, 2] > pole_color[0]] = np.asarray(pole_color[1], np.float64)
    size = np.asarray(radii, np.float64) * np.ones(3)
    positions = np.asarray(centre, np.float64) + rotations.rotate(turn, points * size)
    normals = points / size
    normals = rotations.rotate(turn, normals / np.linalg.norm(normals, axis=-1, keepdims=True))
    weights = rigid_weights(len(points), len(armature), armature.index[bone])
    return Patch(positions, normals, np.array(faces), colors, weights, finish)


def eyes(
    armature: Armature,
    bone: str,
    centre: ArrayLike,
    radius: float,
    look: ArrayLike,
    iris: ArrayLike,
    white: ArrayLike = (0.9, 0.9, 0.88),
    pupil: float = 0.78,
) -> list[Patch]:
    """A pair of eyes; ``centre`` (3,) and ``look`` (3,) are those of the left one, ``pupil`` the cosine of its rim."""
    out = []
    for side in (1.0, -1.0):
        flip = np.array([side, 1.0, 1.0])
        turn = rotations.shortest_arc([0.0, 0.0, 1.0], np.asarray(look, np.float64) * flip)
        place = np.asarray(centre, np.float64) * flip
        out.append(
            ellipsoid(armature, bone, place, radius, white, turn=turn, finish=GLOSS, pole_color=(pupil, iris), sides=12)
        )
    return out


def blade(
    spine: ArrayLike,
    widths: ArrayLike,
    normal: ArrayLike,
    weights: ArrayLike,
    colors: ArrayLike,
    *,
    thickness: float,
    lean: float = 0.0,
    finish: Finish = SKIN,
) -> Patch:
    """A thin leaf along ``spine`` (K, 3): a feather, a fin, a leaf.

    Args:
        spine: middle line, metres.
        widths: (K,) full width, metres.
        normal: (3,) what the flat side faces.
        weights: (K, J).
        colors: (3,) or (K, 3).
        thickness: metres in the middle; the rim is sharp.
        lean: moves the middle line towards one rim, -1 to 1.
        finish: material.
    """
    spine = np.asarray(spine, np.float64)
    widths = np.asarray(widths, np.float64)[:, None]
    tangents = np.gradient(spine, axis=0)
    face = np.asarray(normal, np.float64)
    across = np.cross(tangents, face)
    across /= np.maximum(np.linalg.norm(across, axis=-1, keepdims=True), 1e-12)
    face = face / np.linalg.norm(face)
    count = len(spine)
    rims = [spine - across * widths * (0.5 + lean / 2), spine + across * widths * (0.5 - lean / 2)]
    bulge = face * thickness / 2
    positions = np.concatenate([rims[0], spine + bulge, rims[1], spine - bulge])
    faces = []
    for i in range(count - 1):
        for row, following in ((0, 1), (1, 2), (2, 3), (3, 0)):
            a, b = row * count + i, following * count + i
            faces += [(a, b, b + 1), (a, b + 1, a + 1)]
    for i, order in ((0, (0, 3, 2, 1)), (count - 1, (0, 1, 2, 3))):
        corner = [row * count + i for row in order]
        faces += [(corner[0], corner[1], corner[2]), (corner[0], corner[2], corner[3])]
    triangles = np.array(faces)
    colors = np.broadcast_to(np.asarray(colors, np.float64), (count, 3))
    triangles = _outward(positions, triangles)
    source, normals, triangles = creased(positions, triangles, 75.0)
    return Patch(
        positions[source],
        normals,
        triangles,
        np.tile(colors, (4, 1))[source],
        np.tile(np.asarray(weights, np.float64), (4, 1))[source],
        finish,
    )


def _outward(positions: Array, triangles: IntArray) -> IntArray:
    """The triangles of a closed surface, wound so that its volume is positive, without those that have no area."""
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    volume = float(np.sum(a * np.cross(b, c)))
    triangles = triangles[area > 1e-12]
    return triangles if volume > 0 else triangles[:, ::-1]


def box(
    armature: Armature,
    bone: str,
    low: ArrayLike,
    high: ArrayLike,
    color: ArrayLike,
    *,
    bevel: float,
    turn: ArrayLike = (0.0, 0.0, 0.0, 1.0),
    finish: Finish = SKIN,
) -> Patch:
    """A box with bevelled edges between two corners, turned about its middle by a quaternion."""
    low, high = np.asarray(low, np.float64), np.asarray(high, np.float64)
    half = (high - low) / 2
    bevel = min(bevel, 0.49 * float(half.min()))
    points, inset = [], half - bevel
    for signs in np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1], indexing="ij")).reshape(3, -1).T:
        points += [signs * np.where(np.arange(3) == axis, half, inset) for axis in range(3)]
    return convex(armature, bone, np.array(points), color, place=(low + high) / 2, turn=turn, finish=finish)


def convex(
    armature: Armature,
    bone: str,
    points: ArrayLike,
    color: ArrayLike,
    *,
    place: ArrayLike = (0.0, 0.0, 0.0),
    turn: ArrayLike = (0.0, 0.0, 0.0, 1.0),
    finish: Finish = SKIN,
    crease: float = 30.0,
) -> Patch:
    """The convex hull of ``points`` (N, 3), turned, moved to ``place`` and bound to one bone."""
    from scipy.spatial import ConvexHull

    points = np.asarray(points, np.float64)
    hull = ConvexHull(points)
    triangles = hull.simplices.astype(np.int64)
    a, b, c = (points[triangles[:, i]] for i in range(3))
    outside = np.sum(np.cross(b - a, c - a) * hull.equations[:, :3], axis=-1) > 0
    triangles = np.where(outside[:, None], triangles, triangles[:, ::-1])
    source, normals, triangles = creased(points, triangles, crease)
    positions = points[source]
    return Patch(
        rotations.rotate(turn, positions) + np.asarray(place, np.float64),
        rotations.rotate(turn, normals),
        triangles,
        np.tile(np.asarray(color, np.float64), (len(positions), 1)),
        rigid_weights(len(positions), len(armature), armature.index[bone]),
        finish,
    )


def lathe(
    armature: Armature,
    bone: str,
    profile: ArrayLike,
    color: ArrayLike,
    *,
    place: ArrayLike = (0.0, 0.0, 0.0),
    axis: ArrayLike = (0.0, 1.0, 0.0),
    sides: int = 20,
    finish: Finish = SKIN,
) -> Patch:
    """A solid of revolution: ``profile`` (K, 2) of (radius, height) in metres, turned about ``axis`` at ``place``.

    The profile runs from bottom to top; where its ends are off the axis, they are closed flat.
    """
    outline = np.asarray(profile, np.float64)
    if outline[0, 0] > 0:
        outline = np.concatenate([[[0.0, outline[0, 1]]], outline])
    if outline[-1, 0] > 0:
        outline = np.concatenate([outline, [[0.0, outline[-1, 1]]]])
    angle = 2 * np.pi * np.arange(sides) / sides
    ring = np.stack([np.sin(angle), np.zeros(sides), np.cos(angle)], axis=-1)
    rows = [radius * ring + np.array([0.0, height, 0.0]) for radius, height in outline[1:-1]]
    poles = np.array([[0.0, outline[0, 1], 0.0], [0.0, outline[-1, 1], 0.0]])
    points = np.concatenate([*rows, poles])
    count, bottom = len(rows), len(rows) * sides
    faces = []
    for k in range(sides):
        n = (k + 1) % sides
        for r in range(count - 1):
            a, b = r * sides + k, r * sides + n
            faces += [(a, b, b + sides), (a, b + sides, a + sides)]
        faces += [(bottom, n, k), (bottom + 1, (count - 1) * sides + k, (count - 1) * sides + n)]
    source, normals, triangles = creased(points, np.array(faces))
    positions = points[source]
    turn = rotations.shortest_arc([0.0, 1.0, 0.0], axis)
    return Patch(
        rotations.rotate(turn, positions) + np.asarray(place, np.float64),
        rotations.rotate(turn, normals),
        triangles,
        np.tile(np.asarray(color, np.float64), (len(positions), 1)),
        rigid_weights(len(positions), len(armature), armature.index[bone]),
        finish,
    )
