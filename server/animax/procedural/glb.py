"""Writes a design as a binary glTF 2.0 file."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.procedural.armature import Armature
from animax.procedural.keyframes import kept_frames
from animax.procedural.patch import Finish, Patch
from animax.procedural.take import Take

Array = NDArray[np.float64]

FLOAT, UNSIGNED_BYTE, SHORT, UNSIGNED_SHORT = 5126, 5121, 5122, 5123
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
DECIMALS = 6
"""Values are rounded before they become floats, so that last-bit differences between machines do not show."""


@dataclass(frozen=True, eq=False)
class Layout:
    """What a file does with the same rig: names, rest orientations, units and nodes above the root.

    Attributes:
        names: of the bones.
        orientations: (J, 4) world orientation of every bone at rest.
        armature_name: of a node above the root bones, None for none.
        armature_turn: (4,) its rotation.
        unit: its uniform scale; bones and their translations are in these units.
    """

    names: Sequence[str]
    orientations: Array
    armature_name: str | None
    armature_turn: Array
    unit: float


class _Buffer:
    def __init__(self) -> None:
        self.data = bytearray()
        self.views: list[dict[str, Any]] = []
        self.accessors: list[dict[str, Any]] = []

    def _view(self, payload: bytes, **extra: int) -> int:
        self.data += b"\0" * (-len(self.data) % 4)
        self.views.append({"buffer": 0, "byteOffset": len(self.data), "byteLength": len(payload), **extra})
        self.data += payload
        return len(self.views) - 1

    def _accessor(self, view: int, offset: int, count: int, kind: str, component: int, **extra: Any) -> int:
        accessor = {"bufferView": view, "byteOffset": offset, "componentType": component, "count": count, "type": kind}
        self.accessors.append({**accessor, **extra})
        return len(self.accessors) - 1

    def attribute(self, values: Array, kind: str, dtype: str, *, normalized: bool = False, bounds: bool = False) -> int:
        """A vertex attribute in a view of its own."""
        array = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
        view = self._view(array.tobytes(), byteStride=array.dtype.itemsize * array.shape[1], target=ARRAY_BUFFER)
        component = {"f4": FLOAT, "u1": UNSIGNED_BYTE, "u2": UNSIGNED_SHORT}[dtype]
        extra: dict[str, Any] = {"normalized": True} if normalized else {}
        if bounds:
            extra |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        return self._accessor(view, 0, len(array), kind, component, **extra)

    def indices(self, triangles: NDArray[np.int64]) -> int:
        view = self._view(triangles.astype("<u2").tobytes(), target=ELEMENT_ARRAY_BUFFER)
        return self._accessor(view, 0, triangles.size, "SCALAR", UNSIGNED_SHORT)

    def matrices(self, values: Array) -> int:
        """Matrices (J, 4, 4), stored by columns."""
        columns = np.round(np.swapaxes(values, 1, 2), DECIMALS)
        packed = np.ascontiguousarray(columns, "<f4")
        return self._accessor(self._view(packed.tobytes()), 0, len(packed), "MAT4", FLOAT)

    def keys(self, times: Array, rotations_: Sequence[Array], translations: Sequence[Array]) -> list[int]:
        """Accessors of key times, rotations (as normalised shorts) and translations that share one view."""
        clock = np.ascontiguousarray(np.round(times, DECIMALS), "<f4")
        packed = [clock, *(np.ascontiguousarray(np.round(q * 32767), "<i2") for q in rotations_)]
        packed += [np.ascontiguousarray(np.round(v, DECIMALS), "<f4") for v in translations]
        view = self._view(b"".join(array.tobytes() for array in packed))
        out, offset = [], 0
        for array in packed:
            if array.ndim == 1:
                bounds = {"min": [float(array[0])], "max": [float(array[-1])]}
                out.append(self._accessor(view, offset, len(array), "SCALAR", FLOAT, **bounds))
            elif array.dtype == np.int16:
                out.append(self._accessor(view, offset, len(array), "VEC4", SHORT, normalized=True))
            else:
                out.append(self._accessor(view, offset, len(array), "VEC3", FLOAT))
            offset += array.nbytes
        return out


def write(
    armature: Armature,
    layout: Layout,
    patches: Sequence[Patch],
    takes: Mapping[str, Take],
    *,
    skinned: bool,
    scene: str,
) -> bytes:
    """The bytes of a GLB.

    Args:
        armature: bones at rest, metres, Y up, facing +Z.
        layout: how the file names and orients them.
        patches: its surface.
        takes: its animations by name.
        skinned: write one skinned mesh; otherwise hang every patch on the bone that carries it.
        scene: name of the scene and of the mesh.
    """
    buffer = _Buffer()
    nodes, roots = _bone_nodes(armature, layout)
    materials = sorted({patch.finish for patch in patches}, key=lambda finish: finish.name)
    document: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "animax procedural rigs"},
        "scene": 0,
        "materials": [_material(finish) for finish in materials],
        "meshes": [],
    }
    if skinned:
        document["meshes"] = [{"name": scene, "primitives": _primitives(buffer, patches, materials, None)}]
        bind = buffer.matrices(np.asarray(np.linalg.inv(_worlds(armature, layout)), np.float64))
        skin: dict[str, Any] = {"inverseBindMatrices": bind, "joints": list(range(len(armature)))}
        if len(roots) == 1 and layout.armature_name is None:
            skin["skeleton"] = roots[0]
        document["skins"] = [skin]
        nodes.append({"name": f"{scene}_mesh", "mesh": 0, "skin": 0})
        roots = [*roots, len(nodes) - 1]
    else:
        inverse = np.linalg.inv(_worlds(armature, layout))
        for j, bone in enumerate(armature.bones):
            own = [patch for patch in patches if patch.weights[0, j] == 1.0]
            if own:
                nodes[j]["mesh"] = len(document["meshes"])
                primitives = _primitives(buffer, own, materials, inverse[j])
                document["meshes"].append({"name": f"{scene}_{bone.key}", "primitives": primitives})
    document |= {"nodes": nodes, "scenes": [{"name": scene, "nodes": roots}]}
    if takes:
        document["animations"] = [_animation(buffer, armature, layout, name, take) for name, take in takes.items()]
    document |= {
        "accessors": buffer.accessors,
        "bufferViews": buffer.views,
        "buffers": [{"byteLength": len(buffer.data) + -len(buffer.data) % 4}],
    }
    return _pack(document, bytes(buffer.data))


def _pack(document: dict[str, Any], data: bytes) -> bytes:
    text = json.dumps(document, separators=(",", ":"), allow_nan=False).encode()
    text += b" " * (-len(text) % 4)
    data += b"\0" * (-len(data) % 4)
    body = struct.pack("<II", len(text), 0x4E4F534A) + text + struct.pack("<II", len(data), 0x004E4942) + data
    return struct.pack("<III", 0x46546C67, 2, 12 + len(body)) + body


def _material(finish: Finish) -> dict[str, Any]:
    surface = {"metallicFactor": finish.metallic, "roughnessFactor": finish.roughness}
    return {"name": finish.name, "pbrMetallicRoughness": surface}


def _worlds(armature: Armature, layout: Layout) -> Array:
    """(J, 4, 4) of the bones at rest."""
    out = np.tile(np.eye(4), (len(armature), 1, 1))
    out[:, :3, :3] = rotations.to_matrix(layout.orientations) * layout.unit
    out[:, :3, 3] = armature.heads
    return out


def _above(armature: Armature, layout: Layout) -> tuple[Array, Array]:
    """Inverse rotation (J, 4) of what is above each bone at rest, and the offset (J, 3) of its head, metres."""
    parents = armature.parents
    has = parents >= 0
    turns = np.where(has[:, None], layout.orientations[parents], layout.armature_turn)
    return rotations.conjugate(turns), armature.heads - np.where(has[:, None], armature.heads[parents], 0.0)


def _bone_nodes(armature: Armature, layout: Layout) -> tuple[list[dict[str, Any]], list[int]]:
    back, offsets = _above(armature, layout)
    turns = rotations.multiply(back, layout.orientations)
    moves = rotations.rotate(back, offsets) / layout.unit
    nodes: list[dict[str, Any]] = []
    for j, name in enumerate(layout.names):
        node: dict[str, Any] = {"name": name}
        if np.any(np.round(moves[j], DECIMALS)):
            node["translation"] = _plain(moves[j])
        if abs(turns[j, 3]) < 1 - 1e-9:
            node["rotation"] = _plain(turns[j])
        children = np.flatnonzero(armature.parents == j).tolist()
        if children:
            node["children"] = children
        nodes.append(node)
    roots = np.flatnonzero(armature.parents < 0).tolist()
    if layout.armature_name is not None:
        top: dict[str, Any] = {"name": layout.armature_name, "children": roots}
        if abs(layout.armature_turn[3]) < 1 - 1e-9:
            top["rotation"] = _plain(layout.armature_turn)
        if layout.unit != 1.0:
            top["scale"] = [layout.unit] * 3
        nodes.append(top)
        roots = [len(nodes) - 1]
    return nodes, roots


def _plain(values: Array) -> list[float]:
    return [float(v) + 0.0 for v in np.round(values, DECIMALS)]


def _primitives(
    buffer: _Buffer, patches: Sequence[Patch], materials: Sequence[Finish], inverse: Array | None
) -> list[dict[str, Any]]:
    """One primitive for each material; in the space of a bone where ``inverse`` (4, 4) is given, else skinned."""
    out = []
    for number, finish in enumerate(materials):
        group = [patch for patch in patches if patch.finish == finish]
        if not group:
            continue
        counts = np.cumsum([0, *(len(patch.positions) for patch in group)])
        triangles = np.concatenate([patch.triangles + start for patch, start in zip(group, counts[:-1], strict=True)])
        positions = np.concatenate([patch.positions for patch in group])
        normals = np.concatenate([patch.normals for patch in group])
        if inverse is not None:
            positions = positions @ inverse[:3, :3].T + inverse[:3, 3]
            normals = normals @ inverse[:3, :3].T
        normals = np.round(normals, DECIMALS - 1)
        normals /= np.linalg.norm(normals, axis=-1, keepdims=True)
        colors = np.concatenate([patch.colors for patch in group])
        colors = np.round(np.concatenate([colors, np.ones((len(colors), 1))], axis=-1) * 255)
        attributes = {
            "POSITION": buffer.attribute(np.round(positions, DECIMALS), "VEC3", "f4", bounds=True),
            "NORMAL": buffer.attribute(normals, "VEC3", "f4"),
            "COLOR_0": buffer.attribute(colors, "VEC4", "u1", normalized=True),
        }
        if inverse is None:
            joints, weights = _influences(np.concatenate([patch.weights for patch in group]))
            attributes["JOINTS_0"] = buffer.attribute(joints, "VEC4", "u1")
            attributes["WEIGHTS_0"] = buffer.attribute(weights, "VEC4", "u2", normalized=True)
        out.append({"attributes": attributes, "indices": buffer.indices(triangles), "material": number})
    return out


def _influences(weights: Array) -> tuple[Array, Array]:
    """The four strongest bones of each vertex and their weights in units of 1/65535, which sum to one exactly."""
    weights = np.where(weights < 0.01, 0.0, np.round(weights, DECIMALS))
    order = np.argsort(-weights, axis=-1, kind="stable")[:, :4]
    if order.shape[1] < 4:
        order = np.pad(order, ((0, 0), (0, 4 - order.shape[1])))
        kept = np.pad(np.take_along_axis(weights, order[:, : weights.shape[1]], axis=-1), ((0, 0), (0, 4)))[:, :4]
    else:
        kept = np.take_along_axis(weights, order, axis=-1)
    steps = np.floor(kept / kept.sum(axis=-1, keepdims=True) * 65535)
    steps[:, 0] += 65535 - steps.sum(axis=-1)
    return np.where(steps > 0, order, 0).astype(np.float64), steps


def _animation(buffer: _Buffer, armature: Armature, layout: Layout, name: str, take: Take) -> dict[str, Any]:
    """All channels of an animation share their times; bones that stay at rest have none."""
    back, offsets = _above(armature, layout)
    height = float(np.ptp(np.concatenate([armature.heads, armature.tails]), axis=0).max())
    turns = rotations.make_continuous(take.turns)
    frames = kept_frames(turns, take.shifts, 1e-3 * height)
    local = rotations.make_continuous(rotations.multiply(back, rotations.multiply(turns[frames], layout.orientations)))
    moves = rotations.rotate(back, offsets + take.shifts[frames]) / layout.unit
    turning = np.flatnonzero(rotations.between(turns, rotations.IDENTITY).max(axis=0) > 2e-3)
    moving = np.flatnonzero(np.abs(take.shifts).max(axis=(0, 2)) > 1e-5 * height)
    accessors = buffer.keys(take.time[frames], [local[:, j] for j in turning], [moves[:, j] for j in moving])
    targets = [(int(j), "rotation") for j in turning] + [(int(j), "translation") for j in moving]
    return {
        "name": name,
        "samplers": [{"input": accessors[0], "output": output} for output in accessors[1:]],
        "channels": [{"sampler": i, "target": {"node": node, "path": path}} for i, (node, path) in enumerate(targets)],
    }
