"""How a bird moves, on its feet and on its wings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from animax import rotations
from animax.procedural.armature import SIDES, Armature, mirrored
from animax.procedural.curves import cyclic, ease, hump, keyed, noise, wave
from animax.procedural.gait import Footfall, Leg, contact_rest, least_crouch, slant, stand, stride_along
from animax.procedural.leap import leap
from animax.procedural.take import Take, about, basis

Array = NDArray[np.float64]

_FOLDED = {
    # bone: direction on the left side with the wing shut, and where its upper face looks
    "wing_upper": ((0.1, -0.8, -0.1), (0.95, 0.25, -0.2)),
    "wing_fore": ((0.0, -0.1, -1.0), (0.72, 0.69, -0.07)),
    "wing_hand": ((-0.12, -0.16, -1.0), (0.7, 0.7, -0.2)),
}


@dataclass(frozen=True)
class Manner:
    """Personal style: factors near 1."""

    tempo: float
    stride: float
    flap: float
    bob: float
    seed: int


@dataclass(frozen=True, eq=False)
class Bird:
    """A bird's bones and measures: length of the trunk and height of the hip, metres."""

    armature: Armature
    body: float
    hip: float
    legs: dict[str, Leg]
    manner: Manner

    @property
    def beat(self) -> float:
        """Seconds of a walking cycle."""
        return float(0.55 * np.sqrt(self.hip / 0.25) ** 0.8 / self.manner.tempo)

    @property
    def wing_beat(self) -> float:
        """Seconds of a wing beat: slower for larger birds."""
        return float(np.clip(0.36 * np.sqrt(self.body / 0.25) / self.manner.tempo, 0.26, 0.9))

    def keys(self, stem: str) -> list[str]:
        """Keys of a chain (``neck``, ``tail``), in order."""
        return [bone.key for bone in self.armature.bones if bone.key.startswith(f"{stem}.")]


def wings(
    bird: Bird, take: Take, fold: ArrayLike, lift: ArrayLike = 0.0, sweep: ArrayLike = 0.0, lag: ArrayLike = 0.0
) -> None:
    """Pose both wings.

    ``fold`` goes from 0 (spread) to 1 (shut), ``lift`` raises them and ``sweep`` draws them forward at the shoulder,
    and ``lag`` bends wrist and elbow upwards, as air does on the down-stroke; (F,) radians.
    """
    frames = len(take)
    fold = np.broadcast_to(np.asarray(fold, np.float64), (frames,))
    lift, sweep, lag = (np.broadcast_to(np.asarray(a, np.float64), (frames,)) for a in (lift, sweep, lag))
    carried = take.world("chest")
    for suffix, side in SIDES:
        for bone, share in (("wing_upper", 0.0), ("wing_fore", 0.45), ("wing_hand", 1.0)):
            key = f"{bone}{suffix}"
            direction, face = _FOLDED[bone]
            rest = basis(bird.armature.vector(key), [0.0, 1.0, 0.0])
            shut = rotations.from_matrix(basis(mirrored(direction, side), mirrored(face, side)) @ rest.T)
            spread = rotations.multiply(
                about("z", side * (lift + share * lag)), about("y", -side * sweep * (1 - 0.5 * share))
            )
            take.set_world(key, rotations.multiply(carried, rotations.slerp(spread, shut, fold)))


def neck(bird: Bird, take: Take, pitch: ArrayLike = 0.0, yaw: ArrayLike = 0.0) -> None:
    """Spread a turn over the neck."""
    keys = bird.keys("neck")
    for key in keys:
        take.turn(key, np.divide(pitch, len(keys)), np.divide(yaw, len(keys)))


def plant(bird: Bird, take: Take) -> None:
    """Keep both feet where they stand at rest."""
    for leg in bird.legs.values():
        place = np.tile(contact_rest(take, leg), (len(take), 1))
        take.contacts[leg.contact] = np.ones(len(take), bool)
        stand(take, leg, place, foot=0.6 * slant(take, leg, place))


def _tuck(take: Take, amount: ArrayLike) -> None:
    """Draw the legs up under the tail for flight."""
    for suffix, _ in SIDES:
        take.turn(f"femur{suffix}", pitch=np.multiply(amount, 0.25))
        take.turn(f"tibia{suffix}", pitch=np.multiply(amount, 0.75))
        take.turn(f"tarsus{suffix}", pitch=np.multiply(amount, 0.55))
        take.turn(f"toes{suffix}", pitch=np.multiply(amount, 0.9))


