"""Rotations from markers that a network drew.

A network draws a marker some hundredths of the body off its place, most of that for a whole clip: bones come out too
long, trunks twisted, feet turned in. The views agree on most of it, so triangulation tells a part alone. As in optical
motion capture, the markers' places on the body are calibrated by the clip itself: a solve under a tight prior gives a
likely posture; what a marker then misses on average, seen from its joint, counts as misplaced on the body; a second
solve follows the motion that is left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from animax.assets.markers import MarkerSet
from animax.assets.skeleton import Pose, Skeleton
from animax.motion.inverse_kinematics import Prior, solve_rotations
from animax.motion.triangulate import Points

POSTURE = Prior(error=2.5, spread=np.deg2rad(20.0), tail=np.deg2rad(20.0))
"""Of real clips, half of all turns from rest are below 17° and a few very large; the error is what generated markers
miss by when bones keep their length (docs/decisions.md)."""
MOTION = Prior(error=1.0, spread=np.deg2rad(30.0), tail=np.deg2rad(30.0))
"""Once calibrated."""
STEPS = 6, 8
"""Iterations of the two solves: beyond these, joints turn by a fifth of a degree more."""
RETRIES = 1
"""Of the second solve: what a network drew jumps often, and each costs as much as a solve."""


def solve_drawn(skeleton: Skeleton, markers: MarkerSet, points: Points, fps: float) -> Pose:
    """The pose (F frames) of a body whose markers were drawn at ``points``; see ``solve_rotations`` for arguments and
    errors. Bones keep their rest length: where they seem to stretch, that is the drawing's error."""
    posture = solve_rotations(
        skeleton, markers, points, fps, stretch=False, prior=POSTURE, iterations=STEPS[0], retries=0
    )
    points = calibrated(skeleton, markers, points, posture)
    return solve_rotations(
        skeleton, markers, points, fps, stretch=False, prior=MOTION, iterations=STEPS[1], retries=RETRIES
    )


def calibrated(skeleton: Skeleton, markers: MarkerSet, points: Points, pose: Pose) -> Points:
    """The points less what each marker misses its place by on average over the clip, in the frame of its joint as
    ``pose`` turns it. Points of no sigma are exact and stay."""
    globals_ = skeleton.globals(pose)
    turned = globals_[:, markers.joints, :3, :3] @ np.linalg.inv(skeleton.rest_globals[markers.joints, :3, :3])
    drawn = points.confidence * (points.sigma > 0)
    missed = np.einsum("fmji,fmj->fmi", turned, points.points - markers.positions(globals_))
    offset = np.einsum("fm,fmi->mi", drawn, missed) / np.maximum(drawn.sum(axis=0), 1e-9)[:, None]
    shift = np.einsum("fmij,mj->fmi", turned, offset) * (points.sigma > 0)[..., None]
    return replace(points, points=points.points - shift)
