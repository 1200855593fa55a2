"""Rigged files in and out: GLB → Rig, its clips, and writers.

The names below are imported on first use: a clip (``animax.motion``) is made of this package's skeleton and pose, and
this package reads and writes clips.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from animax.assets.bvh import write_bvh
    from animax.assets.clips import read_clips
    from animax.assets.limits import Limits
    from animax.assets.npz import read_npz, write_npz
    from animax.assets.reader import load_rig
    from animax.assets.rig import Rig, Stance
    from animax.assets.writer import write_glb

__all__ = ["Limits", "Rig", "Stance", "load_rig", "read_clips", "read_npz", "write_bvh", "write_glb", "write_npz"]

_HOMES = {
    "Limits": "limits",
    "Rig": "rig",
    "Stance": "rig",
    "load_rig": "reader",
    "read_clips": "clips",
    "read_npz": "npz",
    "write_bvh": "bvh",
    "write_glb": "writer",
    "write_npz": "npz",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
