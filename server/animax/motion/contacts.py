"""When feet stand, how the ground moves beneath them, and holding them still.

A clip in place has no fixed ground: what stands on it slides backwards at the speed at which the body would travel. So
the ground's velocity is estimated together with the stances, from all low feet at once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solveh_banded

from animax import rotations
from animax.assets.rig import Rig
from animax.motion.clip import Clip
from animax.motion.legs import Leg, find_legs

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

NEAR = 0.06
"""Height above the ground up to which a sole may stand, in leg lengths."""
SLOW = 0.6
"""Speed relative to the ground up to which a sole may stand, in leg lengths a second."""
PACE = 0.3
"""Added to that: this part of the ground's own speed, for runs."""
BRIEF = 0.1
"""Seconds that a stance lasts at least."""
GAP = 0.07
"""Seconds of a gap within a stance that is closed."""
STEADY = 0.15
"""Seconds over which the ground's velocity hardly changes."""
STILL = 1e-7
"""Weight of no motion at all, for where no sole is low; with more of it, a run's brief stances would be voted down."""
BLEND = 0.12
"""Seconds before and after a stance in which its correction comes and goes."""
FARTHEST = 0.25
"""Largest correction of a sole, in leg lengths."""


@dataclass(frozen=True, eq=False)
class Stances:
    """How the feet of a clip stand.

    Attributes:
        legs: L legs.
        soles: (F, L, 3) world space.
        planted: (F, L) whether each sole stands.
        ground_velocity: (F, 3) horizontal, world units a second: how the ground moves in the clip's space.
        sliding: (F, L) speed of each sole over that ground, leg lengths a second.
    """

    legs: tuple[Leg, ...]
    soles: Array
    planted: BoolArray
    ground_velocity: Array
    sliding: Array

    @property
    def skate(self) -> float:
        """Mean speed of planted soles over the ground, leg lengths a second; 0 without stances."""
        return float(self.sliding[self.planted].mean()) if self.planted.any() else 0.0


def find_stances(clip: Clip, rig: Rig, legs: tuple[Leg, ...] | None = None) -> Stances:
    """Stances of a clip, in place or travelling.

    A sole stands while it is lower than ``NEAR`` above the ground (the lowest that it or the rest pose reaches) and
    moves with the ground, to ``SLOW``. The ground's velocity is the smooth horizontal one that most low soles share.
    """
    legs = find_legs(rig) if legs is None else legs
    frames = len(clip)
    if not legs or frames < 3:
        empty = np.zeros((frames, len(legs)), bool)
        return Stances(legs, np.zeros((*empty.shape, 3)), empty, np.zeros((frames, 3)), np.zeros(empty.shape))
    globals_ = rig.skeleton.globals(clip.pose)
    soles = np.stack([leg.soles(globals_) for leg in legs], axis=1)
    lengths = np.array([leg.length for leg in legs])
    up = rig.stance.up
    rest = np.array([leg.soles(rig.skeleton.rest_globals) for leg in legs]) @ up
    # feet that tread deeper or less deep than in the rest pose still tread; feet held high do not
    lowest = np.percentile(soles @ up, 5, axis=0)
    floor = np.where(np.abs(lowest - rest) < 2 * NEAR * lengths, lowest, rest)
    height = (soles @ up - floor) / lengths
    velocity = _velocity(soles, clip.fps, loop=clip.loop)
    climb = (velocity @ up) / lengths
    flat = velocity - (velocity @ up)[..., None] * up
    weight = np.exp(-((np.maximum(height, 0) / NEAR) ** 2) - (climb / SLOW) ** 2)
    weight = np.where(weight > 0.05, weight, 0.0)
    ground = _common_velocity(flat, weight, lengths, clip.fps, loop=clip.loop)
    slide = np.linalg.norm(flat - ground[:, None], axis=-1) / lengths
    allowed = SLOW + PACE * np.linalg.norm(ground, axis=-1)[:, None] / lengths
    planted = (height < NEAR) & (slide < allowed) & (np.abs(climb) < 2 * allowed)
    for leg in range(len(legs)):
        planted[:, leg] = _tidy(planted[:, leg], clip.fps, loop=clip.loop)
    if planted.any():
        ground = _common_velocity(flat, planted.astype(np.float64), lengths, clip.fps, loop=clip.loop)
        if clip.loop and planted.all(axis=0).any():
            # a foot that never lifts comes back to its place with every round
            ground -= ground.mean(axis=0)
        slide = np.linalg.norm(flat - ground[:, None], axis=-1) / lengths
    return Stances(legs, soles, planted, ground, slide)


