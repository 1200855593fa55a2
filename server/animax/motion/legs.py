"""The legs of a rig, whatever it is: chains of joints whose ends stand on the ground in the rest pose."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animax.assets.rig import Rig
from animax.motion.body import body_root

Array = NDArray[np.float64]

GROUND = 0.12
"""Height up to which a foot's lowest vertices count as on the ground, in heights of the body."""
ANKLE = 0.4
"""A foot's joints lie below this, in heights of the body."""
LEAST_HEIGHT = 0.04
"""A body lower than this (in rest diagonals) has no legs: snakes, crawling and lying bodies."""
LEAST_DROP = 0.08
"""A leg leads down by at least this part of its length."""

MOST_DETACHED = 8
"""With more parts that stand by themselves these are no feet (the links of a tank's track)."""


@dataclass(frozen=True, eq=False)
class Leg:
    """One leg.

    Attributes:
        joints: the joints that bend it, from the body down, the foot not among them.
        foot: the joint that carries the sole, and whose orientation in space belongs to the foot; where the last bone
            reaches the ground without a foot, the last of ``joints``.
        sole: (3,) the middle of the sole in the foot joint's space.
        length: from the first joint along the leg to the sole, rest pose.
        ankle: where the foot is a root of its own (a control bone that carries the foot's skin): (3,) the place of its
            head in the space of the last of ``joints``. Such a foot moves by itself, and the leg reaches after it.
    """

    joints: tuple[int, ...]
    foot: int
    sole: Array
    length: float
    ankle: Array | None = None

    @property
    def has_foot(self) -> bool:
        """Whether the foot is a joint of its own."""
        return self.foot not in self.joints

    def soles(self, globals_: Array) -> Array:
        """World positions (..., 3) of the sole for joint matrices (..., J, 4, 4)."""
        return _placed(globals_, self.foot, self.sole)

    def ends(self, globals_: Array) -> Array:
        """World positions (..., 3) of what ``joints`` carry to its place: the foot's head, or the sole."""
        if self.ankle is not None:
            return _placed(globals_, self.joints[-1], self.ankle)
        return globals_[..., self.foot, :3, 3] if self.has_foot else self.soles(globals_)