def _glance(bird: Bird, take: Take, amount: float) -> None:
    """Quick looks: a bird's head jumps from one direction to the next."""
    rng = np.random.default_rng(bird.manner.seed)
    at = np.sort(rng.uniform(0.08, 0.9, 4))
    looks = [0.0, *rng.uniform(-1, 1, 3), 0.0]
    yaw = np.full(len(take), looks[0])
    for when, before, after in zip(at, looks[:-1], looks[1:], strict=True):
        yaw = yaw + (after - before) * ease((take.phase - when) / 0.05)
    neck(bird, take, yaw=0.5 * amount * yaw)
    take.turn("head", yaw=0.7 * amount * yaw, roll=0.2 * amount * yaw)


def idle(bird: Bird) -> Take:
    """Breathing, looking about in quick turns."""
    m = bird.manner
    take = Take(bird.armature, 3.6 / m.tempo)
    t = take.phase
    breath = wave(t, 3)
    take.shift("body", y=-0.015 * bird.body * (1 + 0.4 * breath))
    take.turn("body", pitch=0.02 * breath, roll=0.02 * wave(t, 1))
    take.turn("chest", pitch=-0.02 * breath)
    _glance(bird, take, 1.0)
    for i, key in enumerate(bird.keys("tail")):
        take.turn(key, pitch=0.05 * breath + 0.14 * hump(t, 0.55, 0.6, 0.62, 0.7), yaw=0.06 * wave(t, 2, 0.1 * i))
    wings(bird, take, 1.0 - 0.04 * hump(t, 0.6, 0.64, 0.66, 0.74), lift=0.02 * breath)
    plant(bird, take)
    return take


def walk(bird: Bird) -> Take:
    """Walking; the head stays behind and catches up with each step."""
    return least_crouch(lambda drop: _step(bird, drop), np.linspace(0.02, 0.25, 8), 2e-4 * bird.hip)


def _step(bird: Bird, drop: float) -> Take:
    m = bird.manner
    take = Take(bird.armature, bird.beat)
    t = take.phase
    over = wave(t, 1, 0.62 / 2 - 0.25)
    take.shift("body", x=0.03 * bird.body * over, y=-bird.hip * (drop + 0.015 * wave(t, 2, -0.15)))
    take.turn("body", yaw=-0.07 * wave(t, 1, -0.25), roll=0.07 * over, pitch=0.03 * wave(t, 2, 0.1))
    take.turn("chest", yaw=0.05 * wave(t, 1, -0.25))
    _bob(bird, take, 2, 0.22 * m.bob)
    for i, key in enumerate(bird.keys("tail")):
        take.turn(key, yaw=0.08 * wave(t, 1, 0.1 + 0.1 * i), pitch=0.05 * wave(t, 2, 0.2))
    wings(bird, take, 1.0, lift=0.02 * wave(t, 2))
    for suffix, side in SIDES:
        leg = bird.legs[suffix]
        footfall = Footfall(
            0.0 if side > 0 else 0.5, 0.62, 1.15 * bird.hip * m.stride, 0.2 * bird.hip + 0.07 * bird.body
        )
        contact = stride_along(take, leg, footfall, narrow=0.7)
        curl = footfall.over_stance(t, [(0.0, 0.0), (0.7, 0.0), (1.0, 0.4), (1.4, 1.0), (1.8, 0.2)])
        toe = footfall.over_stance(t, [(0.0, 0.0), (0.95, 0.0), (1.35, 0.9), (1.75, 0.1)])
        stand(take, leg, contact, foot=0.6 * slant(take, leg, contact) + 0.35 * curl, toe=toe)
    return take


def _bob(bird: Bird, take: Take, cycles: int, amount: float) -> None:
    """Thrust the head forward and let it stay behind: a slow and a quick half in each cycle."""
    back = cyclic(np.mod(take.phase * cycles, 1.0), [(0.0, -1.0), (0.3, 1.0), (0.36, 1.0), (0.98, -1.0)])
    keys = bird.keys("neck")
    take.turn(keys[0], pitch=amount * back)
    take.steady("head", 0.9)


def hop(bird: Bird) -> Take:
    """A hop on both feet; in place, the ground passes only in the air."""
    m = bird.manner
    arc = leap(height=0.3 * bird.hip, crouch=0.22 * bird.hip, tempo=3.2 * m.tempo)
    take = Take(bird.armature, arc.seconds)
    rise = arc.body(take.time)
    x = np.clip((take.time - arc.off) / (arc.down - arc.off), 0.0, 1.0)
    air = np.sin(np.pi * x)
    take.shift("body", y=rise - 0.03 * bird.hip)
    take.turn("body", pitch=0.12 * np.clip(-rise / (0.22 * bird.hip), 0, 1) - 0.14 * air)
    take.steady("head", 0.8)
    for key in bird.keys("tail"):
        take.turn(key, pitch=0.25 * air)
    wings(bird, take, 1.0 - 0.12 * air, lift=0.1 * air)
    for leg in bird.legs.values():
        contact = np.tile(contact_rest(take, leg), (len(take), 1))
        contact[:, 1] += arc.feet(take.time, 0.1 * bird.hip)
        take.contacts[leg.contact] = ~arc.aloft(take.time)
        stand(take, leg, contact, foot=0.6 * slant(take, leg, contact) + 0.4 * air, toe=0.7 * air, must=False)
    return take


