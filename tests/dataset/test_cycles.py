"""Cycles of made-up clips."""

import numpy as np
import pytest

from animax_engine.dataset.cycles import Cycle, agreement, begins_anywhere, cycle_of, feet, kind_of

REST = np.array([[0.2, -0.8, 0.1], [-0.2, -0.8, 0.1], [0.6, 0.6, 0.0], [-0.6, 0.6, 0.0], [0.0, 0.9, 0.0]])
"""Left and right foot, left and right hand, head."""


def walk(frames=16, shift=0.0, turns=1):
    """Feet and hands swing to and fro, each left one against the right one and the hand above; the left foot is
    farthest ahead ``shift`` turns after frame 0."""
    angle = 2 * np.pi * (turns * np.arange(frames) / frames - shift)
    points = np.repeat(REST[None], frames, axis=0)
    for marker, size in enumerate((0.2, -0.2, -0.5, 0.5)):
        points[:, marker, 2] += size * np.cos(angle)
    return points


@pytest.mark.parametrize("shift", [0.0, 0.2, 0.7])
def test_a_stride_begins_with_the_left_foot_ahead(shift):
    cycle = cycle_of(walk(shift=shift), REST, "walk", 16)
    assert cycle.repeats
    assert cycle.swaps
    assert cycle.period == 16
    assert (cycle.begin + shift) % 1.0 == pytest.approx(0.0, abs=1e-6) or (cycle.begin + shift) % 1.0 > 1 - 1e-6


def test_mirrored_a_stride_is_half_a_turn_on():
    points = walk(shift=0.2)
    mirrored = points[:, [1, 0, 3, 2, 4]] * np.array([-1.0, 1, 1])
    one, other = (cycle_of(p, REST, "run", 16).begin for p in (points, mirrored))
    assert (other - one) % 1.0 == pytest.approx(0.5, abs=1e-6)


def test_two_turns_in_a_clip_are_counted():
    cycle = cycle_of(walk(32, shift=0.1, turns=2), REST, "z_walk", 32)
    assert cycle.period == 16
    assert cycle.begin == pytest.approx(0.9, abs=1e-6)


def test_other_motions_begin_at_their_first_frame():
    assert cycle_of(walk(shift=0.3), REST, "attack", 16) == Cycle(True, 16.0)
    assert cycle_of(walk(20), REST, "death", 0) == Cycle(False, 19.0)


def test_what_stands_still_has_a_cycle_too():
    cycle = cycle_of(np.repeat(REST[None], 12, axis=0), REST, "walk", 12)
    assert (cycle.repeats, cycle.period) == (True, 12.0)
    assert np.isfinite(cycle.begin)


@pytest.mark.parametrize("period", [1, 2, 3])
def test_the_shortest_clips_have_one_turn(period):
    assert cycle_of(walk(4), REST, "walk", period).period == period


def test_wings_beat_alike_in_a_mirror():
    angle = 2 * np.pi * (np.arange(16) / 16 - 0.25)
    points = np.repeat(REST[None], 16, axis=0)
    points[:, [2, 3], 1] += 0.3 * np.cos(angle)[:, None]
    cycle = cycle_of(points, REST, "fly_fast", 16)
    assert not cycle.swaps
    assert cycle.begin == pytest.approx(0.75)


def test_feet_are_low_and_count_by_side():
    left, right, *others = feet(REST)
    assert left == pytest.approx(-right)
    assert left > 0
    np.testing.assert_allclose(others, 0, atol=1e-12)


def test_words_that_count():
    assert [kind_of(a) for a in ("walk_slow", "z_run", "skel_walk", "z")] == ["walk", "run", "walk", "z"]
    asked = ("trot", "fly_idle", "slither", "idle_2", "attack", "death")
    assert [begins_anywhere(action) for action in asked] == [True, True, True, True, False, False]


def test_strides_agree_where_their_turns_begin_alike():
    clips = [walk(shift=shift) for shift in (0.0, 0.3, 0.55)]
    told = [agreement(points, REST, cycle_of(points, REST, "walk", 16)) for points in clips]
    np.testing.assert_allclose(told, 1, atol=1e-6)
    plain = [agreement(points, REST, Cycle(True, 16.0)) for points in clips]
    assert abs(np.mean(plain)) < 0.5
