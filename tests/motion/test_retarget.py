from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from animax import rotations
from animax.bone_map import BoneMap, ChainPair
from animax.errors import OptionError
from animax.motion.bone_matching import bone_words, map_bones
from animax.motion.clip import Clip
from animax.motion.retarget import retarget

from .synthetic import BIPED, biped, make_rig, random_pose, snake

RIG = biped()
CLIP = Clip("dance", 30.0, random_pose(RIG, 15))


def directions(rig, pose, names):
    """Unit vectors (F, len(names) - 1, 3) between named joints, in the rig's own axes (right, up, forward)."""
    at = rig.skeleton.positions(pose)[:, [rig.skeleton.names.index(n) for n in names]]
    steps = np.diff(at, axis=1)
    axes = np.stack([rig.stance.right, rig.stance.up, rig.stance.forward])
    return steps @ axes.T / np.linalg.norm(steps, axis=-1, keepdims=True)


def test_a_rig_maps_onto_itself():
    bones = map_bones(RIG, RIG)
    assert all(pair.source == pair.target for pair in bones.pairs)
    assert {n for pair in bones.pairs for n in pair.target} == set(RIG.skeleton.names[1:])


def test_onto_itself_nothing_changes():
    same = retarget(CLIP, RIG, RIG)
    np.testing.assert_allclose(RIG.skeleton.positions(same.pose), RIG.skeleton.positions(CLIP.pose), atol=1e-9)
    assert rotations.between(same.pose.rotations, CLIP.pose.rotations).max() < 1e-6


def test_joint_axes_do_not_matter():
    other = biped(seed=7)
    moved = retarget(CLIP, RIG, other)
    np.testing.assert_allclose(other.skeleton.positions(moved.pose), RIG.skeleton.positions(CLIP.pose), atol=1e-9)


def test_it_commutes_with_turning_scaling_and_moving_the_target():
    other = biped(seed=3, yaw=1.1, scale=5.0, shift=(4.0, 0.0, -2.0))
    moved = retarget(CLIP, RIG, other)
    turn = rotations.from_rotation_vector([0.0, 1.1, 0.0])
    expected = 5.0 * rotations.rotate(turn, RIG.skeleton.positions(CLIP.pose)[:, 1:]) + np.array([4.0, 0.0, -2.0])
    np.testing.assert_allclose(other.skeleton.positions(moved.pose)[:, 1:], expected, atol=1e-8)


def test_there_and_back_again():
    other = biped(seed=5, scale=0.02)
    back = retarget(retarget(CLIP, RIG, other), other, RIG)
    np.testing.assert_allclose(RIG.skeleton.positions(back.pose), RIG.skeleton.positions(CLIP.pose), atol=1e-9)


def test_names_of_other_conventions_are_understood():
    renames = {"arm": "LeftArm", "forearm": "LeftForeArm", "hand": "LeftHand", "thigh": "LeftUpLeg", "shin": "LeftLeg"}
    title = {
        "hips": "mixamorig:Hips",
        "spine": "mixamorig:Spine",
        "chest": "mixamorig:Spine1",
        "head": "mixamorig:Head",
    }
    for bone in ("arm", "forearm", "hand", "thigh", "shin", "foot", "toe"):
        left = renames.get(bone, f"Left{bone.title()}")
        title[f"{bone}_l"] = f"mixamorig:{left}"
        title[f"{bone}_r"] = f"mixamorig:{left.replace('Left', 'Right')}"
    other = make_rig({title[n]: (title[p] if p else None, at) for n, (p, at) in BIPED.items()}, seed=2)
    driven = {t: s for pair in map_bones(RIG, other).pairs for s, t in zip(pair.source, pair.target, strict=True)}
    assert driven == {new: old for old, new in title.items()}


