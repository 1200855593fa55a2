"""Names of joints: what they say about side and part of the body, and how they are made unique."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache

LEFT = frozenset({"l", "left", "lf", "lft"})
RIGHT = frozenset({"r", "right", "rt", "rgt"})

FACE = frozenset(
    {"nose", "snout", "jaw", "mouth", "eye", "eyes", "beak", "tongue", "face", "teeth", "brow", "chin", "muzzle", "lip"}
    | {"lips", "mandible", "antenna", "antennae", "horn", "tusk", "claw", "pincer", "visor"}
)
SKULL = frozenset({"head", "skull"})
HEAD = SKULL | FACE | {"neck"}
TAIL = frozenset({"tail", "stinger", "abdomen", "rudder", "propeller", "rear", "butt"})
FRONT = frozenset({"front", "fore"})
HIND = frozenset({"back", "hind", "rear"})
TOE = frozenset({"toe", "toes", "ball"})
ARM = frozenset({"arm", "forearm", "elbow", "shoulder"})
FOOT = frozenset({"foot", "feet", "paw", "hoof"}) | TOE


@lru_cache(maxsize=4096)
def words(name: str) -> tuple[str, ...]:
    """The words of a name, lower case: split at punctuation, at lower-to-upper case and around ``left`` / ``right``."""
    name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", name).lower()
    name = re.sub(r"(left|right)", r" \1 ", name)
    return tuple(re.findall(r"[a-z]+|\d+", name))


def side(parts: Iterable[str]) -> int:
    """1 for a left part, -1 for a right part, 0 for neither (or both)."""
    found = set(parts)
    return int(bool(found & LEFT)) - int(bool(found & RIGHT))


def pairs(names: Iterable[str]) -> list[tuple[int, int]]:
    """Indices (left, right) of names that differ in the side alone."""
    seen: dict[tuple[str, ...], dict[int, int]] = {}
    for i, name in enumerate(names):
        parts = words(name)
        which = side(parts)
        if which:
            key = tuple("*" if part in LEFT | RIGHT else part for part in parts)
            seen.setdefault(key, {}).setdefault(which, i)
    return [(found[1], found[-1]) for found in seen.values() if len(found) == 2]


def group(names: Iterable[str], vocabulary: frozenset[str]) -> list[int]:
    """Indices of names that hold one of the words."""
    return [i for i, name in enumerate(names) if vocabulary.intersection(words(name))]


def unique_names(names: list[str]) -> list[str]:
    """The names, repeated ones with a suffix ``_2``, ``_3``, ... that no other name has."""
    taken, out, last = set(names), [], dict.fromkeys(names, 1)
    seen = set()
    for name in names:
        new = name
        while new in seen or (new != name and new in taken):
            last[name] += 1
            new = f"{name}_{last[name]}"
        seen.add(new)
        out.append(new)
    return out
