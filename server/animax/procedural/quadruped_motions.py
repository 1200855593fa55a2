"""How a four-legged animal moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from animax.procedural.armature import SIDES, Armature
from animax.procedural.curves import cyclic, ease, hump, keyed, noise, wave
from animax.procedural.gait import Footfall, Leg, contact_rest, least_crouch, slant, stand, stride_along
from animax.procedural.leap import leap
from animax.procedural.take import Take

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """Personal style: factors near 1."""

    tempo: float
    stride: float
    bounce: float
    sway: float
    wag: float
    seed: int


@dataclass(frozen=True, eq=False)
class Quadruped:
    """An animal's bones and measures.

    Attributes:
        armature: bones.
        shoulder: height of the shoulder, metres.
        length: between the fore and the hind feet, metres.
        girth: radius of the trunk, metres.
        legs: ``front.L``, ``front.R``, ``hind.L``, ``hind.R``.
        manner: its style.
    """

    armature: Armature
    shoulder: float
    length: float
    girth: float
    legs: dict[str, Leg]
    manner: Manner

    @property
    def beat(self) -> float:
        """Seconds of a relaxed walking cycle."""
        return float(np.sqrt(self.shoulder / 0.65) ** 0.85 / self.manner.tempo)

    def keys(self, stem: str) -> list[str]:
        """Keys of a chain (``spine``, ``neck``, ``tail``), in order."""
        return [bone.key for bone in self.armature.bones if bone.key.startswith(f"{stem}.")]


def bend(
    animal: Quadruped, take: Take, stem: str, pitch: ArrayLike = 0.0, yaw: ArrayLike = 0.0, roll: ArrayLike = 0.0
) -> None:
    """Spread a turn over a chain."""
    keys = animal.keys(stem)
    for key in keys:
        take.turn(key, np.divide(pitch, len(keys)), np.divide(yaw, len(keys)), np.divide(roll, len(keys)))


def wag(animal: Quadruped, take: Take, cycles: int, swing: float, lift: ArrayLike = 0.0, lag: float = 0.09) -> None:
    """Swing the tail from side to side, its tip last; ``lift`` raises it, radians over the whole tail."""
    keys = animal.keys("tail")
    for i, key in enumerate(keys):
        grow = (0.6 + 0.8 * i / len(keys)) * swing / len(keys) ** 0.7
        take.turn(key, pitch=np.multiply(lift, 1.0 / len(keys)), yaw=grow * wave(take.phase, cycles, lag * i))


def follow(
    take: Take,
    leg: Leg,
    contact: Array,
    *,
    curl: ArrayLike = 0.0,
    toe: ArrayLike = 0.0,
    lean: float = 0.75,
    must: bool = True,
) -> None:
    """Stand a leg on a contact path; its lowest segment leans with the limb and, in the air, curls back."""
    if leg.limb.upper.startswith("humerus"):
        suffix = leg.limb.upper[-2:]
        shoulder = take.position(f"humerus{suffix}")
        rest = take.armature[f"humerus{suffix}"].head
        ahead = np.arctan2(contact[:, 2] - shoulder[:, 2], shoulder[:, 1]) - np.arctan2(
            contact_rest(take, leg)[2] - rest[2], rest[1]
        )
        take.turn(f"scapula{suffix}", pitch=-0.5 * np.clip(ahead, -0.7, 0.7))
    angle = slant(take, leg, contact)
    stand(take, leg, contact, foot=lean * angle + np.asarray(curl, np.float64), toe=toe, must=must)


def plant(animal: Quadruped, take: Take, shifts: dict[str, Array] | None = None) -> None:
    """Keep all feet where they stand at rest, plus a shift (3,) or (F, 3) for each leg."""
    for name, leg in animal.legs.items():
        place = np.tile(contact_rest(take, leg), (len(take), 1))
        if shifts is not None and name in shifts:
            place = place + shifts[name]
        take.contacts[leg.contact] = np.ones(len(take), bool)
        follow(take, leg, place)


def muzzle_angle(animal: Quadruped, height: float, lower: float) -> float:
    """The pitch of neck and head, radians, that brings the muzzle to a height over the ground, metres, with the body
    ``lower`` metres down."""

    def gap(angle: float) -> float:
        take = Take(animal.armature, 0.1)
        take.shift("hips", y=-lower)
        _lower_head(animal, take, np.full(len(take), angle))
        return float(take.tail("head")[0, 1]) - height

    low, high = 0.0, 2.6
    if gap(high) > 0:
        return high
    return float(brentq(gap, low, high, xtol=1e-3)) if gap(low) > 0 else low


def _lower_head(animal: Quadruped, take: Take, angle: Array) -> None:
    # where the neck is too short, the whole front comes down
    front = np.maximum(angle - 1.4, 0.0)
    take.turn("hips", pitch=0.22 * front)
    bend(animal, take, "spine", pitch=0.08 * angle + 0.25 * front)
    bend(animal, take, "neck", pitch=0.85 * angle - 0.3 * front)
    take.turn("head", pitch=-0.12 * angle - 0.35 * front)


def idle(animal: Quadruped) -> Take:
    """Breathing, looking around, flicking tail and ears."""
    m = animal.manner
    take = Take(animal.armature, 4.2 / m.tempo)
    rng = np.random.default_rng(m.seed)
    t = take.phase
    weight = wave(t, 1)
    take.shift("hips", x=0.02 * animal.shoulder * m.sway * weight, y=-0.012 * animal.shoulder * (1 + 0.4 * weight**2))
    take.turn("hips", roll=-0.025 * m.sway * weight)
    breath = wave(t, 2, 0.2)
    bend(animal, take, "spine", pitch=-0.02 * breath, yaw=0.03 * weight)
    look, nod = noise(t, rng, 2), noise(t, rng, 3)
    bend(animal, take, "neck", pitch=0.05 * nod + 0.02 * breath, yaw=0.22 * look)
    take.turn("head", pitch=0.05 * nod, yaw=0.15 * look)
    take.turn("jaw", pitch=0.02 + 0.02 * breath)
    for suffix, side in SIDES:
        flick = hump(t, 0.3, 0.33, 0.34, 0.4) if side > 0 else hump(t, 0.7, 0.73, 0.74, 0.8)
        take.turn(f"ear{suffix}", yaw=side * 0.5 * flick, roll=-side * 0.3 * flick)
    wag(animal, take, 2, 0.35 * m.wag, lag=0.07)
    plant(animal, take)
    return take


@dataclass(frozen=True)
class _Gait:
    """A gait of four feet; lengths as shares of the shoulder's height."""

    touchdown: dict[str, float]
    duty: float
    period: float
    stride: float
    lift: float
    bob: float
    bob_cycles: int
    low: float
    sway: float
    yaw: float
    rock: float
    flex: float
    flex_phase: float
    head: float
    tail_lift: float
    curl: float


