"""What is in TensorRT's way is named; what it takes passes."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from animax.diffusion.registry import PACKAGE  # noqa: E402
from animax_engine.suitability import Profile, obstacles  # noqa: E402

BATCH = {"batch": Profile(1, 2, 16)}
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def graph(nodes, *, inputs=None, weights=None, output=("y", FLOAT), opset=20):
    inputs = inputs or [("x", FLOAT, ["batch", 4])]
    return helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(*one) for one in inputs],
            [helper.make_tensor_value_info(*output, None)],
            [numpy_helper.from_array(np.array(value), name) for name, value in (weights or {}).items()],
        ),
        opset_imports=[helper.make_opsetid("", opset)],
    )


def node(kind, inputs, output="y", name="", **attributes):
    return helper.make_node(kind, inputs, [output], name=name, **attributes)


def only(model, profiles=BATCH):
    (sentence,) = obstacles(model, profiles)
    return sentence


def test_the_shipped_network_is_suitable():
    model = onnx.load(PACKAGE / "embedded" / "denoiser.onnx")
    assert obstacles(model, BATCH) == []


def test_an_operator_that_tensorrt_lacks_is_named_with_its_node():
    model = graph([node("Det", ["x"], name="third")])
    assert only(model) == "node 'third' (Det): TensorRT has no such operator"


def test_operators_of_other_domains_are_named():
    model = graph([node("FusedMatMul", ["x", "x"], domain="com.microsoft")])
    assert "domain 'com.microsoft'" in only(model)


@pytest.mark.parametrize("opset", [8, 21])
def test_an_opset_that_tensorrt_does_not_read_is_named(opset):
    assert only(graph([node("Relu", ["x"])], opset=opset)) == f"opset is {opset}; accepted: 9 to 20"


def test_a_dynamic_dimension_needs_a_profile_that_makes_sense():
    model = graph([node("Relu", ["x"])])
    assert obstacles(model, BATCH) == []
    assert only(model, {}) == "input 'x': dimension 'batch' has no profile"
    assert "least ≤ usual ≤ largest" in only(model, {"batch": Profile(4, 2, 16)})
    nameless = graph([node("Relu", ["x"])], inputs=[("x", FLOAT, [None, 4])])
    assert "axis 0 has no size and no name" in only(nameless)


def test_control_flow_and_sizes_that_depend_on_values_are_named():
    branch = helper.make_graph([node("Relu", ["x"], "z")], "b", [], [helper.make_tensor_value_info("z", FLOAT, None)])
    flag = {"flag": np.array(True)}
    model = graph(
        [helper.make_node("If", ["flag"], ["y"], name="choice", then_branch=branch, else_branch=branch)], weights=flag
    )
    assert only(model) == "node 'choice' (If): control flow"
    model = graph([node("NonZero", ["x"], name="where")], output=("y", INT64))
    assert any("'where' (NonZero): the size of its output depends on values" in one for one in obstacles(model, BATCH))


def test_a_shape_from_shapes_passes_and_one_from_values_is_named():
    good = [
        node("Shape", ["x"], "shape"),
        node("Gather", ["shape", "zero"], "first"),
        node("Concat", ["first", "minus"], "target", axis=0),
        node("Reshape", ["x", "target"]),
    ]
    weights = {"zero": np.array([0]), "minus": np.array([-1])}
    assert obstacles(graph(good, weights=weights), BATCH) == []
    bad = [node("Cast", ["x"], "numbers", to=INT64), node("Expand", ["x", "numbers"], name="grow")]
    assert only(graph(bad)) == "node 'grow' (Expand): its shape depends on values of 'numbers'"


def test_axes_that_are_not_constant_are_named():
    weights = {"start": np.array([0]), "end": np.array([1])}
    nodes = [
        node("Shape", ["x"], "axes", start=0, end=1),
        node("Slice", ["x", "start", "end", "axes"], name="cut"),
    ]
    assert only(graph(nodes, weights=weights)) == "node 'cut' (Slice): 'axes' is no constant"


def test_64_bit_inputs_and_numbers_are_named():
    model = graph([node("Cast", ["x"], to=FLOAT)], inputs=[("x", INT64, ["batch", 4])])
    assert only(model) == "'x' goes in or out as INT64; accepted: at most 32 bits"
    weights = {"big": np.array([2**40])}
    nodes = [node("Cast", ["big"], "f", to=FLOAT), node("Add", ["x", "f"])]
    assert only(graph(nodes, weights=weights)) == "constant 'big' holds INT64 numbers beyond 32 bits"
    weights = {"start": np.array([0]), "end": np.array([2**63 - 1])}  # "to the end", which is clamped
    assert obstacles(graph([node("Slice", ["x", "start", "end"])], weights=weights), BATCH) == []


def test_types_that_tensorrt_lacks_are_named_with_their_node():
    """As the exporter writes graphs: without types of what is in between, and with large weights."""
    nodes = [
        node("MatMul", ["x", "w"], "product"),
        node("Cast", ["product"], "middle", name="widen", to=TensorProto.DOUBLE),
        node("Cast", ["middle"], to=FLOAT),
    ]
    model = graph(nodes, weights={"w": np.zeros((4, 100), np.float32)})
    assert only(model) == "node 'widen' (Cast): its output 'middle' is of type DOUBLE"


def test_an_input_without_a_shape_is_named():
    model = graph([node("Relu", ["x"])], inputs=[("x", FLOAT, None)])
    assert only(model) == "input 'x' has no shape; accepted: one with sizes or names"
