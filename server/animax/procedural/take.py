"""One motion in the making: local turns of every bone over time, with forward and two-bone inverse kinematics.

A bone's local turn D is written in the axes of the model at rest, carried along by its parent: with W the turn of a
bone from its rest orientation in world space, W = W_parent · D. So the same motion fits any choice of rest orientation.
Pitch turns about +X (the head nods forward), yaw about +Y (it looks to its left), roll about +Z (its left side rises).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.procedural.armature import Armature

Array = NDArray[np.float64]

FPS = 30.0
"""Frames a second at which motions are made."""
LONGEST_REACH = 0.9995
"""Share of a limb's full length at which it stops stretching, so that the bend stays defined."""


@dataclass(frozen=True, eq=False)
class Limb:
    """Two bones that bend in one plane.

    Attributes:
        upper: key; its tail is the head of ``lower``.
        lower: key; its tail is what reaches.
        pole: (3,) where the middle joint points at rest.
    """

    upper: str
    lower: str
    pole: Array


def euler(pitch: ArrayLike = 0.0, yaw: ArrayLike = 0.0, roll: ArrayLike = 0.0) -> Array:
    """Quaternions (..., 4): roll first, then pitch, then yaw; radians."""
    pitch, yaw, roll = np.broadcast_arrays(*(np.asarray(a, np.float64) for a in (pitch, yaw, roll)))
    return rotations.multiply(about("y", yaw), rotations.multiply(about("x", pitch), about("z", roll)))


def about(axis: str | Array, angle: ArrayLike) -> Array:
    """Quaternions (..., 4) about ``x``, ``y``, ``z`` or a unit vector (3,); ``angle`` (...,) radians."""
    unit = np.eye(3)["xyz".index(axis)] if isinstance(axis, str) else axis
    return rotations.from_rotation_vector(np.asarray(angle, np.float64)[..., None] * unit)


def basis(direction: ArrayLike, normal: ArrayLike) -> Array:
    """Matrices (..., 3, 3): first column ``direction``, second ``normal`` made perpendicular to it."""
    d = _unit(np.asarray(direction, np.float64))
    n = np.asarray(normal, np.float64)
    n = _unit(n - np.sum(n * d, axis=-1, keepdims=True) * d)
    return np.stack(np.broadcast_arrays(d, n, np.cross(d, n)), axis=-1)


def _unit(v: Array) -> Array:
    out: Array = v / np.maximum(np.linalg.norm(v, axis=-1, keepdims=True), 1e-12)
    return out