_WALK = _Gait(
    touchdown={"hind.L": 0.0, "front.L": 0.25, "hind.R": 0.5, "front.R": 0.75},
    duty=0.66,
    period=1.0,
    stride=0.98,
    lift=0.09,
    bob=0.018,
    bob_cycles=2,
    low=0.08,
    sway=0.018,
    yaw=0.07,
    rock=0.012,
    flex=0.0,
    flex_phase=0.0,
    head=0.05,
    tail_lift=0.0,
    curl=0.9,
)
_TROT = _Gait(
    touchdown={"hind.L": 0.0, "front.R": 0.0, "hind.R": 0.5, "front.L": 0.5},
    duty=0.44,
    period=0.58,
    stride=1.45,
    lift=0.16,
    bob=0.045,
    bob_cycles=2,
    low=0.22,
    sway=0.008,
    yaw=0.05,
    rock=0.0,
    flex=0.0,
    flex_phase=0.0,
    head=0.03,
    tail_lift=0.35,
    curl=1.3,
)
_GALLOP = _Gait(
    touchdown={"hind.L": 0.0, "hind.R": 0.1, "front.L": 0.46, "front.R": 0.58},
    duty=0.26,
    period=0.48,
    stride=2.6,
    lift=0.24,
    bob=0.06,
    bob_cycles=1,
    low=0.3,
    sway=0.0,
    yaw=0.0,
    rock=0.13,
    flex=0.3,
    flex_phase=0.93,
    head=0.12,
    tail_lift=0.7,
    curl=1.5,
)


