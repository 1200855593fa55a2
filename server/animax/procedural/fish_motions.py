"""How a fish moves: a wave runs down the body and grows towards the tail."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.procedural.armature import SIDES, Armature
from animax.procedural.curves import cyclic, hump, noise, wave
from animax.procedural.take import Take

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Manner:
    """Personal style: factors near 1, and the waves that stand along the body."""

    tempo: float
    swing: float
    waves: float
    seed: int


@dataclass(frozen=True, eq=False)
class Fish:
    """A fish's bones and measures: length and half height in metres, body bones from gills to tail."""

    armature: Armature
    length: float
    tall: float
    chain: tuple[str, ...]
    manner: Manner

    @property
    def beat(self) -> float:
        """Seconds of a relaxed tail beat."""
        return float(np.clip(0.75 * np.sqrt(self.length / 0.4), 0.5, 1.7) / self.manner.tempo)

    @property
    def root(self) -> str:
        """Key of the root bone."""
        return self.chain[0]


def undulate(fish: Fish, take: Take, cycles: int, swing: ArrayLike, bend: ArrayLike = 0.0) -> None:
    """Run a wave down the body, ``swing`` radians at the tail; ``bend`` curves the whole body to its left, radians."""
    t, m = take.phase, fish.manner
    count = len(fish.chain)
    total = np.zeros(len(take))
    previous = np.zeros(len(take))
    for i in range(1, count + 2):
        share = i / (count + 1)
        # heading of this link; its turn is the difference from the link before
        heading = np.multiply(swing, (0.12 + 0.88 * share**1.6)) * wave(t, cycles, m.waves * share)
        key = fish.chain[i] if i < count else f"tail_fin.{i - count + 1}"
        take.turn(key, yaw=heading - previous - np.multiply(bend, 1.0 / count))
        previous = heading
        total = total + heading
    lag = np.multiply(swing, wave(t, cycles, m.waves * 1.2))
    take.turn("tail_fin.2", yaw=0.35 * lag)
    # the head answers the tail
    recoil = np.multiply(swing, -0.16 * wave(t, cycles, m.waves * 0.75))
    take.turn(fish.root, yaw=recoil)
    take.turn("head", yaw=np.multiply(swing, 0.1 * wave(t, cycles, m.waves * 0.6)) + np.multiply(bend, 0.35))
    take.shift(fish.root, x=np.multiply(swing, 0.03 * fish.length * wave(t, cycles, m.waves * 0.5)))


def fins(take: Take, cycles: int, amount: ArrayLike, fold: ArrayLike = 0.0) -> None:
    """Row with the pectoral fins; ``fold`` lays them to the body, radians."""
    for suffix, side in SIDES:
        lag = 0.0 if side > 0 else 0.12
        beat = np.multiply(amount, wave(take.phase, cycles, lag))
        late = np.multiply(amount, wave(take.phase, cycles, lag + 0.14))
        take.turn(f"pectoral_a{suffix}", roll=side * beat, yaw=side * np.multiply(fold, 1.0) + 0.4 * side * late)
        take.turn(f"pectoral_b{suffix}", roll=0.8 * side * late)
    take.turn("dorsal", roll=0.12 * wave(take.phase, max(1, cycles // 2), 0.2))


def _breathe(take: Take, cycles: int, gape: float = 0.16) -> None:
    take.turn("jaw", pitch=gape * (0.5 + 0.5 * wave(take.phase, cycles, 0.3)))


def idle(fish: Fish) -> Take:
    """Hovering: fins fan, the tail barely moves."""
    m = fish.manner
    take = Take(fish.armature, 3 * fish.beat)
    rng = np.random.default_rng(m.seed)
    t = take.phase
    undulate(fish, take, 2, 0.2 * m.swing)
    fins(take, 4, 0.4)
    take.shift(fish.root, y=0.05 * fish.length * wave(t, 1), z=0.03 * fish.length * wave(t, 1, 0.3))
    take.turn(fish.root, pitch=0.05 * wave(t, 1, 0.15), roll=0.05 * noise(t, rng, 2), yaw=0.06 * noise(t, rng, 2))
    _breathe(take, 3)
    return take


def swim(fish: Fish) -> Take:
    """Cruising."""
    m = fish.manner
    take = Take(fish.armature, fish.beat)
    undulate(fish, take, 1, 0.62 * m.swing)
    fins(take, 1, 0.12, 0.25)
    take.turn(fish.root, roll=0.06 * wave(take.phase, 1, 0.2))
    take.shift(fish.root, y=0.012 * fish.length * wave(take.phase, 2))
    _breathe(take, 1, 0.1)
    return take


def swim_fast(fish: Fish) -> Take:
    """A sprint with hard tail beats, fins laid back."""
    m = fish.manner
    take = Take(fish.armature, 0.52 * fish.beat)
    undulate(fish, take, 1, 0.92 * m.swing)
    fins(take, 1, 0.05, 0.6)
    take.turn(fish.root, roll=0.1 * wave(take.phase, 1, 0.2))
    return take


def turn(fish: Fish) -> Take:
    """A tight turn to one side and back, body bent into it."""
    m = fish.manner
    take = Take(fish.armature, 3 * fish.beat)
    t = take.phase
    side = 1.0 if m.seed % 2 else -1.0
    way = wave(t, 1)
    undulate(fish, take, 3, 0.4 * m.swing, side * 0.85 * wave(t, 1, -0.12))
    fins(take, 3, 0.15, 0.15)
    take.turn(fish.root, yaw=side * 0.65 * way, roll=side * -0.32 * wave(t, 1, -0.15))
    for suffix, s in SIDES:
        take.turn(f"pectoral_a{suffix}", roll=0.35 * s * side * wave(t, 1, -0.1))
    return take


def bite(fish: Fish) -> Take:
    """A dart forward with an open mouth."""
    m = fish.manner
    take = Take(fish.armature, 1.5 * fish.beat)
    t = take.phase
    dart = cyclic(t, [(0.0, 0.0), (0.28, -0.3), (0.45, 1.0), (0.52, 1.0), (0.92, 0.0)])
    burst = hump(t, 0.2, 0.34, 0.42, 0.6)
    undulate(fish, take, 3, m.swing * (0.22 + 0.7 * burst))
    fins(take, 3, 0.15, 0.5 * burst)
    take.shift(fish.root, z=0.28 * fish.length * dart)
    gape = hump(t, 0.26, 0.4, 0.44, 0.53)
    take.turn("jaw", pitch=0.6 * gape)
    take.turn("head", pitch=-0.14 * gape)
    return take


def flop(fish: Fish) -> Take:
    """On its side on dry land, throwing itself about."""
    m = fish.manner
    take = Take(fish.armature, 1.3 / m.tempo)
    t = take.phase
    side = 1.0 if m.seed % 2 else -1.0
    snap = wave(t, 2)
    undulate(fish, take, 2, 0.35 * m.swing, 0.95 * snap)
    take.turn(fish.root, yaw=0.15 * wave(t, 1))
    take.turn(fish.root, roll=side * 1.45)
    # on its side, the tail fin is upright
    lying = 0.35 * fish.tall - take.lowest(["head", *fish.chain, "tail_fin.1", "tail_fin.2"])
    take.shift(fish.root, y=lying + 0.22 * fish.length * np.maximum(wave(t, 2, 0.12), 0.0) ** 2)
    fins(take, 4, 0.2, 0.75)
    _breathe(take, 2, 0.45)
    return take
