"""Birds."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural import bird_motions as motions
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.bird_motions import Bird, Manner
from animax.procedural.design import Design, Motion
from animax.procedural.gait import Leg
from animax.procedural.organic import Flesh, ball, cone, melt
from animax.procedural.patch import Patch, rigid_weights, srgb
from animax.procedural.shapes import blade, eyes, limb_tube, tube
from animax.procedural.take import Limb

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Species:
    """Proportions: ``body`` in metres, all other lengths as shares of it; ``span`` is one wing's."""

    noun: str
    body: tuple[float, float]
    leg: float
    neck: float
    head: float
    beak: float
    hook: float
    span: float
    tail: float
    girth: float
    colors: tuple[tuple[str, str, str, str], ...]
    bill: str


_SPECIES = (
    _Species(
        noun="sparrow",
        body=(0.1, 0.13),
        leg=0.36,
        neck=0.16,
        head=0.17,
        beak=0.14,
        hook=0.0,
        span=1.05,
        tail=0.5,
        girth=0.25,
        colors=(("brown", "#7d5c3c", "#cbb895", "#4b3626"), ("grey", "#80858b", "#d6d2c8", "#4a4f57")),
        bill="#5a4a38",
    ),
    _Species(
        noun="crow",
        body=(0.25, 0.3),
        leg=0.45,
        neck=0.2,
        head=0.15,
        beak=0.27,
        hook=0.05,
        span=1.25,
        tail=0.55,
        girth=0.22,
        colors=(("black", "#26272e", "#2e3038", "#191a20"), ("hooded", "#8b8d90", "#a3a4a5", "#23242b")),
        bill="#1c1c1f",
    ),
    _Species(
        noun="eagle",
        body=(0.42, 0.52),
        leg=0.42,
        neck=0.2,
        head=0.14,
        beak=0.16,
        hook=0.14,
        span=1.75,
        tail=0.5,
        girth=0.22,
        colors=(("brown", "#57402c", "#7d6144", "#33271d"), ("white-headed", "#4a382a", "#4f3c2d", "#2d231b")),
        bill="#d6a52c",
    ),
    _Species(
        noun="duck",
        body=(0.32, 0.4),
        leg=0.3,
        neck=0.32,
        head=0.14,
        beak=0.24,
        hook=-0.1,
        span=1.05,
        tail=0.25,
        girth=0.26,
        colors=(("brown", "#80664a", "#b9a583", "#51402f"), ("white", "#dcdad4", "#e6e4de", "#b5b3ad")),
        bill="#d98e2b",
    ),
    _Species(
        noun="stork",
        body=(0.45, 0.55),
        leg=1.15,
        neck=0.72,
        head=0.11,
        beak=0.45,
        hook=0.0,
        span=1.6,
        tail=0.3,
        girth=0.2,
        colors=(("white", "#dddbd5", "#e8e6e0", "#26262a"), ("grey", "#8d949c", "#b8bcc0", "#3c4148")),
        bill="#c2452e",
    ),
)


def design_bird(rng: np.random.Generator) -> Design:
    """Draw a sparrow, a crow, an eagle, a duck or a stork."""
    species = _SPECIES[int(rng.integers(len(_SPECIES)))]
    body = float(rng.uniform(*species.body))
    leg = species.leg * body * float(rng.uniform(0.9, 1.12))
    span = species.span * body * float(rng.uniform(0.92, 1.08))
    necks = 4 if species.neck > 0.5 else int(rng.integers(2, 4)) if species.neck > 0.3 else int(rng.integers(1, 3))
    tails = int(rng.integers(1, 3))
    armature = _armature(species, body, leg, span, necks, tails)
    name, *colors = species.colors[int(rng.integers(len(species.colors)))]
    manner = Manner(
        tempo=float(rng.uniform(0.88, 1.14)),
        stride=float(rng.uniform(0.9, 1.1)),
        flap=float(rng.uniform(0.85, 1.15)),
        bob=float(rng.uniform(0.7, 1.3)),
        seed=int(rng.integers(2**31)),
    )
    across, forward = np.array([1.0, 0.0, 0.0]), np.array([0.0, 0.0, 1.0])
    legs = {s: Leg(Limb(f"femur{s}", f"tibia{s}", forward), f"tarsus{s}", f"toes{s}", across) for s, _ in SIDES}
    bird = Bird(armature, body, armature["femur.L"].head[1], legs, manner)
    makers = {
        "idle": ("idle", motions.idle),
        "walk": ("walk", motions.walk),
        "hop": ("hop", motions.hop),
        "fly": ("fly", motions.fly),
        "glide": ("glide", motions.glide),
        "takeoff": ("takeoff", motions.takeoff),
        "flap": ("stand_flap", motions.flap),
        "peck": ("peck", motions.peck),
        "nod": ("yes", motions.nod),
    }
    named = {key: Motion(action, partial(maker, bird)) for key, (action, maker) in makers.items()}
    surface = partial(_surface, armature, species, body, [srgb(c) for c in colors], name)
    return Design(species.noun, f"{name} {species.noun} with spread wings", armature, surface, named)


