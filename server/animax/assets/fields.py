"""Checked reading of single fields of a document's JSON: every value is untrusted.

``where`` names the object in messages (``nodes[3]``). A wrong type or an out-of-range value raises ``AssetError``.
"""

from __future__ import annotations

import math
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.errors import AssetError

Json = dict[str, Any]


def refuse(where: str, key: str, seen: object, accepted: str) -> AssetError:
    """The error for one field."""
    text = repr(seen)
    return AssetError(f"{where}.{key} is {text if len(text) <= 60 else text[:59] + '…'}; accepted: {accepted}")


def objects(parent: Json, key: str, where: str, limit: int | None = None) -> list[Json]:
    """A list of objects; missing reads as empty."""
    values = parent.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, dict) for value in values):
        raise refuse(where, key, values, "a list of objects")
    if limit is not None and len(values) > limit:
        raise AssetError(f"{where}.{key} has {len(values)} entries; accepted: at most {limit}")
    return values


def child(parent: Json, key: str, where: str) -> Json:
    """An object; missing reads as empty."""
    value = parent.get(key, {})
    if not isinstance(value, dict):
        raise refuse(where, key, value, "an object")
    return value


def integer(parent: Json, key: str, where: str, low: int, high: int, default: int | None = None) -> int:
    """An integer from ``low`` to ``high``; required where there is no default."""
    value = parent.get(key, default)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        accepted = (
            f"an integer from {low} to {high}" if high >= low else "no such reference, there is nothing to refer to"
        )
        raise refuse(where, key, value, accepted)
    return value


def index(parent: Json, key: str, where: str, count: int) -> int:
    """A required index into a list of ``count`` entries."""
    return integer(parent, key, where, 0, count - 1)


def optional_index(parent: Json, key: str, where: str, count: int) -> int | None:
    """An index into a list of ``count`` entries, or None where it is missing."""
    return None if parent.get(key) is None else integer(parent, key, where, 0, count - 1)


def indices(parent: Json, key: str, where: str, count: int) -> list[int]:
    """A list of indices into a list of ``count`` entries; missing reads as empty."""
    values = parent.get(key, [])
    if not isinstance(values, list):
        raise refuse(where, key, values, "a list of indices")
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < count:
            raise refuse(where, key, value, f"indices from 0 to {count - 1}")
    return values


def numbers(parent: Json, key: str, where: str, default: tuple[float, ...]) -> NDArray[np.float64]:
    """As many finite numbers as ``default`` has; missing reads as it."""
    values = parent.get(key, default)
    if not isinstance(values, (list, tuple)) or len(values) != len(default) or not all(map(_finite, values)):
        raise refuse(where, key, values, f"{len(default)} finite numbers")
    return np.array([float(value) for value in values])


def boolean(parent: Json, key: str, where: str, default: bool = False) -> bool:
    """True or false."""
    value = parent.get(key, default)
    if not isinstance(value, bool):
        raise refuse(where, key, value, "true or false")
    return value


def string(parent: Json, key: str, where: str, default: str = "") -> str:
    """A string; what cannot be encoded as UTF-8 (lone surrogates) is replaced."""
    value = parent.get(key, default)
    if not isinstance(value, str):
        raise refuse(where, key, value, "a string")
    return value.encode("utf-8", "replace").decode("utf-8")


def _finite(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    # integers of any size compare exactly with the largest float, which they may not fit into
    return abs(value) <= sys.float_info.max if isinstance(value, int) else math.isfinite(value)
