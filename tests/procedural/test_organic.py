"""Melted bodies."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from animax.procedural.armature import ArmatureSketch
from animax.procedural.organic import ball, cone, melt
from animax.procedural.patch import chain_weights

GREY = np.array([0.5, 0.5, 0.5])


@pytest.fixture
def armature():
    sketch = ArmatureSketch()
    sketch.bone("root", None, (0, 0, 0), (0, 0.5, 0))
    sketch.bone("tip", "root", (0, 0.5, 0), (0, 1, 0))
    for suffix, side in ((".L", 1), (".R", -1)):
        sketch.bone(f"leg{suffix}", "root", (side * 0.1, 0, 0), (side * 0.1, -0.5, 0))
    return sketch.armature()


def _edges(triangles: np.ndarray) -> Counter:
    return Counter((int(a), int(b)) for t in triangles for a, b in zip(t, np.roll(t, -1), strict=True))


def test_a_ball_is_a_ball(armature):
    patch = melt(armature, [ball("root", (0, 0.1, 0.2), 0.3, GREY)], cell=0.06, soft=0.01)
    out = patch.positions - [0, 0.1, 0.2]
    assert np.allclose(np.linalg.norm(out, axis=-1), 0.3, atol=2e-4)
    assert np.allclose(patch.normals, out / 0.3, atol=5e-3)
    a, b, c = (patch.positions[patch.triangles[:, i]] for i in range(3))
    assert np.sum(a * np.cross(b, c)) / 6 == pytest.approx(4 / 3 * np.pi * 0.027, rel=0.03)


def test_surface_is_watertight(armature):
    parts = [
        cone("root", (0, 0, 0), (0, 0.5, 0), (0.12, 0.1), GREY),
        cone("tip", (0, 0.5, 0), (0.2, 0.9, 0.1), (0.1, 0.06), GREY),
    ]
    edges = _edges(melt(armature, parts, cell=0.04, soft=0.01).triangles)
    assert all(count == 1 and edges[(b, a)] == 1 for (a, b), count in edges.items())


def test_two_legs_stay_apart(armature):
    """Parts of a pair do not grow together, however close they are."""
    parts = [cone(f"leg{s}", (x, 0, 0), (x, -0.5, 0), (0.09, 0.09), GREY) for s, x in ((".L", 0.1), (".R", -0.1))]
    patch = melt(armature, parts, cell=0.02, soft=0.01)
    side = np.sign(patch.positions[:, 0])[patch.triangles]
    assert np.all(side == side[:, :1])


def test_weights_blend_at_the_joint_only(armature):
    parts = [
        cone("root", (0, 0, 0), (0, 0.5, 0), (0.1, 0.1), GREY),
        cone("tip", (0, 0.5, 0), (0, 1, 0), (0.1, 0.1), GREY),
    ]
    patch = melt(armature, parts, cell=0.04, soft=0.01)
    tip = patch.weights[:, armature.index["tip"]]
    y = patch.positions[:, 1]
    assert np.allclose(patch.weights.sum(axis=-1), 1.0)
    assert np.all(tip[y < 0.3] < 0.05)
    assert np.all(tip[y > 0.7] > 0.95)
    near = np.abs(y - 0.5) < 0.03
    assert np.all((tip[near] > 0.2) & (tip[near] < 0.8))


def test_chain_weights():
    weights = chain_weights(np.linspace(0, 3, 31), 5, [1, 2, 4], [1.0, 1.0, 1.0], 0.4)
    assert np.allclose(weights.sum(axis=-1), 1.0)
    assert np.allclose(weights[[0, 15, 30]][:, [1, 2, 4]], np.eye(3))
    assert np.allclose(weights[10, [1, 2]], 0.5)
    assert np.all(weights[:, [0, 3]] == 0)
