"""Which chain of bones of one rig answers to which chain of another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from animax.assets.joint_names import LEFT, RIGHT, side, words
from animax.assets.rig import Rig
from animax.errors import OptionError
from animax.motion.body import body_root

Array = NDArray[np.float64]

STRANGE = 1.1
"""Cost above which two chains are not the same part of a body; half the box apart at both ends costs 1."""

SYNONYMS = {
    "pelvis": "hips", "hip": "hips", "abdomen": "spine", "torso": "spine", "chest": "spine", "back": "spine",
    "collar": "clavicle", "shoulder": "clavicle", "lowerarm": "forearm", "elbow": "forearm", "wrist": "hand",
    "palm": "hand", "upleg": "thigh", "upperleg": "thigh", "calf": "shin", "lowerleg": "shin", "knee": "shin",
    "ankle": "foot", "ball": "toe", "toes": "toe", "skull": "head", "snout": "jaw", "mouth": "jaw", "paw": "foot",
    "hoof": "foot", "feet": "foot",
}  # fmt: skip
"""Words for the same bone; keys are replaced by values."""
COMPOUNDS = {
    ("upper", "arm"): "upperarm", ("lower", "arm"): "forearm", ("fore", "arm"): "forearm", ("up", "leg"): "thigh",
    ("upper", "leg"): "thigh", ("lower", "leg"): "shin", ("up", "arm"): "upperarm",
}  # fmt: skip
NOISE = LEFT | RIGHT | {"mixamorig", "def", "bip", "bone", "joint", "rig", "armature", "j", "b", "jnt", "leaf", "ctrl"}
"""Words that say nothing about the part."""


@dataclass(frozen=True)
class ChainPair:
    """A source chain and the target chain that it drives, each from the body outwards, by joint name."""

    source: tuple[str, ...]
    target: tuple[str, ...]


@dataclass(frozen=True)
class BoneMap:
    """Pairs of chains. Target joints in no pair stay at rest relative to their parent.

    ``as_dict`` and ``from_dict`` are for a file that a person reads and corrects.
    """

    pairs: tuple[ChainPair, ...]

    def as_dict(self) -> dict[str, list[dict[str, list[str]]]]:
        """Plain lists and dicts for JSON or YAML."""
        return {"chains": [{"source": list(p.source), "target": list(p.target)} for p in self.pairs]}

    @staticmethod
    def from_dict(data: Mapping[str, object]) -> BoneMap:
        """Inverse of ``as_dict``.

        Raises:
            OptionError: the data has another form.
        """
        accepted = '{"chains": [{"source": [names], "target": [names]}, ...]}'
        entries = data.get("chains") if isinstance(data, Mapping) else None
        if not isinstance(entries, list):
            raise OptionError("bone map", data, accepted)
        pairs = []
        for entry in entries:
            sides = [entry.get(key) if isinstance(entry, Mapping) else None for key in ("source", "target")]
            if not all(isinstance(s, list) and s and all(isinstance(n, str) for n in s) for s in sides):
                raise OptionError("bone map chain", entry, accepted)
            pairs.append(ChainPair(*(tuple(s) for s in sides if s is not None)))
        return BoneMap(tuple(pairs))

    def check(self, source: Rig, target: Rig) -> None:
        """Every name exists and no target joint is driven twice.

        Raises:
            OptionError: naming the joint at fault.
        """
        seen: set[str] = set()
        for pair in self.pairs:
            for names, rig in ((pair.source, source), (pair.target, target)):
                for name in names:
                    if name not in rig.skeleton.names:
                        raise OptionError("bone map joint", name, f"names of the joints of {rig.name!r}")
            for name in pair.target:
                if name in seen:
                    raise OptionError("bone map target joint", name, "each target joint in one chain only")
                seen.add(name)


def map_bones(source: Rig, target: Rig) -> BoneMap:
    """Guess the map: chains are matched by where they lie in the body's box, where they lead, their names and sides.

    A chain is an unbranched run of joints that move vertices. The cheapest one-to-one matching is taken; pairs that
    cost more than ``STRANGE`` are left out.
    """
    feet_apart = [_detached(rig) for rig in (source, target)]
    chains = [
        [c for c in _chains(rig) if c[0] not in apart] for rig, apart in zip((source, target), feet_apart, strict=True)
    ]
    pairs = _match(source, chains[0], target, chains[1])
    # roots apart from the body (foot controls) follow their like, or else the joint that lies where they lie
    alone = [c for c in _chains(target) if c[0] in feet_apart[1]]
    likes = [c for c in _chains(source) if c[0] in feet_apart[0]] or [[j] for j in source.deforming.tolist()]
    return BoneMap(tuple(pairs + _match(source, likes, target, alone)))


def _match(source: Rig, ours: list[list[int]], target: Rig, theirs: list[list[int]]) -> list[ChainPair]:
    """The cheapest one-to-one pairs of chains."""
    if not ours or not theirs:
        return []
    shapes = [[_shape(rig, chain) for chain in chains] for rig, chains in ((source, ours), (target, theirs))]
    titles = [
        [_title([rig.skeleton.names[j] for j in chain]) for chain in chains]
        for rig, chains in ((source, ours), (target, theirs))
    ]
    cost = np.zeros((len(ours), len(theirs)))
    for i in range(len(ours)):
        for j in range(len(theirs)):
            cost[i, j] = np.abs(shapes[0][i] - shapes[1][j]).sum()
            (side_a, words_a), (side_b, words_b) = titles[0][i], titles[1][j]
            if words_a and words_b:
                cost[i, j] -= len(words_a & words_b) / len(words_a | words_b)
            if side_a * side_b < 0:
                cost[i, j] += 2 * STRANGE
    rows, columns = linear_sum_assignment(cost)
    names = (source.skeleton.names, target.skeleton.names)
    return [
        ChainPair(tuple(names[0][k] for k in ours[i]), tuple(names[1][k] for k in theirs[j]))
        for j, i in sorted(zip(columns, rows, strict=True))
        if cost[i, j] <= STRANGE
    ]


def _detached(rig: Rig) -> set[int]:
    """First joints of trees of deforming joints other than the body's."""
    deforming = set(rig.deforming.tolist())
    root_of: dict[int, int] = {}
    for joint, parent in enumerate(rig.skeleton.parents):
        above = root_of.get(int(parent), -1)
        root_of[joint] = above if above >= 0 else (joint if joint in deforming else -1)
    return {root for root in root_of.values() if root >= 0} - {root_of[body_root(rig)]}


