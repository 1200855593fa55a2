"""Robot arms: rigid links on hinges, without a skin."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.procedural.armature import SIDES, Armature, ArmatureSketch, mirrored, vec
from animax.procedural.curves import cyclic, hump, noise, wave
from animax.procedural.design import Design, Motion
from animax.procedural.patch import METAL, Patch, srgb
from animax.procedural.shapes import box, convex, lathe
from animax.procedural.take import Limb, Take, about

Array = NDArray[np.float64]

_PAINTS = (("orange", "#d9701e"), ("yellow", "#e0b020"), ("white", "#d8d8d4"), ("blue", "#2c62a8"), ("red", "#b0302a"))


@dataclass(frozen=True, eq=False)
class RobotArm:
    """Bones, measures in metres, and style (factors near 1)."""

    armature: Armature
    upper: float
    fore: float
    shoulder: float
    hand: float
    tempo: float
    seed: int

    @property
    def limb(self) -> Limb:
        """Upper arm and forearm; the elbow points up and back."""
        return Limb("upper_arm", "forearm", np.array([0.0, 0.6, -0.8]))

    @property
    def reach(self) -> float:
        """Metres from shoulder to wrist, stretched."""
        return self.upper + self.fore


def design_robot_arm(rng: np.random.Generator) -> Design:
    """Draw a robot arm."""
    size = float(rng.uniform(0.5, 1.3))
    shoulder = size * float(rng.uniform(0.32, 0.45))
    upper, fore = size * float(rng.uniform(0.55, 0.68)), size * float(rng.uniform(0.48, 0.6))
    hand = 0.16 * size
    armature = _armature(size, shoulder, upper, fore, hand)
    name, paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    arm = RobotArm(armature, upper, fore, shoulder, hand, float(rng.uniform(0.85, 1.15)), int(rng.integers(2**31)))
    makers = {
        "idle": ("idle_machine", _idle),
        "pick_and_place": ("pick_place", _pick_and_place),
        "wave": ("wave_machine", _wave),
        "spin": ("spin", _spin),
        "inspect": ("inspect", _inspect),
        "nod": ("yes", _nod),
    }
    named = {key: Motion(action, partial(maker, arm)) for key, (action, maker) in makers.items()}
    surface = partial(_surface, arm, size, srgb(paint))
    return Design("robot arm", f"{name} industrial robot arm", armature, surface, named, skinned=False)


def _armature(size: float, shoulder: float, upper: float, fore: float, hand: float) -> Armature:
    sketch = ArmatureSketch()
    sketch.bone("base", None, (0, 0, 0), (0, 0.16 * size, 0))
    sketch.bone("turret", "base", (0, 0.16 * size, 0), (0, shoulder, 0))
    joint = np.array([0.0, shoulder, 0.06 * size])
    elbow = joint + vec(0, np.cos(0.35), -np.sin(0.35)) * upper
    wrist = elbow + vec(0, -np.sin(0.35), np.cos(0.35)) * fore
    sketch.chain(["upper_arm", "forearm", "wrist"], "turret", [joint, elbow, wrist, wrist + vec(0, -0.1 * size, 0)])
    palm = wrist + vec(0, -0.1 * size, 0)
    sketch.bone("hand", "wrist", palm, palm + vec(0, -0.05 * size, 0))
    for suffix, side in SIDES:
        root = palm + vec(0.05 * size, -0.05 * size, 0)
        sketch.bone(
            f"finger{suffix}",
            "hand",
            mirrored(root, side),
            mirrored(root + vec(-0.02 * size, -hand + 0.05 * size, 0), side),
        )
    return sketch.armature()


def _surface(arm: RobotArm, size: float, paint: Array) -> list[Patch]:
    a, s = arm.armature, size
    dark, steel = srgb("#2b2d31"), srgb("#8d9298")
    out = [
        lathe(
            a,
            "base",
            [(0.27 * s, 0.0), (0.27 * s, 0.035 * s), (0.2 * s, 0.05 * s), (0.18 * s, 0.16 * s)],
            dark,
            sides=28,
        ),
        lathe(a, "turret", [(0.17 * s, 0.162 * s), (0.17 * s, 0.22 * s), (0.12 * s, 0.25 * s)], paint, sides=28),
    ]
    out += [
        lathe(
            a,
            "base",
            [(0.018 * s, 0.0), (0.018 * s, 0.02 * s)],
            steel,
            place=(0.235 * s * np.sin(k), 0.03 * s, 0.235 * s * np.cos(k)),
            sides=8,
            finish=METAL,
        )
        for k in np.arange(8) * np.pi / 4
    ]
    joint, elbow, wrist = a["upper_arm"].head, a["forearm"].head, a["wrist"].head
    for side in (1.0, -1.0):
        low, high = (0.075 * s, 0.2 * s, -0.07 * s), (0.115 * s, joint[1] + 0.075 * s, joint[2] + 0.07 * s)
        corners = np.array(
            [
                [side * x, y, z]
                for x in (low[0], high[0])
                for y, z in (
                    (low[1], low[2] - 0.02 * s),
                    (low[1], high[2] + 0.02 * s),
                    (high[1], joint[2] - 0.05 * s),
                    (high[1], joint[2] + 0.05 * s),
                )
            ]
        )
        out.append(convex(a, "turret", corners, paint * 0.92))
    sideways = vec(1, 0, 0)

    def drum(bone: str, place: Array, radius: float, half: float, color: Array, **finish: object) -> Patch:
        bevel = 0.15 * radius
        profile = [(radius - bevel, -half), (radius, -half + bevel), (radius, half - bevel), (radius - bevel, half)]
        return lathe(
            a, bone, profile, color, place=place, axis=sideways, sides=22, finish=METAL if finish else arm_finish
        )

    arm_finish = out[0].finish
    out.append(drum("upper_arm", joint, 0.085 * s, 0.07 * s, paint))
    out.append(drum("upper_arm", joint, 0.05 * s, 0.125 * s, steel, metal=True))
    out.append(drum("forearm", elbow, 0.075 * s, 0.062 * s, dark))
    out.append(drum("upper_arm", elbow, 0.045 * s, 0.085 * s, steel, metal=True))
    out += _beam(a, "upper_arm", joint, elbow, (0.055 * s, 0.07 * s), (0.045 * s, 0.055 * s), paint)
    out += _beam(a, "forearm", elbow, wrist, (0.05 * s, 0.06 * s), (0.03 * s, 0.035 * s), paint)
    # a motor on the back of the forearm, and a cable duct
    along = (wrist - elbow) / np.linalg.norm(wrist - elbow)
    out.append(
        lathe(
            a,
            "forearm",
            [(0.05 * s, -0.16 * s), (0.055 * s, -0.14 * s), (0.055 * s, -0.04 * s)],
            dark,
            place=elbow,
            axis=along,
            sides=18,
        )
    )
    out.append(drum("wrist", wrist, 0.045 * s, 0.045 * s, steel, metal=True))
    palm = a["hand"].head
    out.append(
        lathe(a, "wrist", [(0.035 * s, 0.0), (0.035 * s, 0.075 * s), (0.025 * s, 0.1 * s)], dark, place=palm, sides=18)
    )
    out.append(
        box(
            a,
            "hand",
            palm + vec(-0.075 * s, -0.045 * s, -0.03 * s),
            palm + vec(0.075 * s, 0.0, 0.03 * s),
            paint * 0.85,
            bevel=0.008 * s,
        )
    )
    for suffix, side in SIDES:
        finger = a[f"finger{suffix}"]
        profile = [
            (0.03, 0.0),
            (0.045, -0.02),
            (0.04, -0.07),
            (0.012, -0.115),
            (-0.002, -0.115),
            (0.012, -0.06),
            (0.005, 0.0),
        ]
        corners = np.array([[side * (x - 0.01) * s, y * s, z * s] for x, y in profile for z in (-0.018, 0.018)])
        outer = corners[[0, 1, 2, 3, 4, 5, 12, 13]]
        inner = corners[[4, 5, 6, 7, 8, 9, 10, 11]]
        out.append(convex(a, finger.key, outer, steel, place=finger.head, finish=METAL))
        out.append(convex(a, finger.key, inner, steel, place=finger.head, finish=METAL))
    return out


def _beam(
    a: Armature,
    bone: str,
    start: Array,
    end: Array,
    first: tuple[float, float],
    last: tuple[float, float],
    color: Array,
) -> list[Patch]:
    """A tapering bar with bevelled edges."""
    along = (end - start) / np.linalg.norm(end - start)
    across, face = vec(1, 0, 0), np.cross(along, vec(1, 0, 0))
    points = []
    for place, (w, d) in ((start, first), (end, last)):
        for x, y in ((1, 0.6), (0.6, 1), (-0.6, 1), (-1, 0.6), (-1, -0.6), (-0.6, -1), (0.6, -1), (1, -0.6)):
            points.append(place + x * w * across + y * d * face)
    return [convex(a, bone, np.array(points), color)]


def _pose(
    arm: RobotArm,
    take: Take,
    yaw: Array,
    out: Array,
    height: Array,
    *,
    pitch: ArrayLike = 0.0,
    roll: ArrayLike = 0.0,
    grip: ArrayLike = 0.0,
) -> None:
    """Bring the wrist to a distance ``out`` in front of the turret and a ``height``, metres; the hand hangs down, or is
    raised by ``pitch``. ``grip`` closes the fingers, 0 to 1."""
    take.turn("turret", yaw=yaw)
    heading = np.stack([np.sin(yaw), np.zeros(len(take)), np.cos(yaw)], axis=-1)
    target = heading * out[:, None] + np.outer(height, [0.0, 1.0, 0.0])
    pole = np.array([0.0, 1.0, 0.0]) - 0.5 * heading
    take.reach(arm.limb, target, pole)
    level = about("y", np.broadcast_to(yaw, (len(take),)))
    take.set_world(
        "wrist", rotations.multiply(level, about("x", -np.broadcast_to(np.asarray(pitch, np.float64), (len(take),))))
    )
    take.turn("hand", yaw=roll)
    for suffix, side in SIDES:
        take.turn(f"finger{suffix}", roll=-side * (0.35 - 0.5 * np.asarray(grip, np.float64)))


def _idle(arm: RobotArm) -> Take:
    """Standing by: slow drifts, a test of the gripper."""
    take = Take(arm.armature, 4.0 / arm.tempo)
    t = take.phase
    rng = np.random.default_rng(arm.seed)
    grip = 0.5 + 0.5 * hump(t, 0.5, 0.56, 0.58, 0.64) - 0.4 * hump(t, 0.66, 0.72, 0.74, 0.8)
    _pose(
        arm,
        take,
        0.14 * noise(t, rng, 2),
        arm.reach * (0.5 + 0.02 * wave(t, 1)),
        arm.shoulder + arm.reach * (0.22 + 0.02 * wave(t, 1, 0.3)),
        pitch=0.25 + 0.05 * wave(t, 2),
        grip=grip,
    )
    return take


def _pick_and_place(arm: RobotArm) -> Take:
    """Down, grip, over to the other side, down, let go, and back."""
    take = Take(arm.armature, 4.2 / arm.tempo)
    t = take.phase
    yaw = cyclic(t, [(0.0, 0.9), (0.24, 0.9), (0.44, -0.9), (0.74, -0.9), (0.94, 0.9)])
    low, high = arm.hand + 0.12 * arm.reach, arm.shoulder + 0.05 * arm.reach
    down = hump(t, 0.02, 0.12, 0.18, 0.27) + hump(t, 0.47, 0.58, 0.64, 0.74)
    grip = hump(t, 0.12, 0.16, 0.6, 0.64)
    _pose(
        arm, take, yaw, arm.reach * (0.62 + 0.06 * down), high + (low - high) * down, grip=grip, roll=0.5 * wave(t, 1)
    )
    return take


def _wave(arm: RobotArm) -> Take:
    """Stretched up, the hand swings to and fro."""
    take = Take(arm.armature, 2.8 / arm.tempo)
    t = take.phase
    up = hump(t, 0.0, 0.25, 0.75, 1.0)
    swing = up * wave(t, 4)
    _pose(
        arm,
        take,
        0.3 * swing,
        arm.reach * (0.5 - 0.12 * up),
        arm.shoulder + arm.reach * (0.22 + 0.48 * up),
        pitch=0.25 + 2.2 * up,
        roll=0.4 * swing,
        grip=0.5 - 0.5 * up,
    )
    take.turn("wrist", roll=0.45 * up * wave(t, 4, 0.1))
    return take


def _spin(arm: RobotArm) -> Take:
    """A full turn about the base."""
    take = Take(arm.armature, 3.6 / arm.tempo)
    t = take.phase
    turn = 2 * np.pi * t
    _pose(
        arm,
        take,
        turn,
        arm.reach * (0.55 + 0.03 * wave(t, 2)),
        arm.shoulder + arm.reach * (0.3 + 0.05 * wave(t, 2, 0.2)),
        pitch=0.5,
        grip=0.5,
    )
    return take


def _inspect(arm: RobotArm) -> Take:
    """Around something low in front, looking at it from all sides."""
    take = Take(arm.armature, 4.5 / arm.tempo)
    t = take.phase
    _pose(
        arm,
        take,
        0.45 * wave(t, 1),
        arm.reach * (0.68 + 0.06 * wave(t, 1, 0.25)),
        arm.hand + arm.reach * (0.3 + 0.1 * wave(t, 2, 0.1)),
        pitch=0.35 + 0.25 * wave(t, 2),
        roll=0.8 * wave(t, 1, 0.1),
        grip=0.3,
    )
    take.turn("wrist", roll=-0.4 * wave(t, 1))
    return take


def _nod(arm: RobotArm) -> Take:
    """Nodding with the hand."""
    take = Take(arm.armature, 1.6 / arm.tempo)
    t = take.phase
    beat = hump(t, 0.0, 0.15, 0.85, 1.0) * (0.5 - 0.5 * wave(t, 3, -0.25))
    _pose(
        arm,
        take,
        np.zeros(len(take)),
        np.full(len(take), 0.5 * arm.reach),
        arm.shoulder + arm.reach * (0.3 - 0.05 * beat),
        pitch=1.3 - 0.55 * beat,
        grip=0.4,
    )
    return take