def walk(animal: Quadruped) -> Take:
    """A walk in lateral sequence."""
    return _reaching(animal, _WALK)


def trot(animal: Quadruped) -> Take:
    """A trot: diagonal pairs with a moment in the air."""
    return _reaching(animal, _TROT)


def gallop(animal: Quadruped) -> Take:
    """A gallop with a bending back and a gathered flight."""
    return _reaching(animal, _GALLOP)


def _reaching(animal: Quadruped, gait: _Gait) -> Take:
    """The gait on legs bent just so far that all feet reach their ground."""
    return least_crouch(lambda drop: _travel(animal, gait, drop), np.linspace(0.0, 0.16, 9), 2e-4 * animal.shoulder)


def _travel(animal: Quadruped, gait: _Gait, drop: float) -> Take:
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, gait.period * animal.beat)
    t = take.phase
    hind, fore = gait.touchdown["hind.L"], gait.touchdown["front.L"]
    bob = gait.bob * m.bounce
    fall = 0.5 + 0.5 * wave(t, gait.bob_cycles, gait.bob_cycles * gait.low - 0.25)
    over_hind = wave(t, 1, hind + gait.duty / 2 - 0.25)
    over_fore = wave(t, 1, fore + gait.duty / 2 - 0.25)
    rock = gait.rock * wave(t, 1 if gait.flex else 2, gait.low + 0.05)
    flex = gait.flex * wave(t, 1, gait.flex_phase - 0.25)
    take.shift(
        "hips", x=gait.sway * s * m.sway * over_hind, y=-s * (drop + bob * fall) + 0.25 * s * rock, z=0.04 * s * flex
    )
    hip_yaw = -gait.yaw * wave(t, 1, hind - 0.25)
    chest_yaw = -0.8 * gait.yaw * wave(t, 1, fore - 0.25)
    take.turn("hips", pitch=rock - 0.8 * flex, yaw=hip_yaw, roll=0.5 * gait.yaw * m.sway * over_hind)
    bend(
        animal, take, "spine", pitch=1.5 * flex, yaw=chest_yaw - hip_yaw, roll=0.5 * gait.yaw * (over_fore - over_hind)
    )
    neck = animal.keys("neck")
    for key in neck:
        take.turn(key, pitch=gait.head * wave(t, gait.bob_cycles, gait.bob_cycles * gait.low - 0.1) / len(neck))
    take.steady(neck[0], 0.45)
    take.steady("head", 0.7)
    take.turn("jaw", pitch=0.03 + 0.12 * gait.flex)
    for suffix, side in SIDES:
        take.turn(f"ear{suffix}", roll=side * 0.06 * wave(t, gait.bob_cycles, 0.3), pitch=-0.8 * gait.flex)
    wag(animal, take, 1, (0.3 if gait.flex == 0 else 0.12) * m.wag, gait.tail_lift + 0.8 * flex)
    for name, leg in animal.legs.items():
        footfall = Footfall(gait.touchdown[name], gait.duty, gait.stride * s * m.stride, gait.lift * s)
        contact = stride_along(take, leg, footfall, narrow=0.8)
        curl = gait.curl * footfall.over_stance(
            t, [(0.0, 0.0), (0.6, 0.0), (1.0, 0.35), (1.35, 1.0), (1.75, 0.25), (1.95, 0.0)]
        )
        toe = footfall.over_stance(t, [(0.0, 0.0), (0.98, 0.0), (1.3, 0.8 * gait.curl), (1.8, 0.0)])
        follow(take, leg, contact, curl=curl, toe=toe)
    return take


