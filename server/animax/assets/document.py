"""The glTF container: JSON and buffers of a file, kept exactly as they are.

A small parser of its own instead of a glTF library's classes: those drop unknown fields, and trust the file.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import numpy as np

from animax.assets.fields import Json, integer, objects, refuse
from animax.assets.limits import Limits
from animax.errors import AssetError, UnsupportedAssetError

GLB_MAGIC = b"glTF"
JSON_CHUNK = 0x4E4F534A
BIN_CHUNK = 0x004E4942
MAX_CHUNKS = 64
PIECE = 1 << 20


@dataclass(frozen=True, eq=False)
class Document:
    """A glTF 2.0 file. Nothing in it is changed after reading.

    Attributes:
        json: the JSON as parsed, unknown fields, extensions and extras included. Not to be modified.
        buffers: the bytes of every entry of ``json["buffers"]``; None where the file gives none (the fallback buffer of
            a compression extension).
        binary: the GLB's binary chunk, which is ``buffers[0]`` where that has no ``uri``.
        chunks: further GLB chunks as (type, bytes), in file order.
        files: the external files that ``uri`` fields name, by that ``uri``.
        sha256: hex digest of the file's bytes and, for .gltf, of its external files in order of reference.
        limits: what was in force when the file was read.
    """

    json: Json
    buffers: tuple[memoryview | None, ...]
    binary: memoryview | None
    chunks: tuple[tuple[int, bytes], ...]
    files: dict[str, bytes]
    sha256: str
    limits: Limits

    def resource(self, uri: str, where: str) -> bytes:
        """The bytes behind a ``uri``: of a data URI, or of an external file that was read with the document."""
        if uri[:5].lower() == "data:":
            return _data_uri(uri, where, self.limits.file_bytes)
        if uri not in self.files:
            raise AssetError(
                f"{where}.uri names another file; accepted: data URIs, or files beside a .gltf read by its path"
            )
        return self.files[uri]


def read_document(source: bytes | Path, limits: Limits) -> Document:
    """Parse a GLB or glTF file.

    Args:
        source: the bytes of a GLB (or of a glTF without external files), or a path to a .glb or .gltf. Only through a
            path are external files read, and only files in the same folder or below it.
        limits: see ``Limits``.

    Raises:
        AssetError: the container is damaged, over a limit, or a file is missing.
        UnsupportedAssetError: glTF 1.0.
    """
    folder: Path | None = None
    if isinstance(source, Path):
        data = _read_path(source, source.name, limits.file_bytes)
        folder = source.parent
    else:
        data = bytes(source)
    if len(data) > limits.file_bytes:
        raise AssetError(f"the file has {len(data)} bytes; accepted: at most {limits.file_bytes}")
    binary: memoryview | None = None
    chunks: tuple[tuple[int, bytes], ...] = ()
    text: memoryview | bytes
    if data[:4] == GLB_MAGIC:
        text, binary, chunks = _split_glb(data)
        folder = None  # a GLB is self-contained
    elif data.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        text = data
    else:
        raise AssetError("the file is neither GLB nor glTF JSON; accepted: glTF 2.0 (.glb, or .gltf by its path)")
    root = parse_json(bytes(text), limits)
    _check_version(root)
    digest = hashlib.sha256(data)
    files = _external_files(root, folder, limits, digest.update)
    return Document(root, _buffers(root, binary, files, limits), binary, chunks, files, digest.hexdigest(), limits)


def parse_json(text: bytes, limits: Limits) -> Json:
    """The JSON object in ``text``, refused before parsing where it is too long, too deep or too rich."""
    text = text.rstrip(b" \t\r\n\0")
    if len(text) > limits.json_bytes:
        raise AssetError(f"the JSON has {len(text)} bytes; accepted: at most {limits.json_bytes}")
    tokens = sum(text.count(mark) for mark in (b"{", b"[", b","))
    if tokens > limits.json_tokens:
        raise AssetError(f"the JSON has {tokens} elements; accepted: at most {limits.json_tokens}")
    depth = _nesting(text)
    if depth > limits.json_depth:
        raise AssetError(f"the JSON is nested {depth} deep; accepted: at most {limits.json_depth}")
    try:
        root = json.loads(text.decode("utf-8-sig"), parse_float=_finite_float, parse_constant=_finite_float)
    except UnicodeDecodeError as error:
        raise AssetError(f"the JSON is not UTF-8 at byte {error.start}") from None
    except json.JSONDecodeError as error:
        raise AssetError(f"the JSON is damaged at line {error.lineno}, column {error.colno}: {error.msg}") from None
    except ValueError as error:  # integers of thousands of digits
        raise AssetError(f"the JSON holds a number that cannot be read: {str(error)[:80]}") from None
    if not isinstance(root, dict):
        raise AssetError(f"the JSON is a {type(root).__name__}; accepted: an object")
    return root


def _finite_float(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise AssetError(f"the JSON holds the number {text[:20]}; accepted: finite numbers")
    return value


def _nesting(text: bytes) -> int:
    """Deepest nesting of brackets outside strings, without recursion, a piece of the text at a time."""
    deepest = depth = 0
    in_string = escaping = False
    for start in range(0, len(text), PIECE):
        values = np.frombuffer(text, np.uint8, min(PIECE, len(text) - start), start)
        backslashes = np.flatnonzero(values == ord("\\"))
        if escaping and len(backslashes) and backslashes[0] == 0:
            backslashes = backslashes[1:]  # it is escaped itself
        escaped = np.zeros(len(values) + 1, bool)
        escaped[0] = escaping
        # a run of backslashes of odd length escapes the character after it
        ends = np.flatnonzero(np.diff(backslashes, append=-1) != 1)
        odd = np.diff(ends, prepend=-1) % 2 == 1
        escaped[backslashes[ends[odd]] + 1] = True
        escaping = bool(escaped[-1])
        quotes = np.cumsum((values == ord('"')) & ~escaped[:-1], dtype=np.int32) + in_string
        opening = (values == ord("{")) | (values == ord("["))
        closing = (values == ord("}")) | (values == ord("]"))
        steps = (opening.astype(np.int32) - closing) * (quotes % 2 == 0)
        levels = depth + np.cumsum(steps, dtype=np.int32)
        deepest = max(deepest, int(levels.max()))
        depth, in_string = int(levels[-1]), bool(quotes[-1] % 2)
    return deepest


def _split_glb(data: bytes) -> tuple[memoryview, memoryview | None, tuple[tuple[int, bytes], ...]]:
    if len(data) < 12:
        raise AssetError(f"the GLB ends after {len(data)} bytes; accepted: a whole header of 12")
    version, length = struct.unpack_from("<II", data, 4)
    if version != 2:
        raise UnsupportedAssetError(f"the file is GLB version {version}; accepted: version 2 (glTF 2.0)")
    if not 20 <= length <= len(data):
        raise AssetError(f"the GLB header says {length} bytes, the file has {len(data)}; accepted: a whole file")
    chunks: list[tuple[int, memoryview]] = []
    at = 12
    while at + 8 <= length:
        size, kind = struct.unpack_from("<II", data, at)
        if at + 8 + size > length:
            raise AssetError(
                f"GLB chunk {len(chunks)} has {size} bytes, {length - at - 8} are left; accepted: a whole file"
            )
        chunks.append((kind, memoryview(data)[at + 8 : at + 8 + size]))
        if len(chunks) > MAX_CHUNKS:
            raise AssetError(f"the GLB has over {MAX_CHUNKS} chunks; accepted: at most {MAX_CHUNKS}")
        at += 8 + size
    if not chunks or chunks[0][0] != JSON_CHUNK:
        raise AssetError("the GLB does not begin with a JSON chunk; accepted: JSON first, then BIN")
    rest = chunks[1:]
    binary = None
    if rest and rest[0][0] == BIN_CHUNK:
        binary = rest.pop(0)[1]
    return chunks[0][1], binary, tuple((kind, bytes(body)) for kind, body in rest)


def _check_version(root: Json) -> None:
    asset = root.get("asset")
    if not isinstance(asset, dict) or not isinstance(asset.get("version"), str):
        raise AssetError("asset.version is missing; accepted: glTF 2.0")
    for key in ("version", "minVersion"):
        version = asset.get(key, "2.0")
        if not isinstance(version, str) or version.split(".")[0] != "2" or (key == "minVersion" and version != "2.0"):
            raise UnsupportedAssetError(f"asset.{key} is {str(version)[:20]!r}; accepted: glTF 2.0")


def _external_files(
    root: Json, folder: Path | None, limits: Limits, digest: Callable[[bytes], None]
) -> dict[str, bytes]:
    files: dict[str, bytes] = {}
    if folder is None:
        return files
    left = limits.file_bytes
    for kind in ("buffers", "images"):
        for entry in objects(root, kind, "glTF"):
            uri = entry.get("uri")
            if not isinstance(uri, str) or uri[:5].lower() == "data:" or uri in files:
                continue
            try:
                files[uri] = _read_beside(folder, uri, left)
            except AssetError:
                if kind == "images":  # a missing picture does not stop an animation
                    continue
                raise
            left -= len(files[uri])
            digest(files[uri])
    return files


def _read_beside(folder: Path, uri: str, limit: int) -> bytes:
    name = unquote(uri)
    parts = PurePosixPath(name).parts
    if "\0" in name or "\\" in name or ":" in name or not parts or parts[0] == "/" or ".." in parts:
        raise AssetError(f"uri {name[:60]!r} leaves the file's folder; accepted: files in it or below it")
    path = folder.joinpath(*parts)
    try:
        inside = path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError):
        inside = False
    if not inside:
        raise AssetError(f"uri {name[:60]!r} leaves the file's folder; accepted: files in it or below it")
    return _read_path(path, name, limit)


def _read_path(path: Path, name: str, limit: int) -> bytes:
    try:
        if not path.is_file():
            raise AssetError(f"{name[:60]!r} is not a file; accepted: a .glb or .gltf and the files it names")
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else None
        raise AssetError(f"{name[:60]!r} cannot be read: {reason or 'not a valid name'}") from None
    if len(data) > limit:
        raise AssetError(f"{name[:60]!r} has over {limit} bytes; accepted: at most {limit}")
    return data


def _buffers(
    root: Json, binary: memoryview | None, files: dict[str, bytes], limits: Limits
) -> tuple[memoryview | None, ...]:
    out: list[memoryview | None] = []
    left = limits.file_bytes
    for i, entry in enumerate(objects(root, "buffers", "glTF")):
        where = f"buffers[{i}]"
        length = integer(entry, "byteLength", where, 0, limits.file_bytes)
        uri = entry.get("uri")
        if uri is None:
            if i == 0 and binary is not None:
                content = binary
            elif "extensions" in entry:
                out.append(None)
                continue
            else:
                raise AssetError(f"{where} has no uri and no binary chunk; accepted: bytes for every buffer")
        elif not isinstance(uri, str):
            raise refuse(where, "uri", uri, "a string")
        elif uri[:5].lower() == "data:":
            content = memoryview(_data_uri(uri, where, left))
            left -= len(content)
        elif uri in files:
            content = memoryview(files[uri])
        else:
            raise AssetError(
                f"{where}.uri names another file; accepted: data URIs, or files beside a .gltf read by its path"
            )
        if len(content) < length:
            raise AssetError(f"{where} has {len(content)} bytes; accepted: its byteLength, {length}")
        out.append(content[:length])
    return tuple(out)


def _data_uri(uri: str, where: str, limit: int) -> bytes:
    head, comma, body = uri.partition(",")
    if not comma:
        raise AssetError(f"{where}.uri is a data URI without a comma; accepted: data:<type>;base64,<bytes>")
    if not head.lower().endswith(";base64"):
        raise AssetError(f"{where}.uri is a data URI that is not base64; accepted: data:<type>;base64,<bytes>")
    if len(body) * 3 // 4 > limit:
        raise AssetError(f"{where}.uri holds about {len(body) * 3 // 4} bytes; accepted: at most {limit}")
    if "%" in body:
        body = unquote(body)
    try:
        return base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise AssetError(f"{where}.uri holds damaged base64; accepted: data:<type>;base64,<bytes>") from None
