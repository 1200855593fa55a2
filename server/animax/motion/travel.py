"""Travel over the ground: taken out of a clip so that it stays before the template views, and put back from the feet.

Travel is a horizontal displacement of the whole body, one vector a frame. It is given alike, in world space, to every
*top joint* (one that moves vertices or moves in the clip, and has no such ancestor), so that separate roots such as
foot controls keep their place relative to the body.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter1d

from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.motion.body import body_root
from animax.motion.clip import Clip
from animax.motion.contacts import find_stances

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

TRAVEL_RANGE = 0.35
"""Ground that the body root must cover before it counts as travel, in rest diagonals; less is sway or a lunge."""
STEADY_SPEED = 0.08
"""Rest diagonals a second from which a body that goes one way travels, however short the clip: twice what the ground
seems to move below the idling bodies of real clips."""
STRAIGHT = 0.7
"""Part of a path's length that lies between its ends where it goes one way."""
TRAVEL_SIGMA = 0.4
"""Seconds (standard deviation) of the low-pass that tells travel from sway: about the length of a step."""


def top_joints(rig: Rig, pose: Pose) -> IntArray:
    """The joints that carry the whole body: they move vertices or leave the rest pose and have no such ancestor."""
    skeleton, rest = rig.skeleton, rig.skeleton.rest
    moved = np.zeros(len(skeleton), bool)
    moved[rig.deforming] = True
    moved |= np.abs(pose.translations - rest.translations).max(axis=(0, 2)) > 1e-6 * rig.size
    moved |= (1 - np.abs(np.sum(pose.rotations * rest.rotations, axis=-1))).max(axis=0) > 1e-9
    above = np.zeros(len(skeleton), bool)
    for joint, parent in enumerate(skeleton.parents):
        above[joint] = parent >= 0 and (above[parent] or moved[parent])
    return np.flatnonzero(moved & ~above)


def shifted(pose: Pose, rig: Rig, offsets: Array) -> Pose:
    """The pose with its whole body moved by ``offsets`` (F, 3), world space, file units."""
    skeleton = rig.skeleton
    translations = np.array(pose.translations)
    globals_ = skeleton.globals(pose)
    for joint in top_joints(rig, pose):
        parent = int(skeleton.parents[joint])
        if parent < 0:
            translations[:, joint] += offsets
        else:
            translations[:, joint] += np.linalg.solve(globals_[:, parent, :3, :3], offsets[..., None])[..., 0]
    return replace(pose, translations=translations)


def horizontal(vectors: Array, rig: Rig) -> Array:
    """The part of ``vectors`` (..., 3) that is perpendicular to the rig's up."""
    up = rig.stance.up
    return vectors - (vectors @ up)[..., None] * up


def travel_of(clip: Clip, rig: Rig) -> Array:
    """How far the body stands from its rest place over the ground, sway left out: (F, 3) world space, file units.

    It is the low-pass of the body root's ground path. The path is reflected through its end points, so that constant
    speed counts as travel whole, up to the first and last frame. A body that covers less than ``TRAVEL_RANGE`` does not
    travel; one that does not travel but stands that far from its rest place counts as displaced by a constant.
    """
    joint = body_root(rig)
    at = rig.skeleton.positions(clip.pose)[:, joint] - rig.skeleton.rest_globals[joint, :3, 3]
    path = horizontal(at, rig)
    if np.linalg.norm(np.ptp(path, axis=0)) > TRAVEL_RANGE * rig.size:
        return low_pass(path, TRAVEL_SIGMA * clip.fps)
    middle = np.median(path, axis=0)
    constant = middle if np.linalg.norm(middle) > TRAVEL_RANGE * rig.size else np.zeros(3)
    return np.broadcast_to(constant, path.shape).copy()


def remove_travel(clip: Clip, rig: Rig) -> Clip:
    """The clip in place: ``travel_of`` taken away, sway, lunges, bounces and turning kept."""
    travel = travel_of(clip, rig)
    return clip.with_pose(shifted(clip.pose, rig, -travel)) if np.any(travel) else clip


def recover_travel(clip: Clip, rig: Rig, *, speed: float = 0.0) -> Clip:
    """The clip with the travel that its feet imply: the body moves so that standing soles stay on the ground.

    A path shorter than half of ``TRAVEL_RANGE`` is not travel (feet shift their weight, turn, tap) and changes nothing,
    unless it leads one way at a speed that no idling has (``STEADY_SPEED``).
    Bodies without legs, and clips in which no foot stands, give no evidence of their speed (swimmers, flyers, wheels):
    they move forward at ``speed``, by default not at all.

    Args:
        clip: in place.
        rig: the clip's rig.
        speed: for bodies without stances, rest diagonals a second along the rig's forward direction.
    """
    stances = find_stances(clip, rig)
    if np.any(stances.ground_velocity):
        velocity = -stances.ground_velocity
    else:
        velocity = np.broadcast_to(speed * rig.size * rig.stance.forward, (len(clip), 3))
    path = np.concatenate([np.zeros((1, 3)), np.cumsum((velocity[1:] + velocity[:-1]) / 2, axis=0)]) / clip.fps
    covered = float(np.linalg.norm(path[-1]))
    length = float(np.linalg.norm(np.diff(path, axis=0), axis=-1).sum())
    steady = covered > STRAIGHT * length and covered > STEADY_SPEED * rig.size * clip.seconds
    if not steady and np.linalg.norm(np.ptp(path, axis=0)) < TRAVEL_RANGE * rig.size / 2:
        return clip
    return clip.with_pose(shifted(clip.pose, rig, path))


def fix_base(clip: Clip, rig: Rig) -> Clip:
    """The clip with its body root held at its rest place, height included; parts move relative to it as before."""
    joint = body_root(rig)
    at = rig.skeleton.positions(clip.pose)[:, joint] - rig.skeleton.rest_globals[joint, :3, 3]
    return clip.with_pose(shifted(clip.pose, rig, -at))


def low_pass(path: Array, sigma: float) -> Array:
    """Gaussian low-pass of ``path`` (F, ...) along time, ``sigma`` in frames; straight lines pass unchanged."""
    pad = min(int(4 * sigma + 1), len(path) - 1)
    if pad < 1:
        return path.copy()
    before = 2 * path[:1] - path[pad:0:-1]
    after = 2 * path[-1:] - path[-2 : -pad - 2 : -1]
    padded = np.concatenate([before, path, after])
    # beyond the reflected stretch the path goes on at its mean speed
    speed = (padded[-1] - padded[0]) / (len(padded) - 1)
    line = padded[0] + speed * np.arange(len(padded)).reshape(-1, *([1] * (path.ndim - 1)))
    smooth: Array = line + gaussian_filter1d(padded - line, sigma, axis=0, mode="nearest")
    return smooth[pad : pad + len(path)]
