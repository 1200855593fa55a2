import numpy as np

from animax.views import raster
from animax.views.raster import rasterise


def random_triangles(count, seed=0):
    rng = np.random.default_rng(seed)
    z = rng.uniform(1, 5, (count, 3, 1))
    corners = np.concatenate([rng.uniform(-1.2, 1.2, (count, 3, 2)) * z, z], axis=-1)
    return corners.astype(np.float32)


def by_rays(corners, size):
    """The nearest triangle by solving every ray against every triangle, and its barycentric weights."""
    axis = (np.arange(size) + 0.5) * 2 / size - 1
    x, y = np.meshgrid(axis, axis)
    rays = np.stack([x, y, np.ones_like(x)], axis=-1).reshape(-1, 3)
    inverse = np.linalg.inv(np.swapaxes(corners.astype(np.float64), 1, 2))
    weights = np.einsum("kij,rj->kri", inverse, rays)
    depth = 1 / np.maximum(weights.sum(axis=-1), 1e-12)
    depth[~(weights >= 0).all(axis=-1)] = np.inf
    nearest = depth.argmin(axis=0)
    here = np.arange(len(rays))
    seen = weights[nearest, here] * depth[nearest, here][:, None]
    return np.where(np.isinf(depth.min(axis=0)), -1, nearest), seen, depth.min(axis=0)


def test_each_pixel_sees_what_its_ray_meets_first():
    corners = random_triangles(25)
    index, seen, depth = rasterise(corners, 48)
    expected, weights, distance = by_rays(corners, 48)
    agree = index.reshape(-1) == expected
    assert agree.mean() > 0.999
    hit = agree & (expected >= 0)
    assert hit.mean() > 0.5
    np.testing.assert_allclose(seen.reshape(-1, 3)[hit, :2], weights[hit, 1:], atol=1e-4)
    np.testing.assert_allclose(depth.reshape(-1)[hit], distance[hit], rtol=1e-5)


def test_blocks_make_no_difference(monkeypatch):
    corners = random_triangles(40, seed=1)
    whole = rasterise(corners, 32)
    monkeypatch.setattr(raster, "BLOCK", 7)
    parts = rasterise(corners, 32)
    np.testing.assert_array_equal(whole[0], parts[0])
    hit = whole[0] >= 0
    np.testing.assert_allclose(whole[1][hit][:, :2], parts[1][hit][:, :2], atol=1e-6)
    np.testing.assert_allclose(whole[2][hit], parts[2][hit], rtol=1e-6)


def test_many_triangles_keep_their_numbers():
    """Numbers near the top of a block survive the way through a float colour."""
    far = np.array([[[-9, -9, 9], [9, -9, 9], [0, 9, 9]]], np.float32)
    corners = np.repeat(far, 300_000, axis=0)
    corners[:, :, :2] = 50  # beside the picture
    corners[-1] = far[0] / 3
    index, _, _ = rasterise(corners, 16)
    assert set(np.unique(index)) == {-1, len(corners) - 1}
