from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from animax import rotations
from animax.motion.clean import clean
from animax.motion.clip import Clip
from animax.motion.resample import resample
from animax.request import Request, RootMode

from .synthetic import biped, random_pose

RIG = biped()
POSE = random_pose(RIG, 33, degrees=12, smooth=6.0)


@pytest.mark.parametrize(
    ("seconds", "fps", "loop", "frames"), [(2.0, 30, False, 61), (2.0, 30, True, 60), (1.5, 24, False, 37)]
)
def test_length_and_rate_are_as_asked(seconds, fps, loop, frames):
    clip = clean(RIG, POSE, 16.0, Request("nods", seconds=seconds, fps=fps, loop=loop))
    assert (len(clip), clip.fps, clip.loop, clip.name) == (frames, fps, loop, "nods")
    assert np.abs(np.linalg.norm(clip.pose.rotations, axis=-1) - 1).max() < 1e-9
    assert np.sum(clip.pose.rotations[1:] * clip.pose.rotations[:-1], axis=-1).min() > 0


def test_without_feet_loop_and_travel_it_only_resamples():
    clip = clean(RIG, POSE, 16.0, Request("nods", seconds=2.0, fps=16.0, foot_cleanup=False))
    assert rotations.between(clip.pose.rotations, POSE.rotations).max() < 1e-6
    np.testing.assert_allclose(clip.pose.translations, POSE.translations, atol=1e-9)


def test_foot_cleanup_can_be_switched_off_and_touches_legs_alone():
    on, off = (clean(RIG, POSE, 16.0, Request("nods", foot_cleanup=flag)) for flag in (True, False))
    legs = np.array([name.startswith(("thigh", "shin", "foot", "toe")) for name in RIG.skeleton.names])
    turned = rotations.between(on.pose.rotations, off.pose.rotations).max(axis=0)
    assert turned[legs].max() > 0.02
    assert turned[~legs].max() < 1e-6
    plain = resample(Clip("nods", 16.0, POSE), off.fps, seconds=2.0).pose
    assert rotations.between(off.pose.rotations, plain.rotations).max() < 1e-6
    np.testing.assert_allclose(off.pose.translations, plain.translations, atol=1e-9)


def test_a_fixed_base_stays():
    request = replace(Request("nods"), root_mode=RootMode.FIXED_BASE)
    hips = RIG.skeleton.positions(clean(RIG, POSE, 16.0, request).pose)[:, 1]
    assert np.ptp(hips, axis=0).max() < 1e-9
