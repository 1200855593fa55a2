import numpy as np
import pytest

pytest.importorskip("torch")

from animax_engine.evaluate.retrieval import Track, clip_distance, rank_of


def wave(frames, period, phase=0.0, size=1.0):
    """Two markers: one on a circle, one up and down twice a turn."""
    t = 2 * np.pi * (np.arange(frames) / period + phase)
    circle = np.stack([np.sin(t), np.cos(t), 0 * t], axis=-1)
    bounce = np.stack([0 * t, np.sin(2 * t), 0 * t], axis=-1)
    return size * np.stack([circle, bounce], axis=1)


LOOP = Track(wave(16, 16), loop=True)


def test_distance_to_itself_is_zero():
    line = Track(np.linspace(0, 1, 30)[:, None, None] * np.ones((30, 2, 3)))
    assert clip_distance(line.points, line) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("phase", [0.25, 0.5, 0.8])
def test_phase_of_a_cycle_is_forgiven(phase):
    # the sampling grids differ by up to half a frame, 0.2 of the circle's radius a frame
    assert clip_distance(wave(33, 16, phase), LOOP) < 0.1


@pytest.mark.parametrize("period", [10, 24])
def test_speed_within_a_factor_of_two_is_forgiven(period):
    assert clip_distance(wave(33, period), LOOP) < 0.2


def test_more_than_twice_as_slow_is_not():
    assert clip_distance(wave(33, 64), LOOP) > 2 * clip_distance(wave(33, 24), LOOP)


def test_standing_still_is_far_from_moving():
    still = np.repeat(wave(1, 16), 33, axis=0)
    assert clip_distance(still, LOOP) > 0.5


def test_rank_counts_what_is_nearer():
    real = [Track(wave(16, 16, size=size), loop=True) for size in (1.0, 0.5, 2.0)]
    made = wave(33, 16, 0.3, size=0.9)
    assert [rank_of(made, real, wanted) for wanted in range(3)] == [0, 1, 2]