def _stroke(t: Array, cycles: int, strength: float) -> tuple[Array, Array, Array, Array]:
    """Lift, fold, sweep and lag of wings that beat: the down-stroke spread, the up-stroke half shut."""
    lift = strength * (0.16 + 0.72 * cyclic(np.mod(t * cycles, 1.0), [(0.0, 1.0), (0.52, -0.85), (0.98, 1.0)]))
    fold = 0.24 * cyclic(np.mod(t * cycles, 1.0), [(0.0, 0.25), (0.2, 0.0), (0.5, 0.05), (0.78, 1.0)])
    sweep = 0.22 * strength * wave(t, cycles, 0.05)
    lag = strength * 0.5 * wave(t, cycles, 0.0)
    return lift, fold, sweep, lag


def fly(bird: Bird) -> Take:
    """Level flight with steady wing beats."""
    m = bird.manner
    take = Take(bird.armature, 2 * bird.wing_beat)
    t = take.phase
    lift, fold, sweep, lag = _stroke(t, 2, m.flap)
    # the body rises while the wings press down
    take.shift("body", y=0.9 * bird.body + bird.hip * 0.3 + 0.06 * bird.body * m.flap * wave(t, 2, 0.32))
    take.turn("body", pitch=0.32 + 0.05 * wave(t, 2, 0.1))
    take.turn("chest", pitch=0.06 - 0.03 * wave(t, 2, 0.1))
    _stretch_neck(bird, take, 0.45)
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.15 + 0.08 * wave(t, 2, 0.35))
    wings(bird, take, fold, lift, sweep, lag)
    _tuck(take, 1.0)
    return take


def _stretch_neck(bird: Bird, take: Take, pitch: float) -> None:
    neck(bird, take, pitch=pitch)
    take.steady("head", 0.9)


def glide(bird: Bird) -> Take:
    """Soaring on still wings, banking a little."""
    m = bird.manner
    take = Take(bird.armature, 3.4 / m.tempo)
    t = take.phase
    rng = np.random.default_rng(m.seed)
    bank = wave(t, 1)
    take.shift(
        "body",
        x=0.08 * bird.body * wave(t, 1, 0.2),
        y=0.9 * bird.body + bird.hip * 0.3 + 0.06 * bird.body * wave(t, 1, 0.1),
    )
    take.turn("body", pitch=0.34 + 0.03 * wave(t, 1, 0.3), roll=-0.2 * bank, yaw=0.06 * wave(t, 1, 0.1))
    _stretch_neck(bird, take, 0.45)
    take.turn("head", yaw=0.2 * noise(t, rng, 2))
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.18, roll=0.25 * wave(t, 1, 0.07), yaw=0.06 * bank)
    wings(bird, take, 0.03 + 0.03 * wave(t, 2, 0.2), 0.17 + 0.04 * wave(t, 2), 0.04 * bank, 0.1 + 0.04 * wave(t, 3))
    _tuck(take, 1.0)
    return take


def flap(bird: Bird) -> Take:
    """Standing up and beating the wings, then folding them."""
    m = bird.manner
    beats = 4
    take = Take(bird.armature, (beats + 2.2) * bird.wing_beat)
    t = take.phase
    on = hump(t, 0.02, 0.2, 0.8, 0.98)
    lift, fold, sweep, lag = _stroke(t, beats + 2, 0.9 * m.flap)
    take.shift("body", y=bird.hip * (0.02 * on - 0.03 + 0.025 * on * wave(t, beats + 2, 0.3)))
    take.turn("body", pitch=-0.22 * on + 0.04 * on * wave(t, beats + 2, 0.1))
    take.steady("head", 0.85)
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.2 * on)
    wings(bird, take, 1 - on * (1 - fold), on * (lift + 0.2), on * sweep, on * lag)
    plant(bird, take)
    return take


