"""Accessors against NumPy's own packing: all types, interleaved, sparse, several buffers; never past an end."""

from __future__ import annotations

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.assets import Limits
from animax.assets.accessors import Accessors
from animax.assets.document import read_document
from animax.errors import AssetError, UnsupportedAssetError
from tests.assets.glb_builder import COMPONENT, KIND, Glb

INTEGERS = ("i1", "u1", "i2", "u2", "u4")


def opened(glb: Glb, limits: Limits | None = None) -> Accessors:
    return Accessors(read_document(glb.bytes(), limits or Limits()))


@given(
    st.sampled_from(["i1", "u1", "i2", "u2", "u4", "f4"]),
    st.sampled_from(sorted(KIND)),
    st.integers(0, 9),
    st.integers(0, 3),
    st.integers(0, 5),
    st.randoms(use_true_random=False),
)
def test_strided_values_come_back(dtype, width, count, lead, gap, random):
    """Any type, count, byte offset and stride."""
    element = np.dtype(dtype).itemsize * width
    values = np.frombuffer(random.randbytes(element * count), "<" + dtype).reshape(count, width)
    if dtype == "f4":
        values = np.arange(count * width, dtype="<f4").reshape(count, width) / 7 - 1
    stride = element + 4 * gap
    content = bytearray(random.randbytes(4 * lead + stride * count))
    for i, row in enumerate(values):
        content[4 * lead + stride * i : 4 * lead + stride * i + element] = row.tobytes()
    glb = Glb()
    glb.view(b"first")
    fields = {"byteStride": stride} if gap and stride <= 252 else {}
    if not fields:
        stride = element
        content = bytearray(bytes(4 * lead) + values.tobytes())
    view = glb.view(bytes(content), **fields)
    number = glb.entry(
        "accessors",
        bufferView=view,
        byteOffset=4 * lead,
        componentType=COMPONENT[dtype],
        count=count,
        type=KIND[width],
    )
    np.testing.assert_array_equal(opened(glb).floats(number, (KIND[width],)), values.astype(float))
    # one byte less is refused
    if count:
        glb.json["bufferViews"][view]["byteLength"] = 4 * lead + stride * (count - 1) + element - 1
        with pytest.raises(AssetError, match="needs"):
            opened(glb).floats(number, (KIND[width],))


@pytest.mark.parametrize("dtype", ["i1", "u1", "i2", "u2"])
def test_normalised_integers_reach_their_ends_exactly(dtype):
    info = np.iinfo(dtype)
    glb = Glb()
    number = glb.accessor([[info.min], [0], [info.max]], dtype, normalized=True)
    low = -1.0 if info.min < 0 else 0.0
    np.testing.assert_array_equal(opened(glb).floats(number, ("SCALAR",))[:, 0], [low, 0.0, 1.0])


@pytest.mark.parametrize("dtype", ["u1", "u2", "u4"])
def test_sparse_values_replace_some(dtype):
    glb = Glb()
    base = np.arange(30.0).reshape(10, 3)
    number = glb.accessor(base)
    at, new = np.array([1, 4, 9]), np.full((3, 3), -1.0)
    glb.json["accessors"][number]["sparse"] = {
        "count": 3,
        "indices": {"bufferView": glb.view(at.astype("<" + dtype).tobytes()), "componentType": COMPONENT[dtype]},
        "values": {"bufferView": glb.view(new.astype("<f4").tobytes())},
    }
    expected = base.copy()
    expected[at] = new
    np.testing.assert_array_equal(opened(glb).floats(number, ("VEC3",)), expected)
    # without a base the rest is zero
    del glb.json["accessors"][number]["bufferView"]
    expected[np.setdiff1d(np.arange(10), at)] = 0
    np.testing.assert_array_equal(opened(glb).floats(number, ("VEC3",)), expected)


@pytest.mark.parametrize("at", [[1, 10], [4, 4], [5, 2], [255, 255]])
def test_sparse_indices_out_of_order_or_range_are_refused(at):
    glb = Glb()
    number = glb.accessor(np.zeros((10, 3)))
    glb.json["accessors"][number]["sparse"] = {
        "count": 2,
        "indices": {"bufferView": glb.view(bytes(at)), "componentType": 5121},
        "values": {"bufferView": glb.view(bytes(24))},
    }
    with pytest.raises(AssetError, match="indices"):
        opened(glb).floats(number, ("VEC3",))


