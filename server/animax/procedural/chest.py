"""Treasure chests: rigid parts on a hinge, without a skin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural.armature import Armature, ArmatureSketch, vec
from animax.procedural.curves import cyclic, hump, keyed, noise, wave
from animax.procedural.design import Design, Motion
from animax.procedural.patch import METAL, Patch, srgb
from animax.procedural.shapes import box, convex, lathe
from animax.procedural.take import Take

Array = NDArray[np.float64]

_WOODS = (
    ("oak", "#8a5a30"),
    ("dark", "#4c3020"),
    ("grey", "#77695a"),
    ("painted blue", "#2f5578"),
    ("painted red", "#7d2d26"),
)
_METALS = (("iron", "#6d7075"), ("golden", "#c79a35"), ("bronze", "#96693a"))


@dataclass(frozen=True, eq=False)
class Chest:
    """A chest's bones, measures (metres) and style."""

    armature: Armature
    width: float
    depth: float
    height: float
    lid: float
    opening: float
    tempo: float
    seed: int

    @property
    def hinge(self) -> str:
        """Key of the lid."""
        return "lid"


def design_chest(rng: np.random.Generator) -> Design:
    """Draw a chest."""
    width = float(rng.uniform(0.55, 1.1))
    depth = width * float(rng.uniform(0.55, 0.72))
    height = width * float(rng.uniform(0.36, 0.5))
    lid = depth * float(rng.uniform(0.28, 0.5))
    round_lid = bool(rng.random() < 0.65)
    wood_name, wood = _WOODS[int(rng.integers(len(_WOODS)))]
    metal_name, metal = _METALS[int(rng.integers(len(_METALS)))]
    sketch = ArmatureSketch()
    sketch.bone("base", None, (0, 0, 0), (0, height, 0))
    sketch.bone("lid", "base", (0, height, -depth / 2), (0, height, depth / 2))
    sketch.bone(
        "latch",
        "lid",
        (0, height + 0.02 * width, depth / 2 + 0.012 * width),
        (0, height - 0.09 * width, depth / 2 + 0.02 * width),
    )
    armature = sketch.armature()
    chest = Chest(
        armature,
        width,
        depth,
        height,
        lid,
        float(np.radians(rng.uniform(85, 115))),
        float(rng.uniform(0.85, 1.2)),
        int(rng.integers(2**31)),
    )
    makers = {
        "open": ("open", _open),
        "close": ("close", _close),
        "open_close": ("open_close", _open_close),
        "rattle": ("rattle", _rattle),
        "chomp": ("chomp", _chomp),
    }
    named = {key: Motion(action, partial(maker, chest)) for key, (action, maker) in makers.items()}
    surface = partial(_surface, chest, srgb(wood), srgb(metal), round_lid, int(rng.integers(2, 4)))
    return Design("chest", f"{wood_name} chest with {metal_name} fittings", armature, surface, named, skinned=False)


