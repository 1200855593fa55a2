from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from animax import rotations
from animax.assets.markers import MarkerKind, choose_markers
from animax.errors import GenerationError
from animax.motion import inverse_kinematics as ik
from animax.motion.inverse_kinematics import inverse_fk, solve_rotations
from animax.motion.triangulate import Points, _fill_gaps

from .synthetic import biped, make_rig, random_pose, snake


def observed(rig, markers, pose, *, noise=0.0, seed=0):
    """True marker positions as triangulation would give them; ``noise`` in rest diagonals."""
    at = markers.positions(rig.skeleton.globals(pose))
    sigma = noise * rig.size
    at = at + sigma * np.random.default_rng(seed).normal(size=at.shape)
    return Points(at, np.ones(at.shape[:2]), np.zeros(at.shape[:2]), np.full(at.shape[:2], sigma))


def position_error(rig, pose, truth):
    gap = rig.skeleton.positions(pose) - rig.skeleton.positions(truth)
    return np.linalg.norm(gap, axis=-1).mean() / rig.size


def without(markers, kind):
    keep = markers.kinds != kind
    return replace(
        markers,
        joints=markers.joints[keep],
        offsets=markers.offsets[keep],
        kinds=markers.kinds[keep],
        channels=markers.channels[keep],
    )


@pytest.mark.parametrize("rig", [biped(yaw=0.7, scale=40.0, shift=(3, 0, -8)), snake(16)], ids=["biped", "snake"])
def test_exact_markers_give_back_the_pose(rig):
    truth = random_pose(rig, 21)
    markers = choose_markers(rig)
    pose = solve_rotations(rig.skeleton, markers, observed(rig, markers, truth), 16.0)
    assert position_error(rig, pose, truth) < 5e-5
    turned = rotations.between(pose.rotations[:, markers.drivers], truth.rotations[:, markers.drivers])
    assert np.rad2deg(turned).max() < 0.2
    np.testing.assert_array_equal(
        pose.translations[:, 2:], np.broadcast_to(rig.skeleton.rest.translations[2:], pose.translations[:, 2:].shape)
    )


def test_normal_equations_agree_with_finite_differences():
    rig = biped()
    markers = choose_markers(rig)
    tree = ik._tree(rig.skeleton, markers, spread=True, stretched=(5, 6))
    random = np.random.default_rng(0)
    turns = rotations.from_rotation_vector(0.5 * random.normal(size=(2, tree.turns, 3)))
    places = 0.1 * random.normal(size=(2, len(tree.movers), 3))
    weights = random.uniform(0.5, 2.0, size=(2, len(markers)))
    targets = random.normal(size=(2, len(markers), 3))

    def marker_places(step):
        moved = rotations.multiply(rotations.from_rotation_vector(step[:, : 3 * tree.turns].reshape(2, -1, 3)), turns)
        delta, heads = ik._forward(tree, moved, places + step[:, 3 * tree.turns :].reshape(2, -1, 3))
        at = heads[:, tree.carriers] + np.einsum("fmij,mj->fmi", delta[:, tree.carriers], tree.offsets)
        return at, delta, heads

    unknowns = 3 * tree.turns + 3 * len(tree.movers)
    at, delta, heads = marker_places(np.zeros((2, unknowns)))
    hessian, gradient = ik._normal_equations(tree, delta, heads, at, at - targets, weights)
    jacobian = np.empty((2, len(markers), 3, unknowns))
    for unknown in range(unknowns):
        step = np.zeros((2, unknowns))
        step[:, unknown] = 1e-6
        jacobian[..., unknown] = (marker_places(step)[0] - marker_places(-step)[0]) / 2e-6
    np.testing.assert_allclose(hessian, np.einsum("fmiu,fm,fmiv->fuv", jacobian, weights, jacobian), atol=1e-6)
    np.testing.assert_allclose(gradient, np.einsum("fmiu,fm,fmi->fu", jacobian, weights, at - targets), atol=1e-6)


