"""The clock."""

from dataclasses import replace

import numpy as np
import pytest

from animax.diffusion.clock import FEATURES, Tempo, slot_frames, told
from animax.diffusion.sampler import Prompt, Schedule, windows_of

SCHEDULE = Schedule(2, 1.0)


def test_slots_are_told_the_time_of_a_frame_of_theirs():
    frames = slot_frames(5, 8)
    np.testing.assert_array_equal(frames, [0, 5, 13, 21, 29])
    np.testing.assert_array_equal(replace(SCHEDULE, patch=8).slot_of(frames.astype(int)), np.arange(5))


def test_a_motion_that_repeats_is_told_the_same_a_turn_later():
    features = told(np.array([0.25, 1.25, 0.75]), np.array(True), np.array(20.0))
    np.testing.assert_allclose(features[0], features[1], atol=1e-6)
    assert np.abs(features[0] - features[2]).max() > 1


def test_a_motion_that_is_done_once_stays_at_its_end():
    features = told(np.array([-0.5, 0.0, 0.5, 1.0, 3.0]), np.array(False), np.array(20.0))
    np.testing.assert_allclose(features[:, 6], [-1, -1, 0, 1, 1], atol=1e-6)
    np.testing.assert_array_equal(features[:, 1:6], 0)


def test_what_is_told_is_never_nothing():
    """All zeros mean that nothing is said."""
    for repeats in (True, False):
        assert np.all(told(np.linspace(-1, 2, 50), np.array(repeats), np.array(16.0))[:, 0] == 1)


@pytest.mark.parametrize(("frames", "period"), [(32, 32 / 3), (31, 31 / 3), (5, 5.0)])
def test_a_loop_holds_whole_turns(frames, period):
    looped = Tempo(True, 10.0, 0.3).looped(frames)
    assert looped == Tempo(True, pytest.approx(period), 0.3)
    np.testing.assert_allclose(looped.told(np.array([0.0])), looped.told(np.array([float(frames)])), atol=1e-5)
    assert Tempo(False, 10.0).looped(frames) == Tempo(False, frames)


def test_time_goes_on_from_window_to_window_and_begins_anew_with_a_prompt():
    text = np.zeros((2, 3), np.float32)
    walk, fall = Tempo(True, 20.0, 0.1), Tempo(False, 30.0)
    windows = windows_of(80, SCHEDULE, Prompt(0, text, walk), [Prompt(40, text, fall)])
    slots = slot_frames(9, 4)
    for window in windows:
        first = window.begin - window.history
        expected = walk.told(first + slots) if window.begin < 40 else fall.told(first - 40 + slots)
        np.testing.assert_array_equal(window.clock(SCHEDULE), expected)
    assert [window.begin for window in windows] == [0, 33, 40, 64]
    assert windows_of(33, SCHEDULE, Prompt(0, text))[0].clock(SCHEDULE) is None


def test_features_are_as_many_as_networks_take():
    assert told(np.zeros((3, 5)), np.zeros(3), np.ones(3)).shape == (3, 5, FEATURES)
