"""How a rig stands: which way is up, which way it faces, and how large it is likely to be."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.assets import joint_names
from animax.assets.mesh import Mesh
from animax.assets.rig import Stance
from animax.assets.skeleton import Skeleton
from animax.assets.stance_cues import CANDIDATES, CUES, stance_cues
from animax.errors import OptionError

Array = NDArray[np.float64]

AXES: dict[str, Array] = {
    sign + letter: np.eye(3)[i] * (-1.0 if sign == "-" else 1.0)
    for i, letter in enumerate("xyz")
    for sign in ("+", "-", "")
}
WEIGHTS = {
    "symmetry": 0.52,
    "joint_symmetry": 1.12,
    "sides": 1.48,
    "head_to_tail": 0.83,
    "face": 0.26,
    "front_legs": 0.08,
    "toes": 0.40,
    "top": 0.90,
    "detail": 0.96,
    "head_detail": 0.49,
    "mass": 0.78,
    "higher_end": -0.43,
    "thicker_end": -0.70,
    "wider_end": 0.78,
    "joint_end": 0.21,
}
"""Log-odds that a cue of 1 gives a direction, fitted by ``animax_engine.stance_fit`` on the training rigs, every rig
once with and once without its joint names, all four directions equally likely beforehand."""
PRIOR = math.log(0.85 / 0.05)
"""Log-odds of glTF's own convention (a model faces +Z) before any cue is looked at."""
PLAUSIBLE = (0.03, 100.0)
"""Diagonals of a rest box that are taken as metres."""
USUAL = 1.8
"""Metres that an implausible diagonal is brought near to."""
SURE_UP = 0.9
"""Confidence that is left when the up axis was guessed against glTF's convention: the product of the two guesses."""


def estimate_stance(
    skeleton: Skeleton,
    mesh: Mesh,
    *,
    facing: str | float | ArrayLike | None = None,
    up: str | ArrayLike | None = None,
    use_names: bool = True,
    prior: float = PRIOR,
    vertices: Array | None = None,
) -> Stance:
    """Facing, up and plausible scale of a rest pose.

    Args:
        skeleton: of the rig.
        mesh: of the rig.
        facing: overrides the estimate: an axis of the file ("+z", "-x", ...), a yaw in degrees about ``up`` (0 is the
            convention, +Z for +Y up; 90 is a quarter turn by the right-hand rule, +X), or a direction (3,).
        up: overrides the up axis: an axis of the file or a direction (3,).
        use_names: whether joint names are read.
        prior: log-odds of the convention against each of the other three directions.
        vertices: (N, 3) of the rest pose, where they are at hand.

    Raises:
        OptionError: ``facing`` or ``up`` is no direction, or ``facing`` runs along ``up``.
    """
    if vertices is None:
        vertices = mesh.skin(skeleton.rest_globals)
    points = vertices if len(vertices) else skeleton.rest_globals[:, :3, 3]
    upward, up_confidence = (direction(up, "up"), 1.0) if up is not None else _up(skeleton, points, use_names)
    axes = frame(upward)
    scale = _scale(points)
    if facing is not None:
        return Stance(_given_forward(facing, axes), upward, up_confidence, "override", scale)
    cues = stance_cues(skeleton, mesh, axes, use_names=use_names, vertices=vertices)
    scores = cues @ np.array([WEIGHTS[cue] for cue in CUES])
    chances = _softmax(scores + prior * np.array([1.0, 0.0, 0.0, 0.0]))
    best = int(np.argmax(chances))
    # what the cues alone leave open was settled by the convention
    settled = _softmax(scores)[best] >= 0.5
    forward = CANDIDATES[best] @ axes
    return Stance(forward, upward, float(chances[best]) * up_confidence, "estimated" if settled else "default", scale)


