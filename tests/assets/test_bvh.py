"""BVH read back by a parser written for these tests alone, by the format's own rules."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from animax.assets import load_rig, read_clips, write_bvh
from animax.assets.skeleton import Pose, Skeleton
from animax.errors import RigError
from animax.motion.clip import Clip
from animax.rotations import make_continuous
from tests.assets.glb_builder import arm


def joint_positions(text: str) -> tuple[dict[str, np.ndarray], float, list[str]]:
    """World positions (F, 3) of every joint by name, the frame time, and all channel names."""
    head, motion = text.split("MOTION\n")
    lines = motion.strip().split("\n")
    count, frame_time = int(lines[0].split(":")[1]), float(lines[1].split(":")[1])
    values = np.array([[float(v) for v in line.split()] for line in lines[2:]])
    assert len(values) == count
    out, channels, stack, at, pending = {}, [], [], 0, None
    for line in head.split("\n")[1:]:
        word, *rest = line.split() or [""]
        if word in ("ROOT", "JOINT", "End"):
            pending = rest[0]
        elif word == "{":
            stack.append({"name": pending})
        elif word == "OFFSET":
            stack[-1]["offset"] = np.array([float(v) for v in rest])
        elif word == "CHANNELS":
            names = rest[1:]
            columns, at = values[:, at : at + len(names)], at + len(names)
            channels += names
            position = np.tile(stack[-1]["offset"], (count, 1))
            turn = Rotation.identity(count)
            for name, column in zip(names, columns.T, strict=True):
                if name.endswith("position"):
                    position[:, "XYZ".index(name[0])] = column
                else:
                    turn = turn * Rotation.from_euler(name[0].lower(), column[:, None], degrees=True)
            if len(stack) > 1:
                parent = stack[-2]
                position = parent["position"] + parent["turn"].apply(position)
                turn = parent["turn"] * turn
            stack[-1].update(position=position, turn=turn)
            out[stack[-1]["name"]] = position
        elif word == "}":
            stack.pop()
    assert not stack
    assert at == values.shape[1]
    return out, frame_time, channels


def random_rig(roots: int = 1, joints: int = 12, *, uneven: bool = False) -> tuple[Skeleton, Clip]:
    random = np.random.default_rng(3)
    parents = np.array([-1 if i < roots else random.integers(0, i) for i in range(joints)])
    scales = random.uniform(0.5, 2, (joints, 3)) if uneven else np.tile(random.uniform(0.5, 2, (joints, 1)), (1, 3))
    rest = Pose(random.normal(size=(joints, 3)), Rotation.random(joints, random_state=1).as_quat(), scales)
    skeleton = Skeleton(tuple(f"joint {i}" for i in range(joints)), parents, rest)
    turns = Rotation.random(20 * joints, random_state=2).as_quat().reshape(20, joints, 4)
    return skeleton, Clip("move", 30.0, skeleton.posed(rotations=make_continuous(turns)))


def assert_positions(skeleton: Skeleton, clip: Clip, text: str, units: float = 100.0) -> list[str]:
    found, frame_time, channels = joint_positions(text)
    expected = skeleton.positions(clip.pose) * units
    size = np.ptp(expected, axis=(0, 1)).max()
    for joint, name in enumerate(skeleton.names):
        np.testing.assert_allclose(found[name.replace(" ", "_")], expected[:, joint], atol=2e-6 * size + 1e-4)
    assert frame_time == pytest.approx(1 / clip.fps, abs=1e-7)
    return channels


def test_rotating_joints_need_rotations_alone():
    skeleton, clip = random_rig()
    channels = assert_positions(skeleton, clip, write_bvh(skeleton, clip))
    assert sum(name.endswith("position") for name in channels) == 3


def test_moving_and_scaling_joints_get_positions():
    skeleton, clip = random_rig()
    clip.pose.translations[:, 5] += np.linspace(0, 1, 20)[:, None]
    channels = assert_positions(skeleton, clip, write_bvh(skeleton, clip))
    assert sum(name.endswith("position") for name in channels) == 6
    clip.pose.scales[:, 0] *= np.linspace(1, 2, 20)[:, None]
    assert_positions(skeleton, clip, write_bvh(skeleton, clip, units_per_metre=1.0), 1.0)


@pytest.mark.parametrize("sign", [1, -1])
def test_uneven_and_mirroring_scales(sign):
    skeleton, clip = random_rig(uneven=True)
    clip.pose.scales[:, 2] *= [sign, 1, 1]
    skeleton.rest.scales[2] *= [sign, 1, 1]
    assert_positions(skeleton, clip, write_bvh(skeleton, clip))


def test_a_joint_scaled_to_nothing():
    skeleton, clip = random_rig()
    skeleton.rest.scales[1] = 0
    clip.pose.scales[:, 1] = 0
    assert_positions(skeleton, clip, write_bvh(skeleton, clip))


def test_several_roots_go_below_one():
    skeleton, clip = random_rig(roots=3)
    text = write_bvh(skeleton, clip)
    assert text.count("ROOT") == 1
    assert_positions(skeleton, clip, text)


def test_angles_do_not_jump():
    skeleton, _ = random_rig(joints=2)
    angle = np.linspace(0, 6 * np.pi, 200)
    turns = np.tile(skeleton.rest.rotations, (200, 1, 1))
    turns[:, 1] = (Rotation.from_quat(turns[:, 1]) * Rotation.from_rotvec(angle[:, None] * [0.1, 1, 0.2])).as_quat()
    clip = Clip("spin", 30.0, skeleton.posed(rotations=turns))
    text = write_bvh(skeleton, clip)
    motion = text.split("Frame Time:")[1].strip().split("\n")[1:]
    rows = np.array([[float(value) for value in line.split()] for line in motion])
    assert np.abs(np.diff(rows, axis=0)).max() < 90
    assert_positions(skeleton, clip, text)


def test_names_have_no_blanks_and_stay_unique():
    skeleton, clip = random_rig(joints=3)
    named = Skeleton(("a b", "a_b", "{"), skeleton.parents, skeleton.rest)
    found, _, _ = joint_positions(write_bvh(named, clip))
    assert len(found) == 3


def test_a_rotated_and_scaled_armature():
    rig = load_rig(arm().bytes())
    (clip,) = read_clips(rig, 30)
    assert_positions(rig.skeleton, clip, write_bvh(rig.skeleton, clip))


@pytest.mark.parametrize("file", ["rigs/train/quadruped/qs_alpaca.glb", "rigs/val/humanoid/zombie_2018.glb"])
def test_real_rigs(file, real_rigs):
    rig = load_rig(real_rigs / file)
    clip = read_clips(rig, 30)[0]
    assert_positions(rig.skeleton, clip, write_bvh(rig.skeleton, clip))


def test_clips_of_another_skeleton_are_refused():
    skeleton, _ = random_rig(joints=4)
    _, clip = random_rig(joints=5)
    with pytest.raises(RigError, match="accepted"):
        write_bvh(skeleton, clip)
    clip.pose.rotations[0, 0] = np.nan
    with pytest.raises(RigError, match="NaN"):
        write_bvh(random_rig(joints=5)[0], clip)
