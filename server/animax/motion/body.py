"""The joints that stand for a body's place and carry it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animax.assets.rig import Rig

IntArray = NDArray[np.int64]

WHOLE = 0.9
"""Share of all skin weight that still counts as the whole body."""


def body_root(rig: Rig) -> int:
    """The joint that stands for the body's place: the hips of a biped, not a root on the ground nor a foot control.

    Of the joints that move vertices, it is the lowest in the tree that still carries ``WHOLE`` of what the heaviest
    subtree carries.
    """
    skeleton = rig.skeleton
    subtree = rig.mesh.joint_weights(len(skeleton))
    for joint in range(len(skeleton) - 1, 0, -1):
        if skeleton.parents[joint] >= 0:
            subtree[skeleton.parents[joint]] += subtree[joint]
    candidates = rig.deforming if len(rig.deforming) else np.arange(len(skeleton))
    whole = candidates[subtree[candidates] >= WHOLE * subtree[candidates].max()]
    return int(whole[-1])


def carriers(rig: Rig) -> IntArray:
    """The joints that carry the whole body: deforming joints without a deforming joint above them."""
    deforming = set(rig.deforming.tolist())
    carried = np.zeros(len(rig.skeleton), bool)
    for joint, parent in enumerate(rig.skeleton.parents):
        carried[joint] = parent >= 0 and (carried[parent] or int(parent) in deforming)
    return np.array([joint for joint in sorted(deforming) if not carried[joint]], np.int64)
