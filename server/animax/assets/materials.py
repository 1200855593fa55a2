"""Materials and base colour textures, as far as the template renderer needs them."""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace

import cv2
import numpy as np
from numpy.typing import NDArray

from animax.assets.accessors import Accessors
from animax.assets.document import Document
from animax.assets.fields import Json, boolean, child, integer, numbers, objects, optional_index, string
from animax.assets.mesh import Material
from animax.errors import AssetError

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

MAX_TEXTURE = 1024
"""Longest side in pixels that a texture keeps."""
FALLBACK_GREY = 0.5
"""Linear value that stands for a texture that cannot be read."""
SOURCE_EXTENSIONS = ("EXT_texture_webp",)
"""Texture extensions whose image OpenCV decodes."""


@dataclass(frozen=True, eq=False)
class Surface:
    """A material with what its texture needs of the vertices.

    Attributes:
        material: see ``Material``.
        texcoord: the set of texture coordinates that the base colour texture uses.
        transform: (2, 3) of KHR_texture_transform, applied to column vectors (u, v, 1).
    """

    material: Material
    texcoord: int
    transform: Array


IDENTITY_TRANSFORM: Array = np.eye(2, 3)


def read_materials(document: Document, accessors: Accessors) -> tuple[list[Surface], list[str]]:
    """All materials of a document and warnings about textures that could not be read."""
    textures = _Textures(document, accessors)
    out = []
    for i, entry in enumerate(objects(document.json, "materials", "glTF", document.limits.materials)):
        where = f"materials[{i}]"
        pbr = child(entry, "pbrMetallicRoughness", where)
        factor, info = "baseColorFactor", "baseColorTexture"
        gloss = child(child(entry, "extensions", where), "KHR_materials_pbrSpecularGlossiness", where)
        if gloss:
            pbr, factor, info = gloss, "diffuseFactor", "diffuseTexture"
        color = numbers(pbr, factor, where, (1.0, 1.0, 1.0, 1.0))
        material = Material(string(entry, "name", where), color, double_sided=boolean(entry, "doubleSided", where))
        surface = Surface(material, 0, IDENTITY_TRANSFORM)
        if pbr.get(info) is not None:
            surface = _textured(surface, child(pbr, info, where), textures, f"{where}.{info}")
        out.append(surface)
    return out, textures.warnings


def _textured(surface: Surface, info: Json, textures: _Textures, where: str) -> Surface:
    texcoord = integer(info, "texCoord", where, 0, 15, 0)
    transform = IDENTITY_TRANSFORM
    placed = child(child(info, "extensions", where), "KHR_texture_transform", where)
    if placed:
        texcoord = integer(placed, "texCoord", where, 0, 15, texcoord)
        offset = numbers(placed, "offset", where, (0.0, 0.0))
        scale = numbers(placed, "scale", where, (1.0, 1.0))
        angle = float(numbers({"rotation": [placed.get("rotation", 0.0)]}, "rotation", where, (0.0,))[0])
        cosine, sine = np.cos(angle), np.sin(angle)
        turn = np.array([[cosine, sine], [-sine, cosine]])
        transform = np.concatenate([turn * scale, offset[:, None]], axis=1)
    image = textures.image(optional_index(info, "index", where, len(textures)), where)
    material = surface.material
    if image is None:
        grey = material.base_color * np.array([FALLBACK_GREY] * 3 + [1.0])
        return Surface(replace(material, base_color=grey), texcoord, transform)
    return Surface(replace(material, texture=image), texcoord, transform)


class _Textures:
    """Decodes every image once, within the limits on pixels."""

    def __init__(self, document: Document, accessors: Accessors) -> None:
        self._document = document
        self._accessors = accessors
        self._textures = objects(document.json, "textures", "glTF")
        self._images = objects(document.json, "images", "glTF", document.limits.images)
        self._decoded: dict[int, Image | None] = {}
        self._pixels_left = document.limits.all_image_pixels
        self.warnings: list[str] = []

    def __len__(self) -> int:
        return len(self._textures)

    def image(self, texture: int | None, where: str) -> Image | None:
        """The pixels of a texture, or None with a warning."""
        if texture is None:
            return None
        entry = self._textures[texture]
        extensions = child(entry, "extensions", f"textures[{texture}]")
        source = optional_index(entry, "source", f"textures[{texture}]", len(self._images))
        for name in SOURCE_EXTENSIONS:
            if source is None and name in extensions:
                source = optional_index(child(extensions, name, where), "source", where, len(self._images))
        if source is None:
            named = ", ".join(sorted(map(str, extensions)))[:60] or "no source"
            self.warnings.append(f"{where} uses textures[{texture}] with {named}; it was drawn grey")
            return None
        if source not in self._decoded:
            try:
                self._decoded[source] = self._decode(source)
            except AssetError as error:
                self._decoded[source] = None
                self.warnings.append(f"images[{source}] could not be read and was drawn grey: {error}")
        return self._decoded[source]

    def _decode(self, number: int) -> Image:
        where = f"images[{number}]"
        entry = self._images[number]
        content: bytes | memoryview
        if isinstance(entry.get("uri"), str):
            content = self._document.resource(entry["uri"], where)
        else:
            views = len(objects(self._document.json, "bufferViews", "glTF"))
            content = self._accessors.view(integer(entry, "bufferView", where, 0, views - 1), where)
        size = image_size(bytes(content[: 1 << 20]))
        if size is None:
            raise AssetError(f"{where} has an unknown format; accepted: PNG, JPEG, WebP")
        pixels = size[0] * size[1]
        if pixels > self._document.limits.image_pixels or pixels > self._pixels_left:
            raise AssetError(
                f"{where} has {size[0]} × {size[1]} pixels; accepted: at most {self._document.limits.image_pixels} each"
                f" and {self._document.limits.all_image_pixels} in all"
            )
        self._pixels_left -= pixels
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
        except cv2.error:
            image = None
        if image is None:
            raise AssetError(f"{where} is damaged")
        longest = max(image.shape[:2])
        if longest > MAX_TEXTURE:
            width, height = (max(1, round(side * MAX_TEXTURE / longest)) for side in image.shape[1::-1])
            image = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray(image[:, :, ::-1], dtype=np.uint8)


def image_size(data: bytes) -> tuple[int, int] | None:
    """Width and height that a PNG, JPEG or WebP says it has, without decoding; None for anything else."""
    if data[:8] == b"\x89PNG\r\n\x1a\n" and len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        return (width, height) if width and height else None
    if data[:2] == b"\xff\xd8":
        return _jpeg_size(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP" and len(data) >= 30:
        return _webp_size(data)
    return None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    at = 2
    while at + 9 <= len(data):
        if data[at] != 0xFF:
            return None
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
        elif 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", data, at + 5)
            return (width, height) if width and height else None
        elif marker == 0x01 or 0xD0 <= marker <= 0xD8:
            at += 2
        else:
            at += 2 + struct.unpack_from(">H", data, at + 2)[0]
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X":
        width, height = (1 + int.from_bytes(data[i : i + 3], "little") for i in (24, 27))
        return width, height
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if kind == b"VP8 ":
        width, height = (value & 0x3FFF for value in struct.unpack_from("<HH", data, 26))
        return (width, height) if width and height else None
    return None


def image_mime(data: bytes) -> str:
    """The MIME type of a picture, by its first bytes."""
    if data[:2] == b"\xff\xd8":
        return "image/jpeg"
    return "image/webp" if data[8:12] == b"WEBP" else "image/png"
