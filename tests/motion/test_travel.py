from __future__ import annotations

import numpy as np
import pytest

from animax.motion.body import body_root
from animax.motion.clip import Clip
from animax.motion.travel import low_pass, remove_travel, shifted, travel_of

from .synthetic import biped, random_pose


def walking(rig, path, fps=30.0):
    pose = random_pose(rig, len(path), degrees=10)
    return Clip("walk", fps, shifted(pose, rig, path))


def test_low_pass_keeps_straight_lines_up_to_the_ends():
    line = np.linspace(3.0, -8.0, 37)[:, None] * np.array([1.0, 0.0, 2.0])
    np.testing.assert_allclose(low_pass(line, 12.0), line, atol=1e-9)


def test_the_body_root_of_a_biped_is_its_hips():
    rig = biped()
    assert rig.skeleton.names[body_root(rig)] == "hips"


def test_shift_moves_every_joint_of_the_body_alike():
    rig = biped(scale=3.0, yaw=1.0)
    pose = random_pose(rig, 5)
    offsets = np.random.default_rng(0).normal(size=(5, 3))
    before, after = rig.skeleton.positions(pose), rig.skeleton.positions(shifted(pose, rig, offsets))
    np.testing.assert_allclose(after[:, 1:], before[:, 1:] + offsets[:, None], atol=1e-9)
    np.testing.assert_allclose(after[:, 0], before[:, 0])


@pytest.mark.parametrize("yaw", [0.0, 0.7])
def test_constant_speed_goes_and_sway_and_height_stay(yaw):
    rig = biped(yaw=yaw)
    seconds = np.arange(60) / 30.0
    sway = 0.02 * rig.size * np.sin(2 * np.pi * 2 * seconds)
    path = np.stack([1.4 * seconds, 0.1 * np.sin(5 * seconds), sway], axis=-1)
    still = Clip("still", 30.0, rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], 60, axis=0)))
    clip = still.with_pose(shifted(still.pose, rig, path))
    moved = rig.skeleton.positions(remove_travel(clip, rig).pose)[:, 1] - rig.skeleton.rest_globals[1, :3, 3]
    np.testing.assert_allclose(moved[:, 1], path[:, 1], atol=1e-9)
    assert np.abs(moved[:, 0]).max() < 1e-6
    assert np.abs(moved[10:-10, 2] - sway[10:-10]).max() < 0.2 * np.abs(sway).max()


def test_sway_and_lunges_are_left_alone():
    rig = biped()
    lunge = np.outer(0.3 * rig.size * np.sin(np.linspace(0, np.pi, 40)), [0.0, 0.0, 1.0])
    clip = walking(rig, lunge)
    assert remove_travel(clip, rig) is clip


def test_a_clip_far_from_the_rest_place_is_brought_back_without_changing_its_motion():
    rig = biped()
    clip = walking(rig, np.tile([5.0, 0.0, 2.0], (30, 1)))
    travel = travel_of(clip, rig)
    assert np.ptp(travel, axis=0).max() == 0.0
    assert np.linalg.norm(travel[0] - [5.0, 0.0, 2.0]) < 0.2 * rig.size


def test_one_frame_and_two_frames_are_accepted():
    rig = biped()
    for frames in (1, 2):
        clip = walking(rig, np.linspace(0, 1, frames)[:, None] * np.array([4.0, 0.0, 0.0]))
        assert len(remove_travel(clip, rig)) == frames
