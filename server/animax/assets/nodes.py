"""The node tree of a document: parents, order, local transforms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.document import Document
from animax.assets.fields import Json, index, indices, numbers, objects, optional_index, string
from animax.assets.skeleton import Pose
from animax.errors import AssetError, UnsupportedAssetError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_NAME = 200
"""Characters of a joint's name that are kept."""
MAX_SHEAR = 0.01
"""Largest cosine between two axes of a node matrix that is still read, with a warning, as if they were perpendicular.

Nothing that an animation can hold (translation, rotation, scale) stands for a sheared matrix."""


@dataclass(frozen=True, eq=False)
class Nodes:
    """All N nodes of a document.

    Attributes:
        entries: the JSON of each.
        parents: (N,) node index of the parent, -1 for a root.
        order: (N,) node indices, every parent before its children, in the file's order of children.
        in_scene: (N,) whether a node belongs to the scene that is shown.
        pose: local transforms, translations (N, 3), rotations (N, 4), scales (N, 3).
        scene_name: of the scene that is shown.
        warnings: oddities of single nodes.
    """

    entries: list[Json]
    parents: IntArray
    order: IntArray
    in_scene: NDArray[np.bool_]
    pose: Pose
    scene_name: str
    warnings: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.entries)

    def name(self, node: int) -> str:
        """The file's name of a node, possibly empty, not unique, or cut after ``MAX_NAME`` characters."""
        return string(self.entries[node], "name", f"nodes[{node}]")[:MAX_NAME]


def read_nodes(document: Document) -> Nodes:
    """The checked node tree.

    Raises:
        AssetError: a node has two parents or is its own ancestor, a reference is out of range, or a limit is passed.
        UnsupportedAssetError: a node matrix is sheared.
    """
    entries = objects(document.json, "nodes", "glTF", document.limits.nodes)
    parents = np.full(len(entries), -1, np.int64)
    children = []
    for node, entry in enumerate(entries):
        below = indices(entry, "children", f"nodes[{node}]", len(entries))
        for child in below:
            if parents[child] >= 0:
                raise AssetError(f"nodes[{child}] has two parents, {parents[child]} and {node}; accepted: a tree")
            parents[child] = node
        children.append(below)
    order = _preorder(children, [int(root) for root in np.flatnonzero(parents < 0)], document.limits.node_depth)
    if len(order) < len(entries):
        lost = int(np.setdiff1d(np.arange(len(entries)), order)[0])
        raise AssetError(f"nodes[{lost}] is its own ancestor; accepted: a tree")
    in_scene, scene_name = _scene(document, parents, order)
    pose, warnings = _local_transforms(entries)
    return Nodes(entries, parents, np.array(order, np.int64), in_scene, pose, scene_name, tuple(warnings))


def _preorder(children: list[list[int]], roots: list[int], max_depth: int) -> list[int]:
    order = []
    stack = [(root, 1) for root in reversed(roots)]
    while stack:
        node, depth = stack.pop()
        if depth > max_depth:
            raise AssetError(f"the node tree is over {max_depth} deep; accepted: at most {max_depth}")
        order.append(node)
        stack.extend((child, depth + 1) for child in reversed(children[node]))
    return order


def _scene(document: Document, parents: IntArray, order: list[int]) -> tuple[NDArray[np.bool_], str]:
    scenes = objects(document.json, "scenes", "glTF")
    if not scenes:
        return np.ones(len(parents), bool), ""
    chosen = optional_index(document.json, "scene", "glTF", len(scenes)) or 0
    shown = np.zeros(len(parents), bool)
    shown[indices(scenes[chosen], "nodes", f"scenes[{chosen}]", len(parents))] = True
    for node in order:
        if parents[node] >= 0 and shown[parents[node]]:
            shown[node] = True
    return shown, string(scenes[chosen], "name", f"scenes[{chosen}]")