def test_block_tridiagonal_solve_agrees_with_a_dense_one():
    random = np.random.default_rng(1)
    frames, size, damping = 5, 4, 0.01
    a = random.normal(size=(frames, size, size))
    blocks = a @ np.swapaxes(a, 1, 2) + np.eye(size)
    right, coupling = random.normal(size=(frames, size)), random.uniform(0.1, 3.0, size=size)
    dense = np.zeros((frames * size, frames * size))
    for f in range(frames):
        here = slice(f * size, f * size + size)
        dense[here, here] = blocks[f] + damping * np.diag(np.diag(blocks[f]))
    difference = np.kron(np.diff(np.eye(frames), axis=0), np.eye(size))
    dense += difference.T @ np.diag(np.tile(coupling, frames - 1)) @ difference
    expected = np.linalg.solve(dense, right.ravel()).reshape(frames, size)
    np.testing.assert_allclose(ik._solve_in_time(blocks, right, coupling, damping), expected, atol=1e-9)


def test_nearest_rotation_agrees_with_scipy():
    random = np.random.default_rng(2)
    for _ in range(20):
        a, b = random.normal(size=(2, 4, 3))
        ours = rotations.nearest(np.einsum("ni,nj->ij", a, b))
        np.testing.assert_allclose(ours, Rotation.align_vectors(a, b)[0].as_matrix(), atol=1e-7)


@pytest.mark.parametrize(
    ("scale", "yaw", "shift"), [(100.0, 0.0, (0, 0, 0)), (1.0, 2.0, (0, 0, 0)), (1.0, 0.0, (50, 2, -9))]
)
def test_size_heading_and_place_do_not_matter(scale, yaw, shift):
    local = []
    for kwargs in ({}, {"scale": scale, "yaw": yaw, "shift": shift}):
        rig = biped(**kwargs)
        markers = choose_markers(biped())
        rest = rig.skeleton.rest_globals[markers.joints]
        plain = biped().skeleton.rest_globals[markers.joints]
        offsets = markers.offsets * scale if kwargs else markers.offsets
        np.testing.assert_allclose(np.linalg.det(rest[:, :3, :3]), np.linalg.det(plain[:, :3, :3]))
        moved = replace(markers, offsets=offsets)
        truth = random_pose(rig, 12)
        truth.translations[:, 1] = rig.skeleton.rest.translations[1]
        pose = solve_rotations(rig.skeleton, moved, observed(rig, moved, truth, noise=0.0), 16.0)
        local.append(pose.rotations[:, 2:])  # the hips turn with the rig below a still armature
    assert np.rad2deg(rotations.between(*local)).max() < 0.05


def test_a_sliding_part_is_followed():
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 15, degrees=10)
    head = rig.skeleton.names.index("head")
    slide = 100 * 0.15 * rig.size * np.sin(np.linspace(0, 3, 15))
    truth.translations[:, head] += slide[:, None] * np.array([0.0, 0.6, 0.8])
    points = observed(rig, markers, truth)
    follows = solve_rotations(rig.skeleton, markers, points, 16.0)
    stiff = solve_rotations(rig.skeleton, markers, points, 16.0, stretch=False)
    assert position_error(rig, follows, truth) < 2e-3 < position_error(rig, stiff, truth)
    np.testing.assert_array_equal(
        stiff.translations[:, head], np.broadcast_to(rig.skeleton.rest.translations[head], (15, 3))
    )


def test_links_left_out_of_a_chain_bend_with_their_neighbours():
    rig = snake(60)
    markers = choose_markers(rig)
    assert len(markers.drivers) < 40
    bend = np.deg2rad(4) * np.sin(np.linspace(0, 9, 59) + np.linspace(0, 4, 12)[:, None])
    axes = np.broadcast_to(np.array([0.0, 1.0, 0.0]), (12, 59, 3))
    at_rest = rig.skeleton.rest_globals
    turns = rotations.from_matrix(at_rest[1:-1, :3, :3] / np.cbrt(np.linalg.det(at_rest[1:-1, :3, :3]))[:, None, None])
    local = rotations.from_rotation_vector(rotations.rotate(rotations.conjugate(turns), axes * bend[..., None]))
    truth = rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], 12, axis=0))
    truth.rotations[:, 2:] = rotations.multiply(local, truth.rotations[:, 2:])
    points = observed(rig, markers, truth)
    smooth = solve_rotations(rig.skeleton, markers, points, 16.0)
    stiff = solve_rotations(rig.skeleton, markers, points, 16.0, spread=False)
    assert position_error(rig, smooth, truth) < 0.6 * position_error(rig, stiff, truth)
    assert position_error(rig, smooth, truth) < 2e-3


