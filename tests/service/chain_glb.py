"""A small rigged GLB made from nothing: a chain of joints with one triangle on each."""

from __future__ import annotations

import json
import struct

import numpy as np


def chain_glb(joints: int = 6, *, padding: int = 0, name: str = "bone") -> bytes:
    """``joints`` joints, 0.3 m apart, upwards; ``padding`` more bytes that nothing refers to."""
    corners = np.array([[-0.1, 0.0, 0.0], [0.1, 0.0, 0.0], [0.0, 0.2, 0.05]], np.float32)
    positions = np.concatenate([corners + np.array([0, 0.3 * j, 0]) for j in range(joints)]).astype(np.float32)
    indices = np.arange(3 * joints, dtype=np.uint16)
    bound = np.zeros((3 * joints, 4), np.uint16)
    bound[:, 0] = np.repeat(np.arange(joints), 3)
    weights = np.tile(np.array([1, 0, 0, 0], np.float32), (3 * joints, 1))
    inverse = np.tile(np.eye(4, dtype=np.float32), (joints, 1, 1))
    inverse[:, 3, 1] = -0.3 * np.arange(joints)  # column-major
    parts = [positions, indices, bound, weights, inverse]
    kinds = ["VEC3", "SCALAR", "VEC4", "VEC4", "MAT4"]
    components = [5126, 5123, 5123, 5126, 5126]
    binary, views, accessors = b"", [], []
    for part, kind, component in zip(parts, kinds, components, strict=True):
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": part.nbytes})
        accessors.append({"bufferView": len(views) - 1, "componentType": component, "count": len(part), "type": kind})
        binary += part.tobytes() + b"\0" * (-part.nbytes % 4)
    accessors[0] |= {"min": positions.min(0).tolist(), "max": positions.max(0).tolist()}
    binary += b"\0" * (padding + -padding % 4)
    nodes = [
        {"name": f"{name}{j}", "translation": [0, 0.3 if j else 0, 0]}
        | ({"children": [j + 1]} if j < joints - 1 else {})
        for j in range(joints)
    ]
    nodes.append({"name": "body", "mesh": 0, "skin": 0})
    attributes = {"POSITION": 0, "JOINTS_0": 2, "WEIGHTS_0": 3}
    root = {
        "asset": {"version": "2.0"},
        "scene": 0,
        "scenes": [{"nodes": [0, joints]}],
        "nodes": nodes,
        "meshes": [{"primitives": [{"attributes": attributes, "indices": 1}]}],
        "skins": [{"joints": list(range(joints)), "inverseBindMatrices": 4}],
        "buffers": [{"byteLength": len(binary)}],
        "bufferViews": views,
        "accessors": accessors,
    }
    text = json.dumps(root).encode()
    text += b" " * (-len(text) % 4)
    total = 12 + 8 + len(text) + 8 + len(binary)
    head = struct.pack("<4sII", b"glTF", 2, total) + struct.pack("<I4s", len(text), b"JSON")
    return head + text + struct.pack("<I4s", len(binary), b"BIN\0") + binary