def bone_words(name: str) -> frozenset[str]:
    """What a joint's name says about its part: words without sides and rigging terms, synonyms made one."""
    parts = [p for p in words(name) if p not in NOISE and not p.isdigit()]
    out = set()
    i = 0
    while i < len(parts):
        pair = COMPOUNDS.get(tuple(parts[i : i + 2]))  # type: ignore[arg-type]
        out.add(pair or SYNONYMS.get(parts[i], parts[i]))
        i += 2 if pair else 1
    return frozenset(out)


def _title(names: list[str]) -> tuple[int, frozenset[str]]:
    sides = [side(words(n)) for n in names]
    return int(np.sign(sum(sides))), frozenset().union(*(bone_words(n) for n in names))


def _chains(rig: Rig) -> list[list[int]]:
    """Unbranched runs of deforming joints, from the body outwards."""
    deforming = set(rig.deforming.tolist())
    parent_of: dict[int, int] = {}
    children: dict[int, list[int]] = {}
    for joint in rig.deforming.tolist():
        above = int(rig.skeleton.parents[joint])
        while above >= 0 and above not in deforming:
            above = int(rig.skeleton.parents[above])
        parent_of[joint] = above
        children.setdefault(above, []).append(joint)
    chains = []
    for joint in rig.deforming.tolist():
        if parent_of[joint] >= 0 and len(children[parent_of[joint]]) == 1:
            continue
        chain = [joint]
        while len(children.get(chain[-1], [])) == 1:
            chain.append(children[chain[-1]][0])
        chains.append(chain)
    return chains


def _shape(rig: Rig, chain: list[int]) -> Array:
    """First and last head in the rest box, and the chain's direction, (9,), comparable between rigs."""
    low, high = rig.rest_box
    axes = np.stack([rig.stance.right, rig.stance.up, rig.stance.forward])
    half = np.maximum(np.abs(axes) @ (high - low) / 2, rig.size / 20)
    ends = rig.skeleton.rest_globals[[chain[0], chain[-1]], :3, 3]
    at = (ends - (low + high) / 2) @ axes.T / half
    reach = (ends[1] - ends[0]) @ axes.T / rig.size
    return np.concatenate([at[0] / 2, at[1] / 2, reach])
