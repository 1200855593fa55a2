"""Driver joints and the markers that make their motion visible in pose maps.

A driver is a joint that the network moves; all others stay at rest relative to their parent. A marker is a point fixed
to a driver: its head, a virtual tail where the joint is a leaf or its children are where it is (a hat on a head), and
an off-axis point where head and children lie on one line, so that twist can be seen.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from animax.assets.rig import Rig
from animax.errors import RigError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

CHOICE = 2
"""Version of how markers are chosen: what was made of others has to be made anew."""
OFF_AXIS_LENGTH = 0.12
"""Distance of an off-axis marker from its joint, in rest diagonals: 0.5 % of noise on it turns into 2.4° of twist."""
TAIL_LENGTH = 0.06
"""Least distance of a virtual tail from its joint, in rest diagonals."""
APART = 0.01
"""Distance from a joint, in rest diagonals, up to which the heads of its children do not show how it turns."""
MIRROR_GAP = 0.02
"""Distance from its mirrored place, in rest diagonals, up to which a joint is another one's partner."""
SPREAD_LOSS = 0.4
"""What is lost of a chain's shape by leaving out a link whose bend its neighbours take over."""
FLATNESS = 0.15
"""Least ratio of second to first singular value for points to show a rotation whole."""


class MarkerKind(IntEnum):
    """What a marker shows."""

    HEAD = 0
    TAIL = 1
    OFF_AXIS = 2


@dataclass(frozen=True, eq=False)
class MarkerSet:
    """The drivers of a rig and their M markers.

    Attributes:
        drivers: (D,) joint indices, parents before children.
        driver_parents: (D,) index into ``drivers`` of the nearest ancestor that is a driver, -1 for none.
        joints: (M,) joint index that carries the marker; always a driver.
        offsets: (M, 3) position in the joint's space, file units.
        kinds: (M,) of MarkerKind.
        channels: (M,) unique channel (colour code) of each marker in the pose map.
    """

    drivers: IntArray
    driver_parents: IntArray
    joints: IntArray
    offsets: Array
    kinds: IntArray
    channels: IntArray

    def __len__(self) -> int:
        return len(self.joints)

    def positions(self, globals_: Array) -> Array:
        """World positions (..., M, 3) for joint matrices (..., J, 4, 4)."""
        m = globals_[..., self.joints, :, :]
        positions: Array = np.einsum("...mij,mj->...mi", m[..., :3, :3], self.offsets) + m[..., :3, 3]
        return positions


def choose_markers(rig: Rig, channels: int = 64) -> MarkerSet:
    """The largest driver set whose markers fit ``channels``, each marker with its channel.

    Joints that deform are drivers; the least important go first (fingers, twist helpers, every other link of a long
    chain). See ``canonical_channels`` for how channels are given.

    Raises:
        RigError: the rig has no joint that moves any vertex.
    """
    deforming = rig.deforming
    if not len(deforming):
        raise RigError(f"rig {rig.name!r} has no joint that moves any vertex; accepted: at least one")
    drivers = list(deforming)
    partners = _mirror_partners(rig)
    masses = _masses(rig)
    masses = (masses + masses[partners]) / 2
    while True:
        parents = _driver_parents(rig, drivers)
        joints, offsets, kinds = _markers(rig, drivers, parents)
        heads = int(np.sum(kinds != MarkerKind.OFF_AXIS))
        body, off_axis = split_channels(channels)
        if heads <= body and len(joints) - heads <= off_axis:
            break
        # an off-axis marker beyond the last free channel is given up only when its joint is; pairs go together
        least = drivers[int(np.argmin(_importance(rig, drivers, parents, masses)))]
        drivers = [joint for joint in drivers if joint not in (least, partners[least])]
    heads_at = rig.skeleton.rest_globals[joints]
    shown = np.einsum("mij,mj->mi", heads_at[:, :3, :3], offsets) + heads_at[:, :3, 3]
    anchors_at = np.where((kinds == MarkerKind.OFF_AXIS)[:, None], heads_at[:, :3, 3], shown)
    return MarkerSet(
        np.array(drivers),
        parents,
        joints,
        offsets,
        kinds,
        canonical_channels(rig, anchors_at, kinds, channels),
    )


def split_channels(channels: int) -> tuple[int, int]:
    """How many channels are for heads and tails, and how many for off-axis markers."""
    off_axis = channels * 7 // 16
    return channels - off_axis, off_axis