def test_twist_that_no_marker_shows_is_not_made_up():
    rig = snake(12)
    markers = without(choose_markers(rig), MarkerKind.OFF_AXIS)
    # swing alone: every link turns about an axis across itself
    frames = 10
    swing = np.deg2rad(15) * np.sin(np.linspace(0, 5, 11) + np.linspace(0, 3, frames)[:, None])
    rest = rig.skeleton.rest_globals
    axes = rotations.from_matrix(rest[1:-1, :3, :3] / np.cbrt(np.linalg.det(rest[1:-1, :3, :3]))[:, None, None])
    across = rotations.rotate(rotations.conjugate(axes), np.stack([0 * swing, swing, 0 * swing], axis=-1))
    truth = rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], frames, axis=0))
    truth.rotations[:, 2:] = rotations.multiply(rotations.from_rotation_vector(across), truth.rotations[:, 2:])
    pose = solve_rotations(rig.skeleton, markers, observed(rig, markers, truth), 16.0)
    turned = rotations.between(pose.rotations[:, 2:], truth.rotations[:, 2:])
    assert np.rad2deg(turned).max() < 4.0


@pytest.mark.parametrize("rig", [biped(), snake(40)], ids=["biped", "snake"])
def test_noise_makes_no_flips_and_costs_less_than_inverse_fk(rig):
    truth = random_pose(rig, 40, degrees=12, smooth=5.0)
    markers = choose_markers(rig)
    points = observed(rig, markers, truth, noise=0.005)
    pose = solve_rotations(rig.skeleton, markers, points, 16.0)
    paper = inverse_fk(rig.skeleton, markers, points)
    jumps = rotations.between(pose.rotations[1:], pose.rotations[:-1])
    assert np.rad2deg(jumps).max() < 60
    surface = [rig.mesh.skin(rig.skeleton.globals(p)) for p in (truth, pose, paper)]
    ours, theirs = (np.linalg.norm(s - surface[0], axis=-1).mean() / rig.size for s in surface[1:])
    assert ours < 0.01
    assert ours < 0.75 * theirs


def test_inverse_fk_puts_heads_exactly_where_they_were_seen():
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 8)
    pose = inverse_fk(rig.skeleton, markers, observed(rig, markers, truth))
    assert position_error(rig, pose, truth) < 1e-6


def test_points_of_other_markers_are_refused():
    rig = biped()
    markers = choose_markers(rig)
    points = observed(rig, markers, random_pose(rig, 4))
    with pytest.raises(GenerationError, match="markers"):
        solve_rotations(rig.skeleton, without(markers, MarkerKind.TAIL), points, 16.0)
    blind = replace(points, confidence=np.zeros_like(points.confidence))
    with pytest.raises(GenerationError, match="confidence"):
        solve_rotations(rig.skeleton, markers, blind, 16.0)


def test_one_frame_is_enough():
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 1)
    pose = solve_rotations(rig.skeleton, markers, observed(rig, markers, truth), 16.0)
    assert position_error(rig, pose, truth) < 1e-4


def test_a_body_of_which_nothing_is_seen_stays_at_rest():
    rig = biped()
    markers = choose_markers(rig)
    points = observed(rig, markers, random_pose(rig, 6))
    one = np.zeros_like(points.confidence)
    one[:, markers.joints == rig.skeleton.names.index("toe_l")] = 1e-12
    dim = replace(points, confidence=one, points=np.broadcast_to(points.points.mean(axis=(0, 1)), points.points.shape))
    pose = solve_rotations(rig.skeleton, markers, dim, 16.0)
    assert np.rad2deg(rotations.between(pose.rotations, rig.skeleton.rest.rotations)).max() < 5
    assert np.isfinite(pose.translations).all()


def hidden(points, which, frames):
    """Points as triangulation gives them when the markers ``which`` leave the views for ``frames``."""
    out = Points(*(a.copy() for a in (points.points, points.confidence, points.residual, points.sigma)))
    out.points[np.ix_(frames, which)] = np.nan
    for array in (out.confidence, out.residual, out.sigma):
        array[np.ix_(frames, which)] = 0.0
    return _fill_gaps(out)


