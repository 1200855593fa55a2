"""People and people-like creatures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from animax.procedural import biped_motions as motions
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.biped_motions import Biped, Manner
from animax.procedural.design import Design, Motion
from animax.procedural.gait import Leg
from animax.procedural.organic import Flesh, ball, cone, melt
from animax.procedural.patch import Patch, srgb
from animax.procedural.shapes import eyes
from animax.procedural.take import Limb

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Build:
    """Proportions; lengths as shares of the height."""

    noun: str
    height: tuple[float, float]
    head: tuple[float, float]
    legs: tuple[float, float]
    girth: tuple[float, float]
    skins: tuple[str, ...]
    ears: bool = False


_BUILDS = (
    _Build(
        noun="man",
        height=(1.68, 1.92),
        head=(0.066, 0.074),
        legs=(0.47, 0.50),
        girth=(0.9, 1.15),
        skins=("#e0b090", "#c68863", "#8d5a3c", "#5f3b28"),
    ),
    _Build(
        noun="woman",
        height=(1.55, 1.78),
        head=(0.066, 0.074),
        legs=(0.47, 0.51),
        girth=(0.8, 1.0),
        skins=("#ecc4a4", "#d19a76", "#97633f", "#6b4430"),
    ),
    _Build(
        noun="child",
        height=(1.0, 1.35),
        head=(0.085, 0.105),
        legs=(0.42, 0.45),
        girth=(0.95, 1.15),
        skins=("#f0c8a8", "#cf946c", "#84543a"),
    ),
    _Build(
        noun="goblin",
        height=(0.9, 1.2),
        head=(0.10, 0.12),
        legs=(0.38, 0.43),
        girth=(0.85, 1.1),
        skins=("#7a9a4a", "#5f8a52", "#8a8f4e"),
        ears=True,
    ),
    _Build(
        noun="ogre",
        height=(2.3, 2.9),
        head=(0.068, 0.08),
        legs=(0.38, 0.42),
        girth=(1.45, 1.8),
        skins=("#8f9a6a", "#7c8aa0", "#a08068"),
        ears=True,
    ),
)
_CLOTHES = ("#b03a2e", "#2e5fa3", "#3a7d44", "#7b4f9d", "#d08c2e", "#3f4a5a", "#c9c2b0", "#2a8c8c", "#913d5c")
_CLOTH_NAMES = ("red", "blue", "green", "purple", "orange", "grey", "cream", "teal", "plum")
_TROUSERS = ("#2f3b52", "#4a3b2c", "#26262b", "#5c5a4a", "#6d4a3a")
_HAIR = ("#1f1712", "#4b2e1a", "#8a5a2b", "#c9a050", "#777777", "#a03c20")
_SHOES = ("#1c1a19", "#4a2f1c", "#e0e0e0", "#7a2a2a")


def design_biped(rng: np.random.Generator) -> Design:
    """Draw a person, a child, a goblin or an ogre."""
    build = _BUILDS[int(rng.choice(len(_BUILDS), p=(0.28, 0.27, 0.15, 0.15, 0.15)))]
    height = rng.uniform(*build.height)
    head = rng.uniform(*build.head) * height
    leg = rng.uniform(*build.legs) * height
    girth = rng.uniform(*build.girth)
    arms_down = np.radians(rng.choice([0.0, 0.0, 20.0, 40.0, 50.0]))
    armature = _armature(height, head, leg, girth, arms_down, int(rng.integers(2, 4)), bool(rng.random() < 0.4))
    shirt = int(rng.integers(len(_CLOTHES)))
    palette = {
        "skin": srgb(str(rng.choice(build.skins))),
        "shirt": srgb(_CLOTHES[shirt]),
        "trousers": srgb(str(rng.choice(_TROUSERS))),
        "shoes": srgb(str(rng.choice(_SHOES))),
        "hair": srgb(str(rng.choice(_HAIR))),
    }
    sleeves = bool(rng.random() < 0.5)
    hair = float(rng.uniform(0.3, 1.0)) if build.noun != "ogre" else 0.0
    manner = Manner(
        tempo=float(rng.uniform(0.88, 1.12)),
        stride=float(rng.uniform(0.9, 1.12)),
        swing=float(rng.uniform(0.75, 1.3)),
        bounce=float(rng.uniform(0.7, 1.4)),
        sway=float(rng.uniform(0.7, 1.4)),
        lean=float(np.radians(rng.uniform(-1.0, 4.0))),
        hand=".R" if rng.random() < 0.75 else ".L",
        seed=int(rng.integers(2**31)),
    )
    biped = Biped(armature, leg, height, _legs(armature), _arms(), manner)
    surface = partial(_surface, armature, height, head, girth, palette, sleeves, hair, build.ears)
    makers = {
        "idle": ("idle", motions.idle),
        "walk": ("walk", motions.walk),
        "run": ("run", motions.run),
        "sneak": ("sneak", motions.sneak),
        "jump": ("jump", motions.jump),
        "wave": ("wave", motions.wave_hand),
        "sit": ("sit", motions.sit),
        "dance": ("dance", motions.dance),
        "nod": ("yes", motions.nod),
        "shake_head": ("no", motions.shake_head),
        "punch": ("punch", motions.punch),
        "kick": ("kick", motions.kick),
        "cheer": ("cheer", motions.cheer),
        "death": ("death", motions.death),
    }
    named = {name: Motion(action, partial(maker, biped)) for name, (action, maker) in makers.items()}
    return Design(build.noun, f"{build.noun} in a {_CLOTH_NAMES[shirt]} shirt", armature, surface, named)


def _armature(
    height: float, head: float, leg: float, girth: float, arms_down: float, spines: int, root: bool
) -> Armature:
    sketch = ArmatureSketch()
    h = height
    neck_y = h - 2.25 * head
    hip_y = leg + 0.02 * h
    top = sketch.bone("root", None, (0, 0, 0), (0, 0, 0.2 * h)) if root else None
    hips = sketch.bone("hips", top, (0, hip_y, 0), (0, hip_y + 0.05 * h, 0))
    waist, chest_top = hip_y + 0.05 * h, neck_y - 0.01 * h
    ys = np.linspace(waist, chest_top, spines + 1)
    bow = 0.012 * h * np.sin(np.linspace(0, np.pi, spines + 1))
    spine = sketch.chain(
        [f"spine.{i + 1}" for i in range(spines)], hips, np.stack([np.zeros(spines + 1), ys, -bow], axis=-1)
    )
    neck = sketch.bone("neck.1", spine[-1], (0, chest_top, 0), (0, neck_y + 0.35 * head, 0.1 * head))
    sketch.bone("head", neck, (0, neck_y + 0.35 * head, 0.1 * head), (0, h, 0.1 * head))
    shoulder_x = 0.11 * h * (0.75 + 0.25 * girth)
    shoulder_y = chest_top - 0.025 * h
    arm, fore, hand = 0.165 * h, 0.145 * h, 0.085 * h
    down = np.array([np.cos(arms_down), -np.sin(arms_down), 0.0])
    for suffix, side in SIDES:
        start = np.array([0.02 * h, shoulder_y + 0.01 * h, 0.0])
        joint = np.array([shoulder_x, shoulder_y, 0.0])
        # the elbow a little behind the line, so that it knows which way to bend
        elbow = joint + arm * down + np.array([0, 0, -0.006 * h])
        wrist = joint + (arm + fore) * down
        clavicle = sketch.bone(f"shoulder{suffix}", spine[-1], mirrored(start, side), mirrored(joint, side))
        sketch.chain(
            [f"upper_arm{suffix}", f"forearm{suffix}", f"hand{suffix}"],
            clavicle,
            mirrored([joint, elbow, wrist, wrist + hand * down], side),
        )
    hip_x = 0.06 * h * (0.6 + 0.4 * girth)
    for suffix, side in SIDES:
        hip, knee = np.array([hip_x, leg, 0.0]), np.array([hip_x, 0.53 * leg, 0.012 * h])
        ankle, sole = np.array([hip_x, 0.04 * h, -0.012 * h]), np.array([hip_x, 0.012 * h, 0.06 * h])
        points = [hip, knee, ankle, sole, sole + np.array([0, 0, 0.04 * h])]
        sketch.chain([f"{key}{suffix}" for key in ("thigh", "shin", "foot", "toe")], hips, mirrored(points, side))
    return sketch.armature()


def _legs(armature: Armature) -> dict[str, Leg]:
    del armature
    forward, across = np.array([0.0, 0.0, 1.0]), np.array([1.0, 0.0, 0.0])
    return {s: Leg(Limb(f"thigh{s}", f"shin{s}", forward), f"foot{s}", f"toe{s}", across) for s, _ in SIDES}


def _arms() -> dict[str, Limb]:
    return {s: Limb(f"upper_arm{s}", f"forearm{s}", np.array([0.0, 0.0, -1.0])) for s, _ in SIDES}


def _surface(
    armature: Armature,
    h: float,
    head: float,
    girth: float,
    palette: dict[str, Array],
    sleeves: bool,
    hair: float,
    ears: bool,
) -> list[Patch]:
    skin, shirt, trousers = palette["skin"], palette["shirt"], palette["trousers"]
    g = (0.5 + 0.5 * girth) * h
    flesh: list[Flesh] = []
    hips, wide = armature["hips"], girth
    flesh.append(ball("hips", hips.head + vec(0, 0.0, 0), 0.072 * g, trousers, (1.15, 0.85, 0.9)))
    spines = [bone for bone in armature.bones if bone.key.startswith("spine")]
    for i, bone in enumerate(spines):
        low, high = i / len(spines), (i + 1) / len(spines)
        belly = 0.066 + 0.02 * max(0.0, wide - 1.1)
        lower, upper = (float(np.interp(x, [0, 0.6, 1], [belly, 0.078, 0.05]) * g) for x in (low, high))
        flesh.append(cone(bone.key, bone.head, bone.tail, (lower, upper), shirt, (1.25, 1.0, 0.88)))
    neck, skull = armature["neck.1"], armature["head"]
    flesh.append(cone("neck.1", neck.head, neck.tail, (0.034 * g, 0.03 * g), skin))
    middle = skull.head + vec(0, 0.95 * head, 0.02 * head)
    flesh.append(ball("head", middle, 0.92 * head, skin, (0.84, 1.0, 0.95)))
    flesh.append(ball("head", middle + vec(0, -0.42 * head, 0.18 * head), 0.55 * head, skin, (0.95, 0.9, 1.0)))
    flesh.append(ball("head", middle + vec(0, -0.08 * head, 0.9 * head), 0.14 * head, skin, (0.8, 1.0, 1.0)))
    if hair > 0:
        tint = palette["hair"]
        flesh.append(ball("head", middle + vec(0, 0.22 * head, -0.16 * head), 0.9 * head, tint, (0.92, 0.95, 0.98)))
        long = middle + vec(0, -0.9 * hair * head, -0.6 * head)
        flesh.append(
            cone("head", middle + vec(0, 0, -0.4 * head), long, (0.6 * head, 0.42 * head), tint, (1.0, 1.0, 0.7))
        )
    for suffix, side in SIDES:
        for key, radii, color in (
            ("shoulder", (0.045, 0.045), shirt),
            ("upper_arm", (0.042, 0.033), shirt),
            ("forearm", (0.034, 0.024), shirt if sleeves else skin),
        ):
            bone = armature[f"{key}{suffix}"]
            flesh.append(cone(bone.key, bone.head, bone.tail, (radii[0] * g, radii[1] * g), color))
        hand = armature[f"hand{suffix}"]
        along = hand.tail - hand.head
        palm = hand.head + 0.35 * along
        flesh.append(cone(hand.key, hand.head, palm, (0.022 * g, 0.027 * g), skin, (1.0, 0.75, 1.05)))
        flesh.append(cone(hand.key, palm, hand.head + 1.0 * along, (0.026 * g, 0.013 * g), skin, (1.0, 0.7, 1.1)))
        thumb = hand.head + 0.65 * along + np.array([0, 0, 0.03 * h])
        flesh.append(
            cone(hand.key, hand.head + 0.25 * along + vec(0, 0, 0.012 * h), thumb, (0.014 * g, 0.01 * g), skin)
        )
        for key, radii in (("thigh", (0.057, 0.041)), ("shin", (0.039, 0.027))):
            bone = armature[f"{key}{suffix}"]
            flesh.append(cone(bone.key, bone.head, bone.tail, (radii[0] * g, radii[1] * g), trousers))
        foot, toe = armature[f"foot{suffix}"], armature[f"toe{suffix}"]
        r = 0.027 * h * (0.7 + 0.3 * girth)
        heel = np.array([foot.head[0], r * 0.8, foot.head[2] - 0.012 * h])
        ball_of_foot = np.array([toe.head[0], r * 0.62, toe.head[2]])
        flesh.append(cone(foot.key, foot.head, heel, (r * 0.9, r * 0.95), palette["shoes"], (0.95, 0.84, 1.0)))
        flesh.append(cone(foot.key, heel, ball_of_foot, (r * 0.85, r), palette["shoes"], (1.0, 0.62 / 1.0, 1.0)))
        tip = np.array([toe.tail[0], r * 0.55, toe.tail[2] - 0.01 * h])
        flesh.append(cone(toe.key, ball_of_foot, tip, (r, r * 0.85), palette["shoes"], (1.0, 0.6, 1.0)))
        if ears:
            root = middle + mirrored([0.75 * head, 0.05 * head, 0.0], side)
            tip = middle + mirrored([1.75 * head, 0.45 * head, -0.35 * head], side)
            flesh.append(cone("head", root, tip, (0.24 * head, 0.05 * head), skin, (1.0, 1.0, 0.7)))
    body = melt(armature, flesh, cell=0.0225 * h * (0.75 + 0.25 * girth), soft=0.0065 * h)
    gaze = middle + vec(0.32 * head, 0.06 * head, 0.7 * head)
    return [body, *eyes(armature, "head", gaze, 0.17 * head, (0.12, 0.0, 1.0), srgb("#2a1a12"))]
