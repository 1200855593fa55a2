import numpy as np
import pytest

from animax.diffusion.latents import LatentSpace
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
