"""What one kind of rig with one seed is: bones, surface and motions, before it is written to a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from animax.procedural.armature import Armature
from animax.procedural.patch import Patch
from animax.procedural.take import Take


@dataclass(frozen=True, eq=False)
class Motion:
    """One named motion of a design.

    Attributes:
        action: key of its captions, see ``phrases``.
        perform: makes the take.
    """

    action: str
    perform: Callable[[], Take]


@dataclass(frozen=True, eq=False)
class Design:
    """One rig.

    Attributes:
        noun: what a caption calls it (``fox``).
        description: what a longer caption calls it, without an article (``small red fox``).
        armature: its bones at rest.
        surface: makes its mesh.
        motions: by name.
        skinned: whether the surface bends; otherwise every bone carries rigid parts.
    """

    noun: str
    description: str
    armature: Armature
    surface: Callable[[], Sequence[Patch]]
    motions: Mapping[str, Motion]
    skinned: bool = True


Designer = Callable[[np.random.Generator], Design]
"""Draws a design; all randomness comes from the generator that it is given."""
