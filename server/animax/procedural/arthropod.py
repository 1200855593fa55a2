"""Spiders and beetles."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural import arthropod_motions as motions
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.arthropod_motions import Arthropod, Manner
from animax.procedural.design import Design, Motion
from animax.procedural.gait import Leg
from animax.procedural.organic import Flesh, ball, cone, melt
from animax.procedural.patch import GLOSS, SKIN, Patch, srgb
from animax.procedural.shapes import ellipsoid, limb_tube
from animax.procedural.take import Limb

Array = NDArray[np.float64]

_SPIDER_COATS = (
    ("black", "#27252b", "#a02a20"),
    ("brown", "#5d4029", "#a5805a"),
    ("grey", "#5c5a58", "#b0a894"),
    ("orange", "#93501f", "#2a2320"),
)
_BEETLE_COATS = (
    ("green", "#2f6b35", "#20241f"),
    ("blue", "#2c4d80", "#1d2026"),
    ("red", "#9c2a20", "#1e1a19"),
    ("bronze", "#7a5a26", "#2a2119"),
)


def design_spider(rng: np.random.Generator) -> Design:
    """Draw a spider: eight legs, abdomen, fangs."""
    coat, main, mark = _SPIDER_COATS[int(rng.integers(len(_SPIDER_COATS)))]
    legs, reach = 4, float(rng.uniform(0.16, 0.55))
    azimuths = np.radians(np.array([32.0, 66.0, 106.0, 146.0]) + rng.uniform(-5, 5, 4))
    size = "large" if reach > 0.35 else "small"
    return _design(
        rng,
        "spider",
        f"{size} {coat} spider with eight legs",
        legs,
        azimuths,
        reach,
        float(rng.uniform(0.16, 0.22)),
        float(rng.uniform(0.3, 0.42)),
        (srgb(main), srgb(mark)),
        beetle=False,
    )


def design_beetle(rng: np.random.Generator) -> Design:
    """Draw a beetle: six legs, a shell, feelers."""
    coat, main, dark = _BEETLE_COATS[int(rng.integers(len(_BEETLE_COATS)))]
    reach = float(rng.uniform(0.1, 0.3))
    azimuths = np.radians(np.array([42.0, 92.0, 138.0]) + rng.uniform(-5, 5, 3))
    return _design(
        rng,
        "beetle",
        f"{coat} beetle with a shiny shell",
        3,
        azimuths,
        reach,
        float(rng.uniform(0.3, 0.38)),
        float(rng.uniform(0.18, 0.26)),
        (srgb(main), srgb(dark)),
        beetle=True,
    )


def _design(
    rng: np.random.Generator,
    noun: str,
    description: str,
    pairs: int,
    azimuths: Array,
    reach: float,
    trunk: float,
    arch: float,
    colors: tuple[Array, Array],
    *,
    beetle: bool,
) -> Design:
    """``trunk`` (its radius), ``arch`` (height of the knees) are shares of the legs' reach, which is in metres."""
    armature = _armature(pairs, azimuths, reach, trunk, arch, beetle, bool(rng.random() < 0.4))
    legs: dict[str, Leg] = {}
    outward: dict[str, Array] = {}
    for i in range(pairs):
        for suffix, side in SIDES:
            out = mirrored([np.sin(azimuths[i]), 0.0, np.cos(azimuths[i])], side)
            pole = vec(0, 1, 0) + 0.25 * out
            legs[f"{i + 1}{suffix}"] = Leg(
                Limb(f"femur{i + 1}{suffix}", f"tibia{i + 1}{suffix}", pole),
                f"tarsus{i + 1}{suffix}",
                None,
                np.cross(vec(0, 1, 0), out),
            )
            outward[f"{i + 1}{suffix}"] = out
    manner = Manner(
        tempo=float(rng.uniform(0.85, 1.15)),
        stride=float(rng.uniform(0.85, 1.1)),
        bounce=float(rng.uniform(0.7, 1.3)),
        seed=int(rng.integers(2**31)),
    )
    body = Arthropod(armature, reach, trunk * reach, armature["thorax"].head[1], legs, outward, manner)
    makers = {
        "idle": ("idle", motions.idle),
        "walk": ("walk_legs", motions.walk),
        "run": ("run_legs", motions.run),
        "attack": ("attack", motions.attack),
        "threaten": ("rear_strike", motions.threaten),
        "jump": ("jump", motions.jump),
        "death": ("death", motions.death),
    }
    named = {key: Motion(action, partial(maker, body)) for key, (action, maker) in makers.items()}
    surface = partial(_surface, armature, pairs, reach, trunk * reach, colors, beetle)
    return Design(noun, description, armature, surface, named)


