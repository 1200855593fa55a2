"""Procedural rigs: animated creatures and machines made from a kind and a seed, as GLB files.

They are the examples of the project, its fixtures, and training data of known truth. The same kind and seed give the
same bytes. Models stand on y = 0, face +Z with Y up, and measure metres.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.errors import OptionError
from animax.procedural.catalogue import DESIGNERS
from animax.procedural.design import Design
from animax.procedural.glb import Layout, write
from animax.procedural.naming import STYLES, named
from animax.procedural.phrases import phrase
from animax.procedural.take import Take

__all__ = ["EXAMPLES", "KINDS", "Contact", "MotionFacts", "RigFacts", "captions", "describe", "generate"]

_EXAMPLE_SEEDS = {
    "biped": 7,
    "quadruped": 15,
    "bird": 10,
    "spider": 1,
    "beetle": 8,
    "snake": 1,
    "fish": 9,
    "chest": 3,
    "robot_arm": 1,
}

KINDS: tuple[str, ...] = tuple(DESIGNERS)
"""What can be generated."""
EXAMPLES: dict[str, int] = {kind: _EXAMPLE_SEEDS.get(kind, 0) for kind in KINDS}
"""Seed of each kind's file in ``examples/``."""
MAX_SEED = 2**32 - 1
ORIENTATIONS = ("y_along", "x_along", "world")


@dataclass(frozen=True, eq=False)
class Contact:
    """A point that is planted on the ground at times.

    Attributes:
        joint: name in the file of the joint that carries it.
        point: (3,) in that joint's space, file units.
        planted: (F,) whether it is, at F evenly spread moments from first to last.
    """

    joint: str
    point: NDArray[np.float64]
    planted: NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MotionFacts:
    """What is true of a generated motion.

    Attributes:
        name: of the animation in the file.
        action: what it shows, see ``phrases``.
        loop: its last frame equals its first.
        seconds: its length.
        ground_speed: metres a second that the ground passes backwards under a body that walks in place; 0 on the spot.
        contacts: of feet with the ground.
    """

    name: str
    action: str
    loop: bool
    seconds: float
    ground_speed: float
    contacts: tuple[Contact, ...]


@dataclass(frozen=True, eq=False)
class RigFacts:
    """What is true of a generated rig.

    Attributes:
        kind: one of ``KINDS``.
        seed: as given.
        noun: what it is, in a word or two.
        description: the same with its looks, without article.
        joints: names in the file, parents first.
        skinned: one bending mesh, or rigid parts on moving nodes.
        motions: by name.
    """

    kind: str
    seed: int
    noun: str
    description: str
    joints: tuple[str, ...]
    skinned: bool
    motions: Mapping[str, MotionFacts]


def generate(kind: str, seed: int = 0, *, motions: bool = True) -> bytes:
    """A GLB with one rig and, unless ``motions`` is False, its animations.

    Raises:
        OptionError: unknown kind, or a seed out of range.
    """
    design = _design(kind, seed)
    takes = _takes(kind, seed) if motions else {}
    return write(
        design.armature, _layout(kind, seed, design), design.surface(), takes, skinned=design.skinned, scene=kind
    )


def captions(kind: str, motion: str, seed: int = 0) -> list[str]:
    """Five prompts, short to long, for one motion of a generated rig.

    Raises:
        OptionError: unknown kind or motion, or a seed out of range.
    """
    design = _design(kind, seed)
    if motion not in design.motions:
        raise OptionError("motion", motion, ", ".join(design.motions))
    rng = _generator("captions", kind, motion, seed=seed)
    return phrase(design.motions[motion].action, design.noun, design.description, rng)


def describe(kind: str, seed: int = 0) -> RigFacts:
    """Facts about a generated rig and its motions.

    Raises:
        OptionError: unknown kind, or a seed out of range.
    """
    design = _design(kind, seed)
    layout = _layout(kind, seed, design)
    facts = {}
    for name, take in _takes(kind, seed).items():
        motion = design.motions[name]
        contacts = tuple(_contact(design, layout, key, planted) for key, planted in take.contacts.items())
        facts[name] = MotionFacts(name, motion.action, take.loop, take.seconds, take.ground_speed, contacts)
    return RigFacts(kind, seed, design.noun, design.description, tuple(layout.names), design.skinned, facts)


def _contact(design: Design, layout: Layout, key: str, planted: NDArray[np.bool_]) -> Contact:
    """Toes are planted at their head; a leg that ends in a tip, at its tail."""
    j = design.armature.index[key]
    leaf = key.startswith("tarsus") and not np.any(design.armature.parents == j)
    offset = design.armature.vector(key) if leaf else np.zeros(3)
    point = rotations.rotate(rotations.conjugate(layout.orientations[j]), offset) / layout.unit
    return Contact(layout.names[j], point, planted)


@lru_cache(maxsize=32)
def _takes(kind: str, seed: int) -> Mapping[str, Take]:
    return {name: motion.perform() for name, motion in _design(kind, seed).motions.items()}


@lru_cache(maxsize=32)
def _design(kind: str, seed: int) -> Design:
    if kind not in DESIGNERS:
        raise OptionError("kind", kind, ", ".join(KINDS))
    if not 0 <= seed <= MAX_SEED:
        raise OptionError("seed", seed, f"0 to {MAX_SEED}")
    return DESIGNERS[kind](_generator("design", kind, seed=seed))


def _generator(*purpose: str, seed: int) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32("/".join(purpose).encode()), seed])


def _layout(kind: str, seed: int, design: Design) -> Layout:
    """How this seed's file is laid out: files in the wild differ in all of this."""
    rng = _generator("layout", kind, seed=seed)
    style = str(rng.choice(STYLES))
    orientation = str(rng.choice(ORIENTATIONS))
    vectors = design.armature.tails - design.armature.heads
    turns = np.tile(rotations.IDENTITY, (len(vectors), 1))
    if orientation != "world" and design.skinned:
        turns = rotations.shortest_arc(np.eye(3)["xyz".index(orientation[0])], vectors)
    top, turn, unit = None, rotations.IDENTITY, 1.0
    choice = rng.random()
    if choice < 0.4:
        top = "Armature"
    elif choice < 0.55 and design.skinned:
        # as exported by tools that work in centimetres with Z up
        top, unit = "Armature", 0.01
        turn = rotations.from_rotation_vector(np.array([-np.pi / 2, 0.0, 0.0]))
    return Layout(named([bone.key for bone in design.armature.bones], style), turns, top, turn, unit)
