"""Reading a document's meshes into one vertex soup bound to joints."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from animax.assets.accessors import Accessors
from animax.assets.document import Document
from animax.assets.fields import Json, child, index, indices, integer, objects, optional_index
from animax.assets.materials import IDENTITY_TRANSFORM, Surface
from animax.assets.mesh import Material, Mesh
from animax.assets.nodes import Nodes, mesh_of
from animax.errors import AssetError, UnsupportedAssetError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

TRIANGLES, STRIP, FAN = 4, 5, 6
DRACO = "KHR_draco_mesh_compression"
INFLUENCES = 4
"""Influences per vertex that are kept, the strongest."""


@dataclass(frozen=True, eq=False)
class Skin:
    """A skin: the node index (K,) and the inverse bind matrix (K, 4, 4) of each of its joints."""

    nodes: list[int]
    inverse_binds: Array


@dataclass
class _Soup:
    """What has been gathered so far, one entry per primitive (lists of arrays) or per binding."""

    positions: list[Array] = field(default_factory=list)
    normals: list[Array] = field(default_factory=list)
    texcoords: list[Array] = field(default_factory=list)
    colors: list[Array] = field(default_factory=list)
    bindings: list[IntArray] = field(default_factory=list)
    weights: list[Array] = field(default_factory=list)
    triangles: list[IntArray] = field(default_factory=list)
    triangle_materials: list[IntArray] = field(default_factory=list)
    binding_joints: list[int] = field(default_factory=list)
    inverse_binds: list[Array] = field(default_factory=list)
    primitives: int = 0
    vertices: int = 0
    triangle_count: int = 0


def read_skins(document: Document, accessors: Accessors, nodes: int) -> list[Skin]:
    """All skins; missing inverse bind matrices are identities, as glTF says."""
    out = []
    for i, entry in enumerate(objects(document.json, "skins", "glTF", document.limits.joints)):
        where = f"skins[{i}]"
        joints = indices(entry, "joints", where, nodes)
        if not joints or len(set(joints)) != len(joints):
            raise AssetError(
                f"{where}.joints are {'repeated' if joints else 'missing'}; accepted: one or more, each once"
            )
        if len(joints) > document.limits.joints:
            raise AssetError(f"{where} has {len(joints)} joints; accepted: at most {document.limits.joints}")
        matrices = np.tile(np.eye(4), (len(joints), 1, 1))
        accessor = optional_index(entry, "inverseBindMatrices", where, len(accessors))
        if accessor is not None:
            values = accessors.floats(accessor, ("MAT4",))
            if len(values) < len(joints):
                raise AssetError(f"{where} has {len(joints)} joints and {len(values)} inverse bind matrices")
            matrices = values[: len(joints)].reshape(-1, 4, 4).transpose(0, 2, 1).copy()
            matrices[:, 3] = (0.0, 0.0, 0.0, 1.0)
        out.append(Skin(joints, matrices))
    return out


def skin_of(nodes: Nodes, node: int, skins: int) -> int | None:
    """The skin that a node's mesh is bound to."""
    return optional_index(nodes.entries[node], "skin", f"nodes[{node}]", skins)


def read_mesh(
    document: Document,
    accessors: Accessors,
    nodes: Nodes,
    skins: list[Skin],
    surfaces: list[Surface],
    joint_of: dict[int, int],
) -> tuple[Mesh, list[str]]:
    """The triangles of all meshes in the scene, and warnings.

    ``joint_of`` gives the joint index by node index, for the joints of all skins in use and nodes with rigid meshes.

    Raises:
        AssetError: out-of-range or damaged data, or over a limit.
        UnsupportedAssetError: Draco-compressed triangles.
    """
    meshes = objects(document.json, "meshes", "glTF")
    plain = Surface(Material("", np.ones(4)), 0, IDENTITY_TRANSFORM)
    surfaces = surfaces or [plain]
    default_surface = len(surfaces)
    soup = _Soup()
    warnings: dict[str, None] = {}
    first_binding: dict[int, int] = {}
    for node in map(int, nodes.order):
        mesh = mesh_of(nodes, node, len(meshes)) if nodes.in_scene[node] else None
        if mesh is None:
            continue
        skin = skin_of(nodes, node, len(skins))
        placed: dict[tuple[object, ...], int] = {}
        primitives = objects(meshes[mesh], "primitives", f"meshes[{mesh}]")
        soup.primitives += len(primitives)
        if soup.primitives > document.limits.primitives:
            raise AssetError(f"the scene has over {document.limits.primitives} primitives; accepted: at most as many")
        for p, primitive in enumerate(primitives):
            where = f"meshes[{mesh}].primitives[{p}]"
            mode = integer(primitive, "mode", where, 0, 6, TRIANGLES)
            if mode < TRIANGLES:
                warnings[f"meshes[{mesh}] holds points or lines; they were left out"] = None
                continue
            if primitive.get("targets"):
                warnings[f"meshes[{mesh}] has morph targets; they stay in the file and are not animated"] = None
            material = optional_index(primitive, "material", where, len(surfaces))
            surface = plain if material is None else surfaces[material]
            attributes = child(primitive, "attributes", where)
            _refuse_draco(accessors, primitive, attributes, where)
            key = (
                *sorted((str(k), str(v)) for k, v in attributes.items()),
                surface.texcoord,
                surface.transform.tobytes(),
            )
            if key not in placed:
                placed[key] = soup.vertices
                skinned = skin is not None and "JOINTS_0" in attributes
                if skin is not None and not skinned:
                    warnings[f"meshes[{mesh}] has a skin but no joint weights; it was read as a rigid part"] = None
                binding = -1 - skin if skin is not None and skinned else node
                if binding not in first_binding:
                    first_binding[binding] = len(soup.binding_joints)
                    if skin is not None and skinned:
                        soup.binding_joints += [joint_of[joint] for joint in skins[skin].nodes]
                        soup.inverse_binds += list(skins[skin].inverse_binds)
                    else:
                        soup.binding_joints.append(joint_of[node])
                        soup.inverse_binds.append(np.eye(4))
                count = len(skins[skin].nodes) if skin is not None and skinned else 0
                _add_vertices(
                    document, accessors, attributes, surface, first_binding[binding], count, soup, warnings, where
                )
            _add_triangles(document, accessors, primitive, mode, placed[key], soup, where)
            number = default_surface if material is None else material
            soup.triangle_materials.append(np.full(len(soup.triangles[-1]), number, np.int64))
    materials = [surface.material for surface in surfaces]
    if any(np.any(numbers == default_surface) for numbers in soup.triangle_materials):
        materials.append(plain.material)
    return _mesh(soup, tuple(materials)), list(warnings)


