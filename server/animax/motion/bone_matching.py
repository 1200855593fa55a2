"""Finding the bone map of two rigs: chains are matched by place, shape, names and sides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from animax.assets.joint_names import LEFT, RIGHT, side, words
from animax.assets.rig import Rig
from animax.bone_map import STRANGE, BoneMap, ChainPair
from animax.motion.body import body_root

Array = NDArray[np.float64]

ALIKE = 0.3
"""Most that the shapes of a left and a right limb differ by, one of them mirrored."""
MIRROR = np.array([-1.0, 1.0, 1.0] * 3)
"""From the shape of a left limb to that of a right one."""
CONTROL = 0.1
"""Reach, in rest diagonals, up to which a tree of its own is a control (a foot); one that reaches farther is a limb."""
BODY = 1.0
"""What it counts that two chains both hold their body's root."""
FAR = 0.8
"""Share of a chain's reach beyond which its skin is its far end."""

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


@dataclass(frozen=True, eq=False)
class Limbs:
    """The chains of a rig and what they are matched by.

    Attributes:
        chains: N unbranched runs of joints that move vertices, each from the body outwards, by joint name.
        shapes: (N, 9) where each starts and where its skin leads, see ``_shape``.
        sides: (N,) 1 for left, -1 for right, 0 for neither, by name.
        titles: what the names of each say.
        body: (N,) whether it holds the body root.
        apart: (N,) whether it is a small tree of its own (foot controls).
    """

    chains: tuple[tuple[str, ...], ...]
    shapes: Array
    sides: NDArray[np.int64]
    titles: tuple[frozenset[str], ...]
    body: NDArray[np.bool_]
    apart: NDArray[np.bool_]

    @staticmethod
    def of(rig: Rig) -> Limbs:
        """Those of ``rig``."""
        return _limbs(rig, _chains(rig))

    def __getitem__(self, chosen: NDArray[np.bool_]) -> Limbs:
        at = np.flatnonzero(chosen)
        return Limbs(
            tuple(self.chains[i] for i in at),
            self.shapes[at],
            self.sides[at],
            tuple(self.titles[i] for i in at),
            self.body[at],
            self.apart[at],
        )


def map_bones(source: Rig, target: Rig) -> BoneMap:
    """Guess the map: chains are matched by where they lie in the body's box, where they lead, their names and sides.

    A chain is an unbranched run of joints that move vertices. The cheapest one-to-one matching is taken; pairs that
    cost more than ``STRANGE`` are left out.
    """
    ours, theirs = Limbs.of(source), Limbs.of(target)
    if theirs.apart.any() and not ours.apart.any():
        # roots apart from the body follow the joint that lies where they lie
        joints = _limbs(source, [[joint] for joint in source.deforming.tolist()])
    else:
        joints = ours[ours.apart]
    return match_limbs(ours, theirs, joints)


def left_over(bones: BoneMap, source: Rig, target: Rig) -> tuple[list[str], list[str]]:
    """Joints that move vertices and are in no pair: of the source, that drive nothing; of the target, that rest."""
    used = {name for pair in bones.pairs for name in pair.source}
    driven = {name for pair in bones.pairs if pair.source for name in pair.target}
    unused, resting = (
        [rig.skeleton.names[joint] for joint in rig.deforming.tolist() if rig.skeleton.names[joint] not in known]
        for rig, known in ((source, used), (target, driven))
    )
    return unused, resting


def match_limbs(ours: Limbs, theirs: Limbs, controls: Limbs | None = None) -> BoneMap:
    """``map_bones`` for limbs that were found before.

    Args:
        ours: of the source.
        theirs: of the target.
        controls: what drives the target's roots apart from the body; by default the source's.
    """
    apart = ours[ours.apart] if controls is None else controls
    pairs = _match(ours[~ours.apart], theirs[~theirs.apart]) + _match(apart, theirs[theirs.apart])
    return BoneMap(tuple(pairs))


