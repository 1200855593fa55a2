"""Motion that comes window by window, joined without a jump and read at any pace.

Windows overlap: each begins with frames that the one before showed already. What differs there is given to the new
frames and fades. The last frames of a window, which know least of what follows, are left to the next one.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.motion.body import body_root, carriers
from animax.motion.clip import Clip
from animax.motion.contacts import find_stances, plant_feet
from animax.motion.resample import sample
from animax.motion.steering import Helm, Steering
from animax.motion.travel import fix_base
from animax.request import RootMode

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

HELD = 4
"""Frames at a window's end that are left to the next."""
FADE = 0.5
"""Seconds in which the difference between two windows fades."""
BEHIND = 2
"""Frames kept before the present one, for the spline through them."""


class Continuation:
    """The frames that are made and not read yet, and the state of what was read.

    Args:
        rig: that moves.
        native_fps: frames a second of the windows.
        fps: frames a second of what is read.
        root_mode: what happens to the body's travel.
        foot_cleanup: hold standing feet still.
        steering: at the start.
    """

    def __init__(
        self,
        rig: Rig,
        *,
        native_fps: float,
        fps: float,
        root_mode: RootMode,
        foot_cleanup: bool,
        steering: Steering,
    ) -> None:
        self._rig = rig
        self._native_fps, self._fps = native_fps, fps
        self._root_mode, self._foot_cleanup = root_mode, foot_cleanup
        self._helm = Helm(rig, steering)
        self._pivot = rig.skeleton.rest_globals[body_root(rig), :3, 3]
        self._frames: Pose | None = None
        self._velocity: Array = np.zeros((0, 3))
        self._tail: tuple[Pose, Array] | None = None
        self._at = 0.0
        self._last: Array | None = None
        self._finished = False
        self.carriers = carriers(rig)
        self.moving = below(rig, self.carriers)

    def cleaned(self, pose: Pose) -> tuple[Pose, Array]:
        """All frames of a window with their feet held, and the velocity (F, 3) at which the body covers ground. Depends
        on nothing that was read, hence needs no lock."""
        clip = Clip("", self._native_fps, pose)
        velocity = np.zeros((len(clip), 3))
        if self._root_mode is RootMode.FIXED_BASE:
            clip = fix_base(clip, self._rig)
        else:
            stances = find_stances(clip, self._rig)
            if self._foot_cleanup:
                clip = plant_feet(clip, self._rig, stances)
            if self._root_mode is RootMode.ROOT_MOTION:
                velocity = -stances.ground_velocity
        return clip.pose, velocity

    def add(self, pose: Pose, velocity: Array, history: int) -> None:
        """Take a window in.

        Args:
            pose: its frames, ``cleaned``, the history included.
            velocity: see there.
            history: frames at its beginning that are known from the window before; at least ``HELD`` after the first.
        """
        first = 0
        if self._frames is not None:
            first = history - HELD
            pose, velocity = self._joined(pose, velocity, first)
        last = len(velocity) - HELD
        self._append(pose[first:last], velocity[first:last])
        self._tail = pose[last:], velocity[last:]

    def finish(self) -> None:
        """No window follows: the held frames may be read, too."""
        if self._tail is not None:
            self._append(*self._tail)
            self._tail = None
        self._finished = True

    @property
    def available(self) -> int:
        """Frames that can be read at the present speed."""
        if self._frames is None:
            return 0
        last = len(self._velocity) - (1 if self._finished else BEHIND)
        step = self._helm.speed * self._native_fps / self._fps
        return max(0, int(np.floor((last - self._at) / step + 1e-9)) + 1)

    def take(self, count: int, steering: Steering) -> Pose:
        """The next frames, at most ``count`` and ``available``: (N, J), rotations sign-continuous with those before."""
        assert self._frames is not None
        times: list[float] = []
        turns: list[Array] = []
        places: list[Array] = []
        last = len(self._velocity) - (1 if self._finished else BEHIND)
        while len(times) < count and self._at <= last + 1e-9:
            times.append(min(self._at, len(self._velocity) - 1.0))
            turns.append(self._helm.turn())
            places.append(self._helm.place)
            velocity = self._velocity[min(round(self._at), len(self._velocity) - 1)]
            self._helm.advance(steering, velocity, 1 / self._fps)
            self._at += self._helm.speed * self._native_fps / self._fps
        at = np.array(times)
        pose = self._placed(sample(self._frames, at), np.reshape(turns, (-1, 3, 3)), np.reshape(places, (-1, 3)))
        self._forget(max(0, int(self._at) - BEHIND))
        turned = pose.rotations
        if len(turned):
            before = turned[:1] if self._last is None else self._last[None]
            turned = rotations.make_continuous(np.concatenate([before, turned]))[1:]
            self._last = turned[-1]
        return replace(pose, rotations=turned)

    def _joined(self, pose: Pose, velocity: Array, first: int) -> tuple[Pose, Array]:
        """A window that goes on from the last frame, which is its frame ``first`` - 1."""
        assert self._frames is not None
        away = np.clip((np.arange(len(velocity)) - (first - 1)) / (FADE * self._native_fps), 0, 1)
        share = (1 - away**3 * (10 - 15 * away + 6 * away**2))[:, None, None]
        here = pose[first - 1]
        twist = rotations.to_rotation_vector(
            rotations.multiply(rotations.conjugate(here.rotations), self._frames.rotations[-1])
        )
        turned = rotations.multiply(pose.rotations, rotations.from_rotation_vector(share * twist))
        moved = pose.translations + share * (self._frames.translations[-1] - here.translations)
        speed = velocity + share[:, 0] * (self._velocity[-1] - velocity[first - 1])
        return replace(pose, rotations=rotations.normalise(turned), translations=moved), speed

    def _append(self, pose: Pose, velocity: Array) -> None:
        if self._frames is not None:
            parts = zip(
                (self._frames.translations, self._frames.rotations, self._frames.scales),
                (pose.translations, pose.rotations, pose.scales),
                strict=True,
            )
            pose = Pose(*(np.concatenate(pair) for pair in parts))
        self._frames = replace(pose, rotations=rotations.make_continuous(pose.rotations))
        self._velocity = np.concatenate([self._velocity, velocity])

    def _forget(self, frames: int) -> None:
        """Drop frames that were read, but never the last, which the next window goes on from."""
        assert self._frames is not None
        frames = min(frames, len(self._velocity) - 1)
        self._frames, self._velocity = self._frames[frames:], self._velocity[frames:]
        self._at -= frames

    def _placed(self, pose: Pose, turns: Array, places: Array) -> Pose:
        """The pose with the whole body turned about its rest place and moved over the ground."""
        skeleton = self._rig.skeleton
        turned, moved = pose.rotations.copy(), pose.translations.copy()
        globals_ = skeleton.globals(pose)
        for joint in self.carriers:
            parent = int(skeleton.parents[joint])
            above = globals_[:, parent] if parent >= 0 else np.broadcast_to(np.eye(4), (len(turns), 4, 4))
            linear = above[:, :3, :3]
            axes = rotations.nearest(linear)
            own = rotations.from_matrix(np.swapaxes(axes, -1, -2) @ turns @ axes)
            turned[:, joint] = rotations.multiply(own, turned[:, joint])
            head = globals_[:, joint, :3, 3]
            goal = np.einsum("fij,fj->fi", turns, head - self._pivot) + self._pivot + places
            moved[:, joint] += np.linalg.solve(linear, (goal - head)[..., None])[..., 0]
        return replace(pose, rotations=rotations.normalise(turned), translations=moved)


def below(rig: Rig, tops: IntArray) -> IntArray:
    """``tops`` and all joints below them."""
    inside = np.zeros(len(rig.skeleton), bool)
    inside[tops] = True
    for joint, parent in enumerate(rig.skeleton.parents):
        inside[joint] |= parent >= 0 and bool(inside[parent])
    return np.flatnonzero(inside)
