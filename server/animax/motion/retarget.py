"""A clip of one rig onto another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.rig import Rig
from animax.bone_map import BoneMap, ChainPair
from animax.errors import OptionError
from animax.motion.body import body_root, carriers
from animax.motion.bone_matching import bone_words, chain_tip, map_bones
from animax.motion.clip import Clip

Array = NDArray[np.float64]

ALIGNED = np.deg2rad(75.0)
"""Chains whose rest directions differ by more are different shapes, not different rest poses, and are not aligned."""

SIDEWAYS = 0.5
"""Cosine to the rig's own right or left from which a limb is stretched out, as arms are in a T-pose."""

LYING = 0.05
"""A body root lower than this, in rest diagonals, gives no measure of height."""


class Link(NamedTuple):
    """What a joint of the target follows: a place between two joints of the source, ``part`` of the way."""

    joint: int
    source: int
    toward: int
    part: float


def retarget(
    clip: Clip,
    source: Rig,
    target: Rig,
    bones: BoneMap | None = None,
    *,
    align: bool = True,
    root_scale: float = 1.0,
) -> Clip:
    """The motion of ``source`` in ``clip`` for ``target``.

    What is carried over is each joint's rotation in space relative to its rest orientation, in the axes of the rig's
    stance (left, up, forward), so neither joint axes nor the way a rig faces matter. Along a chain it is spread by arc
    length, with joints of equal name matched to one another. The body root moves as the source's, times the ratio of
    their heights above the ground; other root joints (foot controls) likewise.

    Args:
        clip: motion of ``source``.
        source: the rig that moves.
        target: the rig that shall move.
        bones: which chain drives which; guessed by ``map_bones`` when None.
        align: arms, stretched out in the rest pose of one rig and hanging in the other's, end up pointing where the
            source's do, instead of turning by the same amount.
        root_scale: how far the body travels over the ground, times the ratio of heights.

    Raises:
        OptionError: ``clip`` is not of ``source``, or the bone map names joints that do not exist.
    """
    if clip.pose.rotations.shape[1] != len(source.skeleton):
        raise OptionError("clip", f"{clip.pose.rotations.shape[1]} joints", f"{len(source.skeleton)}, as its rig has")
    bones = map_bones(source, target) if bones is None else bones
    bones.check(source.skeleton.names, target.skeleton.names)
    basis = target.stance.axes.T @ source.stance.axes
    globals_ = source.skeleton.globals(clip.pose)
    turned, at_rest = rotations.orientations(globals_), rotations.orientations(source.skeleton.rest_globals)
    turn = rotations.multiply(turned, rotations.conjugate(at_rest))
    change = rotations.from_matrix(basis)
    turn = rotations.multiply(rotations.multiply(change, turn), rotations.conjugate(change))
    moved = (globals_[..., :3, 3] - source.skeleton.rest_globals[:, :3, 3]) @ basis.T * _height_ratio(source, target)
    if root_scale != 1:
        upwards = (moved @ target.stance.up)[..., None] * target.stance.up
        moved = upwards + root_scale * (moved - upwards)

    skeleton = target.skeleton
    wanted: dict[int, Array] = {}
    places: dict[int, Array] = {}
    top = set(carriers(target).tolist())
    for limb in limbs_of(_links(bones, source, target), source, target):
        tilt = _alignment(source, target, limb, basis, top) if align else rotations.IDENTITY
        for joint, below, above, part in limb:
            share = np.full(len(clip), part)
            wanted[joint] = rotations.multiply(rotations.slerp(turn[:, below], turn[:, above], share), tilt)
            if joint in top:
                places[joint] = skeleton.rest_globals[joint, :3, 3] + moved[:, below]
    root, driver = body_root(target), body_root(source)
    carrier = root
    while carrier not in top and skeleton.parents[carrier] >= 0:
        carrier = int(skeleton.parents[carrier])
    places.pop(carrier, None)

    local, translations = _local(target, wanted, places, len(clip))
    # the body root, not the joint that carries it, goes where the source's goes
    pose = skeleton.posed(rotations=local, translations=translations)
    now = skeleton.globals(pose)
    goal = skeleton.rest_globals[root, :3, 3] + moved[:, driver]
    above = int(skeleton.parents[carrier])
    linear = skeleton.rest_globals[above, :3, :3] if above >= 0 else np.eye(3)
    translations[:, carrier] += np.linalg.solve(linear, (goal - now[:, root, :3, 3]).T).T
    pose = replace(pose, rotations=rotations.make_continuous(local), translations=translations)
    return replace(clip, pose=pose)


