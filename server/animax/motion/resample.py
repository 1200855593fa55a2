"""A clip at another rate."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.skeleton import Pose
from animax.errors import OptionError
from animax.motion.clip import Clip

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]


def resample(clip: Clip, fps: float, *, seconds: float | None = None) -> Clip:
    """The clip sampled at ``fps``, with continuous speed.

    Translations and scales follow Catmull-Rom splines, rotations the same construction on the sphere (a cubic Bézier by
    repeated slerp, Shoemake 1985, with central differences as tangents); samples that fall on old ones are these. A
    loop is read round its seam and stretched by at most half a frame, so that it holds a whole number of frames.

    Args:
        clip: at least one frame.
        fps: samples a second, above 0.
        seconds: length of the result; None for the clip's own. A clip that is no loop is cut, or its last pose held; it
            has a frame at 0 and one at ``seconds``. A loop is stretched in time to last ``seconds``.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise OptionError("fps", fps, "a number above 0")
    frames = len(clip)
    if clip.loop:
        count = frame_count(frames / clip.fps if seconds is None else seconds, fps, loop=True)
        at = (frames / count) * np.arange(count, dtype=np.float64)
    else:
        count = frame_count(clip.seconds if seconds is None else seconds, fps)
        at = np.minimum((clip.fps / fps) * np.arange(count, dtype=np.float64), frames - 1.0)
    return replace(clip, fps=float(fps), pose=sample(clip.pose, at, loop=clip.loop))


def frame_count(seconds: float, fps: float, *, loop: bool = False) -> int:
    """Frames of a clip: of a loop those of its period, of another one also that at its end."""
    return max(1, round(seconds * fps)) if loop else int(np.floor(seconds * fps + 1e-6)) + 1


def sample(pose: Pose, at: Array, *, loop: bool = False) -> Pose:
    """The pose at frame numbers ``at`` (N,), fractions allowed; within 0 to F - 1, or any number round a loop."""
    frames = len(pose.rotations)
    first = np.floor(at + 1e-9).astype(np.int64)
    part = np.maximum(at - first, 0.0)
    if loop:
        before, a, b, after = ((first + k) % frames for k in (-1, 0, 1, 2))
    else:
        first = np.clip(first, 0, frames - 1)
        part = np.clip(at - first, 0.0, 1.0)
        before, a, b, after = (np.clip(first + k, 0, frames - 1) for k in (-1, 0, 1, 2))
    open_start = np.zeros(len(at), bool) if loop else first == 0
    open_end = np.zeros(len(at), bool) if loop else first + 1 >= frames - 1

    def at_knots(x: Array) -> tuple[Array, Array, Array, Array]:
        return x[before], x[a], x[b], x[after]

    return Pose(
        _glide(at_knots(pose.translations), part, open_start, open_end),
        rotations.make_continuous(_turn(at_knots(pose.rotations), part, open_start, open_end)),
        _glide(at_knots(pose.scales), part, open_start, open_end),
    )


def _glide(knots: tuple[Array, Array, Array, Array], part: Array, start: BoolArray, end: BoolArray) -> Array:
    """Catmull-Rom between the middle two of four knots (N, J, 3); at an open end the tangent is the chord."""
    before, a, b, after = knots
    t, chord = part[:, None, None], b - a
    first = np.where(start[:, None, None], chord, (b - before) / 2)
    last = np.where(end[:, None, None], chord, (after - a) / 2)
    hermite = a + chord * (3 * t**2 - 2 * t**3) + first * (t - 2 * t**2 + t**3) + last * (t**3 - t**2)
    result: Array = np.where(t == 0, a, hermite)
    return result


def _turn(knots: tuple[Array, Array, Array, Array], part: Array, start: BoolArray, end: BoolArray) -> Array:
    """The same for unit quaternions (N, J, 4)."""
    before, a, b, after = knots

    def step(p: Array, q: Array) -> Array:
        return rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(p), q))

    chord = step(a, b)
    first = np.where(start[:, None, None], chord, (step(before, a) + chord) / 2)
    last = np.where(end[:, None, None], chord, (chord + step(b, after)) / 2)
    s = np.broadcast_to(part[:, None], a.shape[:-1])
    c1 = rotations.multiply(a, rotations.from_rotation_vector(first / 3))
    c2 = rotations.multiply(b, rotations.from_rotation_vector(-last / 3))
    p01, p12, p23 = rotations.slerp(a, c1, s), rotations.slerp(c1, c2, s), rotations.slerp(c2, b, s)
    curve = rotations.slerp(rotations.slerp(p01, p12, s), rotations.slerp(p12, p23, s), s)
    result: Array = np.where(s[..., None] == 0, a, curve)
    return result
