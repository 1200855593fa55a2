"""Markers that stand at wrong places of the body for the whole clip, as a network draws them."""

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.assets.markers import choose_markers
from animax.motion.calibration import calibrated, solve_drawn
from animax.motion.inverse_kinematics import solve_rotations
from animax.motion.triangulate import Points
from animax.procedural import generate

BIAS, WAVER, SIGMA = 0.02, 0.01, 0.015
"""Standard deviations of a coordinate in extents of the markers: for the clip, from frame to frame, and as the views
disagree, about as the embedded model draws."""
LONG = 0.06
"""Of a bone, in extents of the drivers."""


@pytest.fixture(scope="module", params=["biped", "quadruped"])
def walk(request):
    rig = load_rig(generate(request.param))
    clip = next(clip for clip in read_clips(rig, fps=16) if "walk" in clip.name.lower())
    return rig, choose_markers(rig), clip.pose


def drawn(rig, markers, pose, bias=BIAS, waver=WAVER, sigma=SIGMA):
    """The markers, and each one's misplacement in the frame of its joint at rest."""
    random = np.random.default_rng(0)
    globals_ = rig.skeleton.globals(pose)
    at = markers.positions(globals_)
    extent = np.linalg.norm(np.ptp(markers.positions(rig.skeleton.rest_globals), axis=0))
    turned = globals_[:, markers.joints, :3, :3] @ np.linalg.inv(rig.skeleton.rest_globals[markers.joints, :3, :3])
    offset = bias * extent * random.normal(size=(len(markers), 3))
    noise = gaussian_filter1d(random.normal(size=at.shape), 2, axis=0, mode="wrap")
    seen = at + np.einsum("fmij,mj->fmi", turned, offset) + waver * extent * noise / noise.std()
    shape = seen.shape[:2]
    return Points(seen, np.ones(shape), np.zeros(shape), np.full(shape, sigma * extent)), offset


def turn_error(rig, markers, pose, truth):
    """Degrees: mean over frames and the drivers that are long enough to show their turn (no fingers)."""
    heads = rig.skeleton.rest_globals[markers.drivers, :3, 3]
    above = markers.driver_parents
    length = np.linalg.norm(heads - heads[above], axis=-1) / np.linalg.norm(np.ptp(heads, axis=0))
    long = np.unique(above[(above >= 0) & (length > LONG)])
    linear = (rig.skeleton.globals(p)[:, markers.drivers[long], :3, :3] for p in (pose, truth))
    made, true = (rotations.from_matrix(m / np.cbrt(np.linalg.det(m))[..., None, None]) for m in linear)
    return np.rad2deg(rotations.between(made, true)).mean()


def spread(rig, pose):
    at = rig.skeleton.positions(pose)
    return np.sqrt(np.mean((at - at.mean(axis=0)) ** 2))


def test_calibration_takes_a_quarter_of_the_error_of_turns_and_keeps_the_motion(walk):
    rig, markers, truth = walk
    points, _ = drawn(rig, markers, truth)
    plain = solve_rotations(rig.skeleton, markers, points, 16.0, stretch=False)
    made = solve_drawn(rig.skeleton, markers, points, 16.0)
    assert turn_error(rig, markers, made, truth) < 0.75 * turn_error(rig, markers, plain, truth)
    assert 0.85 < spread(rig, made) / spread(rig, truth) < 1.1


def test_true_markers_stay_true(walk):
    rig, markers, truth = walk
    points, _ = drawn(rig, markers, truth, bias=0.0, waver=1e-4, sigma=1e-4)
    made = solve_drawn(rig.skeleton, markers, points, 16.0)
    assert turn_error(rig, markers, made, truth) < 0.5
    assert spread(rig, made) == pytest.approx(spread(rig, truth), rel=0.01)


def test_what_is_misplaced_is_found_and_exact_points_stay(walk):
    rig, markers, truth = walk
    points, offset = drawn(rig, markers, truth, waver=1e-4)
    clean, _ = drawn(rig, markers, truth, bias=0.0, waver=0.0)
    exact = np.zeros(points.sigma.shape, bool)
    exact[:, 0] = exact[3:5, 1] = True
    points = replace(points, sigma=np.where(exact, 0.0, points.sigma))
    found = calibrated(rig.skeleton, markers, points, truth)
    np.testing.assert_array_equal(found.points[exact], points.points[exact])
    assert np.abs(found.points - clean.points)[~exact].max() < 0.05 * np.abs(offset).max()


def test_markers_without_confidence_have_no_say(walk):
    rig, markers, truth = walk
    points, _ = drawn(rig, markers, truth)
    blind = points.confidence.copy()
    blind[::2, 5] = 0.0
    wild = points.points.copy()
    wild[::2, 5] += 100.0
    kept = calibrated(rig.skeleton, markers, replace(points, confidence=blind), truth)
    moved = calibrated(rig.skeleton, markers, replace(points, confidence=blind, points=wild), truth)
    np.testing.assert_allclose(moved.points[1::2], kept.points[1::2])
