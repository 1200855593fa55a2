from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.motion.clip import Clip
from animax.motion.loop import close_loop

from .synthetic import biped, random_pose

RIG = biped()


def test_the_seam_is_as_smooth_as_the_rest():
    clip = Clip("sway", 30.0, random_pose(RIG, 60, smooth=8.0))
    before = rotations.between(clip.pose.rotations[-1], clip.pose.rotations[0]).max()
    closed = close_loop(clip)
    assert closed.loop
    turns = closed.pose.rotations
    around = np.concatenate([turns[-3:], turns[:3]])
    steps = rotations.to_rotation_vector(rotations.multiply(rotations.conjugate(around[:-1]), around[1:]))
    inner = rotations.between(turns[1:], turns[:-1]).max()
    assert rotations.between(turns[-1], turns[0]).max() < 1.2 * inner < 0.5 * before
    open_steps = rotations.to_rotation_vector(
        rotations.multiply(rotations.conjugate(clip.pose.rotations[:-1]), clip.pose.rotations[1:])
    )
    kink = np.linalg.norm(open_steps[0] - open_steps[-1], axis=-1).max()
    assert np.linalg.norm(np.diff(steps, axis=0), axis=-1).max() < 0.5 * kink
    at = np.concatenate([closed.pose.translations[-3:, 1], closed.pose.translations[:3, 1]])
    jerk = np.abs(np.diff(at, n=2, axis=0)).max()
    assert jerk < 2 * np.abs(np.diff(closed.pose.translations[:, 1], n=2, axis=0)).max()


def test_no_frame_moves_more_than_half_the_gap():
    clip = Clip("sway", 30.0, random_pose(RIG, 90, smooth=12.0))
    closed = close_loop(clip)
    gap = rotations.between(clip.pose.rotations[-1], clip.pose.rotations[0])
    moved = rotations.between(closed.pose.rotations, clip.pose.rotations).max(axis=0)
    # half of the gap, and what evens out the speed
    assert np.all(moved < 0.5 * gap + np.deg2rad(6))


def test_a_periodic_motion_stays_what_it_is():
    phase = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    turned = np.repeat(RIG.skeleton.rest.rotations[None], 48, axis=0)
    swing = rotations.from_rotation_vector(0.4 * np.sin(phase)[:, None] * np.array([1.0, 0.0, 0.0]))
    turned[:, 4] = rotations.multiply(turned[:, 4], swing)
    clip = Clip("swing", 24.0, RIG.skeleton.posed(rotations=turned))
    closed = close_loop(clip)
    assert np.rad2deg(rotations.between(closed.pose.rotations, turned)).max() < 0.2


@pytest.mark.parametrize("frames", [1, 2, 3])
def test_clips_too_short_to_close_are_only_marked(frames):
    clip = Clip("short", 30.0, random_pose(RIG, frames))
    closed = close_loop(clip)
    assert closed.loop
    np.testing.assert_array_equal(closed.pose.rotations, clip.pose.rotations)
