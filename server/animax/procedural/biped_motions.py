"""How a biped moves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.procedural.armature import SIDES, Armature
from animax.procedural.curves import cyclic, ease, hump, keyed, noise, wave
from animax.procedural.gait import Footfall, Leg, contact_rest, least_crouch, stand, stride_along
from animax.procedural.leap import leap
from animax.procedural.take import Limb, Take, about, euler

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """Personal style: factors near 1, ``lean`` in radians."""

    tempo: float
    stride: float
    swing: float
    bounce: float
    sway: float
    lean: float
    hand: str
    seed: int


@dataclass(frozen=True, eq=False)
class Biped:
    """A biped's bones and measures.

    Attributes:
        armature: bones.
        leg: hip height over the ground, metres.
        height: metres.
        legs: by side suffix.
        arms: by side suffix.
        manner: its style.
    """

    armature: Armature
    leg: float
    height: float
    legs: dict[str, Leg]
    arms: dict[str, Limb]
    manner: Manner

    @property
    def beat(self) -> float:
        """Seconds of a relaxed walking cycle: pendulums of leg length."""
        return 1.05 * float(np.sqrt(self.leg / 0.85)) / self.manner.tempo

    @property
    def spine(self) -> list[str]:
        """Keys of the spine, from below."""
        return [bone.key for bone in self.armature.bones if bone.key.startswith("spine")]

    def take(self, seconds: float, *, loop: bool = True) -> Take:
        """An empty take."""
        return Take(self.armature, seconds, loop=loop)


def _bend_spine(body: Biped, take: Take, pitch: ArrayLike = 0.0, yaw: ArrayLike = 0.0, roll: ArrayLike = 0.0) -> None:
    share = 1.0 / len(body.spine)
    for key in body.spine:
        take.turn(key, np.multiply(pitch, share), np.multiply(yaw, share), np.multiply(roll, share))


def _hang(
    body: Biped,
    take: Take,
    suffix: str,
    *,
    swing: ArrayLike = 0.0,
    spread: ArrayLike = 0.0,
    bend: ArrayLike = 0.0,
    twist: ArrayLike = 0.0,
) -> None:
    """Pose an arm from hanging straight down beside the chest, whatever its rest pose.

    ``swing`` lifts it forward, ``spread`` to the side, ``bend`` closes the elbow, ``twist`` turns the elbow's hinge
    outwards about the upper arm; (F,) radians.
    """
    side = 1.0 if suffix == ".L" else -1.0
    frames = len(take)

    def spun(axis: str, angle: ArrayLike) -> Array:
        return about(axis, np.broadcast_to(np.asarray(angle, np.float64), (frames,)))

    chest = take.world(body.spine[-1])
    posed = rotations.multiply(spun("z", np.multiply(side, spread)), spun("x", np.multiply(-1.0, swing)))
    posed = rotations.multiply(chest, rotations.multiply(posed, spun("y", np.multiply(side, twist))))
    upper = rotations.rotate(posed, [0.0, -1.0, 0.0])
    hinge = rotations.rotate(posed, [-1.0, 0.0, 0.0])
    folded = rotations.multiply(posed, spun("x", np.multiply(-1.0, bend)))
    lower = rotations.rotate(folded, [0.0, -1.0, 0.0])
    limb = body.arms[suffix]
    # at rest the hinge about which the forearm comes forward points up on the left side and down on the right
    take.lay(limb, upper, lower, side * hinge * _hinge_sign(body, limb))
    take.turns[:, body.armature.index[f"hand{suffix}"]] = rotations.IDENTITY


def _hinge_sign(body: Biped, limb: Limb) -> float:
    rest = body.armature[limb.lower].tail - body.armature[limb.upper].head
    side = np.sign(rest[0])
    # hanging down (turned about z), the rest hinge becomes the x axis with this sign
    down = rotations.rotate(rotations.shortest_arc(rest, [0.0, -1.0, 0.0]), np.cross(rest, limb.pole))
    return float(np.sign(-down[0]) * side)


def _plant(body: Biped, take: Take, places: dict[str, Array] | None = None, *, yaw: float = 0.0) -> None:
    """Keep both feet where they stand at rest, or at ``places`` (F, 3) or (3,)."""
    for suffix, side in SIDES:
        leg = body.legs[suffix]
        place = contact_rest(take, leg) if places is None else places[suffix]
        stand(take, leg, np.broadcast_to(place, (len(take), 3)), yaw=side * yaw)
        take.contacts[leg.contact] = np.ones(len(take), bool)


def _breathe(body: Biped, take: Take, breaths: int, depth: float = 1.0) -> None:
    breath = wave(take.phase, breaths, 0.25)
    take.turn(body.spine[-1], pitch=-0.018 * depth * breath)
    for suffix, side in SIDES:
        take.turn(f"shoulder{suffix}", roll=side * 0.03 * depth * breath)
    take.turn("neck.1", pitch=0.012 * depth * breath)


def _rest_arms(body: Biped, take: Take, lag: float = 0.0, cycles: int = 1) -> None:
    for suffix, side in SIDES:
        drift = wave(take.phase, cycles, 0.15 + lag + (0.1 if side > 0 else 0.0))
        _hang(body, take, suffix, swing=0.04 + 0.025 * drift, spread=0.13 + 0.012 * drift, bend=0.28 + 0.03 * drift)


def idle(body: Biped) -> Take:
    """Breathing, weight from leg to leg, small looks around."""
    m = body.manner
    take = body.take(4.0 / m.tempo)
    rng = np.random.default_rng(m.seed)
    weight = wave(take.phase, 1)
    take.shift("hips", x=0.014 * body.height * m.sway * weight, y=-0.012 * body.leg - 0.004 * body.height * weight**2)
    take.turn("hips", roll=-0.035 * m.sway * weight, yaw=0.03 * noise(take.phase, rng, 2))
    _bend_spine(body, take, pitch=0.02 + m.lean * 0.3, roll=0.045 * m.sway * weight)
    _breathe(body, take, 2)
    _rest_arms(body, take)
    take.steady("head", 0.7)
    take.turn("head", yaw=0.16 * noise(take.phase, rng, 2), pitch=0.03 * noise(take.phase, rng, 3))
    _plant(body, take)
    return take


def _gait(body: Biped, *, drop: float, **style: Any) -> Take:
    """The gait on knees bent just so far that both feet reach their ground."""
    return least_crouch(
        lambda more: _travel(body, drop=drop + more, **style), np.linspace(0.0, 0.1, 11), 2e-4 * body.leg
    )


def _travel(
    body: Biped,
    *,
    period: float,
    stride: float,
    duty: float,
    lift: float,
    drop: float,
    bob: float,
    bob_low: float,
    heel: list[tuple[float, float]],
    lean: float,
    swing: float,
    bend: tuple[float, float],
    yaw: float,
    sway: float,
    narrow: float = 0.8,
) -> Take:
    """A cycle of two steps: left foot down at phase 0, right foot at 0.5.

    ``drop``, ``bob`` and ``lift`` are shares of the leg; ``bob_low`` is the phase at which the body is lowest, ``heel``
    the foot's pitch over stance time (radians, positive with the heel up).
    """
    m = body.manner
    take = body.take(period)
    t = take.phase
    # over the standing leg in mid-stance
    over = wave(t, 1, duty / 2 - 0.25)
    take.shift(
        "hips", x=sway * body.height * over, y=-body.leg * (drop + bob * (0.5 + 0.5 * wave(t, 2, 2 * bob_low - 0.25)))
    )
    take.turn("hips", yaw=-yaw * wave(t, 1, -0.25), roll=0.6 * yaw * m.sway * over, pitch=0.35 * lean)
    _bend_spine(body, take, pitch=0.65 * lean, yaw=2.1 * yaw * wave(t, 1, -0.25), roll=-0.9 * yaw * m.sway * over)
    take.steady("neck.1", 0.4)
    take.steady("head", 0.8)
    take.turn("head", pitch=0.02 * wave(t, 2, 2 * bob_low + 0.1))
    for suffix, side in SIDES:
        forward = -wave(t, 1, -0.25 + (0.0 if side > 0 else 0.5) - 0.02)
        follow = -wave(t, 1, -0.25 + (0.0 if side > 0 else 0.5) + 0.05)
        _hang(
            body,
            take,
            suffix,
            swing=0.04 + lean * 0.5 + swing * forward,
            spread=0.13 + 0.03 * np.abs(forward),
            bend=bend[0] + bend[1] * (0.5 + 0.5 * follow),
            twist=-0.15,
        )
        footfall = Footfall(0.0 if side > 0 else 0.5, duty, stride * body.leg, lift * body.leg)
        leg = body.legs[suffix]
        pitch = footfall.over_stance(t, heel)
        contact = stride_along(take, leg, footfall, narrow=narrow)
        # on the heel alone, the ball of the foot is not down yet
        take.contacts[leg.contact] &= pitch > -0.02
        foot_length = float(np.linalg.norm(contact_rest(take, leg)[[0, 2]] - body.armature[leg.foot].head[[0, 2]]))
        # on the heel, the ball of the foot is above the ground
        contact[:, 1] += np.sin(np.maximum(-pitch, 0.0)) * foot_length * 1.2
        stands = footfall.stands(t)
        toe = np.where(stands, np.minimum(pitch, 0.0), 0.55 * pitch)
        blended = footfall.over_stance(t, [(0.0, 0.0), (0.98, 0.0), (1.3, 1.0), (1.9, 0.6)])
        stand(take, leg, contact, foot=pitch, toe=np.minimum(pitch, 0) + blended * np.maximum(toe, 0), yaw=side * 0.06)
    return take


def walk(body: Biped) -> Take:
    """A relaxed walk in place."""
    m = body.manner
    heel = [(0.0, -0.32), (0.14, 0.0), (0.55, 0.0), (0.8, 0.25), (1.0, 0.75), (1.25, 0.95), (1.7, -0.1), (1.92, -0.32)]
    return _gait(
        body,
        period=body.beat,
        stride=1.45 * m.stride,
        duty=0.62,
        lift=0.07,
        drop=0.035,
        bob=0.03 * m.bounce,
        bob_low=0.06,
        heel=heel,
        lean=0.03 + m.lean,
        swing=0.42 * m.swing,
        bend=(0.15, 0.3),
        yaw=0.09,
        sway=0.016 * m.sway,
    )


def run(body: Biped) -> Take:
    """A run with a flight phase after each step."""
    m = body.manner
    heel = [(0.0, -0.08), (0.15, 0.0), (0.45, 0.05), (0.75, 0.4), (1.0, 0.9), (1.3, 1.35), (1.65, 0.35), (1.93, -0.08)]
    return _gait(
        body,
        period=0.68 * body.beat,
        stride=2.2 * m.stride,
        duty=0.31,
        lift=0.3,
        drop=0.03,
        bob=0.06 * m.bounce,
        bob_low=0.155,
        heel=heel,
        lean=0.17 + m.lean,
        swing=0.75 * m.swing,
        bend=(1.45, 0.35),
        yaw=0.13,
        sway=0.006,
        narrow=0.5,
    )


def sneak(body: Biped) -> Take:
    """A slow walk on bent knees, feet set down with care."""
    heel = [(0.0, 0.1), (0.2, 0.0), (0.6, 0.0), (1.0, 0.4), (1.4, 0.5), (1.9, 0.15)]
    return _gait(
        body,
        period=1.7 * body.beat,
        stride=1.0,
        duty=0.66,
        lift=0.16,
        drop=0.2,
        bob=0.03,
        bob_low=0.06,
        heel=heel,
        lean=0.5,
        swing=0.25,
        bend=(1.3, 0.3),
        yaw=0.08,
        sway=0.02,
    )


def jump(body: Biped) -> Take:
    """A jump on the spot: crouch, leap, land, rise."""
    m = body.manner
    arc = leap(height=0.42 * body.leg * m.bounce**0.5, crouch=0.26 * body.leg, tempo=m.tempo / np.sqrt(body.leg / 0.85))
    take = body.take(arc.seconds)
    rise, tuck = arc.body(take.time), arc.airborne(take.time)
    squat = np.clip(-rise / (0.26 * body.leg), 0.0, 1.0)
    take.shift("hips", y=np.minimum(rise, 0.0) + np.maximum(rise, 0.0), z=-0.1 * body.leg * squat)
    take.turn("hips", pitch=0.35 * squat)
    _bend_spine(body, take, pitch=0.55 * squat - 0.12 * tuck)
    take.turn("neck.1", pitch=-0.3 * squat)
    take.turn("head", pitch=-0.3 * squat)
    throw = arc.throw(take.time)
    for suffix, side in SIDES:
        _hang(
            body,
            take,
            suffix,
            swing=-0.9 * squat * (1 - throw) + 2.3 * throw,
            spread=0.15 + 0.25 * throw,
            bend=0.3 + 0.5 * throw * (1 - tuck * 0.5) + 0.2 * squat,
        )
        leg = body.legs[suffix]
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        contact[:, 1] += arc.feet(take.time, 0.12 * body.leg)
        pitch = 0.85 * arc.toes(take.time)
        grounded = ~arc.aloft(take.time)
        take.contacts[leg.contact] = grounded
        stand(take, leg, contact, foot=pitch, toe=pitch * np.where(grounded, 0.0, 0.6) * tuck, yaw=side * 0.08)
    return take


def wave_hand(body: Biped) -> Take:
    """Greeting with one hand."""
    m = body.manner
    take = body.take(2.4 / m.tempo)
    t = take.phase
    up = hump(t, 0.02, 0.24, 0.78, 0.99)
    side = 1.0 if m.hand == ".L" else -1.0
    take.shift("hips", x=-0.012 * body.height * side * up, y=-0.012 * body.leg)
    take.turn("hips", roll=0.02 * side * up)
    _bend_spine(body, take, roll=-0.07 * side * up, yaw=-0.06 * side * up)
    _breathe(body, take, 1)
    _rest_arms(body, take)
    waving = up * np.sin(2 * np.pi * (t - 0.24) / 0.54 * 3)
    take.turn(f"shoulder{m.hand}", roll=side * 0.22 * up)
    _hang(
        body,
        take,
        m.hand,
        swing=0.05 + 0.25 * up,
        spread=0.13 + 1.45 * up,
        bend=0.28 + (1.3 + 0.05) * up + 0.42 * waving,
        twist=1.45 * up,
    )
    late = up * np.sin(2 * np.pi * (t - 0.24) / 0.54 * 3 - 0.9)
    take.turn(f"hand{m.hand}", pitch=0.0, roll=side * 0.3 * late)
    take.steady("head", 0.6)
    take.turn("head", roll=0.12 * side * up, yaw=-0.1 * side * up)
    _plant(body, take)
    return take


def sit(body: Biped) -> Take:
    """Down onto a seat of knee height, and a moment there."""
    take = body.take(2.2 / body.manner.tempo, loop=False)
    down = keyed(take.phase, [(0.08, 0.0), (0.62, 1.0)])
    lean = keyed(take.phase, [(0.02, 0.0), (0.36, 1.0), (0.72, 0.12), (1.0, 0.08)])
    knee = body.armature["shin.L"].head[1]
    hips_y = body.armature["hips"].head[1]
    take.shift("hips", y=-(hips_y - knee * 1.05) * down, z=-0.82 * (body.leg - knee) * np.sin(down * np.pi / 2))
    take.turn("hips", pitch=0.3 * lean)
    _bend_spine(body, take, pitch=0.5 * lean)
    take.steady("head", 0.6)
    breath = wave(take.phase, 2) * ease((take.phase - 0.65) / 0.1)
    take.turn(body.spine[-1], pitch=0.012 * breath)
    for suffix, _ in SIDES:
        _hang(
            body, take, suffix, swing=0.04 + 0.6 * lean * (1 - down) + 0.5 * down, spread=0.14, bend=0.28 + 0.85 * down
        )
    _plant(body, take, yaw=0.08)
    return take


def dance(body: Biped) -> Take:
    """Side to side on the beat, arms pumping, feet lifting in turn."""
    m = body.manner
    take = body.take(1.9 / m.tempo)
    t = take.phase
    sway, bounce = wave(t, 1), 0.5 - 0.5 * wave(t, 4, -0.25)
    take.shift("hips", x=0.045 * body.height * m.sway * sway, y=-body.leg * (0.07 + 0.05 * bounce * m.bounce))
    take.turn("hips", yaw=0.22 * wave(t, 1, 0.1), roll=-0.13 * m.sway * wave(t, 1, 0.03))
    _bend_spine(body, take, pitch=0.06 + 0.05 * bounce, yaw=-0.4 * wave(t, 1, 0.12), roll=0.22 * wave(t, 1, 0.08))
    take.steady("head", 0.5)
    take.turn("head", pitch=0.1 * wave(t, 4, 0.1), roll=0.1 * sway)
    for suffix, side in SIDES:
        beat = wave(t, 2, 0.0 if side > 0 else 0.5)
        raised = 0.5 + 0.5 * wave(t, 1, 0.0 if side > 0 else 0.5)
        _hang(
            body,
            take,
            suffix,
            swing=0.5 + 0.9 * raised + 0.25 * beat,
            spread=0.35 + 0.3 * raised,
            bend=1.6 + 0.45 * beat - 0.5 * raised,
            twist=0.3 * raised,
        )
        leg = body.legs[suffix]
        # the foot without weight steps
        free = np.maximum(-side * sway, 0.0) ** 2
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        contact[:, 0] += side * 0.03 * body.height
        contact[:, 1] += 0.11 * body.leg * free**1.5
        take.contacts[leg.contact] = free < 1e-9
        stand(take, leg, contact, foot=0.5 * free, toe=0.2 * free, yaw=side * 0.25)
    return take


def _gesture(body: Biped, seconds: float) -> Take:
    take = body.take(seconds / body.manner.tempo)
    take.shift("hips", y=-0.012 * body.leg)
    _breathe(body, take, 1)
    _rest_arms(body, take)
    return take


def nod(body: Biped) -> Take:
    """Nodding yes."""
    take = _gesture(body, 1.5)
    on = hump(take.phase, 0.0, 0.15, 0.8, 1.0)
    beat = np.maximum(on, 0) * (0.5 - 0.5 * wave(take.phase, 3, -0.25))
    _bend_spine(body, take, pitch=0.05 * beat)
    take.turn("neck.1", pitch=0.18 * beat)
    take.turn("head", pitch=0.38 * beat - 0.05 * on)
    _plant(body, take)
    return take


def shake_head(body: Biped) -> Take:
    """Shaking the head no."""
    take = _gesture(body, 1.7)
    swing = hump(take.phase, 0.0, 0.2, 0.8, 1.0) * wave(take.phase, 3)
    _bend_spine(body, take, yaw=-0.05 * swing)
    take.turn("neck.1", yaw=0.18 * swing)
    take.turn("head", yaw=0.48 * swing, pitch=0.08 * hump(take.phase, 0.0, 0.2, 0.8, 1.0))
    _plant(body, take)
    return take


def punch(body: Biped) -> Take:
    """A straight punch from a guard, and back to the guard."""
    m = body.manner
    take = body.take(1.1 / m.tempo)
    t = take.phase
    hit = cyclic(t, [(0.0, 0.0), (0.22, -0.35), (0.36, 1.0), (0.44, 1.0), (0.75, 0.0)])
    side = 1.0 if m.hand == ".L" else -1.0
    take.shift("hips", y=-body.leg * (0.09 + 0.02 * hit), z=0.06 * body.leg * hit)
    take.turn("hips", yaw=side * (0.25 - 0.5 * hit))
    _bend_spine(body, take, pitch=0.12 + 0.1 * hit, yaw=side * (0.15 - 0.55 * hit))
    take.steady("head", 0.9)
    other = ".R" if m.hand == ".L" else ".L"
    _hang(body, take, other, swing=0.75 - 0.15 * hit, spread=0.2, bend=2.0 + 0.1 * hit, twist=-0.35)
    strike = np.clip(hit, 0.0, 1.0)
    _hang(
        body,
        take,
        m.hand,
        swing=0.5 + 0.95 * strike + 0.4 * np.minimum(hit, 0),
        spread=0.2 - 0.15 * strike,
        bend=2.0 - 1.8 * strike,
        twist=-0.3,
    )
    places = {}
    for suffix, s in SIDES:
        ahead = -0.12 if suffix == m.hand else 0.16
        places[suffix] = contact_rest(take, body.legs[suffix]) + np.array([s * 0.02 * body.height, 0, ahead * body.leg])
    _plant(body, take, places, yaw=0.25)
    return take


def kick(body: Biped) -> Take:
    """A front kick."""
    m = body.manner
    take = body.take(1.3 / m.tempo)
    t = take.phase
    side = 1.0 if m.hand == ".L" else -1.0
    up = hump(t, 0.1, 0.38, 0.52, 0.85)
    out = hump(t, 0.3, 0.44, 0.5, 0.66)
    weight = hump(t, 0.0, 0.2, 0.8, 1.0)
    take.shift(
        "hips", x=-side * 0.045 * body.height * weight, y=-body.leg * (0.02 + 0.03 * weight), z=-0.03 * body.leg * up
    )
    take.turn("hips", pitch=-0.2 * up, yaw=-side * 0.15 * out)
    _bend_spine(body, take, pitch=0.15 * weight - 0.1 * out, yaw=side * 0.3 * out)
    take.steady("head", 0.9)
    for suffix, s in SIDES:
        opposite = 1.0 if s != side else -0.6
        _hang(body, take, suffix, swing=0.1 + 0.6 * up * opposite, spread=0.2 + 0.35 * up, bend=0.5 + 0.9 * up)
    for suffix, s in SIDES:
        leg = body.legs[suffix]
        rest = np.tile(contact_rest(take, leg), (len(take), 1))
        if suffix == m.hand:
            rest[:, 1] += body.leg * (0.42 * up + 0.38 * out)
            rest[:, 2] += body.leg * (0.12 * up + 0.7 * out)
            take.contacts[leg.contact] = up < 1e-9
            stand(take, leg, rest, foot=0.5 * up - 0.75 * out, toe=0.3 * up - 0.6 * out, must=False)
        else:
            take.contacts[leg.contact] = np.ones(len(take), bool)
            stand(take, leg, rest, yaw=s * 0.1)
    return take


def cheer(body: Biped) -> Take:
    """Both arms up, bouncing."""
    m = body.manner
    take = body.take(1.6 / m.tempo)
    t = take.phase
    bounce = 0.5 - 0.5 * wave(t, 3, -0.25)
    take.shift("hips", y=-body.leg * (0.02 + 0.075 * bounce * m.bounce))
    take.turn("hips", pitch=0.08 * bounce)
    _bend_spine(body, take, pitch=-0.1 + 0.08 * bounce, yaw=0.1 * wave(t, 1), roll=0.04 * wave(t, 1, 0.2))
    take.turn("head", pitch=-0.18 + 0.1 * bounce, yaw=-0.06 * wave(t, 1))
    for suffix, side in SIDES:
        pump = wave(t, 3, 0.3 if side > 0 else 0.38)
        take.turn(f"shoulder{suffix}", roll=side * 0.25)
        _hang(body, take, suffix, swing=2.35 + 0.18 * pump, spread=0.4 + 0.1 * wave(t, 1), bend=0.65 - 0.4 * pump)
    _plant(body, take, yaw=0.15)
    return take


def death(body: Biped) -> Take:
    """Struck, staggering, and down on the back."""
    m = body.manner
    take = body.take(2.0 / m.tempo, loop=False)
    t = take.phase
    hips_y = body.armature["hips"].head[1]
    jolt = hump(t, 0.0, 0.08, 0.12, 0.3)
    fall = keyed(t, [(0.12, 0.0), (0.35, 0.22), (0.6, 1.0)])
    thud = hump(t, 0.58, 0.63, 0.66, 0.8)
    lying = 0.075 * body.height
    take.shift(
        "hips",
        y=-(hips_y - lying) * keyed(t, [(0.1, 0.0), (0.35, 0.3), (0.55, 1.0)]) + 0.02 * body.height * thud,
        z=-0.5 * body.leg * fall - 0.03 * body.leg * jolt,
    )
    take.turn("hips", pitch=-1.5 * keyed(t, [(0.2, 0.0), (0.4, 0.35), (0.64, 1.0)]) + 0.15 * jolt)
    _bend_spine(body, take, pitch=0.4 * jolt + 0.6 * hump(t, 0.2, 0.4, 0.45, 0.68))
    take.turn("neck.1", pitch=0.45 * hump(t, 0.15, 0.4, 0.5, 0.7))
    take.turn("head", pitch=0.3 * jolt - 0.25 * hump(t, 0.55, 0.68, 0.75, 0.95), yaw=0.5 * ease((t - 0.66) / 0.2))
    for suffix, side in SIDES:
        flail = hump(t, 0.1, 0.35, 0.45, 0.72)
        settle = ease((t - 0.5) / 0.25)
        _hang(
            body,
            take,
            suffix,
            swing=0.1 + 1.3 * flail - 0.05 * settle,
            spread=0.15 + 0.5 * flail + 0.85 * settle,
            bend=0.3 + 0.7 * flail + (0.15 if side > 0 else 0.45) * settle,
            twist=0.4 * settle,
        )
        leg = body.legs[suffix]
        slide = ease((t - 0.5) / 0.3) * (0.28 if side > 0 else 0.42) * body.leg
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        contact[:, 2] += slide
        splay = 0.5 * ease((t - 0.45) / 0.3)
        toes_up = -0.5 * ease((t - 0.5) / 0.25)
        contact[:, 1] += 0.055 * body.height * ease((t - 0.5) / 0.25)
        pole = rotations.rotate(euler(0.0, side * splay, 0.0), np.array([side * 0.1, 0.6, 0.8]))
        stand(take, leg, contact, foot=toes_up, toe=toes_up, yaw=side * splay, pole=pole, must=False)
    take.lift_above_ground("hips", 0.012 * body.height)
    return take
