"""Snakes."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural import snake_motions as motions
from animax.procedural.armature import Armature, ArmatureSketch, vec
from animax.procedural.design import Design, Motion
from animax.procedural.organic import ball, cone, melt
from animax.procedural.patch import Patch, chain_weights, srgb
from animax.procedural.shapes import eyes, tube
from animax.procedural.snake_motions import HEAD, Manner, Snake

Array = NDArray[np.float64]

_COATS = (
    ("green", "#4f7f35", "#c9c98a"),
    ("brown", "#7a5a36", "#d8c6a0"),
    ("black", "#2b2b30", "#a8a090"),
    ("yellow", "#c9a53a", "#ece0b0"),
    ("red", "#a33b2a", "#e6c9a8"),
)
_MARKS = ("plain", "banded", "blotched")


def design_snake(rng: np.random.Generator) -> Design:
    """Draw a snake."""
    length = float(rng.uniform(0.9, 3.2))
    radius = length * float(rng.uniform(0.014, 0.024))
    links = int(rng.integers(10, 19))
    head_first = bool(rng.random() < 0.5)
    armature = _armature(length, radius, links, head_first)
    name, back, belly = _COATS[int(rng.integers(len(_COATS)))]
    marks = str(rng.choice(_MARKS))
    bands = int(rng.integers(12, 26))
    manner = Manner(
        tempo=float(rng.uniform(0.85, 1.15)),
        waves=float(rng.uniform(1.3, 1.8)),
        swing=float(rng.uniform(0.75, 0.95)),
        seed=int(rng.integers(2**31)),
    )
    keys = [f"body.{i + 1}" for i in range(links)]
    snake = Snake(armature, length, radius, tuple(keys if not head_first else reversed(keys)), manner)
    makers = {
        "idle": ("idle_snake", motions.idle),
        "slither": ("slither", motions.slither),
        "strike": ("strike", motions.strike),
        "rise": ("rise_up", motions.rise),
        "death": ("death", motions.death),
    }
    named = {key: Motion(action, partial(maker, snake)) for key, (action, maker) in makers.items()}
    size = "long" if length > 2.0 else "small"
    pattern = "" if marks == "plain" else f"{marks} "
    surface = partial(_surface, snake, srgb(back), srgb(belly), marks, bands)
    return Design("snake", f"{size} {pattern}{name} snake", armature, surface, named)


def _armature(length: float, radius: float, links: int, head_first: bool) -> Armature:
    """The body lies straight along z; its root is at the tail, or at the neck where ``head_first``."""
    sketch = ArmatureSketch()
    head = HEAD * length
    ends = np.stack(
        [np.zeros(links + 1), np.full(links + 1, radius), np.linspace(-0.5 * length, 0.5 * length - head, links + 1)],
        axis=-1,
    )
    keys = [f"body.{i + 1}" for i in range(links)]
    neck = ends[-1]
    if head_first:
        sketch.chain(keys, None, ends[::-1])
        parent = keys[0]
    else:
        parent = sketch.chain(keys, None, ends)[-1]
    sketch.bone("head", parent, neck, neck + vec(0, 0, head))
    hinge = neck + np.array([0.0, -0.25 * radius, 0.15 * head])
    sketch.bone("jaw", "head", hinge, hinge + vec(0, 0, 0.8 * head))
    return sketch.armature()


def _surface(snake: Snake, back: Array, belly: Array, marks: str, bands: int) -> list[Patch]:
    armature, length, r = snake.armature, snake.length, snake.radius
    rings, sides = 64, 10
    z = np.linspace(-0.497 * length, armature["head"].head[2], rings)
    share = (z + 0.5 * length) / length
    girth = r * np.interp(share, [0.0, 0.12, 0.35, 0.6, 0.85, 0.955], [0.12, 0.5, 0.92, 1.0, 0.8, 0.66])
    # lies on the ground all along
    points = np.stack([np.zeros(rings), 0.92 * girth, z], axis=-1)
    indices = [armature.index[key] for key in snake.chain]
    weights = chain_weights(
        z + 0.5 * length, len(armature), indices, [armature.length(key) for key in snake.chain], 0.9
    )
    # the neck blends into the head
    near = np.clip((share - 0.93) / 0.04, 0.0, 1.0)[:, None] * 0.5
    weights = weights * (1 - near)
    weights[:, armature.index["head"]] += near[:, 0]
    angle = 2 * np.pi * np.arange(sides) / sides
    height = np.sin(angle)[None, :, None]
    pattern: Array = np.zeros((rings, 1, 1))
    if marks == "banded":
        pattern = (np.sin(2 * np.pi * bands * share) > 0.2).astype(np.float64)[:, None, None]
    tone = back * (1 - 0.6 * pattern)
    if marks == "blotched":
        blotch = (np.sin(2 * np.pi * bands * share)[:, None, None] > 0.1) & (height > 0.35)
        tone = np.where(blotch, back * 0.35, back)
    colors = np.where(height < -0.45, belly, np.broadcast_to(tone, (rings, sides, 3)))
    trunk = tube(points, np.stack([girth, 0.92 * girth], axis=-1), weights, colors, sides=sides)
    head, jaw = armature["head"], armature["jaw"]
    size = armature.length("head")
    a = 0.62 * r
    neck = np.array([0.0, 0.92 * girth[-1], head.head[2]])
    flesh = [
        cone(
            "head",
            neck + vec(0, 0, -0.1 * size),
            neck + vec(0, 0.12 * a, 0.35 * size),
            (0.9 * girth[-1], 1.05 * a),
            back,
            (1.1, 0.8, 1.0),
        ),
        cone(
            "head",
            neck + vec(0, 0.12 * a, 0.35 * size),
            neck + vec(0, 0.05 * a, 0.95 * size),
            (1.15 * a, 0.55 * a),
            back,
            (1.15, 0.66, 1.0),
        ),
        cone(
            "jaw",
            jaw.head * [1, 0, 1] + [0, neck[1] - 0.42 * a, 0],
            neck + vec(0, -0.42 * a, 0.9 * size),
            (0.9 * a, 0.5 * a),
            belly,
            (1.1, 0.45, 1.0),
        ),
        ball("head", neck + vec(0.75 * a, 0.55 * a, 0.42 * size), 0.35 * a, back * 0.7),
        ball("head", neck + vec(-0.75 * a, 0.55 * a, 0.42 * size), 0.35 * a, back * 0.7),
    ]
    skull = melt(armature, flesh, cell=0.28 * a, soft=0.06 * a)
    gaze = neck + np.array([0.92 * a, 0.6 * a, 0.5 * size])
    return [
        trunk,
        skull,
        *eyes(armature, "head", gaze, 0.27 * a, (0.9, 0.2, 0.4), srgb("#100c08"), srgb("#c8a020"), pupil=0.6),
    ]