def _armature(pairs: int, azimuths: Array, r: float, trunk: float, arch: float, beetle: bool, root: bool) -> Armature:
    sketch = ArmatureSketch()
    radius = trunk * r
    height = 0.24 * r + (0.5 if beetle else 0.4) * radius
    top = sketch.bone("root", None, (0, 0, 0), (0, 0, 0.3 * r)) if root else None
    thorax = sketch.bone("thorax", top, (0, height, -0.2 * radius), (0, height, 0.8 * radius))
    front = np.array([0.0, height, 0.95 * radius])
    sketch.bone("head", thorax, front, front + vec(0, -0.1 * radius, 0.55 * radius))
    back = np.array([0.0, height + 0.05 * radius, -0.7 * radius])
    size = 2.3 * radius if beetle else 2.1 * radius
    sketch.bone("abdomen", thorax, back, back + vec(0, 0.1 * radius, -size))
    for suffix, side in SIDES:
        jaw = front + vec(0.25 * radius, -0.15 * radius, 0.45 * radius)
        sketch.bone(
            f"fang{suffix}",
            "head",
            mirrored(jaw, side),
            mirrored(jaw + vec(-0.05 * radius, -0.25 * radius, 0.28 * radius), side),
        )
        feeler = front + vec(0.3 * radius, 0.25 * radius, 0.4 * radius)
        length = 1.6 * radius if beetle else 0.95 * radius
        way = vec(0.5, 0.35, 0.8) if beetle else vec(0.35, -0.35, 0.87)
        mid = feeler + 0.5 * length * way
        end = mid + 0.5 * length * (way + (vec(0.1, -0.25, 0.1) if beetle else vec(-0.1, -0.5, 0.0)))
        sketch.chain([f"feeler_a{suffix}", f"feeler_b{suffix}"], "head", mirrored([feeler, mid, end], side))
    for i in range(pairs):
        for suffix, side in SIDES:
            azimuth = azimuths[i]
            out = np.array([np.sin(azimuth), 0.0, np.cos(azimuth)])
            hip = np.array([0.62 * radius, height - 0.15 * radius, 0.75 * radius * np.cos(azimuth)])
            far = r * (1.0 + 0.1 * abs(np.cos(azimuth)))
            joint = hip + 0.1 * r * out
            knee = hip + 0.42 * far * out + vec(0, arch * r, 0)
            ankle = (hip + 0.84 * far * out) * [1, 0, 1] + vec(0, 0.2 * r, 0)
            tip = (hip + 1.0 * far * out) * [1, 0, 1]
            keys = [f"{key}{i + 1}{suffix}" for key in ("coxa", "femur", "tibia", "tarsus")]
            sketch.chain(keys, thorax, mirrored([hip, joint, knee, ankle, tip], side))
    return sketch.armature()


def _surface(
    armature: Armature, pairs: int, r: float, radius: float, colors: tuple[Array, Array], beetle: bool
) -> list[Patch]:
    main, mark = colors
    limb = mark if beetle else main
    thorax, abdomen, head = armature["thorax"], armature["abdomen"], armature["head"]
    middle = (abdomen.head + abdomen.tail) / 2 + vec(0, 0.1 * radius, 0)
    belly = armature.length("abdomen")
    flesh: list[Flesh] = [
        ball("thorax", thorax.head + vec(0, 0, 0.2 * radius), 0.85 * radius, main, (1.0, 0.62, 1.1)),
        ball("head", head.head + vec(0, 0, 0.1 * radius), 0.58 * radius, limb, (0.95, 0.75, 0.9)),
        cone("thorax", thorax.head, abdomen.head, (0.35 * radius, 0.3 * radius), limb),
        ball("abdomen", middle, 0.56 * belly, main, (0.84, 0.66 if beetle else 0.78, 1.0)),
    ]

    def shade(positions: Array, normals: Array, own: Array) -> Array:
        behind = positions[:, 2] < abdomen.head[2] - 0.15 * radius
        if beetle:
            seam = behind & (np.abs(positions[:, 0]) < 0.09 * radius) & (normals[:, 1] > 0.2)
            under = normals[:, 1] < -0.25
            return np.where((seam | under)[:, None], mark, own)
        along = (positions[:, 2] - middle[2]) / (0.5 * belly)
        spots = (
            behind & (normals[:, 1] > 0.45) & (np.abs(positions[:, 0]) < 0.3 * radius * (0.6 + 0.4 * np.sin(9 * along)))
        )
        return np.where(spots[:, None], mark, own)

    finish = GLOSS if beetle else SKIN
    patches = [melt(armature, flesh, cell=0.17 * radius, soft=0.05 * radius, shade=shade, finish=finish)]
    for suffix, side in SIDES:
        fang = armature[f"fang{suffix}"]
        size = armature.length(fang.key)
        patches.append(
            limb_tube(
                armature,
                [fang.key],
                [(0.0, 0.3 * size), (1.0, 0.06 * size)],
                limb * 0.6,
                rings=4,
                sides=6,
                finish=GLOSS,
            )
        )
        keys = [f"feeler_a{suffix}", f"feeler_b{suffix}"]
        thick = 0.06 * radius if beetle else 0.12 * radius
        patches.append(
            limb_tube(armature, keys, [(0.0, thick), (0.9, 0.75 * thick), (1.0, 0.5 * thick)], limb, rings=4, sides=6)
        )
        sizes = (
            ((0.42, 0.3, 0.36, 0.2),)
            if beetle
            else ((0.2, 0.38, 0.5, 0.17), (0.42, 0.3, 0.42, 0.12), (0.16, 0.2, 0.55, 0.11))
        )
        for x, y, z, eye in sizes:
            place = head.head + mirrored(vec(x, y, z), side) * radius
            patches.append(
                ellipsoid(armature, "head", place, eye * radius, srgb("#0d0b0c"), rows=5, sides=8, finish=GLOSS)
            )
        for i in range(pairs):
            keys = [f"{key}{i + 1}{suffix}" for key in ("coxa", "femur", "tibia", "tarsus")]
            w = 0.05 * r if not beetle else 0.042 * r
            radii = [
                (0.0, 1.1 * w),
                (0.12, w),
                (0.35, 1.1 * w),
                (0.48, 0.75 * w),
                (0.6, 0.8 * w),
                (0.85, 0.45 * w),
                (1.0, 0.16 * w),
            ]
            bands = np.array([limb, limb, limb * 0.55, limb, limb, limb * 0.55, limb * 0.8])
            patches.append(limb_tube(armature, keys, radii, bands, rings=4, sides=6, blend=0.35))
    return patches
