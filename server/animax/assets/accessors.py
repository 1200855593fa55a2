"""Bounds-checked decoding of accessors: all component types, normalised, sparse, interleaved."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.assets.document import Document
from animax.assets.fields import Json, boolean, child, index, integer, objects, optional_index
from animax.errors import AssetError, UnsupportedAssetError

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

COMPONENTS: dict[int, Any] = {
    5120: np.dtype("i1"),
    5121: np.dtype("u1"),
    5122: np.dtype("<i2"),
    5123: np.dtype("<u2"),
    5125: np.dtype("<u4"),
    5126: np.dtype("<f4"),
}
WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}
COMPRESSION = ("EXT_meshopt_compression", "KHR_meshopt_compression")


class Accessors:
    """The accessors of one document. One instance decodes at most ``limits.components`` numbers in all, so that a small
    file cannot ask for the same large accessor ten thousand times.

    Raises:
        AssetError: from every method, for anything out of range.
        UnsupportedAssetError: from every method, for compressed data.
    """

    def __init__(self, document: Document) -> None:
        self._document = document
        self._entries = objects(document.json, "accessors", "glTF", document.limits.accessors)
        self._views = objects(document.json, "bufferViews", "glTF")
        self._left = document.limits.components

    def __len__(self) -> int:
        return len(self._entries)

    def count(self, accessor: int) -> int:
        """Number of elements, without decoding."""
        return integer(self._entries[accessor], "count", f"accessors[{accessor}]", 0, 2**32)

    def has_bytes(self, accessor: int) -> bool:
        """Whether the accessor refers to data (false: all zeros, or compressed by an extension)."""
        return "bufferView" in self._entries[accessor] or "sparse" in self._entries[accessor]

    def floats(self, accessor: int, kinds: tuple[str, ...]) -> Array:
        """Finite numbers (count, width), normalised integers as fractions. ``kinds``: the accepted accessor types."""
        values, normalized = self._values(accessor, kinds)
        if values.dtype.kind == "f":
            if not np.all(np.isfinite(values)):
                raise AssetError(f"accessors[{accessor}] holds NaN or infinity; accepted: finite numbers")
            return values.astype(np.float64)
        if not normalized:
            return values.astype(np.float64)
        return np.maximum(values.astype(np.float64) / np.iinfo(values.dtype).max, -1.0)

    def integers(self, accessor: int, kinds: tuple[str, ...]) -> IntArray:
        """Unsigned integers (count, width)."""
        values, _ = self._values(accessor, kinds)
        if values.dtype.kind != "u":
            # some exporters write joint indices as floats
            if values.dtype.kind == "f" and np.all((values >= 0) & (values < 2**24)) and np.all(values % 1 == 0):
                return values.astype(np.int64)
            raise AssetError(f"accessors[{accessor}] holds {values.dtype.name} values; accepted: unsigned integers")
        return values.astype(np.int64)

    def view(self, number: int, where: str) -> memoryview:
        """The bytes of a buffer view."""
        return self._view(number, where)[1]

    def _values(self, accessor: int, kinds: tuple[str, ...]) -> tuple[NDArray[Any], bool]:
        where = f"accessors[{accessor}]"
        entry = self._entries[accessor]
        kind = entry.get("type")
        if kind not in kinds:
            raise AssetError(f"{where}.type is {str(kind)[:20]!r}; accepted: {', '.join(kinds)}")
        width = WIDTHS[kind]
        component = _component(entry, where)
        count = self.count(accessor)
        if count * width > self._left:
            limit = self._document.limits.components
            raise AssetError(f"{where} takes the numbers to decode over the limit; accepted: {limit} in all")
        self._left -= count * width
        view = optional_index(entry, "bufferView", where, len(self._views))
        if view is None:
            values = np.zeros((count, width), component)
        else:
            offset = integer(entry, "byteOffset", where, 0, 2**40, 0)
            values = self._strided(view, offset, count, width, component, where)
        if entry.get("sparse") is not None:
            values = self._with_sparse(values, child(entry, "sparse", where), f"{where}.sparse")
        return values, boolean(entry, "normalized", where)

    def _strided(self, view: int, offset: int, count: int, width: int, component: Any, where: str) -> NDArray[Any]:
        entry, content = self._view(view, where)
        element = component.itemsize * width
        stride = integer(entry, "byteStride", f"bufferViews[{view}]", 0, 252, 0) or element
        if stride < element:
            raise AssetError(f"bufferViews[{view}].byteStride is {stride}; accepted: at least {element} for {where}")
        needed = offset + (stride * (count - 1) + element if count else 0)
        if needed > len(content):
            raise AssetError(f"{where} needs {needed} bytes of bufferViews[{view}], which has {len(content)}")
        if not count:
            return np.zeros((0, width), component)
        return np.ndarray((count, width), component, content, offset, (stride, component.itemsize))

    def _with_sparse(self, values: NDArray[Any], sparse: Json, where: str) -> NDArray[Any]:
        count = integer(sparse, "count", where, 0, len(values))
        places = child(sparse, "indices", where)
        substitutes = child(sparse, "values", where)
        kind = _component(places, f"{where}.indices")
        if kind.kind != "u":
            raise AssetError(f"{where}.indices.componentType is {kind.name}; accepted: unsigned integers")
        read = []
        for entry, name, width, component in (
            (places, "indices", 1, kind),
            (substitutes, "values", values.shape[1], values.dtype),
        ):
            view = index(entry, "bufferView", f"{where}.{name}", len(self._views))
            offset = integer(entry, "byteOffset", f"{where}.{name}", 0, 2**40, 0)
            read.append(self._strided(view, offset, count, width, component, f"{where}.{name}"))
        at = read[0][:, 0].astype(np.int64)
        if np.any(at >= len(values)) or np.any(np.diff(at) <= 0):
            raise AssetError(f"{where}.indices are not rising or reach past {len(values)} elements")
        out = values.copy()
        out[at] = read[1]
        return out

    def _view(self, number: int, where: str) -> tuple[Json, memoryview]:
        entry = self._views[number]
        name = f"bufferViews[{number}]"
        buffers = self._document.buffers
        buffer = buffers[index(entry, "buffer", name, len(buffers))]
        extensions = child(entry, "extensions", name)
        for compression in COMPRESSION:
            if compression in extensions and (buffer is None or compression in _required(self._document.json)):
                raise UnsupportedAssetError(f"{name} is compressed with {compression}; accepted: uncompressed buffers")
        if buffer is None:
            raise AssetError(f"{name}, which {where} needs, lies in a buffer without bytes")
        offset = integer(entry, "byteOffset", name, 0, 2**40, 0)
        length = integer(entry, "byteLength", name, 0, 2**40)
        if offset + length > len(buffer):
            raise AssetError(f"{name} ends at byte {offset + length} of its buffer; accepted: at most {len(buffer)}")
        return entry, buffer[offset : offset + length]


def _component(entry: Json, where: str) -> Any:
    kind = integer(entry, "componentType", where, 0, 2**31)
    if kind not in COMPONENTS:
        raise AssetError(f"{where}.componentType is {kind}; accepted: {', '.join(map(str, COMPONENTS))}")
    return COMPONENTS[kind]


def _required(root: Json) -> list[Any]:
    required = root.get("extensionsRequired", [])
    return required if isinstance(required, list) else []