def _refuse_draco(accessors: Accessors, primitive: Json, attributes: Json, where: str) -> None:
    if DRACO not in child(primitive, "extensions", where):
        return
    position = optional_index(attributes, "POSITION", f"{where}.attributes", len(accessors))
    if position is None or not accessors.has_bytes(position):
        raise UnsupportedAssetError(f"{where} is compressed with {DRACO}; accepted: uncompressed meshes")


def _add_vertices(
    document: Document,
    accessors: Accessors,
    attributes: Json,
    surface: Surface,
    first_binding: int,
    skin_joints: int,
    soup: _Soup,
    warnings: dict[str, None],
    where: str,
) -> None:
    at = f"{where}.attributes"
    position = index(attributes, "POSITION", at, len(accessors))
    count = accessors.count(position)
    soup.vertices += count
    if soup.vertices > document.limits.vertices:
        raise AssetError(f"the scene has over {document.limits.vertices} vertices; accepted: at most as many")

    def attribute(name: str, kinds: tuple[str, ...]) -> Array | None:
        number = optional_index(attributes, name, at, len(accessors))
        if number is None:
            return None
        if accessors.count(number) != count:
            raise AssetError(f"{at}.{name} has {accessors.count(number)} elements; accepted: {count}, as POSITION")
        return accessors.floats(number, kinds)

    positions = accessors.floats(position, ("VEC3",))
    normals = attribute("NORMAL", ("VEC3",))
    texcoords = attribute(f"TEXCOORD_{surface.texcoord}", ("VEC2",)) if surface.material.texture is not None else None
    colors = attribute("COLOR_0", ("VEC3", "VEC4"))
    soup.positions.append(positions)
    soup.normals.append(np.zeros((count, 3)) if normals is None else normals)
    if texcoords is None:
        soup.texcoords.append(np.zeros((count, 2)))
    else:
        soup.texcoords.append(texcoords @ surface.transform[:, :2].T + surface.transform[:, 2])
    white = np.ones((count, 4))
    if colors is not None:
        white[:, : colors.shape[1]] = np.clip(colors, 0.0, 1.0)
    soup.colors.append(white)
    if not skin_joints:
        soup.bindings.append(np.full((count, INFLUENCES), first_binding))
        soup.weights.append(np.tile([1.0, 0.0, 0.0, 0.0], (count, 1)))
        return
    joints, weights = _influences(accessors, attributes, count, at)
    bindings, weights = strongest(joints, weights)
    if np.any(bindings[weights > 0] >= skin_joints):
        raise AssetError(
            f"{at}.JOINTS_0 refers to joint {bindings[weights > 0].max()}; accepted: 0 to {skin_joints - 1}"
        )
    loose = weights.sum(axis=-1) <= 0
    if np.any(loose):
        warnings[f"{where} has {int(loose.sum())} vertices without weight; they follow the first joint of the skin"] = (
            None
        )
        weights[loose], bindings[loose] = (1.0, 0.0, 0.0, 0.0), 0
    soup.bindings.append(first_binding + np.where(weights > 0, bindings, 0))
    soup.weights.append(weights / weights.sum(axis=-1, keepdims=True))


