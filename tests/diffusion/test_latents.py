import numpy as np
import pytest

from animax.diffusion import sampler
from animax.diffusion.latents import LatentSpace
from animax.diffusion.sampler import Condition, Schedule
from animax.views.camera import orbit
from animax.views.render import BACKGROUND
from animax.views.splat import SplatPoseMap, spline_weights


def test_pictures_round_trip_exactly():
    space = LatentSpace(SplatPoseMap(8, 4), 6)
    pictures = np.random.default_rng(0).integers(0, 256, (4, 2, 6, 6, 3), dtype=np.uint8)
    np.testing.assert_array_equal(space.decode_rgb(space.encode_rgb(pictures)), pictures)


def test_the_background_is_zero():
    space = LatentSpace(SplatPoseMap(8, 4), 6)
    empty = np.broadcast_to(np.array(BACKGROUND, np.uint8), (1, 6, 6, 3))
    assert np.all(space.encode_rgb(empty) == 0)


@pytest.mark.parametrize("size", [4, 6, 8])
def test_pose_latents_have_about_unit_variance(size):
    positions = np.random.default_rng(0).uniform(1, size - 1, (500, 2))
    splats = spline_weights(positions[:, 1], size)[:, :, None] * spline_weights(positions[:, 0], size)[:, None]
    space = LatentSpace(SplatPoseMap(8, size), 6)
    assert 0.7 < np.sqrt(np.mean(space.encode_pose(splats) ** 2)) < 1.3
    np.testing.assert_allclose(space.decode_pose(space.encode_pose(splats)), splats, atol=1e-6)


class Markers:
    """Four, on channels of their own; the last of eight is not in use."""

    channels = np.array([0, 2, 3, 6])

    def __len__(self):
        return 4


SPACE = LatentSpace(SplatPoseMap(8, 4), 6)
CAMERAS = orbit(np.zeros(3), 1.0, np.array([0.0, 0, 1]), np.array([0.0, 1, 0]), size=1)
POSITIONS = np.array([[0.1, 0.2, 0.3], [-0.4, 0.1, 0.0], [0.0, -0.5, 0.2], [0.2, 0.0, -0.3]])


def test_tangents_are_what_a_small_move_changes():
    tangents = SPACE.tangents(Markers, CAMERAS, POSITIONS).astype(float)
    assert tangents.shape == (4, 8, 3, 4, 4)
    assert not tangents[:, [1, 4, 5, 7]].any()
    move = np.array([0.002, -0.003, 0.001])
    rest, depths = CAMERAS.project(POSITIONS[None])
    points, _ = CAMERAS.project(POSITIONS[None] + move)
    maps = [SPACE.codec.draw(SPACE.drawn_at(at, rest), depths, Markers(), 1)[:, 0] for at in (rest, points)]
    change = (maps[1] - maps[0])[:, Markers.channels]
    within = tangents[:, Markers.channels].reshape(4, 4, 3, 16)
    flat = change.reshape(4, 4, 16)
    kept = np.einsum("vmia,vmib,vmb->vma", within, within, flat)
    assert np.linalg.norm(kept - flat) < 0.05 * np.linalg.norm(flat), "a move changes nothing else"
    gram = np.einsum("vmia,vmja->vmij", within, within)
    np.testing.assert_allclose(np.linalg.eigvalsh(gram), np.broadcast_to([0, 1, 1], (4, 4, 3)), atol=1e-5)


def test_at_rest_markers_are_in_the_middle():
    rest, _ = CAMERAS.project(POSITIONS)
    np.testing.assert_allclose(SPACE.drawn_at(rest, rest), 0.5)


def test_moves_from_rest_are_companded_and_come_back():
    rest = np.array(0.3)
    moves = np.linspace(-0.5, 0.5, 41)
    drawn = SPACE.drawn_at(rest + moves, rest)
    np.testing.assert_allclose(SPACE.seen_at(drawn, rest), rest + moves, atol=1e-12)
    assert (drawn[0], drawn[-1]) == pytest.approx((0, 1))
    slope = np.gradient(drawn, moves)
    assert slope.max() == pytest.approx(3.3, rel=0.03)
    assert slope[0] == pytest.approx(0.33, rel=0.1)


def test_a_marker_outside_the_picture_moves_as_any_other():
    far = POSITIONS + np.array([[0, 9.0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 0]])
    tangents = SPACE.tangents(Markers, CAMERAS, far)
    gram = np.einsum("vihw,vjhw->vij", *[tangents[:, 0].astype(float)] * 2)
    np.testing.assert_allclose(np.linalg.eigvalsh(gram), np.broadcast_to([0, 1, 1], (4, 3)), atol=1e-5)


def test_views_begin_with_one_motion_in_mind():
    tangents = SPACE.tangents(Markers, CAMERAS, POSITIONS)
    seen = []

    def denoiser(rgb, pose, template_rgb, template_pose, sigma, text, rays):
        seen.append(pose[0])
        return np.zeros_like(rgb), np.zeros_like(pose)

    condition = Condition(
        np.zeros((4, 3, 6, 6), np.float32), np.zeros((4, 8, 4, 4), np.float32), np.ones(8, bool),
        np.zeros((4, 6, 4, 4), np.float32), sampler.Prompt(0, np.zeros((1, 2), np.float32)), tangents,
    )  # fmt: skip
    sampler.sample(denoiser, condition, 33, 0, Schedule(1, 1.0))
    noise = seen[0].astype(float)
    for view in noise:
        assert view.std() == pytest.approx(1, abs=0.02)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.1
    # of every marker, what four views say is one move in space
    used = np.moveaxis(tangents[:, Markers.channels].astype(float), 1, 0).transpose(0, 2, 1, 3, 4).reshape(4, 3, -1)
    said = np.einsum("vcihw,vfchw->fci", tangents, noise)[:, Markers.channels]
    moves = np.einsum("mij,fmj->fmi", np.linalg.inv(used @ used.transpose(0, 2, 1)), said)
    for view in range(4):
        own = np.einsum("mihw,fmhw->fmi", tangents[view, Markers.channels], noise[view][:, Markers.channels])
        gram = np.einsum("mihw,mjhw->mij", *[tangents[view, Markers.channels].astype(float)] * 2)
        np.testing.assert_allclose(own, np.einsum("mij,fmj->fmi", gram, moves), atol=1e-4)
