"""How bones are called: rigs in the wild follow many habits, and some follow none."""

from __future__ import annotations

import re
from collections.abc import Sequence

STYLES = ("blender", "camel", "snake", "biped", "numbered")

_MIXAMO = {
    "root": "Root",
    "hips": "Hips",
    "spine.1": "Spine",
    "spine.2": "Spine1",
    "spine.3": "Spine2",
    "neck.1": "Neck",
    "neck.2": "Neck1",
    "head": "Head",
    "shoulder": "Shoulder",
    "upper_arm": "Arm",
    "forearm": "ForeArm",
    "hand": "Hand",
    "thigh": "UpLeg",
    "shin": "Leg",
    "foot": "Foot",
    "toe": "ToeBase",
}


def named(keys: Sequence[str], style: str) -> list[str]:
    """A unique name in a style for every key."""
    names = [_name(key, i, style) for i, key in enumerate(keys)]
    assert len(set(names)) == len(names)
    return names


def _name(key: str, index: int, style: str) -> str:
    stem, side = (key[:-2], key[-1]) if key[-2:] in (".L", ".R") else (key, "")
    if style == "blender":
        match = re.fullmatch(r"(.*)\.(\d+)", stem)
        if match:
            stem = match[1] if match[2] == "1" else f"{match[1]}.{int(match[2]) - 1:03d}"
        return f"{stem}.{side}" if side else stem
    if style == "camel":
        word = _MIXAMO.get(stem) or "".join(part[:1].upper() + part[1:] for part in re.split(r"[._]", stem))
        return "mixamorig:" + {"L": "Left", "R": "Right", "": ""}[side] + word
    if style == "snake":
        flat = re.sub(r"\.(\d+)", lambda m: f"_{int(m[1]):02d}", stem)
        return f"{flat}_{side.lower()}" if side else flat
    if style == "biped":
        words = " ".join(part[:1].upper() + part[1:] for part in re.split(r"[._]", stem))
        return f"Bip01 {side} {words}" if side else f"Bip01 {words}"
    return f"bone_{index:03d}"