def _armature(species: _Species, b: float, leg: float, span: float, necks: int, tails: int) -> Armature:
    sketch = ArmatureSketch()
    hip_y = leg + 0.1 * b
    pelvis = np.array([0.0, hip_y + 0.06 * b, -0.14 * b])
    middle = pelvis + vec(0, 0.12 * b, 0.24 * b)
    base = pelvis + vec(0, 0.27 * b, 0.44 * b)
    root = sketch.bone("body", None, pelvis, middle)
    chest = sketch.bone("chest", root, middle, base)
    # an S, the more so the longer
    x = np.linspace(0, 1, necks + 1)[:, None]
    way = np.array([0.0, 0.93, 0.37]) * species.neck * b
    ends = base + x * way + np.sin(2 * np.pi * x) * np.array([0.0, 0.0, 0.12]) * species.neck * b
    neck = sketch.chain([f"neck.{i + 1}" for i in range(necks)], chest, ends)
    nape = ends[-1]
    crown = nape + vec(0, 0.25 * species.head * b, 1.1 * species.head * b)
    sketch.bone("head", neck[-1], nape, crown)
    gape = nape + vec(0, 0.12 * species.head * b, 0.85 * species.head * b)
    sketch.bone("jaw", "head", gape, gape + vec(0, -0.02 * b, 0.9 * species.beak * b))
    rump = pelvis + vec(0, 0.0, -0.22 * b)
    steps = np.linspace(0, 1, tails + 1)[:, None]
    sketch.chain(
        [f"tail.{i + 1}" for i in range(tails)], root, rump + steps * np.array([0.0, -0.1, -1.0]) * species.tail * b
    )
    for suffix, side in SIDES:
        shoulder = base + vec(0.14 * b, -0.06 * b, -0.1 * b)
        elbow = shoulder + vec(0.88, 0.1, -0.3) * 0.27 * span
        wrist = elbow + vec(0.95, 0.04, 0.24) * 0.33 * span
        tip = wrist + vec(0.98, -0.02, -0.12) * 0.34 * span
        keys = [f"{key}{suffix}" for key in ("wing_upper", "wing_fore", "wing_hand")]
        sketch.chain(keys, chest, mirrored([shoulder, elbow, wrist, tip], side))
    x_leg = 0.13 * b
    for suffix, side in SIDES:
        points = np.array(
            [
                [x_leg, hip_y, 0.0],
                [x_leg, 0.66 * hip_y, 0.16 * b + 0.06 * leg],
                [x_leg, 0.38 * hip_y, -0.12 * b - 0.03 * leg],
                [x_leg, 0.035 * b, 0.03 * b],
                [x_leg, 0.018 * b, 0.21 * b],
            ]
        )
        sketch.chain([f"{key}{suffix}" for key in ("femur", "tibia", "tarsus", "toes")], root, mirrored(points, side))
    return sketch.armature()