def _influences(accessors: Accessors, attributes: Json, count: int, at: str) -> tuple[IntArray, Array]:
    """Joint numbers and weights (count, 4 · sets) over all JOINTS_n / WEIGHTS_n."""
    joints, weights = [], []
    for group in range(8):
        joint = optional_index(attributes, f"JOINTS_{group}", at, len(accessors))
        weight = optional_index(attributes, f"WEIGHTS_{group}", at, len(accessors))
        if joint is None or weight is None:
            if joint is not None or weight is not None:
                raise AssetError(f"{at} has only one of JOINTS_{group} and WEIGHTS_{group}; accepted: both or none")
            break
        for number in (joint, weight):
            if accessors.count(number) != count:
                raise AssetError(f"{at}: accessors[{number}] has {accessors.count(number)} elements; accepted: {count}")
        joints.append(accessors.integers(joint, ("VEC4",)))
        weights.append(np.maximum(accessors.floats(weight, ("VEC4",)), 0.0))
    return np.concatenate(joints, axis=-1), np.concatenate(weights, axis=-1)


def strongest(joints: IntArray, weights: Array) -> tuple[IntArray, Array]:
    """The ``INFLUENCES`` largest weights of each row, not yet normalised. Shapes (N, K) to (N, 4)."""
    if weights.shape[1] <= INFLUENCES:
        return joints, weights
    keep = np.argsort(-weights, axis=-1, kind="stable")[:, :INFLUENCES]
    return np.take_along_axis(joints, keep, axis=-1), np.take_along_axis(weights, keep, axis=-1)


def _add_triangles(
    document: Document, accessors: Accessors, primitive: Json, mode: int, first: int, soup: _Soup, where: str
) -> None:
    position = index(child(primitive, "attributes", where), "POSITION", f"{where}.attributes", len(accessors))
    vertices = accessors.count(position)
    number = optional_index(primitive, "indices", where, len(accessors))
    count = vertices if number is None else accessors.count(number)
    soup.triangle_count += count // 3 if mode == TRIANGLES else max(count - 2, 0)
    if soup.triangle_count > document.limits.triangles:
        raise AssetError(f"the scene has over {document.limits.triangles} triangles; accepted: at most as many")
    corners = np.arange(count) if number is None else accessors.integers(number, ("SCALAR",))[:, 0]
    if count and corners.max() >= vertices:
        raise AssetError(f"{where}.indices refer to vertex {corners.max()}; accepted: 0 to {vertices - 1}")
    soup.triangles.append(first + triangulated(corners, mode))


def triangulated(corners: IntArray, mode: int) -> IntArray:
    """Triangles (T, 3) of a glTF primitive of ``mode`` 4 (list), 5 (strip) or 6 (fan), wound as glTF says."""
    if mode == TRIANGLES:
        return corners[: len(corners) // 3 * 3].reshape(-1, 3)
    count = max(len(corners) - 2, 0)
    i = np.arange(count)
    if mode == STRIP:
        odd = i % 2
        return np.stack([corners[i], corners[i + 1 + odd], corners[i + 2 - odd]], axis=-1)
    return np.stack([corners[i + 1], corners[i + 2], np.full(count, corners[0] if count else 0)], axis=-1)


def _mesh(soup: _Soup, materials: tuple[Material, ...]) -> Mesh:
    def joined(parts: list[NDArray[np.float64]], width: int) -> Array:
        return np.concatenate(parts) if parts else np.zeros((0, width))

    def joined_integers(parts: list[IntArray], *shape: int) -> IntArray:
        return np.concatenate(parts).astype(np.int64, copy=False) if parts else np.zeros((0, *shape), np.int64)

    positions = joined(soup.positions, 3)
    triangles = joined_integers(soup.triangles, 3)
    return Mesh(
        positions=positions,
        normals=unit_normals(positions, triangles, joined(soup.normals, 3)),
        texcoords=joined(soup.texcoords, 2),
        colors=joined(soup.colors, 4),
        triangles=triangles,
        triangle_materials=joined_integers(soup.triangle_materials),
        bindings=joined_integers(soup.bindings, INFLUENCES),
        weights=joined(soup.weights, INFLUENCES),
        binding_joints=np.array(soup.binding_joints, np.int64),
        inverse_binds=np.array(soup.inverse_binds).reshape(-1, 4, 4),
        materials=materials,
    )


def unit_normals(positions: Array, triangles: IntArray, normals: Array) -> Array:
    """Unit normals (N, 3): the given ones; where they are zero, the area-weighted mean of the adjacent triangles'."""
    length = np.linalg.norm(normals, axis=-1, keepdims=True)
    missing = length[:, 0] < 1e-12
    normals = normals / np.where(missing[:, None], 1.0, length)
    if np.any(missing):
        a, b, c = (positions[triangles[:, corner]] for corner in range(3))
        faces = np.cross(b - a, c - a)
        computed = np.stack(
            [np.bincount(triangles.ravel(), np.repeat(faces[:, axis], 3), len(positions)) for axis in range(3)], axis=-1
        )
        size = np.linalg.norm(computed, axis=-1, keepdims=True)
        up = np.array([0.0, 1.0, 0.0])
        normals[missing] = np.where(size > 0, computed / np.where(size > 0, size, 1.0), up)[missing]
    return normals
