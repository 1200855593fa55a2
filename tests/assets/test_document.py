"""The container: what is kept, and what is refused before it costs anything."""

from __future__ import annotations

import json
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from animax.assets import Limits
from animax.assets.document import parse_json, read_document
from animax.errors import AssetError, UnsupportedAssetError
from tests.assets.glb_builder import arm, pack, split

ASSET = {"asset": {"version": "2.0"}}


def test_json_binary_and_further_chunks_are_kept():
    extra = ((0x12345678, b"later"), (0x87654321, b""))
    root = {**ASSET, "extras": {"a": [1, 2.5, None, "ü", {}]}, "buffers": [{"byteLength": 5}]}
    document = read_document(pack(root, b"hello", extra), Limits())
    assert document.json == root
    assert bytes(document.buffers[0]) == b"hello"
    assert document.chunks == extra


@given(
    st.recursive(
        st.text() | st.integers() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_json_reads_as_the_standard_library_reads_it(value):
    for text in (json.dumps({"v": value}), json.dumps({"v": value}, ensure_ascii=False, indent=1)):
        assert parse_json(text.encode("utf-8", "surrogatepass"), Limits()) == {"v": value}


@given(st.text(alphabet='"\\[]{}a', max_size=30), st.integers(1, 80))
def test_depth_counts_brackets_outside_strings_alone(text, depth):
    inner = json.dumps({"s": text})
    nested = "[" * depth + inner + "]" * depth
    body = f'{{"v": {nested}}}'.encode()
    parse_json(body, Limits(json_depth=depth + 2))
    with pytest.raises(AssetError, match="deep"):
        parse_json(body, Limits(json_depth=depth + 1))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b"null",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": -1e999}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a": "\xff"}',
        b'{"a": 1,}',
        b'{"a" 1}',
        b'{"a": "unterminated',
        b"{" * 100_000,
        b'{"a":' * 100_000,
        b"[" * 1_000_000 + b"]" * 1_000_000,
    ],
    ids=range(14),
)
def test_broken_json_is_refused(text):
    with pytest.raises(AssetError, match="JSON"):
        parse_json(text, Limits())


def test_byte_order_mark_and_zero_padding_are_forgiven():
    assert parse_json(b'\xef\xbb\xbf{"a": 1}\0\0 ', Limits()) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (b"", AssetError, "neither"),
        (b"PK\3\4" + bytes(100), AssetError, "neither"),
        (b"glTF", AssetError, "header"),
        (b"glTF" + struct.pack("<II", 1, 100) + bytes(88), UnsupportedAssetError, "version 1"),
        (b"glTF" + struct.pack("<II", 2, 4), AssetError, "whole file"),
        (b"glTF" + struct.pack("<II", 2, 2**32 - 1) + bytes(20), AssetError, "whole file"),
        (b"glTF" + struct.pack("<IIII", 2, 28, 2**32 - 1, 0x4E4F534A) + bytes(8), AssetError, "chunk 0"),
        (b"glTF" + struct.pack("<IIII", 2, 28, 8, 0x004E4942) + bytes(8), AssetError, "JSON chunk"),
        (b"glTF" + struct.pack("<II", 2, 12 + 800) + struct.pack("<II", 0, 1) * 100, AssetError, "chunks"),
        (pack({}, None), AssetError, "asset.version"),
        (pack({"asset": {"version": "1.0"}}, None), UnsupportedAssetError, "glTF 2.0"),
        (pack({"asset": {"version": "2.0", "minVersion": "2.1"}}, None), UnsupportedAssetError, "minVersion"),
        (pack({**ASSET, "buffers": [{"byteLength": 10}]}, b"abcd"), AssetError, "byteLength"),
        (pack({**ASSET, "buffers": [{"byteLength": 10}]}, None), AssetError, "no uri"),
        (pack({**ASSET, "buffers": [{"byteLength": 1, "uri": "data:;base64,???"}]}, None), AssetError, "base64"),
        (pack({**ASSET, "buffers": [{"byteLength": 1, "uri": "data:text/plain,hi"}]}, None), AssetError, "base64"),
        (pack({**ASSET, "buffers": [{"byteLength": 1, "uri": "data:nothing"}]}, None), AssetError, "comma"),
        (pack({**ASSET, "buffers": [{"byteLength": 1, "uri": 3}]}, None), AssetError, "uri"),
        (pack({**ASSET, "buffers": {"a": 1}}, None), AssetError, "buffers"),
    ],
)
def test_a_broken_container_is_refused(content, error, words):
    with pytest.raises(error, match=words):
        read_document(content, Limits())


def test_every_truncation_of_a_file_is_refused():
    content = arm().bytes()
    for length in range(0, len(content), 37):
        with pytest.raises(AssetError):
            read_document(content[:length], Limits())


def test_base64_may_lack_its_padding():
    root = {**ASSET, "buffers": [{"byteLength": 1, "uri": "data:application/octet-stream;base64,/w"}]}
    assert bytes(read_document(json.dumps(root).encode(), Limits()).buffers[0]) == b"\xff"


def test_identity_is_the_hash_of_the_bytes():
    import hashlib

    content = arm().bytes()
    assert read_document(content, Limits()).sha256 == hashlib.sha256(content).hexdigest()
    assert split(content)[0] == read_document(content, Limits()).json
