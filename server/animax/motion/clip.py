"""A clip: the local pose of every joint over time."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from animax.assets.skeleton import Pose, Skeleton

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Clip:
    """Motion of one skeleton, sampled at a constant rate.

    Attributes:
        name: for people and for the written file's animation.
        fps: samples a second.
        pose: local transforms with one leading dimension: translations (F, J, 3) metres, rotations (F, J, 4) unit and
            sign-continuous in time, scales (F, J, 3).
        loop: the last frame joins the first without a seam (the frame after the last equals the first).
    """

    name: str
    fps: float
    pose: Pose
    loop: bool = False

    def __len__(self) -> int:
        return len(self.pose.rotations)

    @property
    def seconds(self) -> float:
        """Time of the last frame."""
        return (len(self) - 1) / self.fps

    @property
    def times(self) -> Array:
        """(F,) seconds."""
        return np.arange(len(self)) / self.fps

    def translated_joints(self, skeleton: Skeleton, tolerance: float = 1e-6) -> IntArray:
        """Indices of joints whose translation ever leaves the rest pose by more than ``tolerance`` metres."""
        offset = np.abs(self.pose.translations - skeleton.rest.translations)
        return np.flatnonzero(offset.max(axis=(0, 2), initial=0.0) > tolerance)

    def with_pose(self, pose: Pose) -> Clip:
        """The same clip with another pose."""
        return replace(self, pose=pose)
