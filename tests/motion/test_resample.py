from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.transform import Rotation, Slerp

from animax import rotations
from animax.errors import OptionError
from animax.motion.clip import Clip
from animax.motion.resample import resample

from .synthetic import biped, random_pose

RIG = biped()


def moving(frames=33, fps=16.0, **kwargs):
    return Clip("move", fps, random_pose(RIG, frames, smooth=6.0), **kwargs)


def test_the_same_rate_gives_the_same_frames():
    for loop in (False, True):
        clip = moving(loop=loop)
        again = resample(clip, 16.0)
        np.testing.assert_allclose(again.pose.rotations, clip.pose.rotations, atol=1e-12)
        np.testing.assert_allclose(again.pose.translations, clip.pose.translations, atol=1e-12)


def test_old_samples_are_kept_and_found_again():
    clip = moving()
    fine = resample(clip, 64.0)
    assert len(fine) == 4 * 32 + 1
    np.testing.assert_allclose(fine.pose.rotations[::4], clip.pose.rotations, atol=1e-12)
    back = resample(fine, 16.0)
    np.testing.assert_allclose(back.pose.rotations, clip.pose.rotations, atol=1e-12)


def test_closer_to_smooth_motion_than_slerp():
    fine = moving(129, 64.0)
    truth = random_pose(RIG, 129, smooth=24.0)
    fine = fine.with_pose(truth)
    coarse = replace(fine, fps=16.0, pose=truth[::4])
    ours = resample(coarse, 64.0).pose.rotations
    joint = 5
    slerp = Slerp(np.arange(33) / 16.0, Rotation.from_quat(truth.rotations[::4, joint]))
    theirs = slerp(np.arange(129) / 64.0).as_quat()
    error = rotations.between(ours[:, joint], truth.rotations[:, joint]).mean()
    assert error < 0.5 * rotations.between(theirs, truth.rotations[:, joint]).mean()


def test_speed_is_continuous():
    fine = resample(moving(12), 16.0 * 64)
    speed = np.diff(fine.pose.translations[:, 1], axis=0)
    jump = np.abs(np.diff(speed, axis=0)).max() / np.abs(speed).max()
    assert jump < 0.05


def test_lengths():
    clip = moving(33)
    assert len(resample(clip, 30.0)) == 61
    assert len(resample(clip, 30.0, seconds=1.0)) == 31
    held = resample(clip, 30.0, seconds=3.0)
    assert len(held) == 91
    np.testing.assert_allclose(held.pose.rotations[-1], clip.pose.rotations[-1], atol=1e-12)
    loop = replace(clip, loop=True)
    assert len(resample(loop, 30.0)) == 62
    assert len(resample(loop, 30.0, seconds=2.0)) == 60
    assert len(resample(replace(clip, pose=clip.pose[:1]), 30.0)) == 1


def test_a_loop_is_read_round_its_seam():
    turns = np.linspace(0, 2 * np.pi, 16, endpoint=False)
    rotation = np.repeat(RIG.skeleton.rest.rotations[None], 16, axis=0)
    rotation[:, 3] = rotations.from_rotation_vector(turns[:, None] * np.array([0.0, 1.0, 0.0]))
    clip = Clip("spin", 16.0, RIG.skeleton.posed(rotations=rotations.make_continuous(rotation)), loop=True)
    fine = resample(clip, 64.0)
    steps = rotations.between(fine.pose.rotations[1:, 3], fine.pose.rotations[:-1, 3])
    np.testing.assert_allclose(steps, 2 * np.pi / 64, rtol=1e-6)
    assert rotations.between(fine.pose.rotations[-1, 3], fine.pose.rotations[0, 3]) == pytest.approx(2 * np.pi / 64)


def test_rates_that_are_no_rates_are_refused():
    for fps in (0.0, -1.0, np.nan):
        with pytest.raises(OptionError, match="fps"):
            resample(moving(), fps)