def _surface(chest: Chest, wood: Array, metal: Array, round_lid: bool, bands: int) -> list[Patch]:
    a, w, d, h = chest.armature, chest.width, chest.depth, chest.height
    bevel, wall = 0.012 * w, 0.035 * w
    out: list[Patch] = []
    planks = 3
    for i in range(planks):
        low, high = h * i / planks, h * (i + 1) / planks
        tone = wood * (0.9 + 0.12 * (i % 2))
        out.append(box(a, "base", (-w / 2, low, d / 2 - wall), (w / 2, high, d / 2), tone, bevel=bevel * 0.6))
        out.append(box(a, "base", (-w / 2, low, -d / 2), (w / 2, high, -d / 2 + wall), tone, bevel=bevel * 0.6))
        out += [
            box(a, "base", (x, low, -d / 2 + wall), (x + wall, high, d / 2 - wall), tone, bevel=bevel * 0.6)
            for x in (-w / 2, w / 2 - wall)
        ]
    out.append(
        box(
            a,
            "base",
            (-w / 2 + wall, 0.0, -d / 2 + wall),
            (w / 2 - wall, 0.12 * h, d / 2 - wall),
            wood * 0.6,
            bevel=bevel * 0.3,
        )
    )
    # what it holds
    mound = lathe(
        a,
        "base",
        [(0.36 * d, 0.3 * h), (0.3 * d, 0.62 * h), (0.16 * d, 0.76 * h), (0.0, 0.8 * h)],
        srgb("#d0a52a"),
        sides=14,
        finish=METAL,
    )
    stretched = mound.positions * np.array([0.9 * w / d, 1.0, 0.95])
    normals = mound.normals / np.array([0.9 * w / d, 1.0, 0.95])
    normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
    out.append(Patch(stretched, normals, mound.triangles, mound.colors, mound.weights, METAL))
    places = np.linspace(-0.5 * w + 0.06 * w, 0.5 * w - 0.06 * w, bands)
    for x in places:
        strap = 0.045 * w
        out.append(
            box(
                a,
                "base",
                (x - strap / 2, -0.0 * h, d / 2 - bevel),
                (x + strap / 2, h, d / 2 + 0.012 * w),
                metal,
                bevel=0.005 * w,
                finish=METAL,
            )
        )
        out.append(
            box(
                a,
                "base",
                (x - strap / 2, 0.0, -d / 2 - 0.012 * w),
                (x + strap / 2, h, -d / 2 + bevel),
                metal,
                bevel=0.005 * w,
                finish=METAL,
            )
        )
    out += _lid(chest, wood, metal, round_lid, places)
    latch = a["latch"].head
    out.append(
        box(
            a,
            "latch",
            latch + vec(-0.04 * w, -0.1 * w, -0.004 * w),
            latch + vec(0.04 * w, 0.02 * w, 0.02 * w),
            metal * 0.85,
            bevel=0.008 * w,
            finish=METAL,
        )
    )
    out.append(
        lathe(
            a,
            "latch",
            [(0.014 * w, 0.0), (0.014 * w, 0.008 * w)],
            np.array([0.01, 0.01, 0.01]),
            place=latch + vec(0, -0.045 * w, 0.018 * w),
            axis=(0, 0, 1),
            sides=10,
        )
    )
    return out


def _lid(chest: Chest, wood: Array, metal: Array, round_lid: bool, bands: Array) -> list[Patch]:
    """A half barrel (or a flat box) of staves, with straps around it."""
    a, w, d, h, rise = chest.armature, chest.width, chest.depth, chest.height, chest.lid
    out: list[Patch] = []
    staves = 7 if round_lid else 1

    def profile(angle: Array, grow: float) -> Array:
        return np.stack([h + (rise + grow) * np.sin(angle), (d / 2 + grow) * np.cos(angle)], axis=-1)

    def slab(start: float, end: float, left: float, right: float, inner: float, outer: float) -> Array:
        rim = np.concatenate([profile(np.array([start, end]), inner), profile(np.array([start, end]), outer)])
        rim[:, 0] = np.maximum(rim[:, 0], h)
        return np.array([[x, y, z] for x in (left, right) for y, z in rim])

    if round_lid:
        cuts = np.linspace(0.0, np.pi, staves + 1)
        for i in range(staves):
            tone = wood * (0.92 + 0.14 * (i % 2))
            out.append(convex(a, "lid", slab(cuts[i], cuts[i + 1], -w / 2, w / 2, -0.03 * w, 0.0), tone))
            out.extend(
                convex(
                    a,
                    "lid",
                    slab(cuts[i], cuts[i + 1], x - 0.023 * w, x + 0.023 * w, -0.01 * w, 0.012 * w),
                    metal,
                    finish=METAL,
                )
                for x in bands
            )
        # the two ends
        for x in (-w / 2 + 0.004 * w, w / 2 - 0.034 * w):
            fan = profile(np.linspace(0, np.pi, 12), -0.004 * w)
            out.append(
                convex(a, "lid", np.array([[x + dx, y, z] for dx in (0.0, 0.03 * w) for y, z in fan]), wood * 0.85)
            )
    else:
        thick = 0.45 * rise
        out.append(box(a, "lid", (-w / 2, h, -d / 2), (w / 2, h + thick, d / 2), wood, bevel=0.012 * w))
        out += [
            box(
                a,
                "lid",
                (x - 0.023 * w, h + 0.01 * w, -d / 2 - 0.012 * w),
                (x + 0.023 * w, h + thick + 0.012 * w, d / 2 + 0.012 * w),
                metal,
                bevel=0.005 * w,
                finish=METAL,
            )
            for x in bands
        ]
    return out


