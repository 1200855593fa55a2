"""Footfalls: when each foot stands, how it swings, and legs that follow.

In place, a standing foot moves backwards at the ground's speed and a swinging one returns; it meets the ground at the
ground's speed, so it neither skids nor stamps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.procedural.curves import cyclic
from animax.procedural.take import Limb, Take, about

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Leg:
    """A limb with a foot under it.

    Attributes:
        limb: the two bones above the ankle (hock).
        foot: key of the bone from the ankle to the contact point: a sole, a metatarsus, the last link of an insect's
            leg.
        toe: key of the bone whose head is the contact point and that lies on the ground; None where the tail of
            ``foot`` is the contact point.
        hinge: (3,) unit axis about which foot and toe bend; positive turns point the toes down.
    """

    limb: Limb
    foot: str
    toe: str | None
    hinge: Array

    @property
    def contact(self) -> str:
        """Key of the bone that meets the ground."""
        return self.toe or self.foot


def contact_rest(take: Take, leg: Leg) -> Array:
    """(3,) the contact point at rest."""
    return take.armature[leg.toe].head if leg.toe else take.armature[leg.foot].tail


def stand(
    take: Take,
    leg: Leg,
    contact: ArrayLike,
    *,
    foot: ArrayLike = 0.0,
    toe: ArrayLike = 0.0,
    yaw: ArrayLike = 0.0,
    pole: ArrayLike | None = None,
    must: bool = True,
) -> None:
    """Bend a leg so that its contact point comes to ``contact`` (F, 3).

    ``foot`` and ``toe`` are turns about the leg's hinge from rest, and ``yaw`` about the vertical: (F,), radians, all
    in world space. ``pole`` (F, 3) is where the knee points, by default where it points at rest, turned by ``yaw``.
    """
    frames = len(take)
    heading = about("y", np.broadcast_to(np.asarray(yaw, np.float64), (frames,)))
    turned = rotations.multiply(heading, about(leg.hinge, np.broadcast_to(np.asarray(foot, np.float64), (frames,))))
    rest = take.armature[leg.foot]
    ankle = np.asarray(contact, np.float64) - rotations.rotate(turned, contact_rest(take, leg) - rest.head)
    knee = rotations.rotate(heading, leg.limb.pole) if pole is None else np.asarray(pole, np.float64)
    take.reach(leg.limb, ankle, knee, must=must)
    take.set_world(leg.foot, turned)
    if leg.toe:
        flat = about(leg.hinge, np.broadcast_to(np.asarray(toe, np.float64), (frames,)))
        take.set_world(leg.toe, rotations.multiply(heading, flat))


def slant(take: Take, leg: Leg, contact: Array) -> Array:
    """(F,) how far a leg slants back from hip to contact, compared with rest; radians, positive with foot behind."""
    start, foot = take.position(leg.limb.upper), contact_rest(take, leg)
    rest = take.armature[leg.limb.upper].head
    angle = np.arctan2(start[:, 2] - contact[:, 2], np.maximum(start[:, 1] - contact[:, 1], 0.2 * rest[1]))
    return np.asarray(angle - np.arctan2(rest[2] - foot[2], rest[1] - foot[1]), np.float64)


@dataclass(frozen=True)
class Footfall:
    """The timing of one foot in a cycle.

    Attributes:
        touchdown: phase at which the foot meets the ground.
        duty: share of the cycle for which it stands.
        stride: metres of ground that pass in a cycle.
        lift: metres of clearance in mid-swing.
    """

    touchdown: float
    duty: float
    stride: float
    lift: float

    def local(self, phase: ArrayLike) -> Array:
        """(F,) the foot's own phase: 0 at touchdown, ``duty`` at lift-off."""
        # rounded, so that a foot that lands at the seam of a loop stands in the first and in the last frame
        return np.mod(np.round(np.asarray(phase, np.float64) - self.touchdown, 9), 1.0)

    def stands(self, phase: ArrayLike) -> Mask:
        """(F,) whether the foot stands."""
        return self.local(phase) <= self.duty

    def path(self, phase: ArrayLike) -> Array:
        """(F, 3) offset of the contact point from its place under the body, metres."""
        local = self.local(phase)
        half = self.stride * self.duty / 2
        s = np.clip((local - self.duty) / (1 - self.duty), 0.0, 1.0)
        slope = -self.stride * (1 - self.duty)
        back = (2 * s**3 - 3 * s**2 + 1) * -half + (-2 * s**3 + 3 * s**2) * half + (2 * s**3 - 3 * s**2 + s) * slope
        z = np.where(local <= self.duty, half - self.stride * local, back)
        # the rise is quick and the descent slow: the foot clears the ground early and is set down
        height = self.lift * 16 * (s**0.85) ** 2 * (1 - s**0.85) ** 2
        return np.stack([np.zeros_like(z), height, z], axis=-1)

    def over_stance(self, phase: ArrayLike, keys: list[tuple[float, float]]) -> Array:
        """A cyclic curve (F,) whose keys are given in stance time: 0 touchdown, 1 lift-off, 2 the next touchdown."""
        scaled = [(t * self.duty if t <= 1 else self.duty + (t - 1) * (1 - self.duty), v) for t, v in keys]
        return cyclic(self.local(phase), scaled)


def stride_along(take: Take, leg: Leg, footfall: Footfall, *, narrow: float = 1.0, z: float = 0.0) -> Array:
    """(F, 3) contact path of a leg in a gait, and its contacts noted in the take.

    ``narrow`` scales the distance from the middle line; ``z`` sets the foot down further ahead, metres.
    """
    place = contact_rest(take, leg) * np.array([narrow, 1.0, 1.0]) + np.array([0.0, 0.0, z])
    take.contacts[leg.contact] = footfall.stands(take.phase)
    take.ground_speed = footfall.stride / take.seconds
    path: Array = place + footfall.path(take.phase)
    return path


def least_crouch(perform: Callable[[float], Take], crouches: Iterable[float], tolerance: float) -> Take:
    """The first take whose planted limbs all reach within ``tolerance`` metres, else the one that misses least.

    A stride is set by speed, not by the legs: a body that walks fast bends its knees as far as it must.
    """
    best: Take | None = None
    for crouch in crouches:
        take = perform(float(crouch))
        if best is None or take.misses < best.misses:
            best = take
        if best.misses <= tolerance:
            break
    if best is None:
        raise ValueError("crouches is empty; accepted: at least one")
    return best