def _surface(armature: Armature, species: _Species, b: float, colors: list[Array], name: str) -> list[Patch]:
    back, belly, flight = colors
    bill = srgb(species.bill)
    g = species.girth * b
    body, chest, head = armature["body"], armature["chest"], armature["head"]
    low = np.array([0.0, -0.35 * g, 0.0])
    flesh: list[Flesh] = [
        cone(
            "body",
            body.head + low + vec(0, 0, -0.12 * b),
            body.head + low * 1.2 + vec(0, 0.02 * b, 0.06 * b),
            (0.5 * g, 0.86 * g),
            back,
        ),
        cone("body", body.head + low * 1.2, body.tail + low * 1.4, (0.82 * g, g), back),
        cone("chest", chest.head + low * 1.4, chest.tail + low * 1.1, (g, 0.6 * g), back),
    ]
    r = species.head * b
    necks = [bone for bone in armature.bones if bone.key.startswith("neck")]
    thick = np.linspace(0.62 * g, 0.52 * r, len(necks) + 1)
    cap = srgb("#e6e4de") if name == "white-headed" else (flight if name == "hooded" else back)
    for i, bone in enumerate(necks):
        tone = cap if i == len(necks) - 1 else back
        flesh.append(cone(bone.key, bone.head, bone.tail, (float(thick[i]), float(thick[i + 1])), tone))
    skull = head.head + vec(0, 0.18 * r, 0.38 * r)
    flesh.append(ball("head", skull, 0.66 * r, cap, (0.88, 0.95, 1.08)))

    def shade(positions: Array, normals: Array, own: Array) -> Array:
        under = np.clip((-normals[:, 1] + 0.25 * normals[:, 2] - 0.05) / 0.6, 0.0, 1.0)[:, None]
        trunk = np.clip((head.head[1] - 0.2 * r - positions[:, 1:2]) / (0.1 * b), 0.0, 1.0)
        return np.asarray(own * (1 - under * trunk) + belly * under * trunk, np.float64)

    patches = [melt(armature, flesh, cell=0.043 * b, soft=0.02 * b, shade=shade)]
    beak = species.beak * b
    rootp = skull + vec(0, 0.0, 0.5 * r)
    wide = 1.5 if species.noun == "duck" else 0.8
    tipdrop = vec(0, -species.hook * beak - 0.08 * beak, 0)
    upper = np.array(
        [
            rootp,
            rootp + vec(0, 0.02 * r, 0.45 * beak),
            rootp + vec(0, 0, 0.85 * beak) + tipdrop * 0.5,
            rootp + vec(0, 0, 0.98 * beak) + tipdrop,
        ]
    )
    radius = np.array([0.26, 0.2, 0.12, 0.05]) * r
    if species.noun == "duck":
        radius = np.array([0.24, 0.2, 0.22, 0.16]) * r
    weights = rigid_weights(4, len(armature), armature.index["head"])
    patches.append(tube(upper, np.stack([radius * wide, radius * 0.75], axis=-1), weights, bill, sides=8))
    lower = upper * 1.0
    lower[:, 1] = rootp[1] - 0.17 * r
    lower[:, 2] = rootp[2] + (upper[:, 2] - rootp[2]) * 0.85
    weights = rigid_weights(4, len(armature), armature.index["jaw"])
    patches.append(tube(lower, np.stack([radius * wide * 0.8, radius * 0.4], axis=-1), weights, bill * 0.8, sides=8))
    gaze = skull + vec(0.5 * r, 0.14 * r, 0.3 * r)
    ring = srgb("#d8a020") if species.noun in ("eagle", "crow") else srgb("#2a1a10")
    patches += eyes(armature, "head", gaze, 0.15 * r, (0.92, 0.1, 0.4), srgb("#0c0a08"), ring, pupil=0.55)
    for suffix, side in SIDES:
        patches += _wing(armature, suffix, side, back, flight, b)
        patches += _leg(armature, suffix, bill, back, g, b)
    patches += _tail(armature, flight, species.tail * b, b)
    return patches


