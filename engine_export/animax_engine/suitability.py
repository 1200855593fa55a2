"""Whether TensorRT can take an ONNX graph: operators, opset, types, shapes. Says which node is in the way.

What TensorRT supports is from onnx-tensorrt's docs/operators.md at release 10.1 GA (commit 96e7810).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper

OPSETS = (9, 20)
"""Of the default domain, both included."""
# fmt: off
OPERATORS = frozenset((
    "Abs", "Acos", "Acosh", "Add", "And", "ArgMax", "ArgMin", "Asin", "Asinh", "Atan", "Atanh", "AveragePool",
    "BatchNormalization", "Cast", "CastLike", "Ceil", "Celu", "Clip", "Concat", "Constant", "ConstantOfShape",
    "Conv", "ConvTranspose", "Cos", "Cosh", "CumSum", "DeformConv", "DepthToSpace", "DequantizeLinear", "Div",
    "Dropout", "Einsum", "Elu", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather",
    "GatherElements", "GatherND", "Gelu", "Gemm", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool", "Greater",
    "GreaterOrEqual", "GridSample", "GroupNormalization", "GRU", "HardSigmoid", "HardSwish", "Hardmax", "Identity",
    "If", "ImageScaler", "InstanceNormalization", "IsInf", "IsNaN", "LayerNormalization", "LeakyRelu", "Less",
    "LessOrEqual", "Log", "LogSoftmax", "Loop", "LRN", "LSTM", "LpNormalization", "LpPool", "MatMul", "Max",
    "MaxPool", "Mean", "MeanVarianceNormalization", "Min", "Mish", "Mod", "Mul", "Neg", "NonMaxSuppression",
    "NonZero", "Not", "OneHot", "Or", "Pad", "ParametricSoftplus", "Pow", "PRelu", "QuantizeLinear", "RandomNormal",
    "RandomNormalLike", "RandomUniform", "RandomUniformLike", "Range", "Reciprocal", "ReduceL1", "ReduceL2",
    "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "Resize", "ReverseSequence", "RNN", "RoiAlign", "Round", "ScaledTanh",
    "Scan", "Scatter", "ScatterElements", "ScatterND", "Selu", "Shape", "Shrink", "Sigmoid", "Sign", "Sin", "Sinh",
    "Size", "Slice", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Split", "Sqrt", "Squeeze", "Sub", "Sum",
    "Tan", "Tanh", "ThresholdedRelu", "Tile", "TopK", "Transpose", "Trilu", "Unsqueeze", "Upsample", "Where", "Xor",
))
# fmt: on
CONTROL_FLOW = frozenset({"If", "Loop", "Scan"})
"""Supported, but each splits an engine in parts or forbids CUDA graphs; our graphs need none."""
VALUE_SHAPED = frozenset({"NonZero", "NonMaxSuppression"})
"""Supported, but how large their output is depends on values."""
SHAPE_OPERANDS = {
    "Reshape": (1,), "Expand": (1,), "Tile": (1,), "ConstantOfShape": (0,), "Range": (0, 1, 2), "Slice": (1, 2, 3, 4),
    "Squeeze": (1,), "Unsqueeze": (1,), "TopK": (1,), "Pad": (1,), "Split": (1,), "Resize": (2, 3),
}  # fmt: skip
"""Inputs that decide over the output's shape."""
CONSTANT_OPERANDS = {"Slice": (3,), "Squeeze": (1,), "Unsqueeze": (1,), "TopK": (1,)}
"""Inputs that TensorRT wants as constants."""
TYPES = frozenset(
    {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT32, TensorProto.INT64,
     TensorProto.BOOL, TensorProto.INT8}
)  # fmt: skip
LARGEST_SHAPE = 64
"""Numbers in a constant that a shape may come from."""
INT32 = np.iinfo(np.int32)


@dataclass(frozen=True)
class Profile:
    """Sizes that a named dimension takes: least, usual, largest."""

    least: int
    usual: int
    largest: int


def obstacles(model: onnx.ModelProto, profiles: Mapping[str, Profile]) -> list[str]:
    """What keeps TensorRT from taking ``model``, one sentence each; none: it is suitable.

    Args:
        model: with shapes that can be inferred.
        profiles: for each dynamic dimension of the inputs, by its name.
    """
    return [
        *_opset_obstacles(model),
        *_input_obstacles(model, profiles),
        *_node_obstacles(model),
        *_type_obstacles(model),
    ]


def _opset_obstacles(model: onnx.ModelProto) -> Iterator[str]:
    for entry in model.opset_import:
        if entry.domain in ("", "ai.onnx") and not OPSETS[0] <= entry.version <= OPSETS[1]:
            yield f"opset is {entry.version}; accepted: {OPSETS[0]} to {OPSETS[1]}"


