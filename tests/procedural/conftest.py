"""Generated rigs, each made and read once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import pytest

from animax.assets import Rig, load_rig, read_clips
from animax.motion.clip import Clip
from animax.procedural import generate


@lru_cache(maxsize=64)
def _bytes(kind: str, seed: int) -> bytes:
    return generate(kind, seed)


@lru_cache(maxsize=64)
def _rig(kind: str, seed: int) -> Rig:
    return load_rig(_bytes(kind, seed))


@lru_cache(maxsize=64)
def _clips(kind: str, seed: int) -> Mapping[str, Clip]:
    return {clip.name: clip for clip in read_clips(_rig(kind, seed))}


@pytest.fixture(scope="session")
def glb() -> Callable[[str, int], bytes]:
    """The bytes of a generated file."""
    return _bytes


@pytest.fixture(scope="session")
def rig() -> Callable[[str, int], Rig]:
    """A generated rig, as the product reads it."""
    return _rig


@pytest.fixture(scope="session")
def clips() -> Callable[[str, int], Mapping[str, Clip]]:
    """A generated rig's clips by name."""
    return _clips