def _height_ratio(source: Rig, target: Rig) -> float:
    """Body heights above the ground, target to source; sizes where a body lies on the ground."""
    heights = []
    for rig in (source, target):
        points = rig.rest_vertices if len(rig.rest_vertices) else rig.skeleton.rest_globals[:, :3, 3]
        level = rig.skeleton.rest_globals[body_root(rig), :3, 3] @ rig.stance.up
        heights.append(float(level - (points @ rig.stance.up).min()) / rig.size)
    if min(heights) < LYING:
        return target.size / source.size
    return heights[1] * target.size / (heights[0] * source.size)


def _links(bones: BoneMap, source: Rig, target: Rig) -> list[Link]:
    """What every driven joint follows."""
    out = []
    for pair in bones.pairs:
        if not pair.source:
            continue
        ours = [source.skeleton.names.index(n) for n in pair.source]
        theirs = [target.skeleton.names.index(n) for n in pair.target]
        for joint, at in zip(theirs, _fractions(source, target, pair), strict=True):
            low = min(int(at), len(ours) - 1)
            out.append(Link(joint, ours[low], ours[min(low + 1, len(ours) - 1)], float(at) - low))
    return out


def limbs_of(links: Iterable[Link], source: Rig, target: Rig) -> list[list[Link]]:
    """Links by limb: unbranched runs of joints on the target along which the source, too, goes outwards. However a map
    cuts a limb into chains, it is one."""
    of = {link.joint: link for link in links}
    members = set(of) | set(target.deforming.tolist())
    above: dict[int, int] = {}
    branches: Counter[int] = Counter()
    for joint in sorted(members):
        parent = int(target.skeleton.parents[joint])
        while parent >= 0 and parent not in members:
            parent = int(target.skeleton.parents[parent])
        above[joint] = parent
        branches[parent] += 1
    limb_of: dict[int, list[Link]] = {}
    out: list[list[Link]] = []
    for joint, link in sorted(of.items()):
        parent = above[joint]
        limb = limb_of.get(parent)
        if limb is None or branches[parent] > 1 or not _leads(source, of[parent].source, link.source):
            limb = []
            out.append(limb)
        limb.append(link)
        limb_of[joint] = limb
    return out


def _leads(rig: Rig, joint: int, to: int) -> bool:
    """Whether ``to`` is ``joint`` or below it."""
    while to > joint:
        to = int(rig.skeleton.parents[to])
    return to == joint


def _alignment(source: Rig, target: Rig, limb: list[Link], basis: Array, top: set[int]) -> Array:
    """The turn (4,) that lays the target limb's rest direction onto the source's: of limbs that one of both stretches
    out sideways. Necks, tails and legs that lead elsewhere belong to another body, not to another rest pose."""
    if len(limb) < 2 or limb[0].joint in top:
        return rotations.IDENTITY
    heads = source.skeleton.rest_globals[:, :3, 3]
    ends = [heads[link.source] + link.part * (heads[link.toward] - heads[link.source]) for link in (limb[0], limb[-1])]
    theirs = target.skeleton.rest_globals[[limb[0].joint, limb[-1].joint], :3, 3]
    direction, along = theirs[1] - theirs[0], ends[1] - ends[0]
    sideways = [
        abs(float(way @ rig.stance.right)) / max(float(np.linalg.norm(way)), 1e-9)
        for rig, way in ((target, direction), (source, along))
    ]
    if max(sideways) < SIDEWAYS:
        return rotations.IDENTITY
    turn = rotations.shortest_arc(direction, basis @ along)
    angle = float(rotations.between(rotations.IDENTITY, turn))
    return turn if 1e-9 < angle < ALIGNED else rotations.IDENTITY