def find_legs(rig: Rig) -> tuple[Leg, ...]:
    """The legs of a rig, by its rest pose alone; empty for bodies without (snakes, fish, machines).

    A foot is the topmost joint that has, like all joints below it, its head near the ground, and whose skin touches the
    ground; or else a last joint whose skin does. From there the leg goes up to the first joint from which another limb
    leads away. A single leg is none: what looks like it is a fin, a tail or a stand.
    """
    skeleton = rig.skeleton
    up = rig.stance.up
    heads = skeleton.rest_globals[:, :3, 3]
    vertices = rig.rest_vertices
    if not len(vertices) or not len(rig.deforming):
        return ()
    heights = vertices @ up
    ground = float(heights.min())
    level = heads @ up - ground
    root = body_root(rig)
    # the joint that holds each vertex most
    strongest = np.take_along_axis(rig.mesh.bindings, np.argmax(rig.mesh.weights, axis=1)[:, None], axis=1)[:, 0]
    holder = rig.mesh.binding_joints[strongest]
    # how high the body stands: its joint, or its flesh where that is higher (a spider's hips lie on its belly)
    flesh = heights[holder == root] - ground
    tall = max(float(level[root]), float(flesh.mean()) if len(flesh) else 0.0)
    if tall < LEAST_HEIGHT * rig.size:
        return ()

    lowest = np.full(len(skeleton), np.inf)
    np.minimum.at(lowest, holder, heights - ground)
    deforming = np.zeros(len(skeleton), bool)
    deforming[rig.deforming] = True
    low, reach, skinned = level <= ANKLE * tall, lowest.copy(), deforming.copy()
    extent = np.zeros(len(skeleton))
    for joint in range(len(skeleton) - 1, 0, -1):
        parent = skeleton.parents[joint]
        if parent >= 0 and skinned[joint]:
            low[parent] &= low[joint]
            reach[parent] = min(reach[parent], reach[joint])
            skinned[parent] = True
            extent[parent] = max(extent[parent], extent[joint] + np.linalg.norm(heads[joint] - heads[parent]))

    carried = np.zeros(len(skeleton), bool)  # has a joint above it that moves skin
    for member, parent in enumerate(skeleton.parents):
        carried[member] = parent >= 0 and (carried[parent] or deforming[parent])

    legs: list[Leg] = []
    detached: list[Leg] = []
    for joint in np.flatnonzero(skinned & (reach <= GROUND * tall)).tolist():
        parent = int(skeleton.parents[joint])
        ends_here = not any(skinned[c] for c in skeleton.children[joint])
        is_foot = low[joint] and (not carried[joint] or not low[parent])
        if not is_foot and not (ends_here and not low[joint]):
            continue
        members = _subtree(skeleton.children, joint)
        mine = np.isin(holder, members)
        if joint == root or not mine.any():
            continue
        near = mine & (heights - ground <= max(GROUND * tall, float(np.percentile(heights[mine] - ground, 20))))
        sole = vertices[near].mean(axis=0)
        chain = _chain(rig, joint, root, skinned, extent, sole) if carried[joint] else ()
        if not is_foot:
            chain = (*chain, joint)
        separate = not carried[joint]
        path = np.concatenate([heads[[*chain, *(() if joint in chain else (joint,))]], sole[None]])
        length = float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())
        local = np.linalg.solve(skeleton.rest_globals[joint], np.append(sole, 1.0))[:3]
        leg = Leg(chain, joint, local, length)
        if separate:
            detached.append(leg)
        elif chain and (path[0] - sole) @ up >= LEAST_DROP * length:
            legs.append(leg)
    for foot in detached:
        above = [leg for leg in legs if leg.ankle is None and not leg.has_foot]
        gaps = [np.linalg.norm(leg.soles(skeleton.rest_globals) - heads[foot.foot]) for leg in above]
        if gaps and min(gaps) < 0.3 * tall:
            upper = above[int(np.argmin(gaps))]
            ankle = np.linalg.solve(skeleton.rest_globals[upper.joints[-1]], np.append(heads[foot.foot], 1.0))[:3]
            legs.remove(upper)
            legs.append(Leg(upper.joints, foot.foot, foot.sole, upper.length + foot.length, ankle))
        elif len(detached) <= MOST_DETACHED:
            legs.append(Leg((), foot.foot, foot.sole, tall))
    return tuple(legs) if len(legs) > 1 else ()


def _placed(globals_: Array, joint: int, offset: Array) -> Array:
    m = globals_[..., joint, :, :]
    positions: Array = m[..., :3, :3] @ offset + m[..., :3, 3]
    return positions


def _subtree(children: tuple[tuple[int, ...], ...], joint: int) -> list[int]:
    out = [joint]
    for member in out:
        out.extend(children[member])
    return out


def _chain(rig: Rig, foot: int, root: int, skinned: NDArray[np.bool_], extent: Array, sole: Array) -> tuple[int, ...]:
    """The joints above ``foot`` up to, and with, the last one before another limb leads away."""
    skeleton = rig.skeleton
    heads = skeleton.rest_globals[:, :3, 3]
    chain: list[int] = []
    below, joint = foot, int(skeleton.parents[foot])
    while joint >= 0 and joint != root and skinned[joint]:
        arm = np.linalg.norm(heads[joint] - sole)
        others = [c for c in skeleton.children[joint] if c != below and skinned[c]]
        if any(extent[c] + np.linalg.norm(heads[c] - heads[joint]) > 0.5 * arm for c in others):
            break
        chain.append(joint)
        below, joint = joint, int(skeleton.parents[joint])
    return tuple(reversed(chain))
