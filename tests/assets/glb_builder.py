"""Small glTF files made to order, and the pieces that tests take them apart with."""

from __future__ import annotations

import json
import struct
from typing import Any

import numpy as np

COMPONENT = {"i1": 5120, "u1": 5121, "i2": 5122, "u2": 5123, "u4": 5125, "f4": 5126}
KIND = {1: "SCALAR", 2: "VEC2", 3: "VEC3", 4: "VEC4", 16: "MAT4"}


class Glb:
    """A glTF document under construction: ``json`` may be edited freely before ``bytes()``."""

    def __init__(self) -> None:
        self.json: dict[str, Any] = {"asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": []}], "nodes": []}
        self.binary = bytearray()

    def entry(self, key: str, **fields: Any) -> int:
        entries = self.json.setdefault(key, [])
        entries.append(fields)
        return len(entries) - 1

    def view(self, content: bytes, **fields: Any) -> int:
        self.binary += bytes(-len(self.binary) % 4)
        offset = len(self.binary)
        self.binary += content
        return self.entry("bufferViews", buffer=0, byteOffset=offset, byteLength=len(content), **fields)

    def accessor(self, values: Any, dtype: str = "f4", **fields: Any) -> int:
        array = np.asarray(values)
        array = array.reshape(len(array), -1).astype("<" + dtype)
        view = self.view(array.tobytes())
        kind = KIND[array.shape[1]]
        return self.entry(
            "accessors", bufferView=view, componentType=COMPONENT[dtype], count=len(array), type=kind, **fields
        )

    def node(self, parent: int | None = None, **fields: Any) -> int:
        number = self.entry("nodes", **fields)
        if parent is None:
            self.json["scenes"][0]["nodes"].append(number)
        else:
            self.json["nodes"][parent].setdefault("children", []).append(number)
        return number

    def mesh(self, positions: Any, triangles: Any, *, joints: Any = None, weights: Any = None, **fields: Any) -> int:
        attributes = {"POSITION": self.accessor(positions)}
        if joints is not None:
            attributes["JOINTS_0"] = self.accessor(joints, "u1")
            attributes["WEIGHTS_0"] = self.accessor(weights)
        primitive = {"attributes": attributes, "indices": self.accessor(np.ravel(triangles), "u2"), **fields}
        return self.entry("meshes", primitives=[primitive])

    def skin(self, joints: list[int], inverse_binds: Any = None) -> int:
        fields: dict[str, Any] = {"joints": joints}
        if inverse_binds is not None:
            # column-major in the file
            matrices = np.swapaxes(np.asarray(inverse_binds, float), -1, -2).reshape(-1, 16)
            fields["inverseBindMatrices"] = self.accessor(matrices)
        return self.entry("skins", **fields)

    def animation(self, tracks: list[tuple[int, str, Any, Any, str]], name: str = "move") -> int:
        """Tracks are (node, path, times, values, interpolation)."""
        samplers, channels = [], []
        for node, path, times, values, interpolation in tracks:
            samplers.append(
                {"input": self.accessor(times), "output": self.accessor(values), "interpolation": interpolation}
            )
            channels.append({"sampler": len(samplers) - 1, "target": {"node": node, "path": path}})
        return self.entry("animations", name=name, samplers=samplers, channels=channels)

    def bytes(self) -> bytes:
        root = dict(self.json)
        if self.binary:
            root.setdefault("buffers", [{"byteLength": len(self.binary)}])
        return pack(root, bytes(self.binary))


def pack(root: Any, binary: bytes | None, chunks: tuple[tuple[int, bytes], ...] = ()) -> bytes:
    """A GLB of any JSON, well formed or not."""
    text = root if isinstance(root, bytes) else json.dumps(root).encode()
    parts = [(0x4E4F534A, text + b" " * (-len(text) % 4))]
    if binary:
        parts.append((0x004E4942, binary + bytes(-len(binary) % 4)))
    body = b"".join(struct.pack("<II", len(content), kind) + content for kind, content in (*parts, *chunks))
    return b"glTF" + struct.pack("<II", 2, 12 + len(body)) + body


def split(glb: bytes) -> tuple[dict[str, Any], bytes, list[tuple[int, bytes]]]:
    """JSON, binary chunk and further chunks of a GLB."""
    chunks, at = [], 12
    while at < len(glb):
        size, kind = struct.unpack_from("<II", glb, at)
        chunks.append((kind, glb[at + 8 : at + 8 + size]))
        at += 8 + size
    binary = next((content for kind, content in chunks if kind == 0x004E4942), b"")
    return json.loads(chunks[0][1]), binary, [c for c in chunks[1:] if c[0] != 0x004E4942]


CUBE = np.array([[x, y, z] for x in (-1.0, 1.0) for y in (-1.0, 1.0) for z in (-1.0, 1.0)])
CUBE_TRIANGLES = np.array(
    [
        [0, 1, 3],
        [0, 3, 2],
        [4, 6, 7],
        [4, 7, 5],
        [0, 4, 5],
        [0, 5, 1],
        [2, 3, 7],
        [2, 7, 6],
        [0, 2, 6],
        [0, 6, 4],
        [1, 5, 7],
        [1, 7, 3],
    ]
)
TURN_X = [-(0.5**0.5), 0.0, 0.0, 0.5**0.5]
"""A quarter turn about -X: what exporters put on an armature that was Z up."""


def arm() -> Glb:
    """A messy but valid rig: an armature scaled by 0.01 and rotated, two joints, a helper without weights, a skinned
    block whose own node is displaced (to be ignored), a rigid cube under the hand, and an animation."""
    glb = Glb()
    armature = glb.node(name="Armature", rotation=TURN_X, scale=[0.01, 0.01, 0.01])
    upper = glb.node(armature, name="upper", translation=[0.0, 0.0, 100.0])
    hand = glb.node(upper, name="hand", translation=[0.0, 0.0, 80.0])
    glb.node(hand, name="ik_target", translation=[0.0, 50.0, 0.0])
    positions = CUBE * [0.1, 1.0, 0.1] + [0.0, 1.0, 0.0]
    top = positions[:, 1] > 1
    weights = np.where(top[:, None], [0.25, 0.75, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0])
    skin = glb.skin([upper, hand], [inverse_bind(0.0, 1.0), inverse_bind(0.0, 1.8)])
    mesh = glb.mesh(positions, CUBE_TRIANGLES, joints=np.tile([0, 1, 0, 0], (8, 1)), weights=weights)
    glb.node(name="body", mesh=mesh, skin=skin, translation=[5.0, 5.0, 5.0], scale=[3.0, 3.0, 3.0])
    glb.node(hand, name="ball", mesh=glb.mesh(CUBE * 10, CUBE_TRIANGLES), translation=[0.0, 0.0, 20.0])
    turn = [[0.0, 0.0, 0.0, 1.0], [0.5, 0.0, 0.0, 0.75**0.5], [0.0, 0.6, 0.0, 0.8]]
    glb.animation([(upper, "rotation", [0.5, 1.0, 1.5], turn, "LINEAR")], "swing")
    return glb


def inverse_bind(x: float, y: float) -> np.ndarray:
    """Of a joint of ``arm`` whose bind position is (x, y, 0): the armature's turn and scale undone."""
    linear = 0.01 * np.array([[1.0, 0, 0], [0, 0, 1.0], [0, -1.0, 0]])
    bind = np.eye(4)
    bind[:3, :3], bind[:3, 3] = linear, (x, y, 0.0)
    return np.linalg.inv(bind)
