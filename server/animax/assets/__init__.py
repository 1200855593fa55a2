"""Rigged files in and out: GLB → Rig, its clips, and writers."""

from animax.assets.clips import read_clips
from animax.assets.limits import Limits
from animax.assets.reader import load_rig
from animax.assets.rig import Rig, Stance

__all__ = ["Limits", "Rig", "Stance", "load_rig", "read_clips"]
