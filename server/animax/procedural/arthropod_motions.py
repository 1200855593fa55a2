"""How spiders and beetles move: half of the legs stand while the other half swings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.procedural.armature import SIDES, Armature
from animax.procedural.curves import cyclic, ease, hump, keyed, noise, wave
from animax.procedural.gait import Footfall, Leg, contact_rest, least_crouch, stand, stride_along
from animax.procedural.leap import leap
from animax.procedural.take import Take, about

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """Personal style: factors near 1."""

    tempo: float
    stride: float
    bounce: float
    seed: int


@dataclass(frozen=True, eq=False)
class Arthropod:
    """Bones and measures.

    Attributes:
        armature: bones.
        reach: of a leg over the ground, metres.
        radius: of the trunk, metres.
        height: of the trunk over the ground, metres.
        legs: by pair and side (``1.L`` the left front one).
        outward: (3,) where each leg points at rest, level.
        manner: its style.
    """

    armature: Armature
    reach: float
    radius: float
    height: float
    legs: dict[str, Leg]
    outward: dict[str, Array]
    manner: Manner

    @property
    def beat(self) -> float:
        """Seconds of a walking cycle."""
        return float(0.62 * np.sqrt(self.reach / 0.3) ** 0.7 / self.manner.tempo)


def set_leg(body: Arthropod, take: Take, name: str, contact: Array, *, must: bool = True) -> None:
    """Bring a leg's tip to ``contact`` (F, 3); the whole leg swings about its hip to face it."""
    leg, out = body.legs[name], body.outward[name]
    coxa = leg.foot.replace("tarsus", "coxa")
    hip = take.position(coxa)
    way = contact - hip
    yaw = np.arctan2(way[:, 0], way[:, 2]) - np.arctan2(out[0], out[2])
    yaw = np.angle(np.exp(1j * yaw))
    take.set_world(coxa, about("y", yaw))
    # the last link leans out with the leg
    level = np.linalg.norm(way[:, [0, 2]], axis=-1)
    rest = contact_rest(take, leg) - body.armature[coxa].head
    lean = -0.7 * (level - np.linalg.norm(rest[[0, 2]])) / body.reach + 0.8 * (contact[:, 1]) / body.reach
    stand(take, leg, contact, foot=lean, yaw=yaw, must=must)


def plant(body: Arthropod, take: Take, free: dict[str, Array] | None = None) -> None:
    """Keep all tips where they stand at rest, or moved by ``free`` (F, 3) where one is named."""
    for name, leg in body.legs.items():
        place = np.tile(contact_rest(take, leg), (len(take), 1))
        if free is not None and name in free:
            place = place + free[name]
            take.contacts[leg.contact] = np.zeros(len(take), bool)
            set_leg(body, take, name, place, must=False)
        else:
            take.contacts[leg.contact] = np.ones(len(take), bool)
            set_leg(body, take, name, place)


def _feelers(take: Take, cycles: int, amount: float = 1.0) -> None:
    for suffix, side in SIDES:
        lag = 0.0 if side > 0 else 0.35
        for i, stem in enumerate(("feeler_a", "feeler_b")):
            take.turn(
                f"{stem}{suffix}",
                pitch=0.16 * amount * wave(take.phase, cycles, lag + 0.12 * i),
                yaw=0.14 * side * amount * wave(take.phase, cycles, lag + 0.3),
            )


