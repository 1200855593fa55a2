"""Kinematics that motions are made with."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from animax.procedural.armature import ArmatureSketch
from animax.procedural.gait import Footfall
from animax.procedural.keyframes import ANGLE_TOLERANCE, kept_frames
from animax.procedural.take import Limb, Take, about, euler


@pytest.fixture
def leg():
    sketch = ArmatureSketch()
    sketch.bone("hips", None, (0, 1, 0), (0, 1.2, 0))
    sketch.chain(["thigh", "shin", "foot"], "hips", [(0.1, 1, 0), (0.1, 0.5, 0.03), (0.1, 0.05, 0), (0.1, 0, 0.1)])
    return sketch.armature(), Limb("thigh", "shin", np.array([0.0, 0.0, 1.0]))


def test_rest_pose_is_the_rest_pose(leg):
    take = Take(leg[0], 1.0)
    for bone in leg[0].bones:
        assert np.allclose(take.position(bone.key), bone.head)
        assert np.allclose(take.tail(bone.key), bone.tail)


def test_forward_kinematics_against_scipy(leg):
    armature, _ = leg
    rng = np.random.default_rng(3)
    take = Take(armature, 0.2)
    angles = rng.uniform(-1, 1, (3, 3))
    for key, (pitch, yaw, roll) in zip(("hips", "thigh", "shin"), angles, strict=True):
        take.turn(key, pitch, yaw, roll)
    take.shift("hips", 0.1, 0.2, 0.3)
    turned = Rotation.identity()
    at = armature["hips"].head + np.array([0.1, 0.2, 0.3])
    for key, child, (pitch, yaw, roll) in zip(
        ("hips", "thigh", "shin"), ("thigh", "shin", "foot"), angles, strict=True
    ):
        turned = turned * Rotation.from_euler("YXZ", [yaw, pitch, roll])
        at = at + turned.apply(armature[child].head - armature[key].head)
        assert np.allclose(take.position(child), at)


def test_reach_hits_and_keeps_lengths(leg):
    armature, limb = leg
    rng = np.random.default_rng(0)
    take = Take(armature, 1.0)
    take.turn("hips", yaw=0.4, roll=0.2)
    target = take.position("thigh") + rng.uniform(-0.5, 0.5, (len(take), 3)) - [0, 0.3, 0]
    pole = np.tile([0.2, 0.1, 1.0], (len(take), 1))
    take.reach(limb, target, pole)
    assert np.allclose(take.tail("shin"), target, atol=1e-9)
    assert np.allclose(take.position("foot"), target, atol=1e-9)
    hip, knee = take.position("thigh"), take.position("shin")
    assert np.allclose(np.linalg.norm(knee - hip, axis=-1), armature.length("thigh"))
    line = target - hip
    off = knee - hip - (np.sum((knee - hip) * line, -1) / np.sum(line**2, -1))[:, None] * line
    assert np.all(np.sum(off * pole, axis=-1) > 0)
    assert take.misses < 1e-9


def test_reach_reports_what_it_misses(leg):
    armature, limb = leg
    take = Take(armature, 0.5)
    reach = armature.length("thigh") + armature.length("shin")
    target = take.position("thigh") - [0, reach + 0.25, 0]
    take.reach(limb, target, [0.0, 0.0, 1.0])
    assert take.misses == pytest.approx(0.25, abs=2e-3)


def test_reach_to_the_rest_pose_turns_nothing(leg):
    armature, limb = leg
    take = Take(armature, 0.5)
    take.reach(limb, np.tile(armature["shin"].tail, (len(take), 1)), [0.0, 0.0, 1.0])
    assert np.allclose(np.abs(take.turns[..., 3]), 1.0, atol=1e-9)


def test_steady_takes_back_what_parents_do(leg):
    take = Take(leg[0], 0.5)
    take.turn("hips", pitch=0.3, yaw=0.5)
    take.steady("thigh")
    assert np.allclose(np.abs(take.world("thigh")[:, 3]), 1.0)


def test_euler_order_and_axes():
    assert np.allclose(euler(0.3, 0.2, 0.1), Rotation.from_euler("YXZ", [0.2, 0.3, 0.1]).as_quat())
    assert np.allclose(about("y", 0.5), Rotation.from_rotvec([0, 0.5, 0]).as_quat())


@pytest.mark.parametrize("duty", [0.25, 0.5, 0.66])
@pytest.mark.parametrize("touchdown", [0.0, 0.3, 0.75])
def test_footfall_speed(duty, touchdown):
    """A standing foot moves with the ground, and a swinging one leaves and meets it at that speed, without a jump."""
    foot = Footfall(touchdown, duty, 1.4, 0.1)
    phase = np.linspace(0, 1, 20001)
    path = foot.path(phase)
    speed = np.gradient(path[:, 2], phase)
    stands = foot.stands(phase)
    inner = stands & np.roll(stands, 1) & np.roll(stands, -1)
    assert np.allclose(speed[inner], -1.4, atol=1e-6)
    assert np.all(path[stands][:, 1] == 0)
    assert path[:, 1].max() == pytest.approx(0.1, rel=1e-3)
    assert np.allclose(path[0], path[-1], atol=1e-9)
    assert np.abs(np.diff(path[:, 2])).max() < 1e-3 * 1.4
    assert np.mean(stands) == pytest.approx(duty, abs=1e-3)
    order = np.argsort(foot.local(phase[:-1]))
    swinging = order[~stands[order]]
    assert np.allclose(speed[swinging[[2, -3]]], -1.4, atol=0.02)


def test_kept_frames_restore_the_rest():
    time = np.linspace(0, 1, 61)
    turns = np.stack([about("x", np.sin(5 * time)), about("y", 0.3 * time**3)], axis=1)
    shifts = np.zeros((61, 2, 3))
    shifts[:, 0, 1] = np.cos(7 * time)
    kept = kept_frames(turns, shifts, 1e-2)
    assert kept[0] == 0
    assert kept[-1] == 60
    assert len(kept) < 45
    for j in range(2):
        from scipy.spatial.transform import Slerp

        restored = Slerp(time[kept], Rotation.from_quat(turns[kept, j]))(time)
        assert (restored.inv() * Rotation.from_quat(turns[:, j])).magnitude().max() <= ANGLE_TOLERANCE * 1.001
    restored = np.interp(time, time[kept], shifts[kept, 0, 1])
    assert np.abs(restored - shifts[:, 0, 1]).max() <= 1.001e-2