def _local_transforms(entries: list[Json]) -> tuple[Pose, list[str]]:
    count = len(entries)
    pose = Pose(np.zeros((count, 3)), np.tile(rotations.IDENTITY, (count, 1)), np.ones((count, 3)))
    warnings = []
    for node, entry in enumerate(entries):
        where = f"nodes[{node}]"
        if "matrix" in entry:
            matrix = numbers(entry, "matrix", where, tuple(np.eye(4).ravel())).reshape(4, 4).T
            pose.translations[node] = matrix[:3, 3]
            pose.rotations[node], pose.scales[node], warning = decompose(matrix[:3, :3], where)
            if warning:
                warnings.append(warning)
            continue
        if "translation" in entry:
            pose.translations[node] = numbers(entry, "translation", where, (0.0, 0.0, 0.0))
        if "scale" in entry:
            pose.scales[node] = numbers(entry, "scale", where, (1.0, 1.0, 1.0))
        if "rotation" in entry:
            pose.rotations[node] = numbers(entry, "rotation", where, (0.0, 0.0, 0.0, 1.0))
    with np.errstate(over="ignore", invalid="ignore"):
        lengths = np.linalg.norm(pose.rotations, axis=-1)
        odd = np.flatnonzero(~(np.abs(lengths - 1) < 0.01))
        warnings += [f"nodes[{i}].rotation has length {lengths[i]:.3g}; it was read as a unit one" for i in odd[:3]]
        pose = Pose(pose.translations, rotations.normalise(pose.rotations), pose.scales)
    return pose, warnings


def decompose(linear: Array, where: str) -> tuple[Array, Array, str]:
    """Rotation (4,), scale (3,) and warning ("" for none) of the upper left (3, 3) of a node matrix.

    A mirroring matrix gets a negative x scale.

    Raises:
        AssetError: the numbers are too large to work with.
        UnsupportedAssetError: the axes are further from perpendicular than ``MAX_SHEAR``.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        scales = np.linalg.norm(linear, axis=0)
    if not np.all(np.isfinite(scales)):
        raise AssetError(f"{where}.matrix is out of range; accepted: numbers below 1e150")
    if np.any(scales < 1e-30):
        return rotations.IDENTITY, scales, f"{where}.matrix has a zero axis; its rotation was read as none"
    axes = linear / scales
    if np.linalg.det(axes) < 0:
        axes[:, 0] *= -1
        scales[0] *= -1
    shear = float(np.max(np.abs(axes.T @ axes - np.eye(3))))
    if shear > MAX_SHEAR:
        raise UnsupportedAssetError(
            f"{where}.matrix is sheared (cosine {shear:.3f} between axes); accepted: translation, rotation and scale"
        )
    warning = f"{where}.matrix is slightly sheared; the nearest rotation was taken" if shear > 1e-4 else ""
    return rotations.from_matrix(rotations.nearest(axes)), scales, warning


def mesh_of(nodes: Nodes, node: int, meshes: int) -> int | None:
    """The mesh that a node carries."""
    return optional_index(nodes.entries[node], "mesh", f"nodes[{node}]", meshes)


def animated_nodes(document: Document, count: int) -> set[int]:
    """Nodes that some animation moves, turns or scales."""
    found = set()
    left = document.limits.channels
    for a, animation in enumerate(objects(document.json, "animations", "glTF")):
        channels = objects(animation, "channels", f"animations[{a}]")
        left -= len(channels) + 1  # an animation without channels costs something too
        if left < 0:
            limit = document.limits.channels
            raise AssetError(f"the animations have over {limit} channels; accepted: at most as many")
        for c, channel in enumerate(channels):
            where = f"animations[{a}].channels[{c}].target"
            target = channel.get("target")
            if not isinstance(target, dict):
                raise AssetError(f"{where} is missing; accepted: an object with a path")
            if target.get("path") in ("translation", "rotation", "scale") and "node" in target:
                found.add(index(target, "node", where, count))
    return found
