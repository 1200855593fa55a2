import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.views.splat import SplatPoseMap, spline_weights

from .shapes import marker_set

FRAME = 64


def drawn(points, codec=None, frame=FRAME):
    codec = codec or SplatPoseMap()
    points = np.asarray(points, float)
    markers = marker_set(points.shape[2])
    return codec.draw(points, np.ones(points.shape[:3]), markers, frame), markers, codec


@given(st.floats(1, 7))
def test_spline_weights_sum_to_one_around_their_position(position):
    weights = spline_weights(np.array(position), 8)
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(), 1)
    np.testing.assert_allclose(weights @ (np.arange(8) + 0.5), position)


def test_a_point_anywhere_in_the_image_comes_back():
    points = np.random.default_rng(0).uniform(0, FRAME, (4, 20, 30, 2))
    maps, markers, codec = drawn(points)
    seen = codec.decode(maps, markers, FRAME)
    assert np.abs(seen.points - points).max() < 4e-5
    np.testing.assert_allclose(seen.confidence, 1, atol=1e-6)


def test_no_bias_over_sub_pixel_positions():
    steps = np.linspace(20, 21, 41)
    points = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(1, 1, -1, 2)
    codec = SplatPoseMap(channels=2048)
    maps, markers, _ = drawn(points, codec)
    error = codec.decode(maps, markers, FRAME).points - points
    assert np.abs(error).max() < 4e-5
    assert np.abs(error.mean(axis=2)).max() < 1e-6


def test_corners_and_edges_are_exact_and_what_is_outside_is_not_drawn():
    points = np.array([[0, 0], [FRAME, FRAME], [0, FRAME / 2], [-0.1, 5], [5, FRAME + 0.1]])[None, None]
    maps, markers, codec = drawn(points)
    seen = codec.decode(maps, markers, FRAME)
    np.testing.assert_allclose(seen.points[0, 0, :3], points[0, 0, :3], atol=4e-5)
    np.testing.assert_array_equal(seen.confidence[0, 0, 3:], 0)
    assert maps[0, 0, 3:5].max() == 0


def test_each_marker_has_its_own_channel_and_unused_ones_stay_empty():
    maps, _, codec = drawn(np.full((1, 1, 3, 2), 30.0))
    mass = maps.sum(axis=(-2, -1))[0, 0]
    np.testing.assert_allclose(mass[:3], 1, atol=1e-6)
    assert not mass[3:].any()
    assert maps.shape == (1, 1, codec.channels, codec.size, codec.size)
    assert maps.dtype == np.float32


@pytest.mark.parametrize("frame", [32, 96, 500])
def test_the_maps_do_not_depend_on_the_frame_that_points_refer_to(frame):
    share = np.random.default_rng(1).uniform(0, 1, (2, 3, 5, 2))
    ours, markers, codec = drawn(share * frame, frame=frame)
    reference, _, _ = drawn(share * 64, frame=64)
    np.testing.assert_allclose(ours, reference, atol=1e-6)
    np.testing.assert_allclose(codec.decode(ours, markers, frame).points, share * frame, atol=1e-5 * frame)


def test_noise_moves_points_little_and_lowers_confidence():
    rng = np.random.default_rng(2)
    points = rng.uniform(4, FRAME - 4, (4, 50, 20, 2))
    maps, markers, codec = drawn(points)
    clean = codec.decode(maps, markers, FRAME)
    noisy = codec.decode(maps + rng.normal(0, 0.02, maps.shape).astype(np.float32), markers, FRAME)
    assert np.median(np.linalg.norm(noisy.points - points, axis=-1)) < 1.5
    assert noisy.confidence.mean() < clean.confidence.mean()
    assert noisy.confidence.min() > 0.5


def test_confidence_tells_a_missing_a_weak_and_a_double_splat_from_a_whole_one():
    here, there = np.full((1, 1, 1, 2), 16.0), np.full((1, 1, 1, 2), 50.0)
    one, markers, codec = drawn(here)
    other, _, _ = drawn(there)
    whole, weak, double, none = (
        float(codec.decode(m, markers, FRAME).confidence[0, 0, 0])
        for m in (one, one * 0.3, (one + other) / 2, np.zeros_like(one))
    )
    assert none == 0
    assert weak == pytest.approx(0.3, abs=1e-3)
    assert double == pytest.approx(0.5, abs=1e-3)
    assert whole == pytest.approx(1, abs=1e-6)


def test_decode_takes_maps_that_overshoot():
    maps, markers, codec = drawn(np.full((1, 1, 1, 2), 30.0))
    seen = codec.decode(maps * 1.3 - 0.01, markers, FRAME)
    np.testing.assert_allclose(seen.points, 30.0, atol=0.5)
    assert 0 <= seen.confidence[0, 0, 0] <= 1