def plant_feet(clip: Clip, rig: Rig, stances: Stances | None = None) -> Clip:
    """Hold soles still on the ground while they stand.

    Each stance is pinned to its mean place on the (possibly moving) ground by turning the leg's joints, damped least
    squares; the foot keeps its orientation in space. Corrections come and go over ``BLEND`` seconds; joints outside the
    legs, and frames far from any stance, are not touched.
    """
    stances = find_stances(clip, rig) if stances is None else stances
    if not stances.planted.any():
        return clip
    shift = _corrections(clip, rig, stances)
    moved = [i for i in range(len(stances.legs)) if np.any(shift[:, i])]
    if not moved:
        return clip
    skeleton = rig.skeleton
    turned, translations = clip.pose.rotations.copy(), clip.pose.translations.copy()
    globals_ = skeleton.globals(clip.pose)
    before = rotations.orientations(globals_)
    ends = {i: stances.legs[i].ends(globals_) + shift[:, i] for i in moved}
    for i in moved:
        leg = stances.legs[i]
        if leg.ankle is not None or not leg.joints:
            parent = int(skeleton.parents[leg.foot])
            linear = globals_[:, parent, :3, :3] if parent >= 0 else np.broadcast_to(np.eye(3), (len(clip), 3, 3))
            translations[:, leg.foot] += np.linalg.solve(linear, shift[:, i, :, None])[..., 0]
    for _ in range(6):
        globals_ = skeleton.globals(replace(clip.pose, rotations=turned, translations=translations))
        now = rotations.orientations(globals_)
        for i in moved:
            leg = stances.legs[i]
            if not leg.joints:
                continue
            end = leg.ends(globals_)
            arms = end[:, None] - globals_[:, list(leg.joints)][..., :3, 3]
            jacobian = -rotations.skew(arms)  # (F, n, 3, 3)
            square = np.einsum("fnij,fnkj->fik", jacobian, jacobian)
            square += (0.02 * leg.length) ** 2 * np.eye(3)
            pull = np.linalg.solve(square, (ends[i] - end)[..., None])
            turn = np.einsum("fnji,fj->fni", jacobian, pull[..., 0])
            joints = list(leg.joints)
            in_parent = rotations.rotate(rotations.conjugate(now[:, skeleton.parents[joints]]), turn)
            turned[:, joints] = rotations.multiply(rotations.from_rotation_vector(in_parent), turned[:, joints])
    globals_ = skeleton.globals(replace(clip.pose, rotations=turned, translations=translations))
    now = rotations.orientations(globals_)
    for i in moved:
        leg = stances.legs[i]
        if leg.joints and leg.has_foot and leg.ankle is None:
            above = int(skeleton.parents[leg.foot])
            turned[:, leg.foot] = rotations.multiply(rotations.conjugate(now[:, above]), before[:, leg.foot])
        still = ~np.any(shift[:, i], axis=-1)
        for member in (*leg.joints, leg.foot):
            turned[still, member] = clip.pose.rotations[still, member]
    turned = rotations.make_continuous(rotations.normalise(turned))
    return clip.with_pose(replace(clip.pose, rotations=turned, translations=translations))


def _corrections(clip: Clip, rig: Rig, stances: Stances) -> Array:
    """(F, L, 3) how far each sole is to be moved, horizontal."""
    frames, up = len(clip), rig.stance.up
    copies = 3 if clip.loop else 1
    passed = np.cumsum(np.tile(stances.ground_velocity, (copies, 1)), axis=0) / clip.fps
    blend = max(BLEND * clip.fps, 1.0)
    time = np.arange(copies * frames)
    out = np.zeros((frames, len(stances.legs), 3))
    for i, leg in enumerate(stances.legs):
        planted = np.tile(stances.planted[:, i], copies)
        on_ground = np.tile(stances.soles[:, i], (copies, 1)) - passed
        shift = np.zeros((copies * frames, 3))
        for first, last in _runs(planted):
            place = on_ground[first:last].mean(axis=0)
            wanted = place - on_ground[first:last]
            wanted -= (wanted @ up)[:, None] * up
            length = np.linalg.norm(wanted, axis=-1, keepdims=True)
            wanted *= np.minimum(1.0, FARTHEST * leg.length / np.maximum(length, 1e-12))
            shift[first:last] = wanted
            for edge, away in ((wanted[0], first - time), (wanted[-1], time - (last - 1))):
                s = np.clip(1 - away / (blend + 1), 0, 1)
                ramp = np.where((away > 0) & ~planted, s * s * (3 - 2 * s), 0.0)
                shift += ramp[:, None] * edge
        middle = slice(frames, 2 * frames) if clip.loop else slice(None)
        out[:, i] = shift[middle]
    return out


def _velocity(positions: Array, fps: float, *, loop: bool) -> Array:
    if loop:
        return (np.roll(positions, -1, axis=0) - np.roll(positions, 1, axis=0)) * (fps / 2)
    velocity: Array = np.gradient(positions, axis=0) * fps
    return velocity


def _common_velocity(flat: Array, weight: Array, lengths: Array, fps: float, *, loop: bool) -> Array:
    """The smooth velocity (F, 3) that most of the weighted ``flat`` (F, L, 3) share: reweighted least squares."""
    if loop:
        rounds = _common_velocity(np.tile(flat, (3, 1, 1)), np.tile(weight, (3, 1)), lengths, fps, loop=False)
        return rounds[len(flat) : 2 * len(flat)]
    frames = len(flat)
    stiffness = (STEADY * fps) ** 2
    result = np.zeros((frames, 3))
    robust = np.ones_like(weight)
    for _ in range(8):
        w = weight * robust
        total = w.sum(axis=1)
        banded = np.zeros((2, frames))
        banded[1] = total + STILL
        banded[1, :-1] += stiffness
        banded[1, 1:] += stiffness
        banded[0, 1:] = -stiffness
        result = solveh_banded(banded, np.einsum("fl,fli->fi", w, flat))
        miss = np.linalg.norm(flat - result[:, None], axis=-1) / lengths
        robust = 1 / (1 + (miss / (SLOW / 2)) ** 2)
    return result


def _tidy(planted: BoolArray, fps: float, *, loop: bool) -> BoolArray:
    """Close short gaps and drop short stances."""
    if planted.all() or not planted.any():
        return planted
    frames = len(planted)
    out = np.tile(planted, 3) if loop else planted.copy()
    for first, last in _runs(~out):
        if first > 0 and last < len(out) and last - first <= GAP * fps:
            out[first:last] = True
    for first, last in _runs(out):
        if last - first < BRIEF * fps and (loop or (first > 0 and last < len(out))):
            out[first:last] = False
    return out[frames : 2 * frames] if loop else out


def _runs(flags: BoolArray) -> list[tuple[int, int]]:
    """First and one past last index of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in edges.reshape(-1, 2)]