def jumps_and_errors(rig, markers, pose, truth):
    """Turns (F-1, D) between frames and errors (F, D) of the drivers' world rotations, degrees."""
    turns, true = (
        rotations.from_matrix(
            m[..., :3, :3] / np.cbrt(np.linalg.det(m[..., :3, :3]))[..., None, None],
        )[:, markers.drivers]
        for m in (rig.skeleton.globals(pose), rig.skeleton.globals(truth))
    )
    return np.rad2deg(rotations.between(turns[1:], turns[:-1])), np.rad2deg(rotations.between(turns, true))


@pytest.mark.parametrize("gap", [(0, 9), (14, 24), (27, 40)], ids=["first", "inner", "last"])
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("hide", ["tail and twist", "all"])
def test_a_body_that_leaves_the_views_does_not_flip(gap, seed, hide):
    rig = biped()
    truth = random_pose(rig, 40, degrees=20, smooth=5.0, seed=seed)
    # the whole rig moves off by its own size meanwhile, so that where a marker was last seen says nothing
    away = np.interp(np.arange(40), [gap[0], gap[1]], [0.0, 100 * rig.size])
    truth.translations[:, 1] += away[:, None] * np.array([0.0, 0.0, 1.0])
    markers = choose_markers(rig)
    points = observed(rig, markers, truth, noise=0.005, seed=seed)
    whole = solve_rotations(rig.skeleton, markers, points, 16.0)
    body = [markers.joints == rig.skeleton.names.index(name) for name in ("hand_l", "head")]
    which = np.flatnonzero(np.any(body, axis=0) & ((markers.kinds != MarkerKind.HEAD) | (hide == "all")))
    frames = np.arange(*gap)
    pose = solve_rotations(rig.skeleton, markers, hidden(points, which, frames), 16.0)

    jumps, errors = jumps_and_errors(rig, markers, pose, truth)
    true_jumps, _ = jumps_and_errors(rig, markers, truth, truth)
    assert jumps.max() < true_jumps.max() + 15
    # what is unseen stays within what a body turns meanwhile, and the frames that are seen are as good as ever
    assert errors[frames].max() < 60
    elsewhere = np.setdiff1d(np.arange(40), np.arange(gap[0] - 2, gap[1] + 2))
    _, unhidden = jumps_and_errors(rig, markers, whole, truth)
    assert np.sqrt(np.mean(errors[elsewhere] ** 2)) < 1.15 * np.sqrt(np.mean(unhidden[elsewhere] ** 2))


def test_a_gap_is_bridged_from_both_sides_and_an_end_is_held():
    rig = biped()
    markers = choose_markers(rig)
    head = rig.skeleton.names.index("head")
    frames, gap = 40, np.arange(12, 28)
    turn = np.deg2rad(np.linspace(0, 80, frames))[:, None] * np.array([0.0, 1.0, 0.0])
    truth = rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], frames, axis=0))
    truth.rotations[:, head] = rotations.multiply(truth.rotations[:, head], rotations.from_rotation_vector(turn))
    points = observed(rig, markers, truth)
    which = np.flatnonzero((markers.joints == head) & (markers.kinds != MarkerKind.HEAD))
    bridged = solve_rotations(rig.skeleton, markers, hidden(points, which, gap), 16.0)
    assert jumps_and_errors(rig, markers, bridged, truth)[1].max() < 3
    held = solve_rotations(rig.skeleton, markers, hidden(points, which, np.arange(24, frames)), 16.0)
    last = np.rad2deg(rotations.between(held.rotations[24:, head], held.rotations[23, head]))
    assert last.max() < 6


