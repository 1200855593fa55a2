"""How a snake moves: its body is a curve on the ground, given by its heading along its length."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.procedural.armature import Armature
from animax.procedural.curves import cyclic, ease, hump, keyed, wave
from animax.procedural.take import Take, euler

Array = NDArray[np.float64]

HEAD = 0.045
"""Length of the head as a share of the whole snake."""


@dataclass(frozen=True)
class Manner:
    """Personal style: ``tempo`` near 1, waves along the body, ``swing`` of its heading in radians."""

    tempo: float
    waves: float
    swing: float
    seed: int


@dataclass(frozen=True, eq=False)
class Snake:
    """A snake's bones and measures.

    Attributes:
        armature: bones.
        length: metres.
        radius: of the body, metres.
        chain: keys of the body's bones from tail to neck.
        manner: its style.
    """

    armature: Armature
    length: float
    radius: float
    chain: tuple[str, ...]
    manner: Manner

    @property
    def share(self) -> Array:
        """(K,) place of each link's middle along the body: 0 tail, 1 neck."""
        ends = np.linspace(0.0, 1.0, len(self.chain) + 1)
        return (ends[:-1] + ends[1:]) / 2

    @property
    def root(self) -> str:
        """Key of the root bone."""
        return self.armature.bones[0].key


def lay(snake: Snake, take: Take, yaw: Array, pitch: ArrayLike = 0.0, *, hold: float | None = None) -> None:
    """Give every link a heading ``yaw`` and a ``pitch`` (nose down), both (F, K) radians, tail first.

    The body's middle stays over its spot; with ``hold``, the point at that share of the length does.
    """
    pitch = np.broadcast_to(np.asarray(pitch, np.float64), yaw.shape)
    order = range(len(snake.chain)) if snake.chain[0] == snake.root else reversed(range(len(snake.chain)))
    for i in order:
        take.set_world(snake.chain[i], euler(pitch[:, i], yaw[:, i]))
    step = np.stack([np.sin(yaw) * np.cos(pitch), -np.sin(pitch), np.cos(yaw) * np.cos(pitch)], axis=-1)
    step = step * np.array([snake.armature.length(key) for key in snake.chain])[:, None]
    ends = np.concatenate([np.zeros((len(take), 1, 3)), np.cumsum(step, axis=1)], axis=1)
    # the lowest point of the body lies on the ground
    lift = -np.min(ends[..., 1], axis=1)
    if hold is None:
        middle = ends.mean(axis=1)
        target = np.array([0.0, 0.0, -0.5 * HEAD * snake.length])
    else:
        at = hold * len(snake.chain)
        low = min(int(at), len(snake.chain) - 1)
        middle = ends[:, low] + (at - low) * (ends[:, low + 1] - ends[:, low])
        target = np.array([0.0, 0.0, (hold - 0.5) * (1 - HEAD) * snake.length - 0.5 * HEAD * snake.length])
    root = ends[:, 0] if snake.chain[0] == snake.root else ends[:, -1]
    moved = target - middle + root - snake.armature.heads[0]
    take.shift(snake.root, x=moved[:, 0], y=root[:, 1] + lift, z=moved[:, 2])


def _resting_curve(snake: Snake, phase: ArrayLike = 0.0) -> Array:
    """(F, K) headings of a travelling wave; ``phase`` (F,) in cycles moves it towards the tail."""
    m = snake.manner
    s = snake.share
    # the neck sways less, the tail end follows through
    grow = m.swing * np.interp(s, [0.0, 0.15, 0.75, 1.0], [1.1, 1.0, 0.85, 0.45])
    return grow * np.sin(2 * np.pi * (m.waves * s + np.asarray(phase, np.float64)[..., None]))


def slither(snake: Snake) -> Take:
    """Lateral undulation: every part of the body follows the one before it."""
    m = snake.manner
    period = 1.1 * float(np.sqrt(snake.length / 1.5)) / m.tempo
    take = Take(snake.armature, period)
    yaw = _resting_curve(snake, take.phase)
    lay(snake, take, yaw)
    take.steady("head", 0.75)
    # a wave passes in one period; the ground goes with it
    take.ground_speed = float(snake.length * (1 - HEAD) / m.waves * np.mean(np.cos(yaw)) / period)
    return take


def idle(snake: Snake) -> Take:
    """Lying in curves, head a little up, looking around."""
    m = snake.manner
    take = Take(snake.armature, 4.0 / m.tempo)
    t = take.phase
    s = snake.share
    yaw = np.tile(1.25 * _resting_curve(snake), (len(take), 1))
    front = np.clip((s - 0.72) / 0.28, 0.0, 1.0)
    up = 0.85 + 0.15 * wave(t, 1, 0.2)
    pitch = -up[:, None] * 0.75 * np.sin(np.pi * np.clip(front * 1.15, 0, 1)) * (front > 0)
    yaw = yaw * (1 - 0.5 * front) + 0.22 * np.outer(wave(t, 1), front)
    yaw = yaw + 0.02 * np.sin(2 * np.pi * (2 * t[:, None] - 1.5 * s))
    lay(snake, take, yaw, pitch, hold=0.4)
    take.steady("head", 0.8)
    take.turn("head", yaw=0.25 * wave(t, 1, 0.1), pitch=0.08 * wave(t, 2, 0.3))
    return take


