"""Pieces of surface, bound to the bones of an armature."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Finish:
    """How a surface takes light: a material's name and its roughness and metalness."""

    name: str
    roughness: float = 0.85
    metallic: float = 0.0


SKIN = Finish("body")
GLOSS = Finish("gloss", roughness=0.2)
METAL = Finish("metal", roughness=0.4, metallic=0.8)


@dataclass(frozen=True, eq=False)
class Patch:
    """A closed piece of surface in rest pose, world space.

    Attributes:
        positions: (N, 3) metres.
        normals: (N, 3) unit.
        triangles: (T, 3), counter-clockwise from outside.
        colors: (N, 3) linear RGB.
        weights: (N, J) rows sum to one.
        finish: its material.
    """

    positions: Array
    normals: Array
    triangles: IntArray
    colors: Array
    weights: Array
    finish: Finish = SKIN


def srgb(text: str) -> Array:
    """Linear RGB (3,) of ``#rrggbb``."""
    value = np.array([int(text[i : i + 2], 16) for i in (1, 3, 5)]) / 255.0
    linear = np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)
    return np.asarray(linear, np.float64)


def smooth_normals(positions: Array, triangles: IntArray) -> Array:
    """(N, 3) vertex normals, weighted by area."""
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    total = np.zeros_like(positions)
    for i in range(3):
        np.add.at(total, triangles[:, i], faces)
    return np.asarray(total / np.maximum(np.linalg.norm(total, axis=-1, keepdims=True), 1e-20), np.float64)


def creased(positions: Array, triangles: IntArray, degrees: float = 40.0) -> tuple[IntArray, Array, IntArray]:
    """Double the vertices along edges sharper than ``degrees``.

    Returns:
        For each new vertex (M,) the old one, its normal (M, 3), and the triangles (T, 3) over new vertices.
    """
    a, b, c = (positions[triangles[:, i]] for i in range(3))
    faces = np.cross(b - a, c - a)
    unit = faces / np.maximum(np.linalg.norm(faces, axis=-1, keepdims=True), 1e-20)
    corners = triangles.ravel()
    owner = np.repeat(np.arange(len(triangles)), 3)
    order = np.argsort(corners, kind="stable")
    normals = np.zeros((len(corners), 3))
    for group in np.split(order, np.flatnonzero(np.diff(corners[order])) + 1):
        near = unit[owner[group]] @ unit[owner[group]].T > np.cos(np.radians(degrees))
        normals[group] = near.astype(np.float64) @ faces[owner[group]]
    normals /= np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-20)
    keys = np.concatenate([corners[:, None], np.round(normals * 1e4)], axis=-1)
    _, first, inverse = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return corners[first], normals[first], inverse.reshape(-1, 3)


def rigid_weights(count: int, joints: int, joint: int) -> Array:
    """(count, joints) all weight on one joint."""
    weights = np.zeros((count, joints))
    weights[:, joint] = 1.0
    return weights


def chain_weights(at: ArrayLike, joints: int, chain: Sequence[int], lengths: Sequence[float], blend: float) -> Array:
    """(N, joints) weights along bones that follow each other.

    Args:
        at: (N,) metres from the head of the first bone.
        joints: J.
        chain: indices of the bones.
        lengths: their lengths, metres.
        blend: share of the shorter neighbour over which two bones blend at their joint.
    """
    at = np.asarray(at, np.float64)
    weights = np.zeros((len(at), joints))
    ends = np.cumsum(lengths)
    passed = np.ones(len(at))
    for i, joint in enumerate(chain):
        if i + 1 < len(chain):
            width = blend * min(lengths[i], lengths[i + 1])
            x = np.clip((at - ends[i]) / max(width, 1e-9) + 0.5, 0.0, 1.0)
            beyond = x * x * (3 - 2 * x)
        else:
            beyond = np.zeros(len(at))
        weights[:, joint] += passed * (1 - beyond)
        passed = passed * beyond
    shares: Array = weights / weights.sum(axis=-1, keepdims=True)
    return shares