def takeoff(bird: Bird) -> Take:
    """A crouch, a spring, and up on quick strokes."""
    m = bird.manner
    take = Take(bird.armature, 0.5 / m.tempo + 4 * bird.wing_beat, loop=False)
    t, off = take.phase, 0.3
    crouch = hump(t, 0.02, 0.2, 0.22, off + 0.02)
    air = ease((t - off) / 0.25)
    climb = keyed(t, [(off - 0.02, 0.0), (0.6, 0.4), (0.999, 1.0)])
    spread = ease((t - 0.12) / 0.14)
    beats = 5
    lift, fold, sweep, lag = _stroke(np.maximum(t - 0.2, 0.0) / 0.8 * 0.999, beats, 1.1 * m.flap)
    take.shift("body", y=-0.22 * bird.hip * crouch + climb * 1.4 * (bird.body + bird.hip), z=0.0)
    take.turn("body", pitch=0.2 * crouch - 0.35 * hump(t, off - 0.05, off + 0.1, 0.55, 1.0) + 0.12 * air)
    take.steady("head", 0.85)
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.25 * air)
    wings(bird, take, 1 - spread * (1 - fold), spread * (lift + 0.45 * (1 - air)), spread * sweep, spread * lag)
    grounded = climb * 1.4 * (bird.body + bird.hip) < 1e-6
    legs = Take(bird.armature, take.seconds, loop=False)
    legs.turns, legs.shifts = take.turns.copy(), take.shifts.copy()
    for leg in bird.legs.values():
        place = np.tile(contact_rest(take, leg), (len(take), 1))
        take.contacts[leg.contact] = grounded
        stand(
            legs,
            leg,
            place + np.outer(np.maximum(climb * 1.4 * (bird.body + bird.hip) - 0.12 * bird.hip, 0.0), [0, 1, 0]),
            must=False,
            foot=0.5 * hump(t, off - 0.06, off + 0.04, off + 0.1, 0.7),
        )
    _tuck(take, 1.0)
    # from the push of the feet into the tuck of flight
    blend = ease((t - off - 0.04) / 0.25)
    for suffix, _ in SIDES:
        for stem in ("femur", "tibia", "tarsus", "toes"):
            j = bird.armature.index[f"{stem}{suffix}"]
            take.turns[:, j] = rotations.slerp(legs.turns[:, j], take.turns[:, j], blend)
    return take


def _lower_head(bird: Bird, take: Take, angle: Array) -> None:
    # where the neck is too short, the whole body tips over
    tip = np.maximum(angle - 1.3, 0.0)
    take.turn("body", pitch=0.16 * angle + 0.3 * tip)
    take.turn("chest", pitch=0.08 * angle)
    neck(bird, take, pitch=0.68 * angle - 0.45 * tip)
    take.turn("head", pitch=0.08 * angle)


def peck(bird: Bird) -> Take:
    """Bending down and pecking twice."""
    m = bird.manner
    take = Take(bird.armature, 1.9 / m.tempo * float(np.sqrt(bird.body / 0.25)) ** 0.5)
    t = take.phase
    dip = 0.12 * bird.hip

    def gap(angle: float) -> float:
        trial = Take(bird.armature, 0.1)
        trial.shift("body", y=-dip)
        _lower_head(bird, trial, np.full(len(trial), angle))
        return float(trial.tail("jaw")[0, 1]) - 0.01 * bird.body

    high = next((a for a in np.linspace(0.5, 3.6, 32) if gap(float(a)) < 0), 3.6)
    angle = float(brentq(gap, 0.0, float(high), xtol=1e-3)) if gap(float(high)) < 0 else 3.0
    down = cyclic(t, [(0.0, 0.0), (0.3, 0.8), (0.38, 1.0), (0.46, 0.72), (0.54, 1.0), (0.62, 0.75), (0.97, 0.0)])
    take.shift("body", y=-dip * down - 0.01 * bird.body)
    _lower_head(bird, take, angle * down)
    take.turn("jaw", pitch=0.2 * (hump(t, 0.33, 0.37, 0.38, 0.44) + hump(t, 0.49, 0.53, 0.54, 0.6)))
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.1 * down)
    wings(bird, take, 1.0)
    plant(bird, take)
    return take


def nod(bird: Bird) -> Take:
    """Nodding with the whole neck."""
    m = bird.manner
    take = Take(bird.armature, 1.5 / m.tempo)
    t = take.phase
    beat = hump(t, 0.0, 0.15, 0.85, 1.0) * (0.5 - 0.5 * wave(t, 3, -0.25))
    take.shift("body", y=-0.02 * bird.hip)
    take.turn("body", pitch=0.05 * beat)
    neck(bird, take, pitch=0.35 * beat)
    take.turn("head", pitch=0.3 * beat)
    wings(bird, take, 1.0)
    for key in bird.keys("tail"):
        take.turn(key, pitch=-0.06 * beat)
    plant(bird, take)
    return take