def _match(ours: Limbs, theirs: Limbs) -> list[ChainPair]:
    """The cheapest one-to-one pairs of chains."""
    if not ours.chains or not theirs.chains:
        return []
    cost = np.abs(ours.shapes[:, None] - theirs.shapes).sum(axis=-1)
    named = np.zeros(cost.shape, bool)
    cost[ours.sides[:, None] * theirs.sides < 0] += 2 * STRANGE
    for i, a in enumerate(ours.titles):
        for j, b in enumerate(theirs.titles):
            if a and b:
                cost[i, j] -= len(a & b) / len(a | b)
                named[i, j] = bool(a & b)
    # what is matched on one side is matched alike on the other
    mirrored = _mirrored(ours), _mirrored(theirs)
    sided = [other != np.arange(len(other)) for other in mirrored]
    cost = np.where(sided[0][:, None] & sided[1], (cost + cost[np.ix_(*mirrored)]) / 2, cost)
    # strange pairs are none: how strange they are must not decide about the others
    rows, columns = linear_sum_assignment(np.minimum(cost, STRANGE) - BODY * (ours.body[:, None] & theirs.body))
    return [
        ChainPair(ours.chains[i], theirs.chains[j], float(cost[i, j]), "name" if named[i, j] else "shape")
        for j, i in sorted(zip(columns, rows, strict=True))
        if cost[i, j] <= STRANGE
    ]


def _mirrored(limbs: Limbs) -> NDArray[np.int64]:
    """(N,) the limb on the other side of the body; itself where there is none."""
    flipped = limbs.shapes * MIRROR
    away = np.abs(flipped[:, None] - limbs.shapes).sum(axis=-1)
    other = away.argmin(axis=1)
    own = np.arange(len(other))
    return np.where((other[other] == own) & (away[own, other] < ALIKE), other, own)


def _limbs(rig: Rig, chains: list[list[int]]) -> Limbs:
    names, root, apart = rig.skeleton.names, body_root(rig), _detached(rig)
    titles = [_title([names[j] for j in chain]) for chain in chains]
    shapes = np.array([_shape(rig, chain, root in chain) for chain in chains]).reshape(-1, 9)
    reach = np.linalg.norm(shapes[:, 6:], axis=-1)
    return Limbs(
        tuple(tuple(names[j] for j in chain) for chain in chains),
        shapes,
        np.array([side for side, _ in titles], np.int64),
        tuple(said for _, said in titles),
        np.array([root in chain for chain in chains], bool),
        np.array([chain[0] in apart for chain in chains], bool) & (reach <= CONTROL),
    )


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


def _shape(rig: Rig, chain: list[int], body: bool) -> Array:
    """Where the chain starts and where its skin leads, in the rest box, and the way from one to the other, (9,),
    comparable between rigs."""
    low, high = rig.rest_box
    axes = rig.stance.axes
    half = np.maximum(np.abs(axes) @ (high - low) / 2, rig.size / 20)
    ends = np.stack([rig.skeleton.rest_globals[chain[0], :3, 3], chain_tip(rig, chain, body)])
    at = (ends - (low + high) / 2) @ axes.T / half
    reach = (ends[1] - ends[0]) @ axes.T / rig.size
    return np.concatenate([at[0] / 2, at[1] / 2, reach])


def chain_tip(rig: Rig, chain: list[int], body: bool = False) -> Array:
    """The far end (3,) of a chain's skin, world space: bones have no length of their own where one is a whole limb. For
    the body itself, which has no far end, the middle of its skin."""
    mesh = rig.mesh
    own = np.isin(mesh.binding_joints[mesh.bindings], chain)
    points = rig.rest_vertices[(mesh.weights * own).sum(axis=-1) > 0.5]
    last: Array = rig.skeleton.rest_globals[chain[-1], :3, 3]
    if not len(points):
        return last
    if body:
        return np.asarray(points.mean(axis=0))
    away = np.linalg.norm(points - rig.skeleton.rest_globals[chain[0], :3, 3], axis=-1)
    return np.asarray(points[away >= FAR * away.max()].mean(axis=0))