def graze(animal: Quadruped) -> Take:
    """Head to the ground, chewing, a look up."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 4.5 / m.tempo)
    t = take.phase
    lower = 0.05 * s
    angle = muzzle_angle(animal, 0.05 * s, lower)
    down = cyclic(t, [(0.0, 0.08), (0.22, 0.92), (0.36, 1.0), (0.5, 0.93), (0.62, 1.0), (0.74, 0.9), (0.96, 0.08)])
    take.shift("hips", y=-lower * down - 0.012 * s)
    _lower_head(animal, take, angle * down)
    chew = wave(t, 6) * (0.4 + 0.6 * down)
    take.turn("jaw", pitch=0.1 + 0.09 * chew)
    take.turn("head", yaw=0.12 * wave(t, 2) * down, pitch=0.02 * chew)
    for suffix, side in SIDES:
        take.turn(f"ear{suffix}", roll=-side * 0.15 * down + side * 0.06 * wave(t, 5))
    wag(animal, take, 3, 0.4 * m.wag)
    plant(animal, take)
    return take


def jump(animal: Quadruped) -> Take:
    """A leap on the spot."""
    m, s = animal.manner, animal.shoulder
    arc = leap(height=0.5 * s * m.bounce**0.4, crouch=0.26 * s, tempo=m.tempo / np.sqrt(s / 0.65) ** 0.6)
    take = Take(animal.armature, arc.seconds)
    time = take.time
    rise = arc.body(time)
    squat = np.clip(-rise / (0.26 * s), 0.0, 1.0)
    flight = (arc.off, arc.down)
    x = np.clip((time - flight[0]) / (flight[1] - flight[0]), 0.0, 1.0)
    # nose up on the way up, down on the way down; the ground keeps the feet under it
    nose = -0.28 * np.sin(2 * np.pi * x) * np.sin(np.pi * x)
    take.shift("hips", y=rise, z=-0.07 * s * squat)
    take.turn("hips", pitch=nose + 0.05 * squat)
    bend(animal, take, "spine", pitch=0.22 * np.sin(np.pi * x) * (1 - x) * 2 - 0.1 * squat)
    bend(animal, take, "neck", pitch=0.3 * squat - 0.15 * np.sin(np.pi * x))
    take.steady("head", 0.5)
    wag(animal, take, 1, 0.2, 0.9 * np.sin(np.pi * x))
    for suffix, side in SIDES:
        take.turn(f"ear{suffix}", pitch=-0.5 * np.sin(np.pi * x), roll=side * 0.1 * squat)
    for name, leg in animal.legs.items():
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        tucked = 16 * x**2 * (1 - x) ** 2
        contact[:, 1] += arc.feet(time, 0.2 * s)
        contact[:, 2] += (0.1 if name.startswith("front") else -0.06) * s * tucked
        # feet hang below the pitched body
        place = contact_rest(take, leg)[2] - take.armature["hips"].head[2]
        contact[:, 1] -= place * np.sin(nose) * (x > 0) * (x < 1)
        take.contacts[leg.contact] = ~arc.aloft(time)
        follow(take, leg, contact, curl=0.9 * tucked, toe=0.6 * tucked, must=False)
    return take


def sit(animal: Quadruped) -> Take:
    """Down on the haunches, and a moment there."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 2.4 / m.tempo, loop=False)
    t = take.phase
    down = keyed(t, [(0.05, 0.0), (0.55, 1.0)])
    hips = animal.armature["hips"].head
    drop = hips[1] - max(0.42 * s, 1.05 * animal.girth + 0.14 * s)
    slope = np.arcsin(min(0.9, drop / (0.9 * animal.length)))
    ahead = 0.9 * animal.length * (1 - np.cos(slope))
    take.shift("hips", y=-drop * down, z=ahead * 0.55 * down)
    take.turn("hips", pitch=-1.15 * slope * down)
    bend(animal, take, "spine", pitch=0.25 * slope * down)
    bend(animal, take, "neck", pitch=0.3 * slope * down + 0.12 * hump(t, 0.05, 0.25, 0.3, 0.55))
    take.steady("head", 0.85)
    breath = wave(t, 2) * ease((t - 0.6) / 0.1)
    take.turn(animal.keys("spine")[-1], pitch=0.015 * breath)
    wag(animal, take, 3, 0.45 * m.wag)
    _lay_tail(animal, take, down)
    forward = np.outer(down, [0.0, 0.0, 1.0])
    shifts = {}
    for suffix, side in SIDES:
        shifts[f"hind{suffix}"] = forward * 0.26 * s + np.outer(down, [side * 0.05 * s, 0, 0])
        shifts[f"front{suffix}"] = np.zeros_like(forward)
    for name, leg in animal.legs.items():
        place = contact_rest(take, leg) + shifts[name]
        take.contacts[leg.contact] = np.full(len(take), not name.startswith("hind"))
        flat = 1.25 * down if name.startswith("hind") else 0.0
        follow(take, leg, place, curl=-flat, lean=0.0 if name.startswith("hind") else 0.75, must=False)
    return take