def _coil(snake: Snake, amount: Array) -> tuple[Array, Array]:
    """Headings (F, K) and pitches (F, K) of a snake drawn up to strike: S-bends flat behind, neck raised and folded."""
    s = snake.share
    base = 1.45 * np.sin(2 * np.pi * (2.0 * s + 0.1)) * np.interp(s, [0, 0.1, 0.75, 1.0], [0.9, 1.0, 0.9, 0.35])
    front = np.clip((s - 0.62) / 0.38, 0.0, 1.0)
    raised = -1.25 * np.interp(front, [0.0, 0.2, 0.55, 0.85, 1.0], [0.0, 0.7, 0.85, 0.1, -0.1])
    return np.multiply.outer(np.ones_like(amount), base), np.multiply.outer(amount, raised)


def strike(snake: Snake) -> Take:
    """Drawn up, a snap forward with open jaws, and back."""
    m = snake.manner
    take = Take(snake.armature, 1.5 / m.tempo)
    t = take.phase
    out = cyclic(t, [(0.0, 0.0), (0.3, -0.25), (0.4, 1.0), (0.45, 1.0), (0.85, 0.0)])
    yaw, pitch = _coil(snake, np.ones(len(take)))
    s = snake.share
    front = np.clip((s - 0.45) / 0.3, 0.0, 1.0) ** 0.8
    reach = np.clip(out, 0.0, 1.0)[:, None] * front
    back = np.minimum(out, 0.0)[:, None] * front
    yaw = yaw * (1 - 0.92 * reach) * (1 - 0.5 * back)
    straight = -0.35 * np.interp(s, [0.55, 0.7, 0.9, 1.0], [0.0, 0.8, 0.0, -0.6])
    pitch = pitch * (1 - reach) * (1 - 0.3 * back) + straight * reach
    lay(snake, take, yaw, pitch, hold=0.3)
    take.steady("head", 0.9)
    gape = hump(t, 0.28, 0.38, 0.42, 0.52)
    take.turn("head", pitch=-0.45 * gape)
    take.turn("jaw", pitch=1.1 * gape)
    return take


def rise(snake: Snake) -> Take:
    """The front third rises and sways."""
    m = snake.manner
    take = Take(snake.armature, 3.6 / m.tempo)
    t = take.phase
    up = cyclic(t, [(0.0, 0.05), (0.25, 1.0), (0.75, 1.0), (0.97, 0.05)])
    s = snake.share
    base = 1.3 * np.sin(2 * np.pi * (1.8 * s + 0.1)) * np.interp(s, [0, 0.1, 0.6, 1.0], [0.9, 1.0, 0.8, 0.0])
    front = np.clip((s - 0.6) / 0.4, 0.0, 1.0)
    stand = np.interp(front, [0.0, 0.25, 0.65, 0.9, 1.0], [0.0, 0.85, 1.3, 0.75, 0.25])
    sway = wave(t, 3, 0.1) * hump(t, 0.15, 0.35, 0.7, 0.9)
    yaw = np.tile(base, (len(take), 1)) + 0.5 * np.outer(sway, front)
    pitch = -np.outer(up, stand)
    lay(snake, take, yaw, pitch, hold=0.35)
    take.steady("head", 0.95)
    take.turn("head", pitch=0.1 * up, yaw=0.2 * sway)
    take.turn("jaw", pitch=0.12 * hump(t, 0.4, 0.45, 0.5, 0.55))
    return take


def death(snake: Snake) -> Take:
    """A last writhing, then limp."""
    m = snake.manner
    take = Take(snake.armature, 2.2 / m.tempo, loop=False)
    t = take.phase
    s = snake.share
    alive = keyed(t, [(0.0, 1.0), (0.75, 0.0)])
    writhe = hump(t, 0.0, 0.12, 0.35, 0.8)
    start = 1.1 * _resting_curve(snake)
    limp = 0.55 * np.sin(2 * np.pi * (0.9 * s + 0.3))
    yaw = np.outer(alive, start) + np.outer(1 - alive, limp)
    yaw = yaw + 0.7 * writhe[:, None] * np.sin(2 * np.pi * (3.0 * t[:, None] - 1.6 * s))
    front = np.clip((s - 0.6) / 0.4, 0.0, 1.0)
    pitch = -0.8 * np.outer(hump(t, 0.02, 0.2, 0.35, 0.6), np.sin(np.pi * np.clip(front * 1.1, 0, 1)))
    lay(snake, take, yaw, pitch, hold=0.4)
    over = ease((t - 0.5) / 0.3)
    take.turn("head", roll=0.9 * over, pitch=-0.3 * writhe)
    take.turn("jaw", pitch=0.35 * over + 0.4 * writhe)
    return take
