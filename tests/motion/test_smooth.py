from __future__ import annotations

from dataclasses import replace

import numpy as np

from animax.motion.smooth import denoise
from animax.motion.triangulate import Points


def tracks(noise, frames=48, seed=0):
    time = np.linspace(0, 3, frames)[:, None, None]
    random = np.random.default_rng(seed)
    phase, speed = random.uniform(0, 6, size=(1, 8, 3)), random.uniform(0.5, 4, size=(1, 8, 1))
    truth = np.sin(speed * time + phase)
    seen = truth + noise * random.normal(size=truth.shape)
    return truth, Points(seen, np.ones(seen.shape[:2]), np.zeros(seen.shape[:2]), np.full(seen.shape[:2], noise))


def test_tracks_without_noise_are_returned_as_they_are():
    truth, points = tracks(0.0)
    np.testing.assert_allclose(denoise(points).points, truth, atol=1e-12)


def test_noise_falls_and_the_error_left_is_estimated():
    truth, points = tracks(0.1)
    smooth = denoise(points)
    error = np.sqrt(np.mean((smooth.points - truth) ** 2))
    assert error < 0.06
    assert 0.6 < np.sqrt(np.mean(smooth.sigma**2)) / error < 1.6


def test_less_noise_is_smoothed_less():
    truth, points = tracks(0.01)
    error = np.sqrt(np.mean((denoise(points).points - truth) ** 2))
    assert error < 0.008


def test_constant_speed_passes_whole():
    line = np.linspace(0, 5, 30)[:, None, None] * np.ones((1, 3, 3))
    points = Points(line, np.ones((30, 3)), np.zeros((30, 3)), np.full((30, 3), 0.5))
    np.testing.assert_allclose(denoise(points).points, line, atol=1e-8)


def test_frames_of_low_confidence_do_not_pull():
    truth, points = tracks(0.02)
    points.points[20, 3] += 2.0
    points.confidence[20, 3] = 0.01
    assert np.abs(denoise(points).points[20, 3] - truth[20, 3]).max() < 0.1


def test_what_was_not_seen_has_no_part_in_the_smoothing():
    truth, points = tracks(0.05)
    points.confidence[20:] = 0.0
    far = [replace(points, points=points.points.copy(), sigma=points.sigma.copy()) for _ in range(2)]
    for other, value in zip(far, (0.0, 1e3), strict=True):
        other.points[20:] = value
        other.sigma[20:] = 1.0 + value
    first, second = (denoise(other) for other in far)
    np.testing.assert_array_equal(first.points, second.points)
    seen = Points(points.points[:20], points.confidence[:20], points.residual[:20], points.sigma[:20])
    np.testing.assert_allclose(first.points[:20], denoise(seen).points, atol=1e-12)
    assert np.sqrt(np.mean((first.points[:20] - truth[:20]) ** 2)) < 0.045


def test_a_gap_leaves_constant_speed_alone_and_is_bridged():
    line = np.linspace(0, 5, 30)[:, None, None] * np.ones((1, 3, 3))
    gap = np.ones((30, 3))
    gap[7:16, 1] = 0.0
    hidden = np.where(gap[..., None] > 0, line, 99.0)
    smooth = denoise(Points(hidden, gap, np.zeros((30, 3)), np.full((30, 3), 0.5)))
    np.testing.assert_allclose(smooth.points, line, atol=1e-8)


def test_long_tracks_are_smoothed_in_stretches_without_seams():
    truth, points = tracks(0.05, frames=1500)
    smooth = denoise(points)
    assert np.sqrt(np.mean((smooth.points - truth) ** 2)) < 0.02
    assert np.abs(np.diff(smooth.points, n=2, axis=0)).max() < 0.05
