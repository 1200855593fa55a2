"""Weights as 8-bit integers with one scale a channel; the arithmetic stays in float."""

from __future__ import annotations

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import nn

SMALLEST = 4096
"""Weights of fewer entries stay float."""


def rounded(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Integers and scales, one scale for each index of ``axis``; their product is within half a scale of ``weight``."""
    other = 1 - axis
    scale = (np.abs(weight).max(axis=other, keepdims=True) / 127).astype(np.float32)
    scale[scale == 0] = 1
    return np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), scale


def round_weights(module: nn.Module) -> None:
    """Rounds every matrix in place to what its 8-bit form will hold: one scale for each output or table row."""
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Embedding) and part.weight.numel() >= SMALLEST:
            integers, scale = rounded(part.weight.detach().numpy(), axis=0)
            part.weight.data = torch.from_numpy(integers * scale)


def store_integers(model: onnx.ModelProto) -> None:
    """Replaces the float matrices of ``model`` by integers followed by Cast and Mul.

    Runtimes fold these two when they load the network; DequantizeLinear would be run again for every text.
    A table that is gathered from is cast after the gathering, row by row.
    """
    graph = model.graph
    users = {name: node for node in graph.node for name in node.input}
    nodes: list[onnx.NodeProto] = []
    replaced: dict[str, list[onnx.NodeProto]] = {}
    initializers = []
    for tensor in graph.initializer:
        weight = numpy_helper.to_array(tensor)
        user = users.get(tensor.name)
        if user is None or weight.ndim != 2 or weight.dtype != np.float32 or weight.size < SMALLEST:
            initializers.append(tensor)
            continue
        gathered = user.op_type == "Gather"
        transposed = user.op_type == "Gemm" and any(a.name == "transB" and a.i for a in user.attribute)
        integers, scale = rounded(weight, axis=0 if gathered or transposed else 1)
        name = tensor.name
        initializers += [
            numpy_helper.from_array(integers, f"{name}.int8"),
            numpy_helper.from_array(scale, f"{name}.scale"),
        ]
        if gathered:
            rows, indices, out = f"{name}.rows", user.input[1], user.output[0]
            replaced[out] = [
                helper.make_node("Gather", [f"{name}.int8", indices], [rows], axis=0),
                helper.make_node("Gather", [f"{name}.scale", indices], [f"{rows}.scale"], axis=0),
                helper.make_node("Cast", [rows], [f"{rows}.float"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{rows}.float", f"{rows}.scale"], [out]),
            ]
        else:
            nodes += [
                helper.make_node("Cast", [f"{name}.int8"], [f"{name}.float"], to=TensorProto.FLOAT),
                helper.make_node("Mul", [f"{name}.float", f"{name}.scale"], [name]),
            ]
    for node in graph.node:
        nodes += replaced.get(node.output[0], [node])
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(initializers)
