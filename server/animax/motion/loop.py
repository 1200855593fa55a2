"""Closing a loop."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.motion.clip import Clip

Array = NDArray[np.float64]

EASE = 0.3
"""Seconds on either side of the seam over which a difference in speed is evened out."""


def is_closed(clip: Clip, rig: Rig) -> bool:
    """Whether no joint moves farther from the last frame to the first than joints do from frame to frame."""
    heads = rig.skeleton.positions(clip.pose)
    steps = np.linalg.norm(np.diff(heads, axis=0), axis=-1)
    seam = np.linalg.norm(heads[0] - heads[-1], axis=-1)
    return bool(seam.max() <= steps.max(initial=0.0))


def close_loop(clip: Clip) -> Clip:
    """Make the frame after the last equal the first, in position and speed.

    What is missing between the pose that would follow the last frame and the first one is spread evenly over the whole
    clip, half of it before the middle and half after, so that no frame is changed more than by half the gap; the
    difference in speed is evened out close to the seam.
    """
    frames = len(clip)
    if clip.loop or frames < 4:
        return replace(clip, loop=True)
    time = np.arange(frames)
    reach = min(EASE * clip.fps, frames / 2)
    ramp = time / frames - 0.5
    to_end = frames - time
    ease = time * np.maximum(1 - time / reach, 0) ** 2 + to_end * np.maximum(1 - to_end / reach, 0) ** 2

    even, soft = ramp[:, None, None], -0.5 * ease[:, None, None]

    def close_vectors(x: Array) -> Array:
        begin, finish = x[1] - x[0], x[-1] - x[-2]
        closed: Array = x + even * (x[0] - x[-1] - finish) + soft * (begin - finish)
        return closed

    q = clip.pose.rotations
    for _ in range(4):  # turning both ends towards each other turns their speeds too
        follower = rotations.multiply(q[-1], rotations.from_rotation_vector(_step(q[-2], q[-1])))
        q = rotations.multiply(q, rotations.from_rotation_vector(even * _step(follower, q[0])))
    q = rotations.multiply(q, rotations.from_rotation_vector(soft * (_step(q[0], q[1]) - _step(q[-2], q[-1]))))
    pose = Pose(
        close_vectors(clip.pose.translations),
        rotations.make_continuous(rotations.normalise(q)),
        close_vectors(clip.pose.scales),
    )
    return replace(clip, pose=pose, loop=True)


def _step(a: Array, b: Array) -> Array:
    """The rotation vector that takes ``a`` to ``b``, in the axes of ``a``."""
    return rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(a), b))
