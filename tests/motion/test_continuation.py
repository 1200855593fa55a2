"""Windows joined without a jump, read at any pace."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from animax import rotations
from animax.motion.body import carriers
from animax.motion.continuation import HELD, Continuation
from animax.motion.steering import Steering
from animax.request import RootMode

from .synthetic import biped, random_pose

NATIVE, WINDOW, HISTORY = 16.0, 33, 9
RIG = biped(yaw=0.3, scale=2.0)


def continuation(fps=NATIVE, root_mode=RootMode.IN_PLACE, steering=Steering(), rig=RIG):  # noqa: B008
    return Continuation(rig, native_fps=NATIVE, fps=fps, root_mode=root_mode, foot_cleanup=False, steering=steering)


def performed(motion, truths, *, count=1000, steering=Steering()):  # noqa: B008
    """All frames of windows cut from ``truths``, one for each window."""
    begin, frames = 0, []
    for truth in truths:
        history = HISTORY if begin else 0
        motion.add(*motion.cleaned(truth[begin - history : begin - history + WINDOW]), history)
        begin += WINDOW - history
        while motion.available:
            frames.append(motion.take(min(count, motion.available), steering))
    motion.finish()
    while motion.available:
        frames.append(motion.take(count, steering))
    assert len(frames)
    return np.concatenate([f.rotations for f in frames]), np.concatenate([f.translations for f in frames])


def heads(rig, turned, moved):
    return rig.skeleton.positions(rig.skeleton.posed(rotations=turned, translations=moved))


@pytest.mark.parametrize("count", [1, 7, 1000])
def test_windows_of_one_motion_come_out_as_that_motion(count):
    truth = random_pose(RIG, WINDOW + 3 * (WINDOW - HISTORY))
    turned, moved = performed(continuation(), [truth] * 4, count=count)
    assert len(turned) == len(truth.rotations)
    np.testing.assert_allclose(rotations.between(turned, truth.rotations), 0, atol=1e-6)
    np.testing.assert_allclose(moved, truth.translations, atol=1e-9)


@pytest.mark.parametrize("fps", [12.0, 30.0, 60.0])
def test_windows_that_differ_are_joined_without_a_jump(fps):
    """Each window is of another motion: steps are theirs, and what the difference takes to fade."""
    frames = WINDOW + 4 * (WINDOW - HISTORY)
    truths = [random_pose(RIG, frames, seed=seed, degrees=20) for seed in range(5)]
    turned, moved = performed(continuation(fps), truths)
    at = heads(RIG, turned, moved)
    steps = np.linalg.norm(np.diff(at, axis=0), axis=-1).max(axis=1) * fps
    inner = max(np.linalg.norm(np.diff(RIG.skeleton.positions(t), axis=0), axis=-1).max() * NATIVE for t in truths)
    apart = max(
        np.linalg.norm(RIG.skeleton.positions(a) - RIG.skeleton.positions(b), axis=-1).max()
        for a, b in pairwise(truths)
    )
    assert steps.max() < inner + 1.9 * apart / 0.5  # the fade's steepest part
    plain = apart * fps
    assert steps.max() < plain or fps < 20
    assert np.all(np.sum(turned[1:] * turned[:-1], axis=-1) >= 0)
    np.testing.assert_allclose(np.linalg.norm(turned, axis=-1), 1, atol=1e-9)


def test_the_last_frames_of_a_window_wait_for_the_next():
    motion = continuation()
    truth = random_pose(RIG, WINDOW)
    motion.add(*motion.cleaned(truth), 0)
    assert motion.available <= WINDOW - HELD
    motion.finish()
    assert motion.available == WINDOW


def test_twice_the_speed_is_half_the_frames():
    truth = random_pose(RIG, WINDOW)
    slow, fast = (
        performed(continuation(30.0, steering=Steering(speed)), [truth], steering=Steering(speed))[0]
        for speed in (1.0, 2.0)
    )
    assert abs(len(slow) - 2 * len(fast)) <= 2
    np.testing.assert_allclose(rotations.between(slow[::2][: len(fast) - 1], fast[:-1][: len(slow[::2])]), 0, atol=0.02)


@pytest.mark.parametrize(("fps", "speed"), [(1.0, 1.0), (3.0, 1.0), (8.0, 4.0), (12.0, 4.0)])
def test_steps_longer_than_what_is_kept_leave_a_frame_to_go_on_from(fps, speed):
    truth = random_pose(RIG, WINDOW + 2 * (WINDOW - HISTORY))
    steering = Steering(speed)
    turned, _ = performed(continuation(fps, steering=steering), [truth] * 3, steering=steering)
    assert abs(len(turned) - len(truth.rotations) / (speed * NATIVE / fps)) < 2


def test_turning_turns_the_whole_body_about_up():
    truth = random_pose(RIG, WINDOW)
    aside = np.cross(RIG.stance.up, RIG.stance.forward)
    plain = heads(RIG, *performed(continuation(), [truth]))
    turned = heads(
        RIG, *performed(continuation(steering=Steering(heading=aside)), [truth], steering=Steering(heading=aside))
    )
    np.testing.assert_allclose(turned[..., 1], plain[..., 1], atol=1e-9)
    pivot = RIG.skeleton.rest_globals[1, :3, 3]
    quarter = rotations.from_rotation_vector(np.pi / 2 * RIG.stance.up)
    np.testing.assert_allclose(turned[:, 1:], rotations.rotate(quarter, plain[:, 1:] - pivot) + pivot, atol=1e-8)


def test_in_place_and_fixed_base_do_not_travel():
    truth = random_pose(RIG, WINDOW)
    for mode in (RootMode.IN_PLACE, RootMode.FIXED_BASE):
        at = heads(RIG, *performed(continuation(root_mode=mode), [truth]))[:, 1]
        still = np.ptp(at, axis=0).max()
        assert still < (0.3 * RIG.size if mode is RootMode.IN_PLACE else 1e-9)


def test_the_body_is_carried_by_its_top_deforming_joints():
    assert [RIG.skeleton.names[j] for j in carriers(RIG)] == ["hips"]