def canonical_channels(rig: Rig, positions: Array, kinds: IntArray, channels: int) -> IntArray:
    """Give each marker a channel by where it stands in the rest pose, by a minimum-cost matching with fixed anchor
    points in the rig's own box, so that a left hand has nearly the same channel on every biped.

    Args:
        rig: whose box counts.
        positions: (M, 3) rest positions, world space; for off-axis markers that of their joint.
        kinds: (M,) of MarkerKind.
        channels: of the pose map.
    """
    low, high = rig.rest_box
    axes = rig.stance.axes
    half = np.maximum(np.abs(axes) @ (high - low) / 2, rig.size / 20)
    local = (positions - (low + high) / 2) @ axes.T / half
    body, off_axis = split_channels(channels)
    out = np.empty(len(positions), np.int64)
    for group, first, count in (
        (kinds != MarkerKind.OFF_AXIS, 0, body),
        (kinds == MarkerKind.OFF_AXIS, body, off_axis),
    ):
        members = np.flatnonzero(group)
        cost = np.sum((local[members, None] - anchors(count)[None]) ** 2, axis=-1)
        rows, columns = linear_sum_assignment(cost)
        out[members[rows]] = first + columns
    return out


@lru_cache
def anchors(count: int) -> Array:
    """``count`` fixed points (count, 3) in [-1, 1]³, mirror-symmetric in x: a third on the mid-plane, the rest in
    pairs (left, right), low-discrepancy (van der Corput in bases 2, 3, 5)."""
    middle = count - 2 * (count // 3)
    pairs = count // 3

    def halton(n: int, base: int) -> Array:
        out = np.zeros(n)
        for i in range(n):
            f, k = 1.0, i + 1
            while k:
                f /= base
                out[i] += f * (k % base)
                k //= base
        return out

    mid = np.stack([np.zeros(middle), *(2 * halton(middle, b) - 1 for b in (2, 3))], axis=-1)
    side = np.stack([0.15 + 0.85 * halton(pairs, 5), *(2 * halton(pairs, b) - 1 for b in (2, 3))], axis=-1)
    return np.concatenate([mid, side, side * np.array([-1.0, 1.0, 1.0])])


def mirror_channels(channels: int) -> IntArray:
    """(channels,) the channel that each one becomes when the body is mirrored left to right."""
    body, off_axis = split_channels(channels)
    out = []
    for first, count in ((0, body), (body, off_axis)):
        pairs = count // 3
        middle = count - 2 * pairs
        out += [first + i for i in range(middle)]
        out += [first + middle + pairs + i for i in range(pairs)]
        out += [first + middle + i for i in range(pairs)]
    return np.array(out)


def _mirror_partners(rig: Rig) -> IntArray:
    """(J,) the joint that stands where a deforming joint would in a mirror along the rig's middle, or itself."""
    skeleton = rig.skeleton
    heads = skeleton.rest_globals[:, :3, 3]
    low, high = rig.rest_box
    across = rig.stance.axes[0]
    side = (heads - (low + high) / 2) @ across
    depth = np.zeros(len(skeleton), np.int64)
    for joint, parent in enumerate(skeleton.parents):
        depth[joint] = depth[parent] + 1 if parent >= 0 else 0
    partners = np.arange(len(skeleton))
    joints = rig.deforming
    mirrored = heads[joints] - 2 * side[joints, None] * across
    gap = np.linalg.norm(mirrored[:, None] - heads[joints][None], axis=-1) / rig.size
    gap = np.where(depth[joints][:, None] == depth[joints][None], gap, np.inf)
    nearest = np.argmin(gap, axis=1)
    for i, j in enumerate(nearest):
        if nearest[j] == i and gap[i, j] < MIRROR_GAP and abs(side[joints[i]]) > MIRROR_GAP * rig.size:
            partners[joints[i]] = joints[j]
    return partners


def _masses(rig: Rig) -> Array:
    """(J, 2) every joint's share of body and skeleton, half each, and that share times its mean squared distance."""
    heads = rig.skeleton.rest_globals[:, :3, 3]
    vertices = rig.rest_vertices
    weight, squares = np.zeros(len(heads)), np.zeros(len(heads))
    for slot in range(rig.mesh.bindings.shape[1]):
        joint = rig.mesh.binding_joints[rig.mesh.bindings[:, slot]]
        np.add.at(weight, joint, rig.mesh.weights[:, slot])
        np.add.at(squares, joint, rig.mesh.weights[:, slot] * np.sum((vertices - heads[joint]) ** 2, axis=-1))
    total = max(float(weight.sum()), 1e-12)
    joints = np.zeros(len(heads))
    joints[rig.deforming] = 1.0 / len(rig.deforming)
    return np.stack([(weight / total + joints) / 2, squares / total / 2], axis=-1)


def _driver_parents(rig: Rig, drivers: list[int]) -> IntArray:
    index = {joint: i for i, joint in enumerate(drivers)}
    out = np.full(len(drivers), -1)
    for i, joint in enumerate(drivers):
        parent = int(rig.skeleton.parents[joint])
        while parent >= 0 and parent not in index:
            parent = int(rig.skeleton.parents[parent])
        out[i] = index.get(parent, -1)
    return out


def _importance(rig: Rig, drivers: list[int], parents: IntArray, masses: Array) -> Array:
    """(D,) how far the body would be off if a driver were given up, every joint turning by about the same angle.

    The joint's own part, with all that hangs stiff on it, keeps its parent's orientation: the loss is its moment about
    the head. Below it the next drivers still turn, but about heads that no longer move with the joint: the loss is the
    arm to each such head times the mass of all below it. In an unbranched chain the solver spreads the bend over the
    joints left out, which leaves ``SPREAD_LOSS`` of that.
    """
    heads = rig.skeleton.rest_globals[:, :3, 3]
    index = {joint: i for i, joint in enumerate(drivers)}
    carrier = np.full(len(heads), -1)
    for joint, parent in enumerate(rig.skeleton.parents):
        carrier[joint] = index.get(joint, carrier[parent] if parent >= 0 else -1)
    at = heads[drivers]
    moments, below = np.zeros(len(drivers)), np.zeros(len(drivers))
    held = carrier >= 0
    away = np.sum((heads[held] - at[carrier[held]]) ** 2, axis=-1)
    np.add.at(moments, carrier[held], masses[held, 1] + masses[held, 0] * away)
    np.add.at(below, carrier[held], masses[held, 0])
    child_count = np.bincount(parents[parents >= 0], minlength=len(drivers))
    for i in range(len(drivers) - 1, -1, -1):
        parent = parents[i]
        if parent >= 0:
            below[parent] += below[i]
            chain = child_count[parent] == 1 and parents[parent] >= 0 and child_count[parents[parent]] == 1
            arm = np.sum((at[i] - at[parent]) ** 2) * below[i]
            moments[parent] += arm * (SPREAD_LOSS**2 if chain else 1.0)
    return np.where(parents >= 0, moments, np.inf if np.any(parents >= 0) else moments)


def _markers(rig: Rig, drivers: list[int], parents: IntArray) -> tuple[IntArray, Array, IntArray]:
    rest = rig.skeleton.rest_globals
    heads = rest[drivers, :3, 3]
    joints, offsets, kinds = [], [], []

    def add(joint: int, world: Array, kind: MarkerKind) -> None:
        joints.append(joint)
        offsets.append((np.linalg.inv(rest[joint]) @ np.append(world, 1.0))[:3])
        kinds.append(kind)

    for i, joint in enumerate(drivers):
        add(joint, heads[i], MarkerKind.HEAD)
        ends = heads[np.flatnonzero(parents == i)]
        ends = ends[np.linalg.norm(ends - heads[i], axis=-1) > APART * rig.size]
        if not len(ends):
            tail = _virtual_tail(rig, joint, heads[i], heads[parents[i]] if parents[i] >= 0 else None)
            add(joint, tail, MarkerKind.TAIL)
            ends = tail[None]
        arms = ends - heads[i]
        _, singular, axes = np.linalg.svd(arms, full_matrices=True)
        if len(arms) < 2 or singular[1] < FLATNESS * rig.size * 0.3:
            add(joint, heads[i] + OFF_AXIS_LENGTH * rig.size * _perpendicular(rig, axes[0]), MarkerKind.OFF_AXIS)
    return np.array(joints), np.array(offsets), np.array(kinds)


def _perpendicular(rig: Rig, axis: Array) -> Array:
    """The unit direction perpendicular to ``axis`` that is nearest to the rig's forward (or up, for a bone that points
    forward)."""
    forward, up = rig.stance.forward, rig.stance.up
    guide = forward if abs(axis @ forward) < 0.8 else up
    across = guide - (guide @ axis) * axis
    return across / np.linalg.norm(across)


def _virtual_tail(rig: Rig, joint: int, head: Array, parent_head: Array | None) -> Array:
    """Where a leaf joint's bone would end: as far as its vertices reach along their mean direction."""
    of_joint = np.sum(np.where(rig.mesh.binding_joints[rig.mesh.bindings] == joint, rig.mesh.weights, 0.0), axis=-1)
    arms = rig.rest_vertices - head
    total = of_joint.sum()
    direction = of_joint @ arms / total if total > 0 else np.zeros(3)
    reach = np.linalg.norm(direction)
    if reach < 0.005 * rig.size and parent_head is not None:
        direction = head - parent_head
    length = np.linalg.norm(direction)
    direction = direction / length if length > 1e-6 * rig.size else rig.stance.up
    along = arms[of_joint > 0.3] @ direction
    extent = float(np.percentile(along, 95)) if len(along) else 0.0
    return head + max(extent, TAIL_LENGTH * rig.size) * direction
