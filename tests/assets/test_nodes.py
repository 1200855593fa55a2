"""The node tree and the decomposition of node matrices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from animax import rotations
from animax.assets import Limits
from animax.assets.document import read_document
from animax.assets.nodes import decompose, read_nodes
from animax.errors import AssetError, UnsupportedAssetError
from tests.assets.glb_builder import pack

SIZES = st.floats(0.01, 100) | st.floats(-100, -0.01)


def tree(nodes, **fields):
    return read_nodes(read_document(pack({"asset": {"version": "2.0"}, "nodes": nodes, **fields}, None), Limits()))


@given(st.integers(0, 10**6), st.tuples(SIZES, SIZES, SIZES))
def test_a_matrix_comes_apart_and_together_again(seed, scale):
    matrix = Rotation.random(random_state=seed).as_matrix() * np.array(scale)
    quaternion, scales, warning = decompose(matrix, "nodes[0]")
    np.testing.assert_allclose(rotations.to_matrix(quaternion) * scales, matrix, atol=1e-9 * np.abs(scale).max())
    np.testing.assert_allclose(np.linalg.norm(quaternion), 1, atol=1e-12)
    assert not warning


def test_shear_is_refused_and_a_little_of_it_warned_about():
    sheared = np.eye(3)
    sheared[0, 1] = 0.3
    with pytest.raises(UnsupportedAssetError, match="sheared"):
        decompose(sheared, "nodes[0]")
    sheared[0, 1] = 0.001
    assert "sheared" in decompose(sheared, "nodes[0]")[2]


def test_a_zero_axis_is_read_with_a_warning():
    quaternion, scales, warning = decompose(np.diag([1.0, 0.0, 2.0]), "nodes[0]")
    assert scales.tolist() == [1, 0, 2]
    assert quaternion.tolist() == [0, 0, 0, 1]
    assert "zero" in warning


def test_parents_come_first_and_children_keep_the_files_order():
    nodes = tree([{}, {"children": [3, 0]}, {"children": [1]}, {}])
    assert nodes.order.tolist() == [2, 1, 3, 0]
    assert nodes.parents.tolist() == [1, 2, -1, 1]


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ([{"children": [0]}], "own ancestor"),
        ([{}, {"children": [2]}, {"children": [1]}], "own ancestor"),
        ([{"children": [2]}, {"children": [2]}, {}], "two parents"),
        ([{"children": [1, 1]}, {}], "two parents"),
        ([{"children": [5]}], "children"),
        ([{"children": [-1]}], "children"),
        ([{"children": ["1"]}], "children"),
        ([{"children": [True]}, {}], "children"),
        ([{"children": 3}], "children"),
        ([{"matrix": [1] * 15}], "matrix"),
        ([{"matrix": [1e308] * 16}], "matrix"),
        ([{"translation": [1, 2]}], "translation"),
        ([{"translation": [1, 2, 10**400]}], "translation"),
        ([{"rotation": [0, 0, 0, None]}], "rotation"),
        ([{"scale": "1 1 1"}], "scale"),
        ([3], "nodes"),
        ([{"children": [i + 1]} for i in range(49_999)] + [{}], "deep"),
        ([{}] * 50_001, "at most 50000"),
    ],
)
def test_what_is_no_tree_is_refused(nodes, words):
    with pytest.raises(AssetError, match=words):
        tree(nodes)


def test_a_scene_lists_roots_more_than_once_without_harm():
    nodes = tree([{"children": [1]}, {}, {}], scenes=[{"nodes": [0, 0, 1]}], scene=0)
    assert nodes.in_scene.tolist() == [True, True, False]


def test_quaternions_become_unit_ones():
    nodes = tree([{"rotation": [0, 0, 0, 2]}, {"rotation": [0, 0, 0, 0]}, {"rotation": [0, 0, 1e300, 1e300]}])
    np.testing.assert_allclose(np.linalg.norm(nodes.pose.rotations, axis=1), 1)
    assert len(nodes.warnings) == 3
