"""A slow reading of a GLB's pose that shares no code with the product: pygltflib for the file, SciPy for rotations, one
vertex and one node at a time as the glTF specification's formulas say."""

from __future__ import annotations

import numpy as np
import pygltflib
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

DTYPES = {5120: "i1", 5121: "u1", 5122: "<i2", 5123: "<u2", 5125: "<u4", 5126: "<f4"}
WIDTH = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}


class Oracle:
    """One GLB file with a single buffer."""

    def __init__(self, content: bytes) -> None:
        self.gltf = pygltflib.GLTF2.load_from_bytes(content)
        self.blob = self.gltf.binary_blob()

    def array(self, number: int) -> np.ndarray:
        accessor = self.gltf.accessors[number]
        view = self.gltf.bufferViews[accessor.bufferView]
        dtype, width = np.dtype(DTYPES[accessor.componentType]), WIDTH[accessor.type]
        start = (view.byteOffset or 0) + (accessor.byteOffset or 0)
        stride = view.byteStride or dtype.itemsize * width
        rows = [np.frombuffer(self.blob, dtype, width, start + i * stride) for i in range(accessor.count)]
        return np.array(rows, float).reshape(accessor.count, width)

    def locals(self, animation: int | None = None, time: float = 0.0) -> list[np.ndarray]:
        """The local matrix of every node, at rest or at a time of an animation."""
        trs = []
        for node in self.gltf.nodes:
            t = np.array(node.translation or [0, 0, 0], float)
            r = np.array(node.rotation or [0, 0, 0, 1], float)
            s = np.array(node.scale or [1, 1, 1], float)
            trs.append({"translation": t, "rotation": r, "scale": s})
        if animation is not None:
            for channel in self.gltf.animations[animation].channels:
                sampler = self.gltf.animations[animation].samplers[channel.sampler]
                if channel.target.node is not None and channel.target.path in trs[0]:
                    value = self.sampled(sampler, channel.target.path, time)
                    trs[channel.target.node][channel.target.path] = value
        out = []
        for node, parts in zip(self.gltf.nodes, trs, strict=True):
            matrix = np.eye(4)
            matrix[:3, :3] = Rotation.from_quat(parts["rotation"]).as_matrix() @ np.diag(parts["scale"])
            matrix[:3, 3] = parts["translation"]
            out.append(np.array(node.matrix, float).reshape(4, 4).T if node.matrix else matrix)
        return out

    def sampled(self, sampler: pygltflib.AnimationSampler, path: str, time: float) -> np.ndarray:
        times, values = self.array(sampler.input)[:, 0], self.array(sampler.output)
        time = float(np.clip(time, times[0], times[-1]))
        kind = sampler.interpolation or "LINEAR"
        if len(times) == 1:
            return values[0] if kind != "CUBICSPLINE" else values[1]
        if kind == "STEP":
            return values[np.searchsorted(times, time, side="right") - 1]
        if kind == "CUBICSPLINE":
            parts = values.reshape(len(times), 3, -1)
            k = min(int(np.searchsorted(times, time, side="right")) - 1, len(times) - 2)
            pair = slice(k, k + 2)
            slopes = np.array([parts[k, 2], parts[k + 1, 0]])
            value = CubicHermiteSpline(times[pair], parts[pair, 1], slopes)(time)
            return value / np.linalg.norm(value) if path == "rotation" else value
        if path == "rotation":
            return Slerp(times, Rotation.from_quat(values))([time])[0].as_quat()
        return np.array([np.interp(time, times, values[:, i]) for i in range(values.shape[1])])

    def worlds(self, animation: int | None = None, time: float = 0.0) -> list[np.ndarray]:
        """The world matrix of every node."""
        locals_ = self.locals(animation, time)
        parent = {child: i for i, node in enumerate(self.gltf.nodes) for child in node.children or []}

        def world(node: int) -> np.ndarray:
            return locals_[node] if node not in parent else world(parent[node]) @ locals_[node]

        return [world(node) for node in range(len(self.gltf.nodes))]

    def vertices(self, animation: int | None = None, time: float = 0.0) -> np.ndarray:
        """World positions of all vertices, node by node in depth-first order, primitive by primitive."""
        worlds, out = self.worlds(animation, time), []

        def visit(number: int) -> None:
            node = self.gltf.nodes[number]
            if node.mesh is not None:
                seen = set()
                for primitive in self.gltf.meshes[node.mesh].primitives:
                    if repr(primitive.attributes) not in seen:
                        seen.add(repr(primitive.attributes))
                        out.extend(self.placed(primitive, node, worlds, number))
            for child in node.children or []:
                visit(child)

        for root in self.gltf.scenes[self.gltf.scene or 0].nodes:
            visit(root)
        return np.array(out)

    def placed(self, primitive, node, worlds, number) -> list[np.ndarray]:
        positions = self.array(primitive.attributes.POSITION)
        points = np.concatenate([positions, np.ones((len(positions), 1))], axis=1)
        if node.skin is None:
            return [(worlds[number] @ point)[:3] for point in points]
        skin = self.gltf.skins[node.skin]
        binds = [np.eye(4)] * len(skin.joints)
        if skin.inverseBindMatrices is not None:
            binds = list(self.array(skin.inverseBindMatrices).reshape(-1, 4, 4).transpose(0, 2, 1))
        joint_matrices = [worlds[joint] @ bind for joint, bind in zip(skin.joints, binds, strict=False)]
        joints = self.array(primitive.attributes.JOINTS_0).astype(int)
        weights = self.array(primitive.attributes.WEIGHTS_0)
        out = []
        for point, j, w in zip(points, joints, weights, strict=True):
            w = w / w.sum()
            out.append(sum(w[k] * (joint_matrices[j[k]] @ point) for k in range(4))[:3])
        return out
