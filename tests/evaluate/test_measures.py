"""Figures of motions whose values are known."""

import numpy as np
import pytest

from animax_engine.evaluate.measures import interval, jerk, moved, seam, spread


def circle(frames, size=1.0, phase=0.0):
    t = 2 * np.pi * (np.arange(frames) / frames) + phase
    return size * np.stack([np.cos(t), np.sin(t), 0 * t], axis=-1)[:, None]


def test_jerk_is_the_third_derivative():
    seconds = np.arange(40) / 20.0
    cubic = np.stack([seconds**3, 0 * seconds, 0 * seconds], axis=-1)[:, None]
    assert jerk(cubic, 20.0) == pytest.approx(6.0)
    assert jerk(cubic[:3], 20.0) == 0.0


def test_moved_is_the_diagonal_of_the_widest_marker_in_rest_diagonals():
    still = np.zeros((40, 1, 3))
    assert moved(np.concatenate([still, circle(40)], axis=1)) == pytest.approx(np.sqrt(2), rel=1e-2)


def test_a_closed_circle_has_the_seam_of_an_inner_step_and_an_open_one_does_not():
    assert seam(circle(32)) == pytest.approx(1.0)
    assert seam(circle(32)[:16]) > 5


def test_spread_is_the_mean_distance_of_pairs():
    a = np.zeros((5, 2, 3))
    assert spread([a, a + np.array([3.0, 0, 0]), a + np.array([0, 4.0, 0])]) == pytest.approx((3 + 4 + 5) / 3)


def test_interval_holds_the_mean_and_narrows_with_more_rigs():
    random = np.random.default_rng(1)

    def of(rigs):
        return interval([random.random(4) < 0.6 for _ in range(rigs)], lambda v: float(v.mean()))

    few, many = of(8), of(200)
    assert many[0] < 0.6 < many[1]
    assert many[1] - many[0] < (few[1] - few[0]) / 2
    assert np.isnan(interval([], np.mean)).all()