def test_several_buffers_and_data_uris():
    glb = Glb()
    first = glb.accessor([[1.0], [2.0]])
    content = np.array([3.0, 4.0], "<f4").tobytes()
    glb.json["buffers"] = [
        {"byteLength": len(glb.binary)},
        {"byteLength": 8, "uri": "data:application/octet-stream;base64," + base64.b64encode(content).decode()},
    ]
    view = glb.entry("bufferViews", buffer=1, byteLength=8)
    second = glb.entry("accessors", bufferView=view, componentType=5126, count=2, type="SCALAR")
    accessors = opened(glb)
    values = [accessors.floats(n, ("SCALAR",))[:, 0].tolist() for n in (first, second)]
    assert values == [[1.0, 2.0], [3.0, 4.0]]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value):
    glb = Glb()
    number = glb.accessor([[0.0, value, 0.0]])
    with pytest.raises(AssetError, match="NaN or infinity"):
        opened(glb).floats(number, ("VEC3",))


def test_joint_indices_written_as_floats_are_read_and_fractions_refused():
    glb = Glb()
    whole, broken = glb.accessor([[0.0, 1.0, 2.0, 3.0]]), glb.accessor([[0.5, 1.0, 2.0, 3.0]])
    accessors = opened(glb)
    assert accessors.integers(whole, ("VEC4",)).tolist() == [[0, 1, 2, 3]]
    with pytest.raises(AssetError, match="unsigned integers"):
        accessors.integers(broken, ("VEC4",))


def test_the_same_accessor_cannot_be_asked_for_without_end():
    glb = Glb()
    number = glb.accessor(np.zeros((100, 3)))
    accessors = opened(glb, Limits(components=1000))
    for _ in range(3):
        accessors.floats(number, ("VEC3",))
    with pytest.raises(AssetError, match="1000 in all"):
        accessors.floats(number, ("VEC3",))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"componentType": 5130}, "componentType"),
        ({"componentType": "5126"}, "componentType"),
        ({"type": "VEC5"}, "type"),
        ({"type": None}, "type"),
        ({"count": -1}, "count"),
        ({"count": 2**31}, "limit"),
        ({"count": 1e300}, "count"),
        ({"count": True}, "count"),
        ({"bufferView": 7}, "bufferView"),
        ({"bufferView": -1}, "bufferView"),
        ({"byteOffset": 2**39}, "needs"),
        ({"byteOffset": -4}, "byteOffset"),
        ({"normalized": 1}, "normalized"),
        ({"sparse": []}, "sparse"),
        ({"sparse": {"count": 3}}, "sparse"),
    ],
)
def test_a_broken_field_is_named(fields, words):
    glb = Glb()
    number = glb.accessor(np.zeros((2, 3)))
    glb.json["accessors"][number].update(fields)
    with pytest.raises(AssetError, match=words):
        opened(glb).floats(number, ("VEC3",))


@pytest.mark.parametrize(
    "fields", [{"buffer": 3}, {"byteOffset": 1000}, {"byteLength": 10**9}, {"byteLength": -1}, {"byteStride": 4}]
)
def test_a_broken_view_is_refused(fields):
    glb = Glb()
    number = glb.accessor(np.zeros((2, 3)))
    glb.json["bufferViews"][0].update(fields)
    with pytest.raises(AssetError, match="bufferViews"):
        opened(glb).floats(number, ("VEC3",))


def test_compressed_views_are_refused_by_name():
    glb = Glb()
    number = glb.accessor(np.zeros((2, 3)))
    glb.json["extensionsRequired"] = ["KHR_meshopt_compression"]
    glb.json["bufferViews"][0]["extensions"] = {"KHR_meshopt_compression": {}}
    with pytest.raises(UnsupportedAssetError, match="KHR_meshopt_compression"):
        opened(glb).floats(number, ("VEC3",))
