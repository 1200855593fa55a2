"""Rigs made up for tests: a biped, a quadruped-like tree and a long snake, under a scaled and turned armature node."""

from __future__ import annotations

from typing import Any, cast

import numpy as np

from animax import rotations
from animax.assets.mesh import Material, Mesh
from animax.assets.rig import Rig, Stance
from animax.assets.skeleton import Pose, Skeleton

BIPED = {
    "hips": (None, (0, 1.0, 0)),
    "spine": ("hips", (0, 1.2, 0.02)),
    "chest": ("spine", (0, 1.4, 0)),
    "head": ("chest", (0, 1.65, 0.03)),
    **{
        f"{name}_{side}": (parent if parent in ("hips", "chest") else f"{parent}_{side}", (sign * x, y, z))
        for side, sign in (("l", 1), ("r", -1))
        for name, parent, (x, y, z) in (
            ("arm", "chest", (0.2, 1.45, 0)),
            ("forearm", "arm", (0.45, 1.42, -0.02)),
            ("hand", "forearm", (0.7, 1.42, 0)),
            ("thigh", "hips", (0.1, 0.95, 0)),
            ("shin", "thigh", (0.1, 0.52, 0.03)),
            ("foot", "shin", (0.1, 0.08, -0.02)),
            ("toe", "foot", (0.1, 0.02, 0.12)),
        )
    },
}


def make_rig(
    bones: dict[str, tuple[str | None, tuple[float, float, float]]],
    *,
    seed: int = 0,
    scale: float = 1.0,
    yaw: float = 0.0,
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0),
) -> Rig:
    """A rig with joints at given world places, random joint axes, and a few vertices about every bone.

    ``scale``, ``yaw`` (radians about +Y) and ``shift`` move the whole rig.
    """
    random = np.random.default_rng(seed)
    turn = rotations.from_rotation_vector([0.0, yaw, 0.0])

    def placed(point: Any) -> np.ndarray:
        return scale * rotations.rotate(turn, point) + np.asarray(shift)

    ordered: list[str] = []
    while len(ordered) < len(bones):
        ordered += [n for n, (p, _) in bones.items() if n not in ordered and (p is None or p in ordered)]
    names = ("armature", *ordered)
    index = {name: i for i, name in enumerate(names)}
    parents = np.array([-1] + [index[bones[n][0]] if bones[n][0] is not None else 0 for n in names[1:]])
    heads = np.stack([np.zeros(3)] + [placed(bones[n][1]) for n in names[1:]])
    own = rotations.normalise(random.normal(size=(len(names), 4)))
    turns = rotations.multiply(turn, own)
    turns[0] = rotations.from_rotation_vector([-np.pi / 2, 0, 0])
    sizes = np.where(np.arange(len(names)) == 0, 0.01, 1.0)
    translations, local = np.zeros((len(names), 3)), np.zeros((len(names), 4))
    for joint, parent in enumerate(parents):
        if parent < 0:
            local[joint] = turns[joint]
            continue
        local[joint] = rotations.multiply(rotations.conjugate(turns[parent]), turns[joint])
        arm = rotations.rotate(rotations.conjugate(turns[parent]), heads[joint] - heads[parent])
        translations[joint] = arm / 0.01
    skeleton = Skeleton(names, parents, Pose(translations, local, np.repeat(sizes[:, None], 3, axis=1)))
    rest = skeleton.rest_globals
    np.testing.assert_allclose(rest[:, :3, 3], heads, atol=1e-9 * scale + 1e-9)

    children = skeleton.children
    flesh = np.random.default_rng(0)  # the same for every choice of joint axes
    points, bindings = [], []
    for joint in range(1, len(names)):
        ends = [heads[c] for c in children[joint]] or [heads[joint] + 0.5 * (heads[joint] - heads[parents[joint]])]
        for end in ends:
            for s in (0.15, 0.5, 0.85):
                spread = rotations.rotate(turn, flesh.normal(size=(4, 3)) * 0.03 * scale)
                points.append(heads[joint] + s * (end - heads[joint]) + spread)
                bindings += [joint] * 4
    positions = np.concatenate(points)
    count = len(positions)
    weights = np.zeros((count, 4))
    weights[:, 0] = 1.0
    mesh = Mesh(
        positions=positions,
        normals=np.tile([0.0, 1.0, 0.0], (count, 1)),
        texcoords=np.zeros((count, 2)),
        colors=np.ones((count, 4)),
        triangles=np.arange(count // 3 * 3).reshape(-1, 3),
        triangle_materials=np.zeros(count // 3, np.int64),
        bindings=np.repeat(np.array(bindings)[:, None] - 1, 4, axis=1),
        weights=weights,
        binding_joints=np.arange(1, len(names)),
        inverse_binds=np.linalg.inv(rest[1:]),
        materials=(Material("plain", np.ones(4)),),
    )
    forward = rotations.rotate(turn, [0.0, 0.0, 1.0])
    stance = Stance(forward, np.array([0.0, 1.0, 0.0]), 1.0, "override")
    return Rig("made up", "0" * 64, skeleton, mesh, np.arange(len(names)), stance, cast(Any, None))


def biped(**kwargs: Any) -> Rig:
    """17 joints, legs and arms in pairs."""
    return make_rig(BIPED, **kwargs)


def snake(links: int = 60, **kwargs: Any) -> Rig:
    """A straight unbranched chain along Z, head first."""
    bones = {
        f"link_{i:02d}": (f"link_{i - 1:02d}" if i else None, (0.0, 0.1, 1.5 - 3.0 * i / links)) for i in range(links)
    }
    return make_rig(cast(Any, bones), **kwargs)


def random_pose(rig: Rig, frames: int, *, degrees: float = 25.0, seed: int = 0, smooth: float = 4.0) -> Pose:
    """Smooth random motion: every joint but the armature turns by about ``degrees``, the top joint also translates."""
    from scipy.ndimage import gaussian_filter1d

    random = np.random.default_rng(seed)
    noise = gaussian_filter1d(random.normal(size=(frames + 40, len(rig.skeleton), 3)), smooth, axis=0)[20 : 20 + frames]
    noise *= np.deg2rad(degrees) / np.sqrt(np.mean(noise**2) * 3)
    noise[:, 0] = 0.0
    rest = rig.skeleton.rest
    turned = rotations.multiply(rest.rotations, rotations.from_rotation_vector(noise))
    pose = rig.skeleton.posed(rotations=rotations.make_continuous(turned))
    sway = gaussian_filter1d(random.normal(size=(frames + 40, 3)), smooth, axis=0)[20 : 20 + frames]
    pose.translations[:, 1] += 100 * 0.05 * rig.size * sway
    return pose