def _lay_tail(animal: Quadruped, take: Take, down: Array) -> None:
    """Raise the tail, in proportion to ``down`` (F,), just so far that it lies on the ground."""
    keys, rest = animal.keys("tail"), take.turns.copy()
    for lift in np.linspace(0.0, 3.0, 31):
        take.turns = rest.copy()
        for i, key in enumerate(keys):
            # most of it at the root
            take.turn(key, pitch=float(lift) * down * (1.6 - 1.2 * i / len(keys)) / len(keys))
        if take.lowest(keys).min() > 0.03 * animal.shoulder:
            break


def bark(animal: Quadruped) -> Take:
    """Three calls with a lifted head."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 1.8 / m.tempo)
    t = take.phase
    up = hump(t, 0.0, 0.12, 0.85, 1.0)
    beat = sum((hump(t, a, a + 0.06, a + 0.1, a + 0.22) for a in (0.1, 0.36, 0.62)), np.zeros(len(take)))
    take.shift("hips", y=-s * (0.012 + 0.025 * beat), z=-0.03 * s * beat)
    take.turn("hips", pitch=-0.05 * beat)
    bend(animal, take, "spine", pitch=-0.06 * up - 0.05 * beat)
    bend(animal, take, "neck", pitch=-0.22 * up - 0.12 * beat)
    take.turn("head", pitch=-0.05 * up - 0.22 * beat)
    take.turn("jaw", pitch=0.05 * up + 0.55 * beat)
    for suffix, side in SIDES:
        take.turn(f"ear{suffix}", roll=-side * 0.15 * beat, pitch=-0.25 * beat)
    wag(animal, take, 4, 0.5 * m.wag, 0.5 * up)
    plant(animal, take)
    return take


def bite(animal: Quadruped) -> Take:
    """A lunge with snapping jaws."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 1.15 / m.tempo)
    t = take.phase
    lunge = cyclic(t, [(0.0, 0.0), (0.26, -0.6), (0.42, 1.0), (0.5, 1.0), (0.85, 0.0)])
    gape = hump(t, 0.2, 0.38, 0.4, 0.47)
    take.shift("hips", y=-0.05 * s * np.abs(lunge) - 0.012 * s, z=0.14 * s * lunge)
    take.turn("hips", pitch=-0.06 * lunge)
    bend(animal, take, "spine", pitch=0.14 * lunge)
    bend(animal, take, "neck", pitch=0.4 * lunge)
    take.turn("head", pitch=-0.35 * lunge - 0.15 * gape, roll=0.12 * hump(t, 0.4, 0.48, 0.5, 0.6))
    take.turn("jaw", pitch=0.04 + 0.7 * gape)
    for suffix, side in SIDES:
        take.turn(f"ear{suffix}", pitch=-0.5 * hump(t, 0.05, 0.25, 0.5, 0.8), roll=-side * 0.1)
    wag(animal, take, 1, 0.2 * m.wag, 0.5 * lunge)
    plant(animal, take)
    return take


