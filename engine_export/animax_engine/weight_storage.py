"""How a graph stores its weights: as they are, in half the bits, or as 8-bit integers that are multiplied as such."""

from __future__ import annotations

import tempfile
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PRECISIONS = ("fp32", "fp16", "bf16", "int8")
HALVES = {"fp16": (np.dtype(np.float16), "half"), "bf16": (np.dtype(ml_dtypes.bfloat16), "bf16")}
HALF_FROM = 4096
"""Least size of a weight that is stored in fewer bits."""


def store_weights(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """The graph with its large weights in ``precision``.

    ``fp16`` and ``bf16`` put a Cast behind each weight, which runtimes fold away as they load: half the file, computed
    in fp32 as before. ``int8`` quantises the weights by output channel and the activations as they come (ONNX Runtime's
    dynamic quantisation): MatMulInteger, which TensorRT does not have.
    """
    if precision in HALVES:
        halve_weights(model, precision)
    return quantised(model) if precision == "int8" else model


def halve_weights(model: onnx.ModelProto, precision: str) -> None:
    """Store large fp32 weights in half the bits behind a Cast."""
    kind, suffix = HALVES[precision]
    graph = model.graph
    casts = []
    for weight in graph.initializer:
        if not is_large(weight):
            continue
        name = weight.name
        half = numpy_helper.from_array(numpy_helper.to_array(weight).astype(kind), f"{name}_{suffix}")
        weight.CopyFrom(half)
        casts.append(helper.make_node("Cast", [half.name], [name], name=name + "_cast", to=TensorProto.FLOAT))
    for cast in reversed(casts):
        graph.node.insert(0, cast)


def quantised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The graph with 8-bit matrix products; the given one loses its weights."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        before, after = Path(folder) / "before.onnx", Path(folder) / "after.onnx"
        # weights beside: a message has 2 GiB at most
        onnx.save_model(model, before, save_as_external_data=True, location="before.weights")
        quantize_dynamic(
            before, after, op_types_to_quantize=["MatMul"], weight_type=QuantType.QInt8, per_channel=True,
            extra_options={"MatMulConstBOnly": True},
            reduce_range=True,  # processors without VNNI add two products in 16 bits: with 8-bit weights they overflow
            use_external_data_format=True,
        )  # fmt: skip
        return onnx.load(after)


def is_large(weight: TensorProto) -> bool:
    """Worth storing in fewer bits."""
    return bool(weight.data_type == TensorProto.FLOAT and int(np.prod(weight.dims)) >= HALF_FROM)