def _input_obstacles(model: onnx.ModelProto, profiles: Mapping[str, Profile]) -> Iterator[str]:
    weights = {weight.name for weight in model.graph.initializer}
    for value in model.graph.input:
        if value.name in weights:
            continue
        if not value.type.tensor_type.HasField("shape"):
            yield f"input {value.name!r} has no shape; accepted: one with sizes or names"
        for axis, dim in enumerate(value.type.tensor_type.shape.dim):
            if dim.dim_value > 0:
                continue
            if not dim.dim_param:
                yield f"input {value.name!r}: axis {axis} has no size and no name; accepted: one of both"
                continue
            profile = profiles.get(dim.dim_param)
            if profile is None:
                yield f"input {value.name!r}: dimension {dim.dim_param!r} has no profile"
            elif not 1 <= profile.least <= profile.usual <= profile.largest:
                yield f"dimension {dim.dim_param!r} has profile {profile}; accepted: 1 ≤ least ≤ usual ≤ largest"


def _node_obstacles(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    constant = {weight.name for weight in graph.initializer}
    static = set(constant)  # known from the inputs' shapes alone
    for node in graph.node:
        title = _title(node)
        if node.domain not in ("", "ai.onnx"):
            yield f"{title}: domain {node.domain!r} is not ONNX's own"
        elif node.op_type not in OPERATORS:
            yield f"{title}: TensorRT has no such operator"
        if node.op_type in CONTROL_FLOW:
            yield f"{title}: control flow"
        if node.op_type in VALUE_SHAPED:
            yield f"{title}: the size of its output depends on values"
        for place in SHAPE_OPERANDS.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] and node.input[place] not in static:
                yield f"{title}: its shape depends on values of {node.input[place]!r}"
        for place in CONSTANT_OPERANDS.get(node.op_type, ()):
            if place < len(node.input) and node.input[place] and node.input[place] not in constant:
                yield f"{title}: {node.input[place]!r} is no constant"
        used = [name for name in node.input if name]
        if all(name in constant for name in used):  # folded when the engine is built
            constant.update(node.output)
        if node.op_type in ("Shape", "Size") or all(name in static for name in used):
            static.update(node.output)


def _title(node: onnx.NodeProto) -> str:
    return f"node {node.name or node.output[0]!r} ({node.op_type})"


def _kinds(model: onnx.ModelProto) -> dict[str, int]:
    """Types of all values by name, inferred. Large weights go without their numbers: a message has 2 GiB at most."""
    graph = model.graph
    light = onnx.ModelProto(ir_version=model.ir_version)
    light.opset_import.extend(model.opset_import)
    light.functions.extend(model.functions)
    light.graph.name = graph.name
    light.graph.node.extend(graph.node)
    light.graph.input.extend(graph.input)
    light.graph.output.extend(graph.output)
    light.graph.value_info.extend(graph.value_info)
    for weight in graph.initializer:
        if weight.data_location != TensorProto.EXTERNAL and np.prod(weight.dims) <= LARGEST_SHAPE:
            light.graph.initializer.append(weight)
        else:
            light.graph.input.append(onnx.helper.make_tensor_value_info(weight.name, weight.data_type, weight.dims))
    try:
        inferred = onnx.shape_inference.infer_shapes(light, data_prop=True).graph
    except onnx.shape_inference.InferenceError:  # of an operator or opset that is named as an obstacle itself
        inferred = light.graph
    return {value.name: value.type.tensor_type.elem_type for value in (*inferred.value_info, *inferred.output)}


def _type_obstacles(model: onnx.ModelProto) -> Iterator[str]:
    graph = model.graph
    for value in (*graph.input, *graph.output):
        kind = value.type.tensor_type.elem_type
        if kind in (TensorProto.INT64, TensorProto.UINT8, TensorProto.DOUBLE):
            yield f"{value.name!r} goes in or out as {TensorProto.DataType.Name(kind)}; accepted: at most 32 bits"
    kinds = _kinds(model)
    for node in graph.node:
        for name in node.output:
            if (kind := kinds.get(name)) and kind not in TYPES:
                yield f"{_title(node)}: its output {name!r} is of type {TensorProto.DataType.Name(kind)}"
    ends = {name for node in graph.node if node.op_type == "Slice" for name in node.input[1:3]}  # clamped anyway
    for node in reversed(graph.node):
        if node.op_type in ("Cast", "Reshape", "Unsqueeze", "Identity") and node.output[0] in ends:
            ends.add(node.input[0])
    constants = [(weight.name, weight) for weight in graph.initializer]
    constants += [
        (node.output[0], attribute.t)
        for node in graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    ]
    for name, tensor in constants:
        if tensor.data_type != TensorProto.INT64 or name in ends or tensor.data_location == TensorProto.EXTERNAL:
            continue
        numbers = numpy_helper.to_array(tensor)
        if numbers.size and not INT32.min <= numbers.min() <= numbers.max() <= INT32.max:
            yield f"constant {name!r} holds INT64 numbers beyond 32 bits"