def shake_head(animal: Quadruped) -> Take:
    """Shaking the head."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 1.6 / m.tempo)
    t = take.phase
    on = hump(t, 0.0, 0.15, 0.8, 1.0)
    swing = on * wave(t, 4)
    take.shift("hips", y=-0.012 * s)
    bend(animal, take, "spine", yaw=-0.04 * swing)
    bend(animal, take, "neck", yaw=0.2 * swing, pitch=0.1 * on)
    take.turn("head", yaw=0.25 * swing, roll=0.22 * on * wave(t, 4, 0.08))
    for suffix, _ in SIDES:
        take.turn(f"ear{suffix}", roll=-0.5 * on * wave(t, 4, 0.16))
    wag(animal, take, 2, 0.35 * m.wag)
    plant(animal, take)
    return take


def death(animal: Quadruped) -> Take:
    """Legs give way, over on the side."""
    m, s = animal.manner, animal.shoulder
    take = Take(animal.armature, 1.9 / m.tempo, loop=False)
    t = take.phase
    sink = keyed(t, [(0.05, 0.0), (0.3, 0.35), (0.36, 0.4), (0.62, 1.0)])
    over = keyed(t, [(0.22, 0.0), (0.4, 0.3), (0.62, 1.0), (0.7, 0.97), (0.78, 1.0)])
    hips = animal.armature["hips"].head
    rest = 1.02 * animal.girth
    take.shift("hips", y=-(hips[1] - rest) * sink, x=-(0.5 * hips[1]) * over)
    take.turn("hips", roll=1.5 * over, pitch=0.1 * hump(t, 0.1, 0.3, 0.35, 0.6))
    bend(animal, take, "spine", yaw=0.06 * over, pitch=0.12 * hump(t, 0.05, 0.3, 0.4, 0.65))
    bend(animal, take, "neck", pitch=0.3 * hump(t, 0.1, 0.3, 0.4, 0.7), yaw=0.45 * ease((t - 0.45) / 0.25) * 0.5)
    take.turn("head", yaw=0.1 * over, pitch=0.1 * over)
    take.turn("jaw", pitch=0.25 * ease((t - 0.6) / 0.2))
    wag(animal, take, 1, 0.1, -0.2 * over)
    buckle = hump(t, 0.05, 0.35, 0.4, 0.75) + 0.25 * ease((t - 0.5) / 0.3)
    for suffix, side in SIDES:
        slack = 1.0 if side > 0 else 0.75
        take.turn(f"humerus{suffix}", pitch=0.75 * buckle * slack)
        take.turn(f"radius{suffix}", pitch=-1.1 * buckle * slack)
        take.turn(f"carpus{suffix}", pitch=0.9 * buckle)
        take.turn(f"femur{suffix}", pitch=-0.8 * buckle * slack)
        take.turn(f"tibia{suffix}", pitch=1.15 * buckle * slack)
        take.turn(f"tarsus{suffix}", pitch=-0.8 * buckle)
        drop = 0.18 * over * (1.0 if side > 0 else -0.3)
        take.turn(f"scapula{suffix}", roll=-drop)
        take.turn(f"femur{suffix}", roll=-drop)
    take.lift_above_ground("hips", 0.03 * s)
    return take
