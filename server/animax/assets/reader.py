"""GLB → Rig."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax.assets.accessors import Accessors
from animax.assets.document import Document, read_document
from animax.assets.fields import objects
from animax.assets.joint_names import unique_names
from animax.assets.limits import Limits
from animax.assets.materials import read_materials
from animax.assets.mesh import Mesh
from animax.assets.nodes import Nodes, animated_nodes, mesh_of, read_nodes
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose, Skeleton
from animax.assets.stance import estimate_stance
from animax.assets.surface import Skin, read_mesh, read_skins, skin_of
from animax.errors import AssetError, RigError, UnsupportedAssetError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

MAX_WARNINGS = 40
READ_EXTENSIONS = {"KHR_mesh_quantization", "KHR_texture_transform", "EXT_texture_webp"}
"""Extensions whose meaning is followed. Only what a file *requires* is checked."""
HARMLESS_EXTENSIONS = (
    "KHR_materials_",
    "KHR_texture_basisu",
    "KHR_lights_",
    "KHR_xmp",
    "KHR_node_visibility",
    "KHR_animation_pointer",
    "MSFT_texture_dds",
    "EXT_texture_avif",
    "EXT_lights_",
    "VRM",
)
"""Beginnings of names of extensions that do not change where a vertex is; unread textures are drawn grey."""


def load_rig(
    source: bytes | Path | str,
    *,
    name: str | None = None,
    facing: str | float | ArrayLike | None = None,
    up: str | ArrayLike | None = None,
    limits: Limits = Limits(),  # noqa: B008 - frozen
) -> Rig:
    """Read a rigged mesh.

    Args:
        source: the bytes of a GLB, or a path to a .glb or .gltf (see ``read_document``).
        name: for people; default: the file's name, or the scene's.
        facing: the way the rig faces, where the estimate is not wanted (see ``estimate_stance``).
        up: the rig's up axis, where it is not the file's +Y.
        limits: what the file may cost.

    Raises:
        AssetError: the file is damaged or over a limit.
        UnsupportedAssetError: the file needs a feature that is refused by name.
        RigError: the file holds nothing that can be animated.
        OptionError: ``facing`` or ``up`` is not a direction.
    """
    path = Path(source) if isinstance(source, str) else source
    document = read_document(path, limits)
    _check_extensions(document)
    nodes = read_nodes(document)
    accessors = Accessors(document)
    skins = read_skins(document, accessors, len(nodes))
    joint_nodes = _joint_nodes(document, nodes, skins)
    skeleton, warnings = _skeleton(nodes, joint_nodes)
    surfaces, texture_warnings = read_materials(document, accessors)
    joint_of = {int(node): joint for joint, node in enumerate(joint_nodes)}
    mesh, mesh_warnings = read_mesh(document, accessors, nodes, skins, surfaces, joint_of)
    vertices = _rest_vertices(skeleton, mesh, limits)
    title = name or (path.stem if isinstance(path, Path) else "") or nodes.scene_name or "rig"
    return Rig(
        name=title,
        sha256=document.sha256,
        skeleton=skeleton,
        mesh=mesh,
        joint_nodes=joint_nodes,
        stance=estimate_stance(skeleton, mesh, facing=facing, up=up, vertices=vertices),
        document=document,
        warnings=_shortened([*nodes.warnings, *warnings, *texture_warnings, *mesh_warnings]),
    )


def _shortened(warnings: list[str]) -> tuple[str, ...]:
    if len(warnings) <= MAX_WARNINGS:
        return tuple(warnings)
    return (*warnings[: MAX_WARNINGS - 1], f"{len(warnings) - MAX_WARNINGS + 1} more like these")


def _check_extensions(document: Document) -> None:
    required = document.json.get("extensionsRequired", [])
    if not isinstance(required, list) or not all(isinstance(entry, str) for entry in required):
        raise AssetError("extensionsRequired is not a list of names; accepted: a list of strings")
    refused = [e for e in required if e not in READ_EXTENSIONS and not e.startswith(HARMLESS_EXTENSIONS)]
    if refused:
        shown = ", ".join(entry[:40] for entry in sorted(set(refused))[:5])
        raise UnsupportedAssetError(f"the file requires {shown}; accepted: files without, or with {_accepted()}")


def _accepted() -> str:
    return ", ".join(sorted(READ_EXTENSIONS))


def _joint_nodes(document: Document, nodes: Nodes, skins: list[Skin]) -> IntArray:
    """Nodes that become joints, parents first: of skins, animated, with rigid meshes, and all their ancestors."""
    meshes = objects(document.json, "meshes", "glTF")
    in_scene = [node for node in map(int, nodes.order) if nodes.in_scene[node]]
    carriers = [node for node in in_scene if mesh_of(nodes, node, len(meshes)) is not None]
    used_skins = {skin for node in carriers if (skin := skin_of(nodes, node, len(skins))) is not None}
    animated = {node for node in animated_nodes(document, len(nodes)) if nodes.in_scene[node]}
    rigid = [node for node in carriers if _has_rigid_part(document, nodes, node, len(meshes), len(skins))]
    chosen = {joint for skin in used_skins for joint in skins[skin].nodes} | animated
    if not used_skins and not animated and len(rigid) < 2:
        raise RigError("the file has no skin, no animated node and no separate parts; accepted: a rigged model")
    chosen.update(rigid)
    kept = np.zeros(len(nodes), bool)
    for node in chosen:
        while node >= 0 and not kept[node]:
            kept[node] = True
            node = int(nodes.parents[node])
    joints = nodes.order[kept[nodes.order]]
    if len(joints) > document.limits.joints:
        raise AssetError(f"the rig has {len(joints)} joints; accepted: at most {document.limits.joints}")
    return joints


def _has_rigid_part(document: Document, nodes: Nodes, node: int, meshes: int, skins: int) -> bool:
    if skin_of(nodes, node, skins) is None:
        return True
    mesh = mesh_of(nodes, node, meshes)
    primitives = objects(objects(document.json, "meshes", "glTF")[mesh or 0], "primitives", f"meshes[{mesh}]")
    attributes = [primitive.get("attributes") for primitive in primitives]
    return any(not isinstance(these, dict) or "JOINTS_0" not in these for these in attributes)


def _skeleton(nodes: Nodes, joint_nodes: IntArray) -> tuple[Skeleton, list[str]]:
    joint_of = np.full(len(nodes) + 1, -1)
    joint_of[joint_nodes] = np.arange(len(joint_nodes))
    raw = [nodes.name(int(node)) for node in joint_nodes]
    names = unique_names([name or f"node_{node}" for name, node in zip(raw, joint_nodes, strict=True)])
    warnings = []
    changed = [(old, new) for old, new in zip(raw, names, strict=True) if old != new]
    if changed:
        old, new = changed[0]
        warnings.append(
            f"{len(changed)} joints have no name or one used before; the first, {old[:40]!r}, is called {new[:60]!r}"
        )
    # the extra last entry stands for "no parent"
    parents = joint_of[nodes.parents[joint_nodes]]
    rest = Pose(*(part[joint_nodes] for part in (nodes.pose.translations, nodes.pose.rotations, nodes.pose.scales)))
    return Skeleton(tuple(names), parents, rest), warnings


def _rest_vertices(skeleton: Skeleton, mesh: Mesh, limits: Limits) -> Array:
    """(N, 3) vertices of the rest pose, checked to be a body of some extent not too far away."""
    with np.errstate(over="ignore", invalid="ignore"):
        heads = skeleton.rest_globals
        vertices = mesh.skin(heads)
    for what, values in (("joint", heads), ("vertex", vertices)):
        if not np.all(np.abs(values) <= limits.coordinate):  # also catches NaN
            raise AssetError(f"a {what} lies beyond {limits.coordinate:g} units; accepted: coordinates within")
    points = vertices if len(vertices) else heads[:, :3, 3]
    if not np.ptp(points, axis=0).max(initial=0.0) > 1e-9:
        raise RigError("the rest pose has no extent; accepted: a model larger than 1e-9 units")
    return vertices
