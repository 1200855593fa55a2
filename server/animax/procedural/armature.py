"""The bones of a generated rig, in the space of its rest pose."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

LEFT, RIGHT = 1.0, -1.0
"""Signs of x: the models face +Z with Y up, so their own left is +X."""
SIDES = ((".L", LEFT), (".R", RIGHT))


@dataclass(frozen=True, eq=False)
class Bone:
    """One bone at rest.

    Attributes:
        key: what it is (``upper_arm.L``); the name in the file may be another, see ``naming``.
        parent: key of the parent, None for a root.
        head: (3,) metres, where it turns.
        tail: (3,) metres, where it ends.
    """

    key: str
    parent: str | None
    head: Array
    tail: Array


@dataclass(frozen=True, eq=False)
class Armature:
    """Bones, every parent before its children."""

    bones: tuple[Bone, ...]

    def __len__(self) -> int:
        return len(self.bones)

    @cached_property
    def index(self) -> dict[str, int]:
        """Position of each key."""
        return {bone.key: i for i, bone in enumerate(self.bones)}

    @cached_property
    def parents(self) -> IntArray:
        """(J,) index of the parent, -1 for a root."""
        return np.array([-1 if bone.parent is None else self.index[bone.parent] for bone in self.bones])

    @cached_property
    def heads(self) -> Array:
        """(J, 3) metres."""
        return np.array([bone.head for bone in self.bones])

    @cached_property
    def tails(self) -> Array:
        """(J, 3) metres."""
        return np.array([bone.tail for bone in self.bones])

    def __getitem__(self, key: str) -> Bone:
        return self.bones[self.index[key]]

    def __contains__(self, key: str) -> bool:
        return key in self.index

    def vector(self, key: str) -> Array:
        """(3,) head to tail."""
        bone = self[key]
        return bone.tail - bone.head

    def length(self, key: str) -> float:
        """Metres, head to tail."""
        return float(np.linalg.norm(self.vector(key)))


class ArmatureSketch:
    """Collects bones; ``armature()`` ends the sketch."""

    def __init__(self) -> None:
        self._bones: list[Bone] = []

    def bone(self, key: str, parent: str | None, head: ArrayLike, tail: ArrayLike) -> str:
        """Add one bone and return its key."""
        self._bones.append(Bone(key, parent, np.array(head, np.float64), np.array(tail, np.float64)))
        return key

    def chain(self, keys: Iterable[str], parent: str | None, points: ArrayLike) -> list[str]:
        """Add bones that follow each other through ``points`` (one more than keys)."""
        added = list(keys)
        points = np.asarray(points, np.float64)
        for i, key in enumerate(added):
            parent = self.bone(key, parent, points[i], points[i + 1])
        return added

    def armature(self) -> Armature:
        """The finished armature."""
        return Armature(tuple(self._bones))


def vec(x: float, y: float, z: float) -> Array:
    """A point or offset (3,)."""
    return np.array([x, y, z], np.float64)


def mirrored(point: ArrayLike, side: float) -> Array:
    """A point or direction (..., 3) given for the left side, on the side of sign ``side``."""
    out: Array = np.asarray(point, np.float64) * np.array([side, 1.0, 1.0])
    return out
