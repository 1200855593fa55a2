"""Meshes and rigs made by formula."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from animax.assets.markers import MarkerKind, MarkerSet
from animax.assets.mesh import Material, Mesh
from animax.assets.rig import Rig, Stance
from animax.assets.skeleton import Pose, Skeleton

WHITE = Material("white", np.ones(4))


def mesh(
    vertices, triangles, *, texcoords=None, normals=None, colors=None, materials=(WHITE,), triangle_materials=None
):
    """A mesh bound to joint 0."""
    count = len(vertices)
    return Mesh(
        positions=np.asarray(vertices, float),
        normals=np.zeros((count, 3)) if normals is None else normals,
        texcoords=np.zeros((count, 2)) if texcoords is None else np.asarray(texcoords, float),
        colors=np.ones((count, 4)) if colors is None else colors,
        triangles=np.asarray(triangles),
        triangle_materials=np.zeros(len(triangles), int)
        if triangle_materials is None
        else np.asarray(triangle_materials),
        bindings=np.zeros((count, 4), int),
        weights=np.tile([1.0, 0, 0, 0], (count, 1)),
        binding_joints=np.zeros(1, int),
        inverse_binds=np.eye(4)[None],
        materials=materials,
    )


def sphere(rows=40, columns=80, materials=(WHITE,)):
    """The unit sphere with smooth normals, seen from outside; texture around its equator, its middle facing -Z."""
    polar, turn = np.meshgrid(np.linspace(0, np.pi, rows + 1), np.linspace(0, 2 * np.pi, columns + 1), indexing="ij")
    points = np.stack([np.sin(polar) * np.sin(turn), np.cos(polar), np.sin(polar) * np.cos(turn)], axis=-1)
    i, j = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    a = i * (columns + 1) + j
    b, c, d = a + 1, a + columns + 1, a + columns + 2
    triangles = np.stack([a, c, d, a, d, b], axis=-1).reshape(-1, 3)
    texcoords = np.stack([turn / (2 * np.pi), polar / np.pi], axis=-1)
    points = points.reshape(-1, 3)
    return mesh(points, triangles, texcoords=texcoords.reshape(-1, 2), normals=points.copy(), materials=materials)


FACES = {"+x": (0, 1), "-x": (0, -1), "+y": (1, 1), "-y": (1, -1), "+z": (2, 1), "-z": (2, -1)}


def cube(colours, half=0.5):
    """A cube about the origin with a material of one linear colour for each face, in the order of ``FACES``."""
    vertices, triangles = [], []
    for axis, sign in FACES.values():
        u, v = np.roll(np.eye(3), -axis, axis=0)[1:]
        n = sign * np.eye(3)[axis]
        first = len(vertices)
        corners = [n - u - v, n + u - v, n + u + v, n - u + v]
        vertices += corners if sign > 0 else corners[::-1]
        triangles += [[first, first + 1, first + 2], [first, first + 2, first + 3]]
    materials = tuple(Material(str(i), np.array([*colour, 1.0])) for i, colour in enumerate(colours))
    return mesh(
        half * np.array(vertices), triangles, materials=materials, triangle_materials=np.repeat(np.arange(6), 2)
    )


def quad(size=1.0, materials=(WHITE,)):
    """A square in the plane z = 0 that faces +Z, its texture upright for who looks at its front."""
    vertices = np.array([[-1, -1, 0], [1, -1, 0], [1, 1, 0], [-1, 1, 0]]) * size / 2
    texcoords = [[0, 1], [1, 1], [1, 0], [0, 0]]
    return mesh(vertices, [[0, 1, 2], [0, 2, 3]], texcoords=texcoords, materials=materials)


def rig(surface):
    """A rig with one joint that carries ``surface``, Y up, facing +Z."""
    rest = Pose(np.zeros((1, 3)), np.array([[0.0, 0, 0, 1]]), np.ones((1, 3)))
    stance = Stance(np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), 1.0, "override")
    skeleton = Skeleton(("root",), np.array([-1]), rest)
    return Rig("shape", "0" * 64, skeleton, surface, np.zeros(1, int), stance, document=cast(Any, None))


def marker_set(heads, tails=0, off_axis=0):
    """Markers of a chain of drivers: ``heads`` heads, the last ``tails`` of which have a tail, and off-axis markers."""
    joints = [*range(heads), *range(heads - tails, heads), *range(off_axis)]
    kinds = [MarkerKind.HEAD] * heads + [MarkerKind.TAIL] * tails + [MarkerKind.OFF_AXIS] * off_axis
    return MarkerSet(
        drivers=np.arange(heads),
        driver_parents=np.arange(heads) - 1,
        joints=np.array(joints),
        offsets=np.zeros((len(joints), 3)),
        kinds=np.array(kinds, int),
        channels=np.arange(len(joints)),
    )
