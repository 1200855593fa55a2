"""Fish."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import PchipInterpolator

from animax.procedural import fish_motions as motions
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.design import Design, Motion
from animax.procedural.fish_motions import Fish, Manner
from animax.procedural.patch import Patch, chain_weights, rigid_weights, srgb
from animax.procedural.shapes import blade, eyes, tube

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Species:
    """Proportions as shares of the length, which is in metres; ``tall`` and ``wide`` are radii."""

    noun: str
    length: tuple[float, float]
    tall: float
    wide: float
    fin: float
    fork: float
    swing: float
    colors: tuple[tuple[str, str, str, str], ...]


_SPECIES = (
    _Species(
        noun="goldfish",
        length=(0.12, 0.25),
        tall=0.2,
        wide=0.12,
        fin=0.34,
        fork=0.5,
        swing=1.0,
        colors=(("orange", "#d9742a", "#f0c07a", "#e9a05a"), ("white", "#dcd6cc", "#f0ece6", "#d98c5a")),
    ),
    _Species(
        noun="trout",
        length=(0.35, 0.6),
        tall=0.115,
        wide=0.075,
        fin=0.2,
        fork=0.3,
        swing=1.0,
        colors=(("brown", "#7a6a42", "#d8cfa8", "#8d7a4c"), ("silver", "#76848c", "#d2d8da", "#67747c")),
    ),
    _Species(
        noun="tropical fish",
        length=(0.15, 0.3),
        tall=0.26,
        wide=0.075,
        fin=0.27,
        fork=0.3,
        swing=0.8,
        colors=(("blue", "#2a5ca8", "#e8c83a", "#e8c83a"), ("yellow", "#e0b92c", "#f2e2a0", "#3a3f52")),
    ),
    _Species(
        noun="shark",
        length=(1.6, 3.0),
        tall=0.1,
        wide=0.085,
        fin=0.17,
        fork=0.55,
        swing=0.85,
        colors=(("grey", "#5f6b74", "#d2d6d6", "#56626b"), ("blue", "#4a6680", "#d6dcdf", "#435c74")),
    ),
)


def design_fish(rng: np.random.Generator) -> Design:
    """Draw a goldfish, a trout, a tropical fish or a shark."""
    species = _SPECIES[int(rng.integers(len(_SPECIES)))]
    length = float(rng.uniform(*species.length))
    tall = species.tall * length * float(rng.uniform(0.92, 1.1))
    wide = species.wide * length * float(rng.uniform(0.92, 1.1))
    links = int(rng.integers(4, 8))
    armature = _armature(length, tall, wide, links, species.fin)
    name, *colors = species.colors[int(rng.integers(len(species.colors)))]
    manner = Manner(
        tempo=float(rng.uniform(0.85, 1.15)),
        swing=species.swing * float(rng.uniform(0.85, 1.2)),
        waves=float(rng.uniform(0.55, 0.9)),
        seed=int(rng.integers(2**31)),
    )
    fish = Fish(armature, length, tall, tuple(f"body.{i + 1}" for i in range(links)), manner)
    stripes = species.noun == "tropical fish" and bool(rng.random() < 0.7)
    makers = {
        "idle": ("idle_fish", motions.idle),
        "swim": ("swim", motions.swim),
        "swim_fast": ("swim_fast", motions.swim_fast),
        "turn": ("swim_turn", motions.turn),
        "bite": ("bite", motions.bite),
        "flop": ("out_of_water", motions.flop),
    }
    named = {key: Motion(action, partial(maker, fish)) for key, (action, maker) in makers.items()}
    surface = partial(_surface, fish, species, wide, [srgb(c) for c in colors], stripes)
    return Design(species.noun, f"{'striped ' if stripes else ''}{name} {species.noun}", armature, surface, named)


def _armature(length: float, tall: float, wide: float, links: int, fin: float) -> Armature:
    """The root sits behind the gills; the head points forward from it and the body back."""
    sketch = ArmatureSketch()
    # the fins hang free above the ground
    y = 0.85 * tall + 0.55 * fin * length + 0.08 * length
    gills = np.array([0.0, y, 0.22 * length])
    peduncle = np.array([0.0, y, -0.36 * length])
    body = [f"body.{i + 1}" for i in range(links)]
    sketch.chain(body, None, gills + np.linspace(0, 1, links + 1)[:, None] * (peduncle - gills))
    sketch.bone("head", body[0], gills, (0, y, 0.5 * length))
    hinge = np.array([0.0, y - 0.26 * tall, 0.37 * length])
    sketch.bone("jaw", "head", hinge, np.array([0.0, y - 0.12 * tall, 0.488 * length]))
    half = fin * length
    sketch.chain(
        ["tail_fin.1", "tail_fin.2"], body[-1], [peduncle, peduncle - vec(0, 0, 0.5 * half), peduncle - vec(0, 0, half)]
    )
    dorsal = np.array([0.0, y + 0.9 * tall, 0.06 * length])
    sketch.bone("dorsal", body[1], dorsal, dorsal + vec(0, 0.6 * half, -0.5 * half))
    for suffix, side in SIDES:
        root = np.array([0.85 * wide, y - 0.35 * tall, 0.17 * length])
        mid = root + vec(0.5, -0.18, -0.45) * 0.4 * half
        tip = mid + vec(0.42, -0.2, -0.5) * 0.55 * half
        sketch.chain([f"pectoral_a{suffix}", f"pectoral_b{suffix}"], body[0], mirrored([root, mid, tip], side))
    return sketch.armature()


def _surface(fish: Fish, species: _Species, wide: float, colors: list[Array], stripes: bool) -> list[Patch]:
    armature, length, tall = fish.armature, fish.length, fish.tall
    back, belly, fin = colors
    joints = len(armature)
    rings, sides = 26, 14
    y = armature["head"].head[1]
    z = np.linspace(0.488 * length, -0.375 * length, rings)
    share = (0.5 * length - z) / length
    outline = PchipInterpolator(
        [0.0, 0.03, 0.12, 0.3, 0.45, 0.7, 0.86, 0.9], [0.1, 0.3, 0.68, 0.98, 1.0, 0.56, 0.24, 0.27]
    )
    profile = np.asarray(outline(share), np.float64)
    radii = np.stack([np.maximum(profile * wide, 0.018 * length), profile * tall], axis=-1)
    points = np.stack([np.zeros(rings), np.full(rings, y), z], axis=-1)
    chain = [armature.index["head"], *(armature.index[key] for key in fish.chain)]
    lengths = [armature.length("head"), *(armature.length(key) for key in fish.chain)]
    weights = chain_weights(0.5 * length - z, joints, chain, lengths, 0.9)
    angle = 2 * np.pi * np.arange(sides) / sides
    height = np.sin(angle)[None, :, None]
    tone = np.where(height > -0.25, back * (0.85 + 0.15 * np.clip(1 - height, 0, 1)), belly)
    tone = np.broadcast_to(tone, (rings, sides, 3)).copy()
    if stripes:
        band = (np.sin(2 * np.pi * 4.2 * share + 0.5) > 0.35)[:, None, None]
        tone = np.where(band, belly, tone)
    patches = [tube(points, radii, weights, tone, sides=sides)]
    jaw = armature["jaw"]
    line = jaw.head + np.linspace(-0.1, 1.0, 5)[:, None] * (jaw.tail - jaw.head) + vec(0, -0.06 * tall, 0)
    size = np.array([0.5, 0.48, 0.4, 0.3, 0.18])
    patches.append(
        tube(
            line,
            np.stack([size * wide, size * 0.3 * tall], axis=-1),
            rigid_weights(5, joints, armature.index["jaw"]),
            belly,
            sides=10,
        )
    )
    size_of_eye = 0.016 * length if species.noun == "shark" else min(0.042 * length, 0.5 * wide)
    cheek = float(outline(0.13)) * wide * 0.95
    eye = np.array([cheek - 0.55 * size_of_eye, y + 0.18 * tall, 0.37 * length])
    patches += eyes(armature, "head", eye, size_of_eye, (1, 0, 0.12), srgb("#0b0b0d"), pupil=0.6)
    patches += _fins(fish, species, fin)
    return patches


def _fins(fish: Fish, species: _Species, tone: Array) -> list[Patch]:
    armature, length, tall = fish.armature, fish.length, fish.tall
    joints = len(armature)
    half = species.fin * length
    thin = 0.012 * length
    out = []
    root = armature["tail_fin.1"].head
    at = np.linspace(-0.15, 1.0, 7)
    first, second = armature.index["tail_fin.1"], armature.index["tail_fin.2"]
    beyond = np.clip((at - 0.3) / 0.4, 0.0, 1.0)
    weights = np.zeros((7, joints))
    weights[:, first], weights[:, second] = 1 - beyond, beyond
    for up in (1.0, -1.0):
        grow = 1.0 if up > 0 or species.noun != "shark" else 0.65
        rise = up * (0.1 + species.fork * np.maximum(at, 0.0) ** 1.2) * 0.9 * half * grow
        spine = root + np.stack([np.zeros(7), rise, -at * half * grow], axis=-1)
        width = np.array([0.35, 0.55, 0.7, 0.72, 0.66, 0.5, 0.2]) * half * 0.62
        out.append(blade(spine, width, (1, 0, 0), weights, np.linspace(1.0, 0.75, 7)[:, None] * tone, thickness=thin))
    body = armature["body.1"].head
    # rays of the dorsal fin, each leaning back
    dorsal = armature["dorsal"]
    rigid = rigid_weights(5, joints, armature.index["dorsal"])
    spiked = species.noun == "shark"
    count = 1 if spiked else 3
    for i in range(count):
        base = dorsal.head + vec(0, -0.25 * tall, -(i - 0.5 * (count - 1)) * 0.1 * length)
        way = (dorsal.tail - dorsal.head) * (1.0 - 0.22 * i)
        spine = base + np.linspace(0, 1, 5)[:, None] * (way + vec(0, 0.25 * tall, 0))
        width = np.array([1.0, 0.92, 0.75, 0.5, 0.15]) * (0.17 if spiked else 0.19) * length
        out.append(blade(spine, width, (1, 0, 0), rigid, tone, thickness=thin))
    for suffix, side in SIDES:
        a, b = armature[f"pectoral_a{suffix}"], armature[f"pectoral_b{suffix}"]
        x = np.linspace(0, 1, 6)
        spine = np.where(
            x[:, None] < 0.5,
            a.head + 2 * x[:, None] * (a.tail - a.head),
            b.head + (2 * x[:, None] - 1) * (b.tail - b.head),
        )
        weights = np.zeros((6, joints))
        bend = np.clip((x - 0.3) / 0.4, 0.0, 1.0)
        weights[:, armature.index[a.key]], weights[:, armature.index[b.key]] = 1 - bend, bend
        width = np.array([0.4, 0.75, 1.0, 1.0, 0.8, 0.3]) * 0.4 * half
        out.append(blade(spine, width, mirrored([0.3, 1.0, 0.0], side), weights, tone, thickness=thin))
    anal = body + vec(0, -0.78 * tall, -0.36 * length)
    weights = chain_weights(
        np.full(4, 0.36 * length),
        joints,
        [armature.index[k] for k in fish.chain],
        [armature.length(k) for k in fish.chain],
        0.9,
    )
    spine = anal + np.linspace(0, 1, 4)[:, None] * vec(0, -0.5, -0.35) * half
    out.append(blade(spine, np.array([1.0, 0.8, 0.5, 0.15]) * 0.11 * length, (1, 0, 0), weights, tone, thickness=thin))
    return out
