"""A jump: crouch, push off, ballistic flight, landing, rise. Heights in metres over the standing body."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from animax.procedural.curves import hump

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]

GRAVITY = 9.81


@dataclass(frozen=True)
class Leap:
    """Times in seconds: lift-off and landing, and the height and speed between.

    Attributes:
        crouched: when the body is lowest before the jump.
        off: lift-off.
        down: landing.
        squashed: when the body is lowest after it.
        seconds: end, standing again.
        crouch: depth of the crouch, metres.
        height: of the flight, metres.
    """

    crouched: float
    off: float
    down: float
    squashed: float
    seconds: float
    crouch: float
    height: float

    def body(self, time: Array) -> Array:
        """(F,) metres that the body is above its standing height; a parabola in flight."""
        flight = self.down - self.off
        speed = 4 * self.height / flight
        before = _spline([0.0, self.crouched, self.off], [0.0, -self.crouch, 0.0], 0.0, speed)
        after = _spline([self.down, self.squashed, self.seconds], [0.0, -0.8 * self.crouch, 0.0], -speed, 0.0)
        x = (time - self.off) / flight
        return np.where(
            time < self.off, before(time), np.where(time > self.down, after(time), 4 * self.height * x * (1 - x))
        )

    def aloft(self, time: Array) -> Mask:
        """(F,) whether the feet have left the ground."""
        return (time > self.off) & (time < self.down)

    def airborne(self, time: Array) -> Array:
        """(F,) 0 on the ground, 1 at the top."""
        x = np.clip((time - self.off) / (self.down - self.off), 0.0, 1.0)
        return np.maximum(np.sin(np.pi * x), 0.0) * (x < 1)

    def feet(self, time: Array, tuck: float) -> Array:
        """(F,) metres that the feet are above the ground; ``tuck`` of it by drawing the legs up."""
        x = np.clip((time - self.off) / (self.down - self.off), 0.0, 1.0)
        return (4 * self.height * x * (1 - x)) + tuck * 16 * x**2 * (1 - x) ** 2

    def toes(self, time: Array) -> Array:
        """(F,) how far the heels are up: pushing off and in flight."""
        flight = self.down - self.off
        return hump(
            time,
            self.off - 0.35 * (self.off - self.crouched),
            self.off + 0.1 * flight,
            self.off + 0.3 * flight,
            self.down,
        )

    def throw(self, time: Array) -> Array:
        """(F,) how far the arms are thrown up."""
        flight = self.down - self.off
        return hump(time, 0.55 * self.crouched, self.off + 0.15 * flight, self.off + 0.45 * flight, self.squashed)


def leap(height: float, crouch: float, tempo: float = 1.0) -> Leap:
    """A jump of a height (metres) under gravity, from a crouch of a depth (metres).

    The push-off lasts as long as it takes to reach the take-off speed evenly over the crouch.
    """
    flight = 2 * np.sqrt(2 * height / GRAVITY)
    speed = GRAVITY * flight / 2
    push = 1.7 * crouch / speed
    wind_up = 0.32 / tempo
    absorb = 1.6 * crouch / speed
    rise = 0.42 / tempo
    crouched, off, down, squashed, end = (float(t) for t in np.cumsum([wind_up, push, flight, absorb, rise]))
    return Leap(crouched, off, down, squashed, end, crouch, height)


def _spline(times: list[float], values: list[float], first: float, last: float) -> CubicHermiteSpline:
    """Through the values, flat at those between, with given slopes at the ends."""
    return CubicHermiteSpline(times, values, [first, *(0.0 for _ in times[1:-1]), last])