def test_a_rig_that_leaves_the_views_keeps_its_last_place():
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 20)
    points = hidden(observed(rig, markers, truth), np.arange(len(markers)), np.arange(12, 20))
    pose = solve_rotations(rig.skeleton, markers, points, 16.0)
    at = rig.skeleton.positions(pose)
    assert np.linalg.norm(at[12:] - at[11], axis=-1).max() < 0.02 * rig.size
    assert np.linalg.norm(at[:12] - rig.skeleton.positions(truth)[:12], axis=-1).max() < 0.01 * rig.size


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_rigid_body_that_slides_partly_out_of_the_views_does_not_turn(seed):
    rig = make_rig({"gate": (None, (0.0, 1.0, 0.0))})
    markers = choose_markers(rig)
    frames = 17
    truth = rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], frames, axis=0))
    truth.translations[1:, 1] += 100 * 0.9 * rig.size * np.array([0.0, 1.0, 0.0])
    points = observed(rig, markers, truth, noise=0.005, seed=seed)
    tail = np.flatnonzero(markers.kinds == MarkerKind.TAIL)
    pose = solve_rotations(rig.skeleton, markers, hidden(points, tail, np.arange(1, frames)), 16.0)
    assert jumps_and_errors(rig, markers, pose, truth)[1].max() < 15


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_a_few_markers_almost_on_a_line_do_not_turn_a_body_whose_limbs_slide(seed):
    legs = {
        f"{name}_{side}": ("body", (sign * 0.12, y, z))
        for side, sign in (("l", 1), ("r", -1))
        for name, y, z in (("front", 0.13, 0.12), ("middle", 0.12, 0.05), ("hind", 0.16, -0.05))
    }
    rig = make_rig({"body": (None, (0.0, 0.14, 0.106)), **legs})
    markers = choose_markers(rig)
    frames, gone = 17, np.arange(10, 17)
    truth = random_pose(rig, frames, degrees=4, smooth=5.0, seed=seed)
    slide = np.random.default_rng(seed).normal(size=(frames, len(legs), 3))
    truth.translations[:, 2:] += 100 * 0.02 * rig.size * gaussian_filter1d(slide, 3.0, axis=0) * 3
    truth.translations[gone, 1] += 100 * rig.size * (np.arange(len(gone))[:, None] + 1) * np.array([0.0, 0.5, 0.0])
    front = [rig.skeleton.names.index(name) for name in ("body", "front_l", "front_r")]
    which = np.flatnonzero(~np.isin(markers.joints, front) & (markers.kinds == MarkerKind.HEAD))
    pose = solve_rotations(rig.skeleton, markers, hidden(observed(rig, markers, truth), which, gone), 16.0)
    assert jumps_and_errors(rig, markers, pose, truth)[0].max() < 20


@pytest.mark.parametrize(("joint", "axis"), [("forearm_r", 2), ("thigh_l", 0)])
def test_a_limb_begun_in_another_valley_comes_back(joint, axis, monkeypatch):
    """Turned about in one frame, a descent alone leaves it there."""
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 17, degrees=15)
    points = observed(rig, markers, truth)
    top = int(np.flatnonzero(markers.drivers == rig.skeleton.names.index(joint))[0])
    limb = [top, *np.flatnonzero(markers.driver_parents == top)]
    about = rotations.from_rotation_vector(np.deg2rad(179) * np.eye(3)[axis])
    begin = ik._start

    def astray(*args):
        turns, places = begin(*args)
        turns[8, limb] = rotations.multiply(about, turns[8, limb])
        return turns, places

    def error(**options):
        pose = solve_rotations(rig.skeleton, markers, points, 16.0, **options)
        turned = rotations.between(pose.rotations[8, markers.drivers], truth.rotations[8, markers.drivers])
        return np.rad2deg(turned).max()

    monkeypatch.setattr(ik, "_start", astray)
    assert error() < 1
    assert error(retries=0) > 45


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_what_the_skeleton_cannot_follow_is_no_evidence_of_turns(seed, monkeypatch):
    """Joints that leave their places by a hundredth of the body, each for itself."""
    rig = biped()
    markers = choose_markers(rig)
    truth = random_pose(rig, 33, degrees=15)
    random = np.random.default_rng(seed)
    truth.translations[:, 3:] += rig.size * random.normal(size=(33, len(rig.skeleton) - 3, 3))  # file units: 1/100
    points = observed(rig, markers, truth)

    def errors_and_steps():
        turned = solve_rotations(rig.skeleton, markers, points, 16.0, stretch=False).rotations[:, markers.drivers]
        errors = rotations.between(turned, truth.rotations[:, markers.drivers])
        return errors.mean(), rotations.between(turned[1:], turned[:-1]).max()

    error, step = errors_and_steps()
    monkeypatch.setattr(ik, "FOLLOWED", np.inf)
    believed, jump = errors_and_steps()
    assert error < 0.95 * believed
    assert step < 0.9 * jump
