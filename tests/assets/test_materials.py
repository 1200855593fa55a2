"""Materials and textures, against OpenCV's own encoder."""

from __future__ import annotations

import base64
import struct
import zlib

import cv2
import numpy as np
import pytest

from animax.assets import Limits, load_rig
from animax.assets.materials import image_size
from tests.assets.glb_builder import Glb, arm

SMOOTH = np.stack(np.meshgrid(np.arange(60) * 4, np.arange(40) * 6), axis=-1)
PICTURE = np.concatenate([SMOOTH, np.full((40, 60, 1), 90)], axis=-1).astype(np.uint8)
"""RGB, 60 wide, 40 high."""


def encoded(extension: str, picture: np.ndarray = PICTURE) -> bytes:
    done, content = cv2.imencode(extension, np.ascontiguousarray(picture[:, :, ::-1]))
    assert done
    return content.tobytes()


def textured(content: bytes, *, uri: bool = False, **info) -> Glb:
    glb = arm()
    primitive = glb.json["meshes"][0]["primitives"][0]
    primitive["attributes"]["TEXCOORD_0"] = glb.accessor(np.linspace(0, 1, 16).reshape(8, 2))
    if uri:
        image = glb.entry("images", uri="data:image/png;base64," + base64.b64encode(content).decode())
    else:
        image = glb.entry("images", bufferView=glb.view(content), mimeType="image/png")
    texture = glb.entry("textures", source=image)
    primitive["material"] = glb.entry(
        "materials",
        name="skin",
        doubleSided=True,
        pbrMetallicRoughness={
            "baseColorFactor": [0.5, 1.0, 0.25, 1.0],
            "baseColorTexture": {"index": texture, **info},
        },
    )
    return glb


@pytest.mark.parametrize("extension", [".png", ".jpg", ".webp"])
@pytest.mark.parametrize("uri", [False, True])
def test_embedded_pictures_are_read(extension, uri):
    content = encoded(extension)
    assert image_size(content) == (60, 40)
    material = load_rig(textured(content, uri=uri).bytes()).mesh.materials[0]
    assert material.texture.shape == PICTURE.shape
    assert np.abs(material.texture.astype(int) - PICTURE).mean() < 4
    assert material.name == "skin"
    assert material.double_sided
    assert material.base_color.tolist() == [0.5, 1.0, 0.25, 1.0]


@pytest.mark.parametrize("channels", [1, 4])
def test_grey_and_transparent_pictures_become_rgb(channels):
    picture = np.full((8, 8) if channels == 1 else (8, 8, 4), 77, np.uint8)
    _, content = cv2.imencode(".png", picture)
    texture = load_rig(textured(content.tobytes()).bytes()).mesh.materials[0].texture
    assert texture.shape == (8, 8, 3)
    assert np.all(texture == 77)


def test_large_pictures_are_scaled_down_to_1024():
    texture = load_rig(textured(encoded(".jpg", np.zeros((100, 3000, 3), np.uint8))).bytes()).mesh.materials[0].texture
    assert texture.shape == (34, 1024, 3)


def grey(glb: Glb, limits: Limits = Limits()) -> str:  # noqa: B008 - frozen
    rig = load_rig(glb.bytes(), limits=limits)
    assert rig.mesh.materials[0].texture is None
    np.testing.assert_allclose(rig.mesh.materials[0].base_color, [0.25, 0.5, 0.125, 1.0])
    assert len(rig.warnings) == 1
    return rig.warnings[0]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xabKTX 20\xbb\r\n\x1a\n" + bytes(60),
        encoded(".png")[:60],
        encoded(".jpg")[:30],
        b"RIFF" + bytes(100),
        b"GIF89a" + bytes(50),
        encoded(".tiff"),
    ],
    ids=["empty", "ktx2", "cut png", "cut jpeg", "riff", "gif", "tiff"],
)
def test_what_cannot_be_read_is_drawn_grey_with_a_warning(content):
    assert "grey" in grey(textured(content or b"\0"))


def test_basis_only_textures_are_drawn_grey():
    glb = textured(b"ktx2 bytes")
    glb.json["extensionsRequired"] = ["KHR_texture_basisu"]
    source = glb.json["textures"][0].pop("source")
    glb.json["textures"][0]["extensions"] = {"KHR_texture_basisu": {"source": source}}
    assert "KHR_texture_basisu" in grey(glb)


def test_webp_by_extension_is_read():
    glb = textured(encoded(".webp"))
    glb.json["extensionsRequired"] = ["EXT_texture_webp"]
    glb.json["textures"][0]["extensions"] = {"EXT_texture_webp": {"source": glb.json["textures"][0].pop("source")}}
    assert load_rig(glb.bytes()).mesh.materials[0].texture is not None


def test_an_image_bomb_is_not_unpacked():
    """60,000 × 60,000 pixels in a few bytes: a header alone would make the decoder ask for 10 GB."""
    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in ((b"IHDR", header), (b"IDAT", zlib.compress(bytes(10_000))), (b"IEND", b""))
    )
    assert "60000" in grey(textured(b"\x89PNG\r\n\x1a\n" + body))


def test_the_limit_on_all_pictures_together_holds():
    assert "pixels" in grey(textured(encoded(".png")), Limits(all_image_pixels=60 * 40 - 1))


def test_texture_transforms_are_baked_into_the_coordinates():
    """KHR_texture_transform's own formula: translation · rotation · scale, as in its specification's shader."""
    moved = {"offset": [0.1, 0.2], "rotation": 0.3, "scale": [2.0, 3.0]}
    glb = textured(encoded(".png"), extensions={"KHR_texture_transform": moved})
    plain = load_rig(textured(encoded(".png")).bytes()).mesh.texcoords[-8:]
    translation = np.array([[1, 0, 0.1], [0, 1, 0.2], [0, 0, 1]])
    c, s = np.cos(0.3), np.sin(0.3)
    matrix = translation @ [[c, s, 0], [-s, c, 0], [0, 0, 1]] @ np.diag([2.0, 3.0, 1.0])
    expected = (matrix @ np.concatenate([plain, np.ones((8, 1))], axis=1).T).T[:, :2]
    np.testing.assert_allclose(load_rig(glb.bytes()).mesh.texcoords[-8:], expected, atol=1e-6)


def test_vertex_colours_of_three_and_four_channels():
    for width, dtype in ((3, "f4"), (4, "u1"), (4, "u2")):
        glb = arm()
        top = 1.0 if dtype == "f4" else np.iinfo(dtype).max
        colours = np.full((8, width), 0.5 * top)
        number = glb.accessor(np.round(colours) if dtype != "f4" else colours, dtype, normalized=dtype != "f4")
        glb.json["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"] = number
        read = load_rig(glb.bytes()).mesh.colors
        np.testing.assert_allclose(read[-8:, :width], 0.5, atol=0.003)
        assert np.all(read[:8] == 1)
        if width == 3:
            assert np.all(read[:, 3] == 1)
