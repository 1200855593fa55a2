import numpy as np

from animax.views.measure import seconds, textured_ball


def test_the_ball_is_as_large_as_asked_and_closed():
    ball = textured_ball(3000)
    assert abs(len(ball.triangles) - 3000) < 150
    corners = ball.positions[ball.triangles]
    volume = np.einsum("ti,ti->t", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])).sum() / 6
    np.testing.assert_allclose(volume, 4 / 3 * np.pi, rtol=0.02)


def test_small_pictures_are_fast_enough_to_train_on():
    """Two milliseconds of processor a picture is the aim; twice that leaves room for a busy machine."""
    _, processor = seconds(3000, 32, 16, repeats=3)
    assert processor < 4e-3