class Take:
    """F frames of an armature, both ends included: the last frame of a loop equals its first.

    Attributes:
        phase: (F,) 0 to 1.
        seconds: length.
        turns: (F, J, 4) local turns D.
        shifts: (F, J, 3) metres that a bone's head leaves its place, in the parent's turned axes.
        contacts: for each bone whose head is planted at times, (F,) whether it is.
        ground_speed: metres a second that the ground under the feet moves backwards (along -Z).
        misses: largest distance in metres by which a planted limb could not reach, over all limbs.
    """

    def __init__(self, armature: Armature, seconds: float, *, loop: bool = True) -> None:
        intervals = max(4, round(seconds * FPS))
        self.armature = armature
        self.seconds = float(seconds)
        self.loop = loop
        self.phase: Array = np.linspace(0.0, 1.0, intervals + 1)
        self.turns = np.tile(rotations.IDENTITY, (intervals + 1, len(armature), 1))
        self.shifts = np.zeros((intervals + 1, len(armature), 3))
        self.contacts: dict[str, NDArray[np.bool_]] = {}
        self.ground_speed = 0.0
        self.misses = 0.0

    def __len__(self) -> int:
        return len(self.phase)

    @property
    def time(self) -> Array:
        """(F,) seconds."""
        return self.phase * self.seconds

    def turn(self, key: str, pitch: ArrayLike = 0.0, yaw: ArrayLike = 0.0, roll: ArrayLike = 0.0) -> None:
        """Turn a bone further, on top of what it does already; a key that the armature lacks is passed over."""
        if key in self.armature:
            j = self.armature.index[key]
            self.turns[:, j] = rotations.multiply(euler(pitch, yaw, roll), self.turns[:, j])

    def shift(self, key: str, x: ArrayLike = 0.0, y: ArrayLike = 0.0, z: ArrayLike = 0.0) -> None:
        """Move a bone's head further, metres."""
        for axis, value in enumerate((x, y, z)):
            self.shifts[:, self.armature.index[key], axis] += np.asarray(value, np.float64)

    def world(self, key: str | None) -> Array:
        """(F, 4) turn W of a bone from its rest orientation, world space; of None, the identity."""
        out = np.tile(rotations.IDENTITY, (len(self), 1))
        j = -1 if key is None else self.armature.index[key]
        while j >= 0:
            out = rotations.multiply(self.turns[:, j], out)
            j = int(self.armature.parents[j])
        return out

    def set_world(self, key: str, world: ArrayLike) -> None:
        """Give a bone the turn W (F, 4) or (4,) in world space."""
        j = self.armature.index[key]
        parent = self.world(self.armature.bones[j].parent)
        self.turns[:, j] = rotations.multiply(rotations.conjugate(parent), world)

    def position(self, key: str, offset: ArrayLike = (0.0, 0.0, 0.0)) -> Array:
        """(F, 3) world position of a bone's head, or of the point ``offset`` (3,) metres from it at rest."""
        heads = self.armature.heads
        j = self.armature.index[key]
        out = np.tile(np.asarray(offset, np.float64), (len(self), 1))
        while j >= 0:
            parent = int(self.armature.parents[j])
            step = heads[j] - (heads[parent] if parent >= 0 else 0.0)
            out = rotations.rotate(self.turns[:, j], out) + step + self.shifts[:, j]
            j = parent
        return out

    def tail(self, key: str) -> Array:
        """(F, 3) world position of a bone's tail."""
        return self.position(key, self.armature.vector(key))

    def lowest(self, keys: Sequence[str] | None = None) -> Array:
        """(F,) height of the lowest bone end, over all bones or those named, metres."""
        chosen = [bone.key for bone in self.armature.bones] if keys is None else keys
        ends = [end[:, 1] for key in chosen for end in (self.position(key), self.tail(key))]
        return np.asarray(np.min(ends, axis=0), np.float64)

    def lift_above_ground(self, root: str, margin: float) -> None:
        """Raise the whole body where a bone end would come closer than ``margin`` metres to the ground or below it."""
        self.shift(root, y=np.maximum(margin - self.lowest(), 0.0))

    def steady(self, key: str, share: float = 1.0) -> None:
        """Take back ``share`` of the turn that a bone inherits, so that it keeps its heading while its parents sway."""
        inherited = self.world(self.armature[key].parent)
        back = rotations.from_rotation_vector(-share * rotations.to_rotation_vector(inherited))
        j = self.armature.index[key]
        self.turns[:, j] = rotations.multiply(back, self.turns[:, j])

    def reach(self, limb: Limb, target: ArrayLike, pole: ArrayLike, *, must: bool = True) -> None:
        """Bend a limb so that the tail of its lower bone comes to ``target`` (F, 3), its middle joint towards ``pole``.

        With ``must``, what is missing goes into ``misses``.
        """
        start = self.position(limb.upper)
        a, b = self.armature.length(limb.upper), self.armature.length(limb.lower)
        to = np.asarray(target, np.float64) - start
        wanted = np.linalg.norm(to, axis=-1)
        distance = np.clip(wanted, abs(a - b) + 1e-3 * (a + b), LONGEST_REACH * (a + b))
        if must:
            self.misses = max(self.misses, float(np.max(np.abs(wanted - distance))))
        towards = to / wanted[:, None]
        frame = basis(towards, np.broadcast_to(pole, towards.shape))
        along = (a * a + distance**2 - b * b) / (2 * distance)
        aside = np.sqrt(np.maximum(a * a - along**2, 0.0))
        middle = along[:, None] * towards + aside[:, None] * frame[..., 1]
        self.lay(limb, middle, distance[:, None] * towards - middle, np.cross(towards, frame[..., 1]))

    def lay(self, limb: Limb, upper: ArrayLike, lower: ArrayLike, normal: ArrayLike) -> None:
        """Point the two bones along ``upper`` and ``lower`` (F, 3), their hinge along ``normal`` (F, 3)."""
        rest = self.armature[limb.lower].tail - self.armature[limb.upper].head
        hinge = np.cross(rest, limb.pole)
        for key, direction in ((limb.upper, upper), (limb.lower, lower)):
            self.aim(key, direction, normal, hinge)

    def aim(self, key: str, direction: ArrayLike, normal: ArrayLike, rest_normal: ArrayLike) -> None:
        """Point a bone along ``direction`` (F, 3), with what lies along ``rest_normal`` at rest towards ``normal``."""
        rest = basis(self.armature.vector(key), rest_normal)
        self.set_world(key, rotations.from_matrix(basis(direction, normal) @ rest.T))
