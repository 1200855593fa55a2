"""How large a file may be. Every limit is checked before the memory it guards is asked for."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a file may cost to read. With the defaults a hostile file is refused in about two seconds and below 1 GB.

    Attributes:
        file_bytes: the file, and separately all buffers and files that it refers to, in bytes.
        json_bytes: length of the JSON text, data URIs included.
        json_tokens: braces, brackets and commas of the JSON text, a measure of the objects it becomes.
        json_depth: nesting of the JSON text.
        nodes: nodes of the document.
        node_depth: longest chain from a root node to a leaf.
        joints: nodes that become joints of the rig.
        accessors: accessors of the document.
        components: numbers decoded from accessors in one call (loading, or reading clips).
        vertices: vertices over all meshes as placed in the scene.
        triangles: triangles over all meshes as placed in the scene.
        primitives: primitives over all meshes as placed in the scene.
        materials: materials of the document.
        channels: animation channels over all animations.
        images: images of the document.
        image_pixels: pixels of one image before it is scaled down.
        all_image_pixels: pixels over all base colour images; textures beyond it are left out with a warning.
        clip_seconds: length of one clip.
        clip_samples: frames times joints over all clips that one call returns.
        coordinate: largest absolute world coordinate of a joint or vertex, file units.
    """

    file_bytes: int = 128 << 20
    json_bytes: int = 64 << 20
    json_tokens: int = 3_000_000
    json_depth: int = 64
    nodes: int = 50_000
    node_depth: int = 256
    joints: int = 2_000
    accessors: int = 250_000
    components: int = 96_000_000
    vertices: int = 1_000_000
    triangles: int = 2_000_000
    primitives: int = 20_000
    materials: int = 10_000
    channels: int = 50_000
    images: int = 1_000
    image_pixels: int = 8192 * 8192
    all_image_pixels: int = 2 * 8192 * 8192
    clip_seconds: float = 3_600.0
    clip_samples: int = 4_000_000
    coordinate: float = 1e9