def direction(value: str | ArrayLike, option: str) -> Array:
    """The unit vector (3,) that an axis name or three numbers stand for.

    Raises:
        OptionError: it is neither.
    """
    accepted = "+x, -x, +y, -y, +z, -z or three numbers that are not all zero"
    if isinstance(value, str):
        if value.strip().lower() not in AXES:
            raise OptionError(option, value, accepted)
        return AXES[value.strip().lower()].copy()
    try:
        vector = np.asarray(value, np.float64)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(option, value, accepted) from None
    if vector.shape != (3,) or not np.all(np.isfinite(vector)):
        raise OptionError(option, value, accepted)
    largest = np.max(np.abs(vector))
    if largest == 0:
        raise OptionError(option, value, accepted)
    vector = vector / largest
    return np.asarray(vector / np.linalg.norm(vector))


def frame(up: Array) -> Array:
    """Rows (3, 3) left, up, forward of the convention for an up axis: +X, +Y, +Z for +Y up; for +Z up it faces -Y, as
    modelling tools with +Z up have it."""
    guide = AXES["+z"] if abs(up[2]) < 0.9 else AXES["-y"] * np.sign(up[2])
    forward = guide - (guide @ up) * up
    forward /= np.linalg.norm(forward)
    return np.stack([np.cross(up, forward), up, forward])


def _given_forward(facing: str | float | ArrayLike, axes: Array) -> Array:
    accepted = "+x, -x, +y, -y, +z, -z, degrees or three numbers; not along the up axis"
    if isinstance(facing, str) and facing.strip().lower() not in AXES:
        try:
            facing = float(facing)
        except ValueError:
            raise OptionError("facing", facing, accepted) from None
    if isinstance(facing, (int, float)):
        if not math.isfinite(facing):
            raise OptionError("facing", facing, accepted)
        yaw = math.radians(math.fmod(facing, 360.0))
        return np.asarray(math.sin(yaw) * axes[0] + math.cos(yaw) * axes[2])
    vector = direction(facing, "facing")
    flat = vector - (vector @ axes[1]) * axes[1]
    length = np.linalg.norm(flat)
    if length < 0.1:
        raise OptionError("facing", facing, accepted)
    return np.asarray(flat / length)


def _up(skeleton: Skeleton, points: Array, use_names: bool) -> tuple[Array, float]:
    """+Y, glTF's convention, unless the named feet and head of a body with arms stand at the two ends of another
    axis and not of this one. (Animals are left alone: their heads are in front.)"""
    convention = AXES["+y"].copy()
    feet = joint_names.group(skeleton.names, joint_names.FOOT) if use_names else []
    head = joint_names.group(skeleton.names, joint_names.SKULL) if use_names else []
    if len(feet) < 2 or not head or not joint_names.group(skeleton.names, joint_names.ARM):
        return convention, 1.0
    heads = skeleton.rest_globals[:, :3, 3]

    def stands(up: Array) -> bool:
        along = points @ up
        low, high = along.min(), along.max()
        lift = (heads @ up - low) / max(high - low, 1e-12)
        return bool(np.max(lift[feet]) < 0.25 and np.max(lift[head]) > 0.6)

    found = [axis for axis in map(AXES.__getitem__, ("+y", "+z", "-z", "+x", "-x", "-y")) if stands(axis)]
    if not found or np.array_equal(found[0], convention):
        return convention, 1.0
    return found[0].copy(), SURE_UP


def _scale(points: Array) -> float:
    """Metres per file unit: 1 where the diagonal is plausible, else the power of ten that brings it nearest to a
    person's (centimetres and millimetres are the usual cases)."""
    diagonal = float(np.linalg.norm(np.ptp(points, axis=0)))
    return 1.0 if PLAUSIBLE[0] <= diagonal <= PLAUSIBLE[1] else 10.0 ** round(math.log10(USUAL / diagonal))


def _softmax(scores: Array) -> Array:
    chances = np.exp(scores - scores.max())
    return np.asarray(chances / chances.sum())
