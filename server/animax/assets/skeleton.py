"""The joint tree of a rig and its forward kinematics."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.errors import RigError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Pose:
    """Local transforms of every joint, relative to its parent. Leading dimensions (frames, batch) are free.

    Attributes:
        translations: (..., J, 3) metres.
        rotations: (..., J, 4) unit quaternions, (x, y, z, w).
        scales: (..., J, 3).
    """

    translations: Array
    rotations: Array
    scales: Array

    def __getitem__(self, frames: int | slice | IntArray) -> Pose:
        return Pose(self.translations[frames], self.rotations[frames], self.scales[frames])

    def matrices(self) -> Array:
        """Local matrices (..., J, 4, 4), translation · rotation · scale."""
        shape = np.broadcast_shapes(self.translations.shape[:-1], self.rotations.shape[:-1], self.scales.shape[:-1])
        local = np.zeros((*shape, 4, 4))
        local[..., :3, :3] = rotations.to_matrix(self.rotations) * self.scales[..., None, :]
        local[..., :3, 3] = self.translations
        local[..., 3, 3] = 1.0
        return local


@dataclass(frozen=True, eq=False)
class Skeleton:
    """Joints in topological order: every parent comes before its children.

    The joints are all nodes that take part in the articulated hierarchy: the skin's joints, rigid animated parts, and
    every ancestor of these, so that forward kinematics starts at the scene and scaled armature nodes need no special
    case.

    Attributes:
        names: J unique names.
        parents: (J,) index of the parent, -1 for a root.
        rest: the rest pose, without leading dimensions.
    """

    names: tuple[str, ...]
    parents: IntArray
    rest: Pose

    def __post_init__(self) -> None:
        joints = len(self.names)
        if len(set(self.names)) != joints:
            raise RigError("joint names repeat; accepted: unique names")
        if self.parents.shape != (joints,) or np.any(self.parents >= np.arange(joints)) or np.any(self.parents < -1):
            raise RigError("joints are not in topological order; accepted: every parent before its children")

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def levels(self) -> tuple[IntArray, ...]:
        """Joint indices grouped by depth, roots first."""
        depth = np.zeros(len(self), np.int64)
        for joint, parent in enumerate(self.parents):
            depth[joint] = 0 if parent < 0 else depth[parent] + 1
        return tuple(np.flatnonzero(depth == level) for level in range(int(depth.max(initial=-1)) + 1))

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The children of every joint."""
        lists: list[list[int]] = [[] for _ in self.names]
        for joint, parent in enumerate(self.parents):
            if parent >= 0:
                lists[parent].append(joint)
        return tuple(map(tuple, lists))

    @cached_property
    def rest_globals(self) -> Array:
        """World matrices (J, 4, 4) of the rest pose."""
        return self.globals(self.rest)

    def globals(self, pose: Pose) -> Array:
        """Forward kinematics: world matrices (..., J, 4, 4) of a pose."""
        world = pose.matrices()
        for level in self.levels[1:]:
            world[..., level, :, :] = world[..., self.parents[level], :, :] @ world[..., level, :, :]
        return world

    def positions(self, pose: Pose) -> Array:
        """World positions (..., J, 3) of the joints, metres."""
        return self.globals(pose)[..., :3, 3]

    def posed(self, *, rotations: Array | None = None, translations: Array | None = None) -> Pose:
        """The rest pose with the given local rotations (..., J, 4) and translations (..., J, 3) in place of its own.

        What is not given is the rest's, repeated to the same leading dimensions.
        """
        given = rotations if rotations is not None else translations
        leading = given.shape[:-2] if given is not None else ()

        def repeated(rest: Array) -> Array:
            return np.broadcast_to(rest, (*leading, *rest.shape)).copy()

        pose = Pose(repeated(self.rest.translations), repeated(self.rest.rotations), repeated(self.rest.scales))
        if rotations is not None:
            pose = replace(pose, rotations=rotations)
        if translations is not None:
            pose = replace(pose, translations=translations)
        return pose