def _fractions(source: Rig, target: Rig, pair: ChainPair) -> Array:
    """Where on the source chain, in joints, each target joint lies."""
    ours, theirs = (_heads(rig, names) for rig, names in ((source, pair.source), (target, pair.target)))
    if len(ours) == 1:
        return np.zeros(len(theirs))
    if len(theirs) == 1:
        theirs = np.array([0.5])
    # bones that both chains name, once each and in the same order, pin them together
    said = [[bone_words(name) for name in names] for names in (pair.source, pair.target)]
    anchors: list[tuple[float, float]] = []
    last = -1
    for i, title in enumerate(said[1]):
        if title and said[0].count(title) == said[1].count(title) == 1 and said[0].index(title) > last:
            last = said[0].index(title)
            anchors.append((float(theirs[i]), float(ours[last])))
    knots = anchors or [(0.0, 0.0), (1.0, 1.0)]
    if anchors:
        if knots[0][0] > 0:
            knots.insert(0, (0.0, 0.0))
        if knots[-1][0] < 1:
            knots.append((1.0, 1.0))
    at = np.interp(theirs, [k[0] for k in knots], [k[1] for k in knots])
    return np.interp(at, ours, np.arange(len(ours)))


def _heads(rig: Rig, names: tuple[str, ...]) -> Array:
    """Where the joints of a chain lie along it, 0 to 1 at the end of its last bone: where its children begin, or its
    skin ends."""
    chain = [rig.skeleton.names.index(name) for name in names]
    heads = rig.skeleton.rest_globals[:, :3, 3]
    further = [joint for joint in rig.deforming.tolist() if rig.skeleton.parents[joint] == chain[-1]]
    tip = heads[further].mean(axis=0) if further else chain_tip(rig, chain)
    steps = np.linalg.norm(np.diff([*heads[chain], tip], axis=0), axis=-1)
    total = float(steps.sum())
    at: Array = np.concatenate([[0.0], np.cumsum(steps[:-1])]) / total if total > 0 else np.zeros(len(chain))
    return at


def _local(rig: Rig, wanted: dict[int, Array], places: dict[int, Array], frames: int) -> tuple[Array, Array]:
    """Local rotations and translations for wanted turns from rest, in space, and places of root joints."""
    skeleton = rig.skeleton
    rest = rotations.orientations(skeleton.rest_globals)
    turns = np.broadcast_to(rotations.IDENTITY, (frames, len(skeleton), 4)).copy()
    pose = skeleton.posed(rotations=np.repeat(skeleton.rest.rotations[None], frames, axis=0))
    for joint, parent in enumerate(skeleton.parents):
        above = turns[:, parent] if parent >= 0 else np.broadcast_to(rotations.IDENTITY, (frames, 4))
        turns[:, joint] = wanted.get(joint, above)
        if joint in wanted:
            axes = rest[parent] if parent >= 0 else rotations.IDENTITY
            own = rotations.multiply(rotations.conjugate(above), turns[:, joint])
            own = rotations.multiply(rotations.multiply(rotations.conjugate(axes), own), axes)
            pose.rotations[:, joint] = rotations.multiply(own, skeleton.rest.rotations[joint])
        if joint in places:
            base = skeleton.rest_globals[parent] if parent >= 0 else np.eye(4)
            pose.translations[:, joint] = np.linalg.solve(base[:3, :3], (places[joint] - base[:3, 3]).T).T
    return rotations.normalise(pose.rotations), pose.translations
