"""Rig + clip → GLB: the input document plus one animation a clip, and nothing else changed."""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.document import BIN_CHUNK, GLB_MAGIC, JSON_CHUNK, Document
from animax.assets.fields import Json
from animax.assets.materials import image_mime
from animax.assets.rig import Rig
from animax.errors import AssetError, RigError
from animax.motion.clip import Clip

Array = NDArray[np.float64]
Floats = NDArray[np.float32]

FLOAT = 5126
MOVES = 1e-6
"""Least change (radians, file units, factor) from the rest pose for a joint to get a channel."""
MAX_GLB = 2**32 - 1


def write_glb(rig: Rig, clips: Clip | Sequence[Clip], *, keep_existing: bool = True) -> bytes:
    """The rig's file with animations added.

    Every clip becomes one animation of LINEAR samplers: a rotation channel for each joint that ever turns away from its
    rest rotation, a translation or scale channel where that leaves the rest value. A loop gets its closing frame, equal
    to the first, one frame after the last. An animation's name is the clip's, with a suffix where the
    file has that name already.

    Nodes, meshes, materials, extensions, extras and existing bytes stay as they are, but for this: animation data is
    appended to the binary chunk, or becomes a further buffer where buffer 0 is not that chunk; a moving node that has a
    ``matrix`` gets the same transform as translation, rotation and scale, as glTF demands of animated nodes; and files
    beside a .gltf are taken into the GLB.

    Args:
        rig: as loaded.
        clips: one or more, of this rig's skeleton.
        keep_existing: keep the file's own animations; their data stays in the file either way.

    Raises:
        RigError: a clip has another number of joints than the rig, or values that are not finite.
        AssetError: the result would be larger than a GLB can be.
    """
    document = rig.document
    root: Json = dict(document.json)
    for key in ("nodes", "animations", "accessors", "bufferViews", "buffers", "images"):
        if key in root:
            root[key] = list(root[key])
    if not keep_existing:
        root.pop("animations", None)
    binary = _Binary(document, root)
    for clip in [clips] if isinstance(clips, Clip) else clips:
        _add_animation(root, binary, rig, clip)
    _embed_files(root, binary, document)
    chunk = binary.finish()
    return _glb(root, chunk, document.chunks)


class _Binary:
    """Bytes appended to the binary chunk, or gathered in a buffer of their own where buffer 0 is not that chunk."""

    def __init__(self, document: Document, root: Json) -> None:
        self._root = root
        buffers = root.setdefault("buffers", [])
        uri = buffers[0].get("uri") if buffers else None
        self._chunk = None if document.binary is None else bytes(document.binary)
        self._in_chunk = uri is None or uri in document.files
        self._buffer = 0 if self._in_chunk else len(buffers)
        start = document.files.get(str(uri), self._chunk or b"") if self._in_chunk else b""
        self._start = len(start)
        self._data = bytearray(start)

    def add(self, content: bytes) -> int:
        """Append bytes at a multiple of four and return the index of their buffer view."""
        self._data += bytes(-len(self._data) % 4)
        views = self._root.setdefault("bufferViews", [])
        views.append({"buffer": self._buffer, "byteOffset": len(self._data), "byteLength": len(content)})
        self._data += content
        return len(views) - 1

    def finish(self) -> bytes | None:
        """Enter the buffer in the JSON and return the binary chunk."""
        buffers = self._root["buffers"]
        if not self._in_chunk:
            if self._data:
                buffers.append({"byteLength": len(self._data), "uri": _data_uri(bytes(self._data))})
            return self._chunk
        if len(self._data) > self._start:
            entry = buffers[0] if buffers else {}
            kept = {key: value for key, value in entry.items() if key != "uri"}
            buffers[:1] = [{**kept, "byteLength": len(self._data)}]
        if not buffers:
            del self._root["buffers"]
        return bytes(self._data) if self._data else self._chunk