def _wing(armature: Armature, suffix: str, side: float, back: Array, flight: Array, b: float) -> list[Patch]:
    """The arm in small feathers, and flight feathers that each follow one bone, so that the wing folds like a fan."""
    keys = [f"{key}{suffix}" for key in ("wing_upper", "wing_fore", "wing_hand")]
    span = sum(armature.length(key) for key in keys)
    arm = limb_tube(
        armature,
        keys,
        [(0.0, 0.075 * span), (0.5, 0.055 * span), (1.0, 0.02 * span)],
        back,
        rings=4,
        sides=8,
        blend=0.7,
        flat=0.42,
        up=(0, 1, 0),
    )
    patches = [arm]
    chord = 0.36 * span
    rows = (
        # bone, feathers, where along it, angle back from the bone's own direction, length
        (keys[0], 3, (0.25, 0.95), (1.35, 1.2), (0.75, 0.85)),
        (keys[1], 5, (0.1, 0.95), (1.15, 1.0), (0.95, 1.05)),
        (keys[2], 6, (0.08, 0.97), (0.9, 0.1), (1.12, 1.25)),
    )
    for key, count, (first, last), (near, far), (short, long) in rows:
        bone = armature[key]
        along = armature.vector(key) / armature.length(key)
        behind = np.cross(along, vec(0, 1, 0)) * -side
        behind = behind / np.linalg.norm(behind)
        behind = behind if behind[2] < 0 else -behind
        for i in range(count):
            x = i / (count - 1)
            at = bone.head + (first + (last - first) * x) * (bone.tail - bone.head)
            angle = near + (far - near) * x
            way = np.cos(angle) * along + np.sin(angle) * behind
            length = (short + (long - short) * x) * chord
            # each lies a little under the one before it
            droop = np.outer(np.linspace(0, 1, 5) ** 2, vec(0, -0.05, 0)) * length - vec(0, 0.004 * b * (i % 3), 0)
            spine = at + np.outer(np.linspace(-0.05, 1.0, 5), way) * length + droop
            width = np.array([0.55, 0.9, 1.0, 0.92, 0.4]) * 0.36 * chord
            tones = np.array([back * 0.75, flight, flight, flight, flight * 0.7])
            weights = rigid_weights(5, len(armature), armature.index[key])
            patches.append(blade(spine, width, (0, 1, 0), weights, tones, thickness=0.03 * chord))
    return patches


def _tail(armature: Armature, flight: Array, length: float, b: float) -> list[Patch]:
    tails = [bone.key for bone in armature.bones if bone.key.startswith("tail")]
    root = armature[tails[0]].head
    joints = len(armature)
    out = []
    for i in range(5):
        angle = np.radians(13.0) * (i - 2)
        way = vec(np.sin(angle), -0.1, -np.cos(angle))
        at = np.linspace(-0.1, 1.0, 5)
        spine = root + np.outer(at, way) * length * (1 - 0.03 * abs(i - 2)) + vec(0, 0.003 * b * (2 - abs(i - 2)), 0)
        weights = np.zeros((5, joints))
        if len(tails) == 1:
            weights[:, armature.index[tails[0]]] = 1.0
        else:
            beyond = np.clip((at - 0.35) / 0.3, 0.0, 1.0)
            weights[:, armature.index[tails[0]]], weights[:, armature.index[tails[1]]] = 1 - beyond, beyond
        width = np.array([0.6, 0.8, 1.0, 0.9, 0.3]) * (0.16 * length + 0.03 * b)
        out.append(blade(spine, width, (0, 1, 0), weights, flight * (0.85 + 0.1 * (i % 2)), thickness=0.012 * b))
    return out


def _leg(armature: Armature, suffix: str, bill: Array, back: Array, g: float, b: float) -> list[Patch]:
    thigh = limb_tube(
        armature,
        [f"femur{suffix}", f"tibia{suffix}"],
        [(0.0, 0.42 * g), (0.45, 0.34 * g), (1.0, 0.09 * g)],
        back,
        rings=4,
        sides=8,
    )
    shank = limb_tube(
        armature,
        [f"tibia{suffix}", f"tarsus{suffix}"],
        [(0.0, 0.02 * b), (0.6, 0.022 * b), (1.0, 0.02 * b)],
        bill,
        sides=6,
        blend=0.3,
    )
    patches = [thigh, shank]
    toes, joints = armature[f"toes{suffix}"], len(armature)
    length = armature.length(toes.key)
    for angle, share in ((-0.5, 0.85), (0.0, 1.0), (0.5, 0.85), (np.pi, 0.5)):
        way = vec(np.sin(angle), 0.0, np.cos(angle))
        at = np.linspace(0.0, 1.0, 4)
        points = toes.head * [1, 0, 1] + vec(0, 0.02 * b, 0) + np.outer(at, way) * length * share
        points[:, 1] = np.interp(at, [0, 0.35, 0.85, 1], [0.035, 0.02, 0.016, 0.008]) * b
        weights = rigid_weights(4, joints, armature.index[toes.key])
        patches.append(tube(points, np.array([0.02, 0.017, 0.014, 0.007]) * b, weights, bill, sides=5))
    return patches
