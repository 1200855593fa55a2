"""A performance by the pipeline, with a denoiser that answers with true pose maps window by window."""

from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig
from animax.assets.markers import choose_markers
from animax.diffusion.text import TextEncoder
from animax.errors import Cancelled, OptionError
from animax.interactive import Performance
from animax.motion.steering import Steering
from animax.procedural import generate
from animax.request import JointMask, PoseSource, Request
from tests.stand_in import FPS, model_of, true_maps

WINDOWS = 3


@pytest.fixture(scope="module")
def rig():
    return load_rig(generate("quadruped", seed=1))


@pytest.fixture(scope="module")
def truth(rig):
    random = np.random.default_rng(0)
    drivers = choose_markers(rig, 64).drivers
    frames = 33 + 24 * (WINDOWS - 1)
    turn = np.zeros((frames, len(rig.skeleton), 3))
    phase = np.arange(frames)[:, None, None] / 20 + random.random((1, len(drivers), 1))
    turn[:, drivers] = 0.2 * np.sin(2 * np.pi * phase) * random.standard_normal((1, len(drivers), 3))
    return rig.skeleton.posed(
        rotations=rotations.multiply(rig.skeleton.rest.rotations, rotations.from_rotation_vector(turn))
    )


class TrueWindows:
    """Answers with the window of ``truth`` that is being made; told by how many clean slots it is given."""

    def __init__(self, rig, truth, steps):
        self.rig, self.truth, self.steps, self.calls, self.texts = rig, truth, steps, 0, []

    def __call__(self, rgb, pose, template_rgb, template_pose, sigma, text, rays):
        begin = 24 * (self.calls // self.steps)
        self.calls += 1
        self.texts.append(text[0])
        maps = true_maps(self.rig, self.truth[begin : begin + 33])
        assert np.sum(sigma[0] == 0) == (3 if begin else 0)
        return np.zeros_like(rgb), np.repeat(maps[None], len(pose), axis=0)


def made_by(denoiser):
    return model_of(denoiser, steps=1)


def test_windows_follow_one_another_as_one_motion(rig, truth):
    denoiser = TrueWindows(rig, truth, 1)
    performance = Performance(rig, Request("x", fps=FPS, foot_cleanup=False), made_by(denoiser))
    frames = []
    for window in range(WINDOWS):
        performance.generate("walks" if window < 2 else "sleeps")
        while performance.available:
            frames.append(performance.take(10, Steering()))
    performance.finish()
    while performance.available:
        frames.append(performance.take(10, Steering()))
    clip = performance.clip(frames, "x")
    assert len(clip) == len(truth.rotations)
    error = rig.skeleton.positions(clip.pose) - rig.skeleton.positions(truth)
    assert np.linalg.norm(error, axis=-1).mean() < 0.01 * rig.size
    steps, real = (
        np.linalg.norm(np.diff(rig.skeleton.positions(p), axis=0), axis=-1).max() for p in (clip.pose, truth)
    )
    assert steps < 1.15 * real
    # what is not sent as rotated or translated never moves
    rest = rig.skeleton.rest
    still = np.setdiff1d(np.arange(len(rig.skeleton)), performance.rotated_joints)
    assert rotations.between(clip.pose.rotations, rest.rotations)[:, still].max(initial=0.0) < 1e-9
    still = np.setdiff1d(np.arange(len(rig.skeleton)), performance.translated_joints)
    assert np.abs(clip.pose.translations - rest.translations)[:, still].max(initial=0.0) < 1e-9
    walks, sleeps = TextEncoder().encode(["walks", "sleeps"])
    assert [np.array_equal(text, sleeps) for text in denoiser.texts] == [False, False, True]
    assert np.array_equal(denoiser.texts[0], walks)


def test_cancelling_a_window_leaves_the_performance_as_it_was(rig, truth):
    performance = Performance(rig, Request("x", fps=FPS), made_by(TrueWindows(rig, truth, 1)))
    with pytest.raises(Cancelled):
        performance.generate("walks", should_stop=lambda: True)
    assert performance.available == 0
    performance.generate("walks")
    assert performance.available > 20


def test_a_performance_begins_with_its_first_pose(rig, truth):
    name = rig.skeleton.names[int(choose_markers(rig, 64).drivers[-1])]
    pose = PoseSource(rotations=((name, (0.6, 0.0, 0.0, 0.8)),))

    class Any(TrueWindows):
        def __call__(self, *given):
            assert given[4][0, 0] == 0
            assert np.all(given[4][0, 1:] > 0)
            return np.zeros_like(given[0]), np.repeat(given[3][:, :, None], 33, axis=2)

    performance = Performance(rig, Request("x", fps=FPS, first_pose=pose), made_by(Any(rig, truth, 1)))
    performance.generate("walks")
    first = performance.take(1, Steering())
    joint = rig.skeleton.names.index(name)
    assert rotations.between(first.rotations[0, joint], np.array([0.6, 0, 0, 0.8])) < 1e-6


@pytest.mark.parametrize(
    "request_",
    [Request("x", loop=True), Request("x", last_pose=PoseSource()), Request("x", joint_mask=JointMask(("a",)))],
)
def test_controls_of_a_clip_are_refused(rig, truth, request_):
    with pytest.raises(OptionError):
        Performance(rig, request_, made_by(TrueWindows(rig, truth, 1)))