def _add_animation(root: Json, binary: _Binary, rig: Rig, clip: Clip) -> None:
    rest, pose = rig.skeleton.rest, clip.pose
    expected = (len(clip), len(rig.skeleton), 3)
    if pose.translations.shape != expected or pose.scales.shape != expected or not len(clip):
        raise RigError(
            f"clip {clip.name[:40]!r} has translations of shape {pose.translations.shape}; accepted: (frames,"
            f" {len(rig.skeleton)}, 3) with one frame or more"
        )
    if not all(np.all(np.isfinite(part)) for part in (pose.translations, pose.rotations, pose.scales)):
        raise RigError(f"clip {clip.name[:40]!r} holds NaN or infinity; accepted: finite numbers")
    order = np.append(np.arange(len(clip)), 0) if clip.loop else np.arange(len(clip))
    turned = rotations.between(pose.rotations, rest.rotations).max(axis=0) > MOVES
    tracks: list[tuple[str, int, Array]] = []
    for joint in range(len(rig.skeleton)):
        if np.abs(pose.translations[:, joint] - rest.translations[joint]).max() > MOVES:
            tracks.append(("translation", joint, pose.translations[order, joint]))
        if turned[joint]:
            tracks.append(("rotation", joint, rotations.make_continuous(pose.rotations[order, joint])))
        if np.abs(pose.scales[:, joint] - rest.scales[joint]).max() > MOVES:
            tracks.append(("scale", joint, pose.scales[order, joint]))
    if not tracks:  # an animation needs a channel: a still clip holds the first joint
        tracks.append(("rotation", 0, pose.rotations[order, 0]))
    times = (np.arange(len(order)) / clip.fps).astype(np.float32)
    blocks = [times.reshape(-1, 1), *(values.astype(np.float32) for _, _, values in tracks)]
    view = binary.add(b"".join(block.tobytes() for block in blocks))
    first = _add_accessors(root, view, blocks)
    samplers = [{"input": first, "output": first + 1 + i, "interpolation": "LINEAR"} for i in range(len(tracks))]
    channels: list[Json] = []
    for i, (path, joint, _) in enumerate(tracks):
        node = int(rig.joint_nodes[joint])
        _matrix_to_trs(root, node, rig, joint)
        channels.append({"sampler": i, "target": {"node": node, "path": path}})
    animations = root.setdefault("animations", [])
    taken = {entry.get("name") for entry in animations}
    animations.append({"name": _free_name(clip.name, taken), "samplers": samplers, "channels": channels})


def _add_accessors(root: Json, view: int, blocks: list[Floats]) -> int:
    """Append an accessor for each block (count, width) of a buffer view; the first gets the bounds that times need."""
    accessors = root.setdefault("accessors", [])
    first, offset = len(accessors), 0
    for i, block in enumerate(blocks):
        accessor: Json = {
            "bufferView": view,
            "byteOffset": offset,
            "componentType": FLOAT,
            "count": len(block),
            "type": {1: "SCALAR", 3: "VEC3", 4: "VEC4"}[block.shape[1]],
        }
        if i == 0:
            accessor["min"], accessor["max"] = [float(block.min())], [float(block.max())]
        accessors.append(accessor)
        offset += block.nbytes
    return first


def _matrix_to_trs(root: Json, node: int, rig: Rig, joint: int) -> None:
    entry = root["nodes"][node]
    if "matrix" not in entry:
        return
    rest = rig.skeleton.rest
    root["nodes"][node] = {
        **{key: value for key, value in entry.items() if key != "matrix"},
        "translation": rest.translations[joint].tolist(),
        "rotation": rest.rotations[joint].tolist(),
        "scale": rest.scales[joint].tolist(),
    }


def _embed_files(root: Json, binary: _Binary, document: Document) -> None:
    """Take external buffers other than the first, and images, into the GLB."""
    for i, entry in enumerate(root.get("buffers", [])):
        if i > 0 and entry.get("uri") in document.files:
            root["buffers"][i] = {**entry, "uri": _data_uri(document.files[entry["uri"]])}
    for i, entry in enumerate(root.get("images", [])):
        if entry.get("uri") in document.files:
            content = document.files[entry["uri"]]
            kept = {key: value for key, value in entry.items() if key != "uri"}
            kept.setdefault("mimeType", image_mime(content))
            root["images"][i] = {**kept, "bufferView": binary.add(content)}


def _data_uri(content: bytes) -> str:
    return "data:application/octet-stream;base64," + base64.b64encode(content).decode("ascii")


def _free_name(name: str, taken: set[Any]) -> str:
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}_{number}"
    return free


def _glb(root: Json, binary: bytes | None, chunks: tuple[tuple[int, bytes], ...]) -> bytes:
    try:
        text = json.dumps(root, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except UnicodeEncodeError:  # lone surrogates survive only as escapes
        text = json.dumps(root, separators=(",", ":"), allow_nan=False).encode("ascii")
    parts = [(JSON_CHUNK, text + b" " * (-len(text) % 4))]
    if binary is not None:
        parts.append((BIN_CHUNK, binary + bytes(-len(binary) % 4)))
    parts += chunks
    body = b"".join(struct.pack("<II", len(content), kind) + content for kind, content in parts)
    if 12 + len(body) > MAX_GLB:
        raise AssetError(f"the GLB would have {12 + len(body)} bytes; accepted: at most {MAX_GLB}")
    return GLB_MAGIC + struct.pack("<II", 2, 12 + len(body)) + body
