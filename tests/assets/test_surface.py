"""Triangles, influences and normals of the vertex soup."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.assets import load_rig
from animax.assets.surface import strongest, triangulated, unit_normals
from animax.errors import AssetError
from tests.assets.glb_builder import CUBE, CUBE_TRIANGLES, Glb, arm


def areas(points, triangles):
    a, b, c = (points[triangles[:, i]] for i in range(3))
    return np.cross(b - a, c - a)[:, 2] / 2


def test_strips_and_fans_cover_a_polygon_once_and_keep_the_winding():
    """The specification's orders: a zigzag as strip and a circle as fan, all triangles counter-clockwise."""
    zigzag = np.array([[x // 2, x % 2, 0.0] for x in range(8)]) * [1, -1, 1]
    strip = triangulated(np.arange(8), 5)
    assert np.all(areas(zigzag, strip) > 0)
    np.testing.assert_allclose(areas(zigzag, strip).sum(), 3.0)
    angle = np.linspace(0, 2 * np.pi, 9)[:-1]
    circle = np.stack([np.cos(angle), np.sin(angle), 0 * angle], axis=-1)
    fan = triangulated(np.arange(8), 6)
    assert np.all(areas(circle, fan) > 0)
    np.testing.assert_allclose(areas(circle, fan).sum(), 4 * np.sin(np.pi / 4))


@pytest.mark.parametrize("mode", [4, 5, 6])
@pytest.mark.parametrize("count", range(5))
def test_too_few_corners_make_no_triangle(mode, count):
    assert len(triangulated(np.arange(count), mode)) == (count // 3 if mode == 4 else max(count - 2, 0))


@given(st.integers(5, 12), st.integers(0, 1000))
def test_the_strongest_four_influences_stay(width, seed):
    random = np.random.default_rng(seed)
    weights, joints = random.random((6, width)), random.permuted(np.tile(np.arange(width), (6, 1)), axis=1)
    kept, kept_weights = strongest(joints, weights)
    for row in range(6):
        by_joint = dict(zip(joints[row], weights[row], strict=True))
        assert sorted(kept_weights[row]) == sorted(weights[row])[-4:]
        assert all(by_joint[j] == w for j, w in zip(kept[row], kept_weights[row], strict=True))


def test_eight_influences_keep_four_that_sum_to_one():
    glb, joints = Glb(), []
    joints = [glb.node(name=f"j{i}", translation=[float(i), 0, 0]) for i in range(8)]
    mesh = glb.mesh(CUBE, CUBE_TRIANGLES)
    attributes = glb.json["meshes"][mesh]["primitives"][0]["attributes"]
    weights = np.tile([0.02, 0.03, 0.05, 0.09, 0.11, 0.2, 0.2, 0.3], (8, 1))
    for group in range(2):
        attributes[f"JOINTS_{group}"] = glb.accessor(np.tile(np.arange(4) + 4 * group, (8, 1)), "u1")
        attributes[f"WEIGHTS_{group}"] = glb.accessor(weights[:, 4 * group : 4 * group + 4])
    glb.node(mesh=mesh, skin=glb.skin(joints))
    rig = load_rig(glb.bytes())
    total = rig.mesh.joint_weights(8)
    np.testing.assert_allclose(total, np.array([0, 0, 0, 0, 0.11, 0.2, 0.2, 0.3]) / 0.81 * 8, atol=1e-6)


def test_vertices_without_weight_follow_the_first_joint():
    glb = arm()
    attributes = glb.json["meshes"][0]["primitives"][0]["attributes"]
    attributes["WEIGHTS_0"] = glb.accessor(np.zeros((8, 4)))
    rig = load_rig(glb.bytes())
    upper = rig.skeleton.names.index("upper")
    assert rig.mesh.joint_weights(len(rig.skeleton))[upper] == 8
    assert any("without weight" in warning for warning in rig.warnings)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda p, glb: p.update(indices=glb.accessor([0, 1, 8], "u2")), "vertex 8"),
        (lambda p, glb: p["attributes"].update(JOINTS_0=glb.accessor(np.full((8, 4), 2), "u1")), "joint 2"),
        (lambda p, glb: p["attributes"].update(WEIGHTS_0=glb.accessor(np.ones((7, 4)))), "elements"),
        (lambda p, glb: p["attributes"].pop("WEIGHTS_0"), "only one of"),
        (lambda p, glb: p["attributes"].pop("POSITION"), "POSITION"),
        (lambda p, glb: p["attributes"].update(NORMAL=glb.accessor(np.ones((7, 3)))), "NORMAL"),
        (lambda p, glb: p["attributes"].update(POSITION=99), "POSITION"),
        (lambda p, glb: p.update(mode=9), "mode"),
        (lambda p, glb: p.update(attributes=[1]), "attributes"),
    ],
)
def test_broken_primitives_are_refused(change, words):
    glb = arm()
    change(glb.json["meshes"][0]["primitives"][0], glb)
    with pytest.raises(AssetError, match=words):
        load_rig(glb.bytes())


def test_points_and_lines_are_left_out():
    glb = arm()
    glb.json["meshes"][1]["primitives"][0]["mode"] = 1
    rig = load_rig(glb.bytes())
    assert len(rig.mesh.positions) == 8
    assert any("lines" in warning for warning in rig.warnings)


def test_computed_normals_of_a_cube_point_outwards():
    normals = unit_normals(CUBE, CUBE_TRIANGLES, np.zeros((8, 3)))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1)
    assert np.all(np.abs(np.sum(normals * CUBE, axis=1)) > 1.5)


def test_primitives_that_share_vertices_share_them_in_the_soup():
    glb = arm()
    primitives = glb.json["meshes"][0]["primitives"]
    primitives.append({**primitives[0], "material": glb.entry("materials", name="second")})
    rig = load_rig(glb.bytes())
    assert len(rig.mesh.positions) == 16
    assert len(rig.mesh.triangles) == 36
    assert len(set(rig.mesh.triangle_materials.tolist())) == 2
