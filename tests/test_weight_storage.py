"""Weights in fewer bits: what is stored, and what is computed with it."""

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper  # noqa: E402

from animax_engine.weight_storage import HALF_FROM, PRECISIONS, store_weights  # noqa: E402

WEIGHT = np.random.default_rng(0).standard_normal((128, 96)).astype(np.float32)


def product():
    small = np.linspace(0, 1, 96, dtype=np.float32)
    value = helper.make_tensor_value_info
    return helper.make_model(
        helper.make_graph(
            [
                helper.make_node("MatMul", ["x", "w"], ["p"], name="m"),
                helper.make_node("Add", ["p", "b"], ["y"], name="a"),
            ],
            "g",
            [value("x", TensorProto.FLOAT, ["batch", 128])],
            [value("y", TensorProto.FLOAT, ["batch", 96])],
            [numpy_helper.from_array(WEIGHT, "w"), numpy_helper.from_array(small, "b")],
        ),
        opset_imports=[helper.make_opsetid("", 20)],
        ir_version=10,
    )


def run(model, x):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("precision", "kind", "error"),
    [
        ("fp32", TensorProto.FLOAT, 1e-6),
        ("fp16", TensorProto.FLOAT16, 1e-3),
        ("bf16", TensorProto.BFLOAT16, 8e-3),
        ("int8", TensorProto.INT8, 3e-2),
    ],
)
def test_large_weights_are_stored_so_and_small_ones_as_they_are(precision, kind, error):
    model = store_weights(product(), precision)
    onnx.checker.check_model(model, full_check=True)
    kinds = {weight.data_type for weight in model.graph.initializer if np.prod(weight.dims) >= HALF_FROM}
    assert kinds == {kind}
    assert any(weight.data_type == TensorProto.FLOAT and weight.name == "b" for weight in model.graph.initializer)
    x = np.random.default_rng(1).standard_normal((5, 128)).astype(np.float32)
    exact = run(product(), x)
    assert np.abs(run(model, x) - exact).max() < error * np.abs(exact).max()


def test_fewer_bits_make_a_smaller_file():
    sizes = [len(store_weights(product(), precision).SerializeToString()) for precision in PRECISIONS]
    assert sizes[1] == pytest.approx(sizes[0] / 2, rel=0.05)
    assert sizes[2] == pytest.approx(sizes[1], rel=0.05)
    assert sizes[3] < 0.6 * sizes[1]