def test_limbs_point_alike_though_rest_poses_differ():
    lowered = dict(BIPED)
    for side, sign in (("l", 1), ("r", -1)):
        for name, (reach, height) in {"forearm": (0.3, 1.22), "hand": (0.4, 1.0)}.items():
            parent, _ = lowered[f"{name}_{side}"]
            lowered[f"{name}_{side}"] = (parent, (sign * reach, height, 0.0))
    other = make_rig(lowered, seed=1)
    moved = retarget(CLIP, RIG, other)
    chain = ["arm_l", "hand_l"]
    angle = np.arccos(
        np.clip(np.sum(directions(RIG, CLIP.pose, chain) * directions(other, moved.pose, chain), -1), -1, 1)
    )
    plain = retarget(CLIP, RIG, other, align=False)
    worse = np.arccos(
        np.clip(np.sum(directions(RIG, CLIP.pose, chain) * directions(other, plain.pose, chain), -1), -1, 1)
    )
    assert np.rad2deg(angle).mean() < 12 < np.rad2deg(worse).mean()


def test_unequal_chains_are_spread_by_arc_length():
    long, short = snake(24), snake(12)
    truth = random_pose(long, 10, degrees=8)
    clip = Clip("wriggle", 30.0, truth)
    bones = BoneMap((ChainPair(tuple(long.skeleton.names[1:]), tuple(short.skeleton.names[1:])),))
    moved = retarget(clip, long, short, bones)
    ours = short.skeleton.positions(moved.pose)[:, 1:] / short.size
    theirs = long.skeleton.positions(truth)[:, 1:] / long.size
    # the same curve: heads at equal arc length lie close together
    along = np.linspace(0, 1, 12)
    at = np.stack([[np.interp(along, np.linspace(0, 1, 24), f[:, i]) for i in range(3)] for f in theirs])
    gap = np.linalg.norm(ours - np.moveaxis(at, 1, 2), axis=-1)
    stiff = np.linalg.norm(short.skeleton.rest_globals[1:, :3, 3] / short.size - np.moveaxis(at, 1, 2), axis=-1)
    assert gap.mean() < 0.35 * stiff.mean()


def test_the_body_moves_in_proportion_to_its_height():
    other = biped(scale=2.5)
    moved = retarget(CLIP, RIG, other)
    ours = other.skeleton.positions(moved.pose)[:, 1] - other.skeleton.rest_globals[1, :3, 3]
    theirs = RIG.skeleton.positions(CLIP.pose)[:, 1] - RIG.skeleton.rest_globals[1, :3, 3]
    np.testing.assert_allclose(ours, 2.5 * theirs, atol=1e-9)


def test_a_bone_map_is_read_back_from_json_and_can_be_corrected():
    bones = map_bones(RIG, RIG)
    data = json.loads(json.dumps(bones.as_dict()))
    assert BoneMap.from_dict(data) == bones
    data["chains"] = [c for c in data["chains"] if "head" not in c["target"]]
    stiff = retarget(CLIP, RIG, RIG, BoneMap.from_dict(data))
    head = RIG.skeleton.names.index("head")
    np.testing.assert_allclose(
        stiff.pose.rotations[:, head], np.broadcast_to(RIG.skeleton.rest.rotations[head], (15, 4))
    )


@pytest.mark.parametrize(
    "data", [{}, {"chains": 3}, {"chains": [{"source": ["hips"]}]}, {"chains": [{"source": [], "target": []}]}]
)
def test_damaged_bone_maps_are_refused(data):
    with pytest.raises(OptionError, match="bone_map"):
        BoneMap.from_dict(data)


def test_joints_that_do_not_exist_or_are_driven_twice_are_named():
    with pytest.raises(OptionError, match="tentacle"):
        retarget(CLIP, RIG, RIG, BoneMap((ChainPair(("hips",), ("tentacle",)),)))
    with pytest.raises(OptionError, match="spine"):
        retarget(CLIP, RIG, RIG, BoneMap((ChainPair(("hips",), ("spine",)), ChainPair(("chest",), ("spine",)))))
    with pytest.raises(OptionError, match="clip"):
        retarget(replace(CLIP, pose=random_pose(snake(5), 3)), RIG, RIG)


def test_bone_words():
    assert bone_words("mixamorig:LeftForeArm") == bone_words("LowerArm.L") == {"forearm"}
    assert bone_words("calf_r") == bone_words("RightLowerLeg") == {"shin"}