def _swing(chest: Chest, take: Take, opened: Array) -> None:
    take.turn("lid", pitch=-chest.opening * opened)


def _open(chest: Chest) -> Take:
    """The latch lifts, the lid swings back and bounces on its hinge."""
    take = Take(chest.armature, 1.3 / chest.tempo, loop=False)
    t = take.phase
    _swing(
        chest,
        take,
        keyed(t, [(0.1, 0.0), (0.2, 0.04), (0.62, 1.0), (0.74, 0.93), (0.85, 1.0), (0.92, 0.985), (1.0, 1.0)]),
    )
    take.turn("latch", pitch=-0.7 * hump(t, 0.0, 0.12, 0.35, 0.7))
    return take


def _close(chest: Chest) -> Take:
    """The lid falls shut and the base jolts."""
    take = Take(chest.armature, 1.0 / chest.tempo, loop=False)
    t = take.phase
    _swing(chest, take, 1 - keyed(t, [(0.05, 0.0), (0.3, 0.2), (0.5, 1.0)]) + 0.06 * hump(t, 0.5, 0.58, 0.58, 0.68))
    take.shift("base", y=0.012 * chest.height * hump(t, 0.5, 0.56, 0.58, 0.7))
    take.turn("latch", pitch=-0.5 * hump(t, 0.3, 0.55, 0.6, 0.85))
    return take


def _open_close(chest: Chest) -> Take:
    """Open, a while, and shut again."""
    take = Take(chest.armature, 2.6 / chest.tempo)
    t = take.phase
    _swing(
        chest,
        take,
        cyclic(
            t,
            [
                (0.0, 0.0),
                (0.06, 0.0),
                (0.34, 1.0),
                (0.4, 0.95),
                (0.46, 1.0),
                (0.6, 1.0),
                (0.84, 0.0),
                (0.88, 0.05),
                (0.92, 0.0),
            ],
        ),
    )
    take.turn("latch", pitch=-0.6 * hump(t, 0.0, 0.08, 0.2, 0.4))
    return take


def _rattle(chest: Chest) -> Take:
    """Something inside wants out."""
    take = Take(chest.armature, 1.6 / chest.tempo)
    t = take.phase
    rng = np.random.default_rng(chest.seed)
    on = hump(t, 0.02, 0.2, 0.7, 0.98)
    shake = on * wave(t, 10)
    jump = on * np.abs(wave(t, 5, 0.1))
    take.turn("base", yaw=0.07 * on * wave(t, 7, rng.random()), roll=0.05 * shake)
    take.shift(
        "base",
        y=np.abs(np.sin(0.05 * shake)) * chest.width / 2 + 0.02 * chest.height * jump,
        x=0.015 * chest.width * on * noise(t, rng, 4),
    )
    _swing(chest, take, 0.11 * on * np.abs(wave(t, 8, 0.3)))
    take.turn("latch", pitch=-0.35 * on * np.abs(wave(t, 10, 0.2)))
    return take


def _chomp(chest: Chest) -> Take:
    """Hopping and snapping like a mouth."""
    take = Take(chest.armature, 1.4 / chest.tempo)
    t = take.phase
    hop = np.maximum(wave(t, 2, 0.1), 0.0)
    take.shift("base", y=0.35 * chest.height * hop)
    take.turn("base", pitch=0.12 * wave(t, 2, 0.32) * (hop > 0) * hop, yaw=0.12 * wave(t, 1))
    _swing(chest, take, 0.42 * (0.5 + 0.5 * wave(t, 2, 0.05)) ** 1.3)
    take.turn("latch", pitch=-0.4 * (0.5 + 0.5 * wave(t, 2, 0.2)))
    return take
