"""Four-legged animals."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural import quadruped_motions as motions
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.design import Design, Motion
from animax.procedural.gait import Leg
from animax.procedural.organic import Flesh, ball, cone, melt
from animax.procedural.patch import Patch, srgb
from animax.procedural.quadruped_motions import Manner, Quadruped
from animax.procedural.shapes import ellipsoid, eyes, lathe, limb_tube
from animax.procedural.take import Limb

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Species:
    """Proportions. ``shoulder`` in metres, all other lengths as shares of it; angles in degrees over the horizon."""

    noun: str
    shoulder: tuple[float, float]
    body: tuple[float, float]
    girth: tuple[float, float]
    limb: float
    neck: tuple[float, float]
    neck_angle: tuple[float, float]
    head: float
    snout: float
    ear: tuple[float, float]
    tail: tuple[float, float]
    bushy: float
    coats: tuple[tuple[str, str], ...]
    hooves: bool = False
    horns: float = 0.0


_SPECIES = (
    _Species(
        noun="dog",
        shoulder=(0.4, 0.65),
        body=(0.95, 1.1),
        girth=(0.17, 0.21),
        limb=1.0,
        neck=(0.3, 0.38),
        neck_angle=(40, 60),
        head=0.135,
        snout=0.25,
        ear=(0.14, 0.05),
        tail=(0.5, 0.7),
        bushy=0.045,
        coats=(("brown", "#8a5a33"), ("black", "#2b2725"), ("golden", "#c8964e"), ("grey", "#7f7a73")),
    ),
    _Species(
        noun="fox",
        shoulder=(0.33, 0.42),
        body=(1.05, 1.2),
        girth=(0.16, 0.18),
        limb=0.9,
        neck=(0.3, 0.36),
        neck_angle=(30, 45),
        head=0.15,
        snout=0.27,
        ear=(0.2, 0.07),
        tail=(0.8, 1.0),
        bushy=0.11,
        coats=(("red", "#c05a22"), ("silver", "#6d7078"), ("white", "#dcdad2")),
    ),
    _Species(
        noun="cat",
        shoulder=(0.26, 0.32),
        body=(1.15, 1.3),
        girth=(0.17, 0.2),
        limb=0.95,
        neck=(0.24, 0.3),
        neck_angle=(25, 45),
        head=0.17,
        snout=0.11,
        ear=(0.15, 0.07),
        tail=(1.0, 1.2),
        bushy=0.045,
        coats=(("ginger", "#c9803a"), ("black", "#2a2828"), ("grey", "#85858c"), ("cream", "#d9c6a0")),
    ),
    _Species(
        noun="horse",
        shoulder=(1.35, 1.65),
        body=(0.95, 1.05),
        girth=(0.19, 0.215),
        limb=0.85,
        neck=(0.55, 0.62),
        neck_angle=(45, 60),
        head=0.12,
        snout=0.33,
        ear=(0.11, 0.035),
        tail=(0.55, 0.7),
        bushy=0.06,
        coats=(("bay", "#7a4526"), ("black", "#2c2624"), ("grey", "#9a9a98"), ("chestnut", "#97502a")),
        hooves=True,
    ),
    _Species(
        noun="deer",
        shoulder=(0.9, 1.15),
        body=(0.9, 1.0),
        girth=(0.16, 0.18),
        limb=0.7,
        neck=(0.45, 0.55),
        neck_angle=(50, 65),
        head=0.11,
        snout=0.24,
        ear=(0.17, 0.06),
        tail=(0.18, 0.25),
        bushy=0.04,
        coats=(("fawn", "#a9743f"), ("brown", "#7a5232")),
        hooves=True,
        horns=0.35,
    ),
    _Species(
        noun="cow",
        shoulder=(1.25, 1.45),
        body=(1.05, 1.2),
        girth=(0.24, 0.28),
        limb=1.1,
        neck=(0.32, 0.4),
        neck_angle=(10, 30),
        head=0.15,
        snout=0.3,
        ear=(0.14, 0.06),
        tail=(0.65, 0.75),
        bushy=0.025,
        coats=(("brown", "#7d4e31"), ("white", "#cfc9bd"), ("black", "#2d2a29")),
        hooves=True,
        horns=0.16,
    ),
    _Species(
        noun="bear",
        shoulder=(0.85, 1.15),
        body=(1.05, 1.2),
        girth=(0.26, 0.31),
        limb=1.6,
        neck=(0.26, 0.32),
        neck_angle=(10, 25),
        head=0.19,
        snout=0.22,
        ear=(0.07, 0.06),
        tail=(0.12, 0.16),
        bushy=0.05,
        coats=(("brown", "#5e3d26"), ("black", "#262322"), ("white", "#d8d6cc")),
    ),
)


def design_quadruped(rng: np.random.Generator) -> Design:
    """Draw a dog, a fox, a cat, a horse, a deer, a cow or a bear."""
    species = _SPECIES[int(rng.integers(len(_SPECIES)))]
    shape = _Shape(
        s=float(rng.uniform(*species.shoulder)),
        body=float(rng.uniform(*species.body)),
        girth=float(rng.uniform(*species.girth)),
        limb=species.limb * float(rng.uniform(0.92, 1.1)),
        neck=float(rng.uniform(*species.neck)),
        neck_angle=float(np.radians(rng.uniform(*species.neck_angle))),
        head=species.head * float(rng.uniform(0.94, 1.08)),
        snout=species.snout * float(rng.uniform(0.9, 1.1)),
        ear=species.ear,
        tail=float(rng.uniform(*species.tail)),
        bushy=species.bushy,
        horns=species.horns if rng.random() < 0.7 else 0.0,
        mane=species.noun == "horse",
        spines=int(rng.integers(2, 5)),
        necks=2 if species.neck[0] > 0.4 else int(rng.integers(1, 3)),
        tails=int(rng.integers(2, 4)) if species.tail[0] < 0.3 else int(rng.integers(4, 7)),
        root=bool(rng.random() < 0.4),
    )
    armature = _armature(shape)
    coat_name, coat = species.coats[int(rng.integers(len(species.coats)))]
    marked = bool(rng.random() < 0.6)
    manner = Manner(
        tempo=float(rng.uniform(0.9, 1.12)),
        stride=float(rng.uniform(0.9, 1.1)),
        bounce=float(rng.uniform(0.75, 1.3)),
        sway=float(rng.uniform(0.75, 1.35)),
        wag=float(rng.uniform(0.6, 1.4)),
        seed=int(rng.integers(2**31)),
    )
    across = np.array([1.0, 0.0, 0.0])
    legs = {}
    for suffix, _ in SIDES:
        front = Limb(f"humerus{suffix}", f"radius{suffix}", np.array([0.0, 0.0, -1.0]))
        hind = Limb(f"femur{suffix}", f"tibia{suffix}", np.array([0.0, 0.0, 1.0]))
        legs[f"front{suffix}"] = Leg(front, f"carpus{suffix}", f"forepaw{suffix}", across)
        legs[f"hind{suffix}"] = Leg(hind, f"tarsus{suffix}", f"hindpaw{suffix}", across)
    animal = Quadruped(armature, shape.s, shape.body * shape.s, shape.girth * shape.s, legs, manner)
    surface = partial(_surface, armature, shape, srgb(coat), marked, species.hooves)
    makers = {
        "idle": ("idle", motions.idle),
        "walk": ("walk", motions.walk),
        "trot": ("trot", motions.trot),
        "gallop": ("gallop", motions.gallop),
        "graze": ("graze", motions.graze),
        "jump": ("jump", motions.jump),
        "sit": ("sit_animal", motions.sit),
        "bark": ("bark", motions.bark),
        "bite": ("bite", motions.bite),
        "look_no": ("no", motions.shake_head),
        "death": ("death", motions.death),
    }
    named = {name: Motion(action, partial(maker, animal)) for name, (action, maker) in makers.items()}
    size = "small " if shape.s < np.mean(species.shoulder) else "large "
    return Design(species.noun, f"{size}{coat_name} {species.noun}", armature, surface, named)


@dataclass(frozen=True)
class _Shape:
    s: float
    body: float
    girth: float
    limb: float
    neck: float
    neck_angle: float
    head: float
    snout: float
    ear: tuple[float, float]
    tail: float
    bushy: float
    horns: float
    mane: bool
    spines: int
    necks: int
    tails: int
    root: bool


def _armature(shape: _Shape) -> Armature:
    sketch = ArmatureSketch()
    s, length = shape.s, shape.body * shape.s
    rear, front = -0.5 * length, 0.5 * length
    top = sketch.bone("root", None, (0, 0, 0), (0, 0, 0.2 * s)) if shape.root else None
    croup = np.array([0.0, 0.9 * s, rear + 0.1 * s])
    hips = sketch.bone("hips", top, croup, (0, 0.87 * s, rear - 0.06 * s))
    withers = np.array([0.0, 0.88 * s, front - 0.08 * s])
    base = np.array([0.0, 0.84 * s, front + 0.06 * s])
    steps = np.linspace(0, 1, shape.spines)[:, None]
    back = np.concatenate([croup + steps * (withers - croup), base[None]])
    back[1:-2, 1] += 0.01 * s
    spine = sketch.chain([f"spine.{i + 1}" for i in range(shape.spines)], hips, back)
    rise = np.array([0.0, np.sin(shape.neck_angle), np.cos(shape.neck_angle)])
    # necks curve up out of the body
    ends = [base]
    for i in range(shape.necks):
        lean = np.array([0.0, 0.12, -0.1]) * (i - 0.5 * (shape.necks - 1))
        ends.append(ends[-1] + (rise + lean) * shape.neck * s / shape.necks)
    neck = sketch.chain([f"neck.{i + 1}" for i in range(shape.necks)], spine[-1], ends)
    poll = ends[-1]
    nose_dir = np.array([0.0, -0.42, 0.9]) / np.linalg.norm([0.42, 0.9])
    reach = (0.6 * shape.head + shape.snout) * s
    sketch.bone("head", neck[-1], poll, poll + nose_dir * reach)
    hinge = poll + nose_dir * 0.25 * reach + np.array([0, -0.55 * shape.head * s, 0])
    sketch.bone("jaw", "head", hinge, hinge + nose_dir * 0.68 * reach + np.array([0, 0.1 * shape.head * s, 0]))
    for suffix, side in SIDES:
        root = poll + np.array([0.55 * shape.head * s, 0.6 * shape.head * s, 0.05 * shape.head * s])
        tip = root + np.array([0.35, 1.0, -0.1]) / 1.06 * shape.ear[0] * s
        sketch.bone(f"ear{suffix}", "head", mirrored(root, side), mirrored(tip, side))
    start = np.array([0.0, 0.87 * s, rear - 0.06 * s])
    # tails hang in a curve
    angles = np.linspace(-0.35, -1.15, shape.tails)
    steps = np.stack([np.zeros(shape.tails), np.sin(angles), -np.cos(angles)], axis=-1) * shape.tail * s / shape.tails
    sketch.chain(
        [f"tail.{i + 1}" for i in range(shape.tails)], hips, start + np.pad(np.cumsum(steps, axis=0), ((1, 0), (0, 0)))
    )
    fx, hx = 0.62 * shape.girth * s, 0.6 * shape.girth * s
    for suffix, side in SIDES:
        points = np.array(
            [
                [0.7 * fx, 0.86 * s, front - 0.1 * s],
                [fx, 0.6 * s, front + 0.06 * s],
                [fx, 0.42 * s, front - 0.13 * s],
                [fx, 0.2 * s, front - 0.03 * s],
                [fx, 0.045 * s, front - 0.01 * s],
                [fx, 0.025 * s, front + 0.075 * s],
            ]
        )
        keys = [f"{key}{suffix}" for key in ("scapula", "humerus", "radius", "carpus", "forepaw")]
        sketch.chain(keys, spine[-1], mirrored(points, side))
    for suffix, side in SIDES:
        points = np.array(
            [
                [hx, 0.8 * s, rear + 0.07 * s],
                [hx, 0.49 * s, rear + 0.2 * s],
                [hx, 0.26 * s, rear - 0.09 * s],
                [hx, 0.045 * s, rear - 0.02 * s],
                [hx, 0.025 * s, rear + 0.065 * s],
            ]
        )
        keys = [f"{key}{suffix}" for key in ("femur", "tibia", "tarsus", "hindpaw")]
        sketch.chain(keys, hips, mirrored(points, side))
    return sketch.armature()


def _surface(armature: Armature, shape: _Shape, coat: Array, marked: bool, hooves: bool) -> list[Patch]:
    s, g, k = shape.s, shape.girth * shape.s, shape.limb * shape.s
    pale = np.minimum(coat * 0.5 + 0.35, 0.85)
    dark = coat * 0.25
    foot = srgb("#2a2522") if hooves else (pale if marked else coat * 0.6)
    flesh: list[Flesh] = []
    hips = armature["hips"]
    flesh.append(
        cone(
            "hips",
            hips.head + vec(0, -0.14 * s, -0.02 * s),
            hips.head + vec(0, -0.1 * s, -0.1 * s),
            (0.8 * g, 0.62 * g),
            coat,
        )
    )
    spines = [bone for bone in armature.bones if bone.key.startswith("spine")]
    for i, bone in enumerate(spines[:-1]):
        a, b = (float(np.interp(x / max(len(spines) - 1, 1), [0, 0.35, 1], [0.82, 0.86, 1.0])) for x in (i, i + 1))
        low = np.array([0.0, -1.0, 0.0])
        flesh.append(
            cone(bone.key, bone.head + low * (a * g), bone.tail + low * (b * g), (a * g, b * g), coat, (0.95, 1.0, 1.0))
        )
    chest = spines[-1]
    flesh.append(
        cone(
            chest.key,
            chest.head + vec(0, -1.02 * g, 0),
            chest.tail + vec(0, -1.05 * g, 0.0),
            (1.02 * g, 0.72 * g),
            coat,
            (0.9, 1.05, 1.0),
        )
    )
    necks = [bone for bone in armature.bones if bone.key.startswith("neck")]
    thick = np.linspace(0.72 * g, max(0.42 * g, 0.55 * shape.head * s), len(necks) + 1)
    for i, bone in enumerate(necks):
        sag = np.array([0, -0.35 * g, 0]) if i == 0 else np.zeros(3)
        flesh.append(cone(bone.key, bone.head + sag, bone.tail, (thick[i], thick[i + 1]), coat, (0.8, 1.0, 1.0)))
        if shape.mane:
            crest = vec(0, 0.55 * thick[i + 1], -0.75 * thick[i + 1])
            flesh.append(
                cone(
                    bone.key,
                    bone.head + crest,
                    bone.tail + crest,
                    (0.5 * thick[i], 0.62 * thick[i + 1]),
                    dark,
                    (0.4, 1.0, 1.0),
                )
            )
    head, jaw = armature["head"], armature["jaw"]
    r = shape.head * s
    nose_dir = armature.vector("head") / armature.length("head")
    skull = head.head + nose_dir * 0.5 * r
    flesh.append(ball("head", skull, r * 0.8, coat, (0.92, 0.95, 1.0)))
    tip = head.tail - nose_dir * 0.28 * r
    flesh.append(
        cone("head", skull + vec(0, 0.06 * r, 0), tip + vec(0, 0.06 * r, 0), (0.56 * r, 0.3 * r), coat, (0.9, 0.9, 1.0))
    )
    flesh.append(ball("head", head.tail + vec(0, 0.1 * r, -0.12 * r), 0.17 * r, srgb("#1d1817"), (1.2, 0.85, 0.9)))
    flesh.append(cone("jaw", jaw.head, jaw.tail, (0.34 * r, 0.18 * r), pale if marked else coat, (0.85, 0.75, 1.0)))
    for suffix, side in SIDES:
        if shape.horns:
            root = skull + mirrored([0.5 * r, 0.6 * r, -0.1 * r], side)
            bend = root + mirrored([0.55, 0.6, -0.15], side) * shape.horns * s
            end = bend + mirrored([-0.1, 0.65, 0.2], side) * shape.horns * s
            bone_color = srgb("#b9a88a")
            flesh += [
                cone("head", root, bend, (0.2 * r, 0.15 * r), bone_color),
                cone("head", bend, end, (0.15 * r, 0.06 * r), bone_color),
            ]
        scapula, humerus, femur = (armature[f"{key}{suffix}"] for key in ("scapula", "humerus", "femur"))
        blade_top = scapula.head + 0.35 * (scapula.tail - scapula.head)
        flesh += [
            cone(scapula.key, blade_top, scapula.tail, (0.085 * k, 0.09 * k), coat, (0.75, 1.0, 1.0)),
            cone(humerus.key, humerus.head, humerus.tail, (0.088 * k, 0.056 * k), coat, (0.85, 1.0, 1.0)),
            cone(
                femur.key, femur.head + vec(0, -0.07 * s, 0), femur.tail, (0.125 * k, 0.075 * k), coat, (0.75, 1.0, 1.0)
            ),
        ]
    tails = [bone for bone in armature.bones if bone.key.startswith("tail")]
    for i, bone in enumerate(tails):
        x = np.array([i, i + 1]) / len(tails)
        width = np.interp(x, [0, 0.2, 0.7, 1.0], [0.75, 0.9, 1.0, 0.4]) * max(shape.bushy, 0.02) * s
        end_color = pale if marked else dark
        color = dark if shape.mane else end_color if i == len(tails) - 1 else coat
        flesh.append(cone(bone.key, bone.head, bone.tail, (float(width[0]), float(width[1])), color))

    def shade(positions: Array, normals: Array, colors: Array) -> Array:
        under = np.clip((-normals[:, 1] - 0.15) / 0.7, 0.0, 1.0)[:, None] * (0.75 if marked else 0.3)
        trunk = (positions[:, 1:2] > 0.38 * s).astype(np.float64)
        return colors * (1 - under * trunk) + pale * under * trunk

    cell = 0.056 * s * (0.7 + 0.3 * shape.body)
    body = melt(armature, flesh, cell=cell, soft=0.02 * s, shade=shade)
    look = np.array([0.75, 0.1, 0.66])
    place = skull + vec(0.5 * r, 0.3 * r, 0.42 * r)
    out = [body, *eyes(armature, "head", place, 0.16 * r, look, srgb("#1c120c"), srgb("#5a3a1c"), pupil=0.6)]
    for suffix, _ in SIDES:
        wide = shape.ear[1] * s
        out.append(
            limb_tube(
                armature,
                [f"ear{suffix}"],
                [(0.0, 0.8 * wide), (0.25, wide), (0.7, 0.62 * wide), (1.0, 0.12 * wide)],
                coat * 0.8,
                rings=6,
                sides=8,
                flat=0.42,
                up=(0, 0, 1),
            )
        )
        out += _shanks(armature, suffix, k, s, coat, foot if marked else coat, foot, hooves)
    return out


def _shanks(
    armature: Armature, suffix: str, k: float, s: float, coat: Array, sock: Array, foot: Array, hooves: bool
) -> list[Patch]:
    """The slender lower legs, too thin to be melted, and the paws or hooves."""
    out = []
    front = [f"{key}{suffix}" for key in ("humerus", "radius", "carpus")]
    hind = [f"{key}{suffix}" for key in ("femur", "tibia", "tarsus")]
    slim = 0.82 if hooves else 1.0
    for keys, paw, radii in (
        (
            front,
            "forepaw",
            [
                (0.0, 0.03),
                (0.3, 0.058),
                (0.42, 0.06),
                (0.62, 0.042 * slim),
                (0.74, 0.046 * slim),
                (0.85, 0.036 * slim),
                (1.0, 0.042 * slim),
            ],
        ),
        (
            hind,
            "hindpaw",
            [
                (0.0, 0.03),
                (0.3, 0.075),
                (0.42, 0.08),
                (0.6, 0.052),
                (0.7, 0.046 * slim),
                (0.85, 0.037 * slim),
                (1.0, 0.042 * slim),
            ],
        ),
    ):
        tones = np.array([coat, coat, coat, coat, coat, sock, sock])
        out.append(
            limb_tube(armature, keys, [(x, w * k) for x, w in radii], tones, rings=5, sides=8, blend=0.45, up=(1, 0, 0))
        )
        bone = armature[f"{paw}{suffix}"]
        length = bone.tail[2] - bone.head[2]
        if hooves:
            ring = [(0.05 * k, 0.0), (0.052 * k, 0.012 * s), (0.04 * k, 0.075 * s)]
            out.append(
                lathe(armature, bone.key, ring, foot, place=bone.head * [1, 0, 1] + vec(0, 0, 0.02 * s), sides=10)
            )
        else:
            middle = bone.head * [1, 0, 1] + vec(0, 0.036 * s, 0.32 * length)
            out.append(
                ellipsoid(armature, bone.key, middle, (0.052 * k, 0.036 * s, 0.72 * length), foot, rows=6, sides=10)
            )
    return out