def idle(body: Arthropod) -> Take:
    """Breathing, feeling about, a front leg that taps."""
    m = body.manner
    take = Take(body.armature, 3.2 / m.tempo)
    t = take.phase
    rng = np.random.default_rng(m.seed)
    breath = wave(t, 2)
    take.shift("thorax", y=body.height * (-0.04 + 0.06 * wave(t, 1)), x=0.03 * body.reach * wave(t, 1, 0.2))
    take.turn("thorax", pitch=0.03 * noise(t, rng, 2), yaw=0.05 * noise(t, rng, 2))
    take.turn("abdomen", pitch=0.05 * breath, yaw=0.05 * wave(t, 1, 0.1))
    take.turn("head", yaw=0.1 * noise(t, rng, 2))
    _feelers(take, 3)
    tap = (
        16 * (0.25 - (np.clip((t - 0.35) / 0.2, 0, 1) - 0.5) ** 2) ** 2
        + 16 * (0.25 - (np.clip((t - 0.6) / 0.16, 0, 1) - 0.5) ** 2) ** 2
    )
    out = body.outward["1.R"]
    plant(body, take, {"1.R": np.outer(tap, 0.05 * body.reach * out + np.array([0.0, 0.16 * body.reach, 0.0]))})
    return take


def _gait(body: Arthropod, *, period: float, stride: float, duty: float, lift: float) -> Take:
    """Alternating sets: each leg in step with its diagonal neighbours, with a slight wave from back to front."""

    def perform(down: float) -> Take:
        m = body.manner
        pairs = len(body.legs) // 2
        take = Take(body.armature, period)
        t = take.phase
        take.shift(
            "thorax",
            y=body.height * (-down + 0.06 * m.bounce * wave(t, 2, 0.1)),
            x=0.015 * body.reach * wave(t, 1, 0.1),
        )
        take.turn("thorax", yaw=0.04 * wave(t, 1), roll=0.03 * m.bounce * wave(t, 1, 0.2), pitch=0.02 * wave(t, 2, 0.3))
        take.turn("abdomen", yaw=-0.08 * wave(t, 1, 0.1), pitch=0.05 * wave(t, 2, 0.25))
        take.steady("head", 0.6)
        _feelers(take, 2)
        for name, leg in body.legs.items():
            pair = int(name[0]) - 1
            phase = 0.5 * ((pair + (name[-1] == "R")) % 2) - 0.05 * (pairs - 1 - pair)
            footfall = Footfall(phase % 1.0, duty, stride * body.reach, lift * body.reach)
            set_leg(body, take, name, stride_along(take, leg, footfall))
        return take

    return least_crouch(perform, np.linspace(0.0, 0.35, 8), 2e-4 * body.reach)


def walk(body: Arthropod) -> Take:
    """An unhurried walk."""
    return _gait(body, period=body.beat, stride=0.62 * body.manner.stride, duty=0.6, lift=0.16)


def run(body: Arthropod) -> Take:
    """A dash."""
    return _gait(body, period=0.55 * body.beat, stride=0.8 * body.manner.stride, duty=0.52, lift=0.2)


def _raise_front(body: Arthropod, up: Array, strike: ArrayLike = 0.0) -> dict[str, Array]:
    """Offsets of the two front tips: raised by ``up``, thrown forward by ``strike``."""
    free = {}
    for suffix, side in SIDES:
        high = np.array([-side * 0.1, 1.15, -0.25]) * body.reach
        hit = np.array([-side * 0.12, 0.05, 0.45]) * body.reach
        free[f"1{suffix}"] = np.outer(up, high) + np.outer(np.broadcast_to(strike, up.shape), hit)
    return free


def attack(body: Arthropod) -> Take:
    """Back, then a lunge with front legs and jaws."""
    m = body.manner
    take = Take(body.armature, 1.2 / m.tempo)
    t = take.phase
    lunge = cyclic(t, [(0.0, 0.0), (0.28, -0.7), (0.42, 1.0), (0.5, 0.95), (0.85, 0.0)])
    up = hump(t, 0.06, 0.28, 0.33, 0.46)
    strike = hump(t, 0.33, 0.43, 0.5, 0.75)
    take.shift("thorax", z=0.22 * body.reach * lunge, y=-0.12 * body.height * np.abs(lunge) + 0.2 * body.height * up)
    take.turn("thorax", pitch=-0.35 * up + 0.16 * strike)
    take.turn("abdomen", pitch=0.3 * up - 0.15 * strike)
    take.turn("head", pitch=-0.25 * up + 0.2 * strike)
    gape = hump(t, 0.15, 0.35, 0.4, 0.5)
    for suffix, side in SIDES:
        take.turn(f"fang{suffix}", yaw=side * 0.5 * gape, pitch=-0.5 * gape)
    _feelers(take, 2, 0.6)
    plant(body, take, _raise_front(body, up, strike))
    return take


