from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.optimize import least_squares

from animax.errors import GenerationError
from animax.motion.localise import reject_jumps
from animax.motion.triangulate import triangulate
from animax.views.camera import orbit
from animax.views.pose_map import Observations

RADIUS = 1.3
CAMERAS = orbit([3.0, 1.0, -2.0], RADIUS, [0, 0, 1.0], [0, 1.0, 0], size=64)


def scene(frames=12, markers=20, noise=0.0, seed=0):
    random = np.random.default_rng(seed)
    start = random.uniform(-0.6, 0.6, size=(markers, 3))
    drift = 0.02 * random.normal(size=(markers, 3))
    points = np.array([3.0, 1.0, -2.0]) + start + drift * np.arange(frames)[:, None, None]
    pixels = CAMERAS.project(points)[0] + noise * random.normal(size=(4, frames, markers, 2))
    return points, pixels


def test_exact_observations_give_exact_points():
    points, pixels = scene()
    found = triangulate(CAMERAS, Observations(pixels, np.ones(pixels.shape[:-1])))
    np.testing.assert_allclose(found.points, points, atol=1e-8)
    assert found.residual.max() < 1e-6
    assert found.sigma.max() < 1e-7
    assert found.confidence.min() > 0.99


def test_two_views_agree_with_opencv():
    _, pixels = scene(noise=0.3)
    pair = CAMERAS[[0, 1]]
    ours = triangulate(pair, Observations(pixels[:2], np.ones(pixels[:2].shape[:-1]))).points.reshape(-1, 3)
    flat = pixels.reshape(4, -1, 2)
    theirs = cv2.triangulatePoints(pair.matrices[0], pair.matrices[1], flat[0].T, flat[1].T)
    theirs = (theirs[:3] / theirs[3]).T
    # linear against reprojection error: equal up to second order in the noise
    assert np.abs(ours - theirs).max() < 0.01
    np.testing.assert_allclose(np.median(np.linalg.norm(ours - theirs, axis=-1)), 0, atol=1e-3)


def test_four_views_agree_with_scipys_minimum_of_the_reprojection_error():
    _, pixels = scene(frames=1, markers=8, noise=0.15)
    confidence = np.random.default_rng(1).uniform(0.5, 1.0, size=pixels.shape[:-1])
    ours = triangulate(CAMERAS, Observations(pixels, confidence), iterations=20).points[0]
    for marker in range(8):

        def residuals(point, marker=marker):
            miss = CAMERAS.project(point)[0] - pixels[:, 0, marker]
            return (np.sqrt(confidence[:, 0, marker])[:, None] * miss).ravel()

        theirs = least_squares(residuals, [3.0, 1.0, -2.0]).x
        # soft-L1 differs a little from plain squares at errors of one scale
        assert np.linalg.norm(ours[marker] - theirs) < 0.2 * 0.15 * RADIUS / 32


def test_sigma_is_the_standard_error_of_a_coordinate():
    points, pixels = scene(frames=40, markers=30, noise=0.25)
    found = triangulate(CAMERAS, Observations(pixels, np.ones(pixels.shape[:-1])))
    actual = np.sqrt(np.mean((found.points - points) ** 2))
    assert 0.85 < np.sqrt(np.mean(found.sigma**2)) / actual < 1.15


@pytest.mark.parametrize("broken", [1, 2])
def test_views_that_contradict_the_others_are_dropped(broken):
    points, pixels = scene(noise=0.05)
    random = np.random.default_rng(2)
    views = random.permuted(np.tile(np.arange(4), (5, 1)), axis=1)[:, :broken]
    confidence = np.ones(pixels.shape[:-1])
    for marker, which in enumerate(views):
        pixels[which, :, marker] += random.uniform(8, 20, size=(broken, 1, 2)) * random.choice(
            [-1, 1], size=(broken, 1, 2)
        )
        if broken == 2:  # two against two cannot be told without a hint
            confidence[which, :, marker] = 0.3
    found = triangulate(CAMERAS, Observations(pixels, confidence))
    assert np.linalg.norm(found.points - points, axis=-1).max() < 0.03


def test_gaps_are_interpolated_and_are_no_evidence():
    points, pixels = scene()
    confidence = np.ones(pixels.shape[:-1])
    confidence[:3, 4:7, 2] = 0.0
    confidence[:, :, 5] = 0.0
    found = triangulate(CAMERAS, Observations(pixels, confidence))
    np.testing.assert_allclose(found.points[:, 2], points[:, 2], atol=1e-6)
    assert not found.confidence[4:7, 2].any()
    assert found.sigma[5, 2] > found.sigma[4, 2] > found.sigma[3, 2]
    assert not found.confidence[:, 5].any()
    assert np.isfinite(found.points).all()


def test_nothing_seen_is_an_error():
    _, pixels = scene()
    with pytest.raises(GenerationError, match="two views"):
        triangulate(CAMERAS, Observations(pixels, np.zeros(pixels.shape[:-1])))


def test_single_frame_jumps_lose_confidence_and_motion_does_not():
    _, pixels = scene(frames=20)
    fast = pixels.copy()
    fast[0, :, 1] = np.stack([np.linspace(2, 60, 20), np.full(20, 30.0)], axis=-1)
    fast[0, 7, 0] += 15
    fast[1, 0, 3] -= 12
    fast[2, 19, 4] += 12
    out = reject_jumps(Observations(fast, np.ones(fast.shape[:-1])), 64).confidence
    low = np.argwhere(out < 1)
    assert low.tolist() == [[0, 7, 0], [1, 0, 3], [2, 19, 4]]
