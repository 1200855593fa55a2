"""Steering a body while it performs: how fast it plays, where it faces, where it goes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animax.assets.rig import Rig
from animax.motion.body import body_root
from animax.motion.travel import horizontal

Array = NDArray[np.float64]

TURN_RATE = np.deg2rad(150.0)
"""Fastest turn, radians a second."""
TURN_EASE = np.deg2rad(450.0)
"""Change of the turning rate, radians a second each second."""
EAGERNESS = 4.0
"""Turning rate for each radian that is left to turn, 1/s."""
SPEED_EASE = 2.0
"""Change of the playing speed each second."""
ARRIVED = 0.3
"""Distance from a target at which the body has arrived and turns no more, in rest diagonals."""


@dataclass(frozen=True, eq=False)
class Steering:
    """What is asked for.

    Attributes:
        speed: of playing, 1 as generated.
        heading: (3,) direction in file space that the body shall face; None: as it is.
        target: (3,) place in file space that it shall go to, before ``heading``.
    """

    speed: float = 1.0
    heading: Array | None = None
    target: Array | None = None


class Helm:
    """Follows a steering smoothly, frame by frame.

    Attributes:
        yaw: radians about the rig's up axis by which the body is turned from the way it faces in its file.
        place: (3,) ground covered, file units.
        speed: of playing.
    """

    def __init__(self, rig: Rig, steering: Steering) -> None:
        self._rig = rig
        self._start = rig.skeleton.rest_globals[body_root(rig), :3, 3]
        self._rate = 0.0
        self.place: Array = np.zeros(3)
        self.speed = steering.speed
        self.yaw = 0.0
        if steering.target is None:
            self.yaw = self._wanted(steering)

    def advance(self, steering: Steering, velocity: Array, seconds: float) -> None:
        """Go on by one frame.

        Args:
            steering: what is asked for.
            velocity: (3,) over the ground as generated, that is facing as in the file, file units a second.
            seconds: length of the frame.
        """
        most = SPEED_EASE * seconds
        self.speed += float(np.clip(steering.speed - self.speed, -most, most))
        left = (self._wanted(steering) - self.yaw + np.pi) % (2 * np.pi) - np.pi
        wanted = np.clip(EAGERNESS * left, -TURN_RATE, TURN_RATE)
        ease = TURN_EASE * seconds
        self._rate += float(np.clip(wanted - self._rate, -ease, ease))
        self.yaw += self._rate * seconds
        self.place = self.place + self.turn() @ velocity * (self.speed * seconds)

    def turn(self) -> Array:
        """(3, 3) the present turn about the rig's up axis."""
        across, up, forward = self._rig.stance.axes
        cosine, sine = np.cos(self.yaw), np.sin(self.yaw)
        to = np.stack([cosine * across - sine * forward, up, sine * across + cosine * forward])
        turned: Array = to.T @ self._rig.stance.axes
        return turned

    def _wanted(self, steering: Steering) -> float:
        direction = steering.heading
        if steering.target is not None:
            direction = horizontal(steering.target - self._start - self.place, self._rig)
            if np.linalg.norm(direction) < ARRIVED * self._rig.size:
                return self.yaw
        if direction is None:
            return self.yaw
        across, _, forward = self._rig.stance.axes
        return float(np.arctan2(direction @ across, direction @ forward))