def threaten(body: Arthropod) -> Take:
    """Rearing up with raised front legs, swaying."""
    m = body.manner
    take = Take(body.armature, 2.4 / m.tempo)
    t = take.phase
    up = hump(t, 0.02, 0.25, 0.75, 0.98)
    sway = up * wave(t, 3)
    take.shift("thorax", y=0.35 * body.height * up, z=-0.12 * body.reach * up, x=0.03 * body.reach * sway)
    take.turn("thorax", pitch=-0.5 * up, roll=0.08 * sway)
    take.turn("abdomen", pitch=0.35 * up)
    for suffix, side in SIDES:
        take.turn(f"fang{suffix}", yaw=side * 0.4 * up, pitch=-0.35 * up + 0.12 * sway)
    _feelers(take, 4, 1.3)
    free = _raise_front(body, up * (1 + 0.08 * wave(t, 6)))
    plant(body, take, free)
    return take


def jump(body: Arthropod) -> Take:
    """A leap on the spot."""
    m = body.manner
    arc = leap(height=0.6 * body.reach * m.bounce**0.3, crouch=0.42 * body.height, tempo=1.6 * m.tempo)
    take = Take(body.armature, arc.seconds)
    time = take.time
    rise = arc.body(time)
    x = np.clip((time - arc.off) / (arc.down - arc.off), 0.0, 1.0)
    air = np.sin(np.pi * x)
    take.shift("thorax", y=rise)
    take.turn("thorax", pitch=-0.25 * np.sin(2 * np.pi * x) * air)
    take.turn("abdomen", pitch=-0.25 * air)
    _feelers(take, 2, 0.6)
    for name, leg in body.legs.items():
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        contact[:, 1] += arc.feet(time, 0.12 * body.reach)
        contact -= np.outer(air, 0.16 * body.reach * body.outward[name])
        take.contacts[leg.contact] = ~arc.aloft(time)
        set_leg(body, take, name, contact, must=False)
    return take


def death(body: Arthropod) -> Take:
    """Over on the back, legs curling up."""
    m = body.manner
    take = Take(body.armature, 1.9 / m.tempo, loop=False)
    t = take.phase
    over = keyed(t, [(0.16, 0.0), (0.32, 0.3), (0.5, 1.0), (0.58, 0.96), (0.66, 1.0)])
    curl = keyed(t, [(0.04, 0.0), (0.28, 0.75), (0.5, 0.6), (0.95, 1.0)])
    twitch = hump(t, 0.68, 0.72, 0.74, 0.8) + 0.6 * hump(t, 0.84, 0.87, 0.88, 0.93)
    rest = 0.9 * body.radius
    hop = hump(t, 0.1, 0.28, 0.3, 0.52)
    take.shift("thorax", y=(rest - body.height) * np.maximum(over, 0.8 * hop))
    take.turn("thorax", roll=np.pi * over)
    take.turn("abdomen", pitch=-0.15 * over)
    for i, (name, leg) in enumerate(body.legs.items()):
        bend = curl * (0.9 + 0.2 * ((i * 7) % 5) / 5) - 0.25 * twitch * (1 if i % 3 else -0.6)
        axis = leg.hinge
        for stem, angle in (("femur", -0.75), ("tibia", 1.35), ("tarsus", 0.85)):
            key = f"{stem}{name}"
            j = body.armature.index[key]
            take.turns[:, j] = about(axis, angle * bend)
    wobble = ease((t - 0.5) / 0.1) * (1 - ease((t - 0.6) / 0.3))
    take.turn("thorax", roll=0.08 * wobble * wave(t, 6))
    # the legs lift the body over as it rolls
    take.lift_above_ground("thorax", 0.04 * body.reach)
    return take
