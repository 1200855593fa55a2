"""Marker positions to joint rotations: a solve on the skeleton's own forward kinematics.

Bone lengths are the rig's, so they hold by construction. Unknown are, per frame, the turn of every driver joint and
of the joints left out between drivers, and the place of the driver forest's roots; all other joints stay at rest
relative to their parent. The estimate is the most probable one: squared marker errors over their variance, robust
(soft-L1), a wide prior around the rest pose, and a wide prior on the change from frame to frame. Where markers show a
rotation the data outweigh the priors by orders of magnitude; a rotation that they do not show (twist about a chain
without off-axis markers) comes out as the smallest turn relative to the parent, which is zero-twist (parallel)
transport. What some frames show and others do not (a marker leaves the views) is carried over from those that do: where
markers are out of sight the pull towards rest gives way to that towards the neighbouring frames.

Turns are written in rest axes: Δⱼ, the rotation that took joint j from its rest orientation to its present one, is
Δ_parent · Xⱼ, with Xⱼ the joint's own turn. Heads then follow from rest positions h°:
hⱼ = h_parent + Δ_parent (h°ⱼ - h°_parent).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import dpotrf, dpotri

from animax import rotations
from animax.assets.markers import MarkerKind, MarkerSet
from animax.assets.skeleton import Pose, Skeleton
from animax.errors import GenerationError
from animax.motion.smooth import denoise
from animax.motion.triangulate import Points

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Prior:
    """What is likely before any marker is looked at.

    Attributes:
        error: standard deviation of a marker's place beyond what its ``sigma`` says, in medians of all sigmas. Markers
            of no sigma are exact.
        spread: standard deviation of a joint's turn from rest, radians.
        tail: turn from which it counts linearly, radians: few joints turn far, but those may.
    """

    error: float = 0.0
    spread: float = np.deg2rad(60.0)
    tail: float = np.inf


SEEN = Prior()
"""Of markers that are where they were seen."""

CARRIED = 1e-3
"""Share of the priors around rest that remains where a turn's markers, seen in other frames, are out of sight: a gap is
bridged from both sides, and at an end the last sight is kept for seconds."""
SPEED_SPREAD = np.deg2rad(320.0)
"""Standard deviation of a joint's turning speed, radians a second."""
SIGMA_FLOOR = 5e-4
"""Least standard deviation of a marker, in extents of the markers: what the skeleton cannot follow in any case."""
STRETCH_SPREAD = 0.1
"""Standard deviation of how far a stretching joint leaves its place, in extents of the markers."""
STRETCH_LEAST = 0.015
"""Root mean square change of distance above which a joint stretches, in extents of the markers ..."""
STRETCH_SIGMAS = 4.0
"""... and in standard errors of that distance."""
CLEAR = 0.5
"""Share of its best confidence from which a marker shows the turns that it belongs to."""
FOLLOWED = 4.0
"""Standard deviations by which a marker is missed all along where the skeleton cannot follow it."""
JUMP = np.deg2rad(45.0)
"""Turn between neighbouring frames for which another way is looked for."""
RETRIES = 4
"""Limbs for which another way is looked for, at most."""
LOOSE = 0.1
"""Weight, at the start, of a head that hangs on a driver over joints that turn too."""
ROBUST = 4.0
"""Standard deviations at which a marker's error begins to count linearly."""
ROBUST_FLOOR = 0.01
"""The same in extents of the markers: motion that the skeleton lacks (stretched bones) is not an outlier."""


def solve_rotations(
    skeleton: Skeleton,
    markers: MarkerSet,
    points: Points,
    fps: float,
    *,
    iterations: int = 12,
    spread: bool = True,
    stretch: bool = True,
    smooth: bool = True,
    prior: Prior = SEEN,
    retries: int = RETRIES,
) -> Pose:
    """The pose (F frames) whose markers stand at ``points``.

    Args:
        skeleton: see ``Skeleton``.
        markers: the drivers and what was observed.
        points: (F, M) points in the skeleton's world space; their ``sigma`` and ``confidence`` weigh them.
        fps: frames a second, for the prior on speed.
        iterations: upper bound of damped Gauss-Newton steps.
        spread: joints left out between a driver and its parent turn too, all between the same two by the same amount,
            as the places of the heads below tell (a knee between hip and ankle); where these leave it open, the prior
            around rest shares the bend out evenly. Else they stay at rest.
        stretch: drivers whose distance from their parent visibly changes (sliding parts, cartoon limbs) may move; else
            all bone lengths are those of the rest pose, roots excepted.
        smooth: take noise out of the markers' tracks first, as much as ``points.sigma`` says (see ``denoise``).
        prior: of turns and of errors that ``points.sigma`` does not know.
        retries: limbs at most, those that jump farthest from a frame to the next, for which another way is looked for;
            each costs as much as the whole solve.

    Raises:
        GenerationError: the points do not belong to the markers, or hold no confidence at all.
    """
    _check(points, markers)
    if smooth:
        points = denoise(points)
    movers = _stretched(skeleton, markers, points) if stretch else ()
    tree = _tree(skeleton, markers, spread=spread, stretched=movers)
    extent = _extent(tree)
    inexact = points.sigma > 0
    unknown = np.where(inexact, prior.error * np.median(points.sigma[inexact]) if inexact.any() else 0.0, 0.0)
    sigma = np.hypot(np.maximum(points.sigma, SIGMA_FLOOR * extent), unknown)
    shown = _shown(tree, points.confidence)
    whole = shown.min(axis=1) >= CLEAR
    problem = _Problem(tree, points, sigma, shown, fps, prior, iterations, retries)
    solution = problem.solve()
    # What the skeleton cannot follow (moved or scaled joints) is no evidence of turns; and where much is hidden, few
    # markers fit almost any turn: markers are believed as far as the skeleton follows them in the frames that show all.
    misses = np.mean((_markers_at(tree, *_forward(tree, *solution)) - points.points) ** 2, axis=-1)
    trust = points.confidence * whole[:, None]
    misfit = np.sqrt(np.sum(trust * misses, axis=0) / np.maximum(np.sum(trust, axis=0), 1e-30))
    if np.any(whole) and (not np.all(whole) or np.any(misfit > FOLLOWED * sigma)):
        solution = replace(problem, sigma=np.hypot(sigma, misfit)).solve()
    return _pose(skeleton, tree, *solution)


@dataclass(frozen=True, eq=False)
class _Problem:
    """What is to be explained, see the module's docstring.

    Attributes:
        tree: what turns.
        points: (F, M) markers.
        sigma: (F, M) their standard deviation.
        shown: (F, D) how far they show the turns, see ``_shown``.
        fps: frames a second.
        prior: of turns.
        iterations: upper bound of a descent's steps.
        retries: upper bound of further descents.
    """

    tree: _Tree
    points: Points
    sigma: Array
    shown: Array
    fps: float
    prior: Prior
    iterations: int
    retries: int

    @cached_property
    def information(self) -> Array:
        """(F, M) weight of the markers' squared errors."""
        return self.points.confidence / self.sigma**2

    @property
    def speed_weight(self) -> float:
        """Weight of squared changes of turns from frame to frame."""
        return float((self.fps / SPEED_SPREAD) ** 2)

    def solve(self) -> tuple[Array, Array]:
        """Turns (F, D, 4) and places (F, T, 3). Every frame is begun by itself, so that a limb may end in another
        valley than in the frames about it. Where it jumps, it is begun once more as in the longest stretch of frames
        without a jump, and the more probable way stays."""
        start = _start(
            self.tree, self.points.points, self.information, self.shown, self.prior.spread, self.speed_weight
        )
        turns, places, cost = self._descend(*start)
        for limb in _jumping(self.tree, turns)[: self.retries]:
            steady = turns.copy()
            for turn in limb:
                steady[:, turn] = _without_jumps(turns[:, turn])
            again = self._descend(steady, places)
            if again[2] < cost:
                turns, places, cost = again
        return turns, places

    def _descend(self, turns: Array, places: Array) -> tuple[Array, Array, float]:
        """The nearest most probable turns and places, and their cost, by damped Gauss-Newton steps."""
        tree, points, sigma, shown, prior = self.tree, self.points, self.sigma, self.shown, self.prior
        extent = _extent(tree)
        information, speed_weight = self.information, self.speed_weight
        pull = np.maximum(shown, CARRIED)[..., None] / prior.spread**2
        # a place may change by half an extent a second; far weaker than one marker
        place_weight = (self.fps / (0.5 * extent)) ** 2 * 0.1
        stay_weight = np.maximum(shown[:, tree.owners[tree.movers]], CARRIED) / (STRETCH_SPREAD * extent) ** 2
        stay_weight[:, tree.parents[tree.movers] < 0] = 0.0
        scale = np.maximum(ROBUST * sigma, ROBUST_FLOOR * extent)
        damping, cost = 1e-4, np.inf
        accepted = (turns, places)
        system: tuple[Array, Array] | None = None
        for _ in range(self.iterations):
            delta, heads = _forward(tree, turns, places)
            at = _markers_at(tree, delta, heads)
            errors = at - points.points
            loss = np.sqrt(1 + np.sum(errors**2, axis=-1) / scale**2)
            bend = rotations.to_rotation_vector(turns)
            slack = np.sqrt(1 + np.sum(bend**2, axis=-1, keepdims=True) / prior.tail**2)
            rest_weight = pull / slack
            change = rotations.to_rotation_vector(rotations.multiply(turns[1:], rotations.conjugate(turns[:-1])))
            drift = np.diff(places, axis=0)
            new_cost = float(
                np.sum(2 * information * scale**2 * (loss - 1))
                + np.sum(2 * pull * bend**2 / (1 + slack))
                + speed_weight * np.sum(change**2)
                + place_weight * np.sum(drift**2)
                + np.sum(stay_weight[..., None] * places**2)
            )
            if new_cost < cost:
                improvement = 1 - new_cost / cost if np.isfinite(cost) else 1.0
                accepted, cost = (turns, places), new_cost
                damping = max(damping / 10, 1e-7)
                hessian, gradient = _normal_equations(tree, delta, heads, at, errors, information / loss)
                size = 3 * tree.turns
                diagonal = np.arange(hessian.shape[-1])
                hessian[:, diagonal[:size], diagonal[:size]] += np.repeat(rest_weight[..., 0], 3, axis=1)
                # a root of which nothing is seen stays where it started
                hessian[:, diagonal[size:], diagonal[size:]] += np.repeat(stay_weight, 3, axis=1) + 1e-6 / extent**2
                gradient[:, :size] += (rest_weight * bend).reshape(len(bend), -1)
                gradient[:, size:] += (stay_weight[..., None] * places).reshape(len(places), -1)
                coupling = np.concatenate([np.full(size, speed_weight), np.full(3 * len(tree.movers), place_weight)])
                flow = np.concatenate(
                    [change.reshape(-1, size), drift.reshape(len(drift), 3 * len(tree.movers))], axis=-1
                )
                flow *= coupling
                gradient[1:] += flow
                gradient[:-1] -= flow
                system = (hessian, gradient)
                if improvement < 1e-6:
                    break
            else:
                damping *= 30
                if damping > 1e3:
                    break
            assert system is not None
            hessian, gradient = system
            step = _solve_in_time(hessian, -gradient, coupling, damping)
            size = 3 * tree.turns
            turn = rotations.from_rotation_vector(step[:, :size].reshape(len(step), -1, 3))
            turns = rotations.normalise(rotations.multiply(turn, accepted[0]))
            places = accepted[1] + step[:, size:].reshape(len(step), -1, 3)
            if np.abs(step[:, :size]).max() < 1e-4 and np.abs(step[:, size:]).max() < 1e-6 * extent:
                break
        return *accepted, cost


def _jumps(turns: Array) -> Array:
    """(F - 1, ...) angle between neighbouring frames of turns (F, ..., 4) where it is a jump, else zero."""
    angles: Array = rotations.between(turns[1:], turns[:-1])
    return np.where(angles > JUMP, angles, 0.0)


def _jumping(tree: _Tree, turns: Array) -> list[list[int]]:
    """Turns (F, D, 4) that jump, those of neighbouring joints together; the largest jump first."""
    largest = _jumps(turns).max(axis=0, initial=0.0)
    limb: dict[int, set[int]] = {int(turn): {int(turn)} for turn in np.flatnonzero(largest)}
    for joint, parent in enumerate(tree.parents):
        one, other = int(tree.owners[joint]), int(tree.owners[parent])
        if parent >= 0 and one in limb and other in limb:
            together = limb[one] | limb[other]
            limb.update(dict.fromkeys(together, together))
    limbs = {min(members): sorted(members) for members in limb.values()}
    return sorted(limbs.values(), key=lambda members: -largest[members].max())


def _without_jumps(turn: Array) -> Array:
    """A turn (F, 4) of which the longest stretch of frames without a jump is kept, standing still beyond it."""
    edges = [0, *(np.flatnonzero(_jumps(turn)) + 1), len(turn)]
    longest = int(np.argmax(np.diff(edges)))
    return _turns_between(turn, np.arange(edges[longest], edges[longest + 1]))


def inverse_fk(skeleton: Skeleton, markers: MarkerSet, points: Points) -> Pose:
    """The paper's inverse forward kinematics (§ 3.4), for comparison: root to leaf, frame by frame, heads only.

    A driver with several children is turned by the best rotation of the directions to them, one with a single child by
    the smallest turn from its parent's orientation, and a leaf keeps its rest orientation relative to its parent.
    """
    _check(points, markers)
    tree = _tree(skeleton, markers, spread=False)
    heads = np.full(tree.turns, -1)
    for marker in np.flatnonzero(markers.kinds == MarkerKind.HEAD):
        heads[tree.carriers[marker]] = marker
    frames = len(points.points)
    delta = np.broadcast_to(np.eye(3), (frames, tree.turns, 3, 3)).copy()
    turns = np.broadcast_to(rotations.IDENTITY, (frames, tree.turns, 4)).copy()
    for joint in range(tree.turns):
        parent = tree.parents[joint]
        above = delta[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (frames, 3, 3))
        delta[:, joint] = above
        children = [c for c in np.flatnonzero(tree.parents == joint) if heads[c] >= 0 and np.any(tree.arms[c])]
        if children and heads[joint] >= 0:
            seen = points.points[:, heads[children]] - points.points[:, heads[joint], None]
            rest = tree.arms[children]
            if np.linalg.matrix_rank(rest, tol=0.15 * np.linalg.norm(rest)) >= 2:
                delta[:, joint] = rotations.nearest(np.einsum("fci,cj->fij", seen, rest))
            else:
                before = np.einsum("fij,j->fi", above, rest.sum(axis=0))
                delta[:, joint] = rotations.to_matrix(rotations.shortest_arc(before, seen.sum(axis=1))) @ above
        turns[:, joint] = rotations.from_matrix(np.swapaxes(above, -1, -2) @ delta[:, joint])
    places = np.stack([points.points[:, heads[tree.owners[root]]] for root in tree.movers], axis=1)
    return _pose(skeleton, tree, turns, places)


@dataclass(frozen=True, eq=False)
class _Tree:
    """What is solved for: N joints that turn, by D turns, with M markers.

    Attributes:
        joints: (N,) skeleton joints, parents first.
        parents: (N,) index into ``joints``, -1 for a root.
        owners: (N,) index of the turn that the joint takes part in: of drivers their own, in the order of
            ``MarkerSet.drivers``, then one for each run of joints left out between two drivers.
        shares: (N,) the part of it that the joint takes.
        heads: (N, 3) rest heads.
        arms: (N, 3) rest head relative to the parent's rest head; zero for a root.
        movers: (T,) indices into ``joints`` of those that translate: roots, and drivers that stretch.
        carriers: (M,) index into ``joints`` of each marker's joint.
        offsets: (M, 3) rest position relative to that joint's rest head, world axes.
        above: (N, N) [j, k]: j is k or an ancestor of k.
        levels: indices into ``joints`` by depth, without roots.
        turns: D.
    """

    joints: IntArray
    parents: IntArray
    owners: IntArray
    shares: Array
    heads: Array
    arms: Array
    movers: IntArray
    carriers: IntArray
    offsets: Array
    above: NDArray[np.bool_]
    levels: tuple[IntArray, ...]
    turns: int


def _tree(skeleton: Skeleton, markers: MarkerSet, *, spread: bool, stretched: tuple[int, ...] = ()) -> _Tree:
    heads = skeleton.rest_globals[:, :3, 3]
    between: dict[int, list[int]] = {}
    leads_to = np.zeros(len(skeleton), np.int64)
    for driver, joint in enumerate(markers.drivers):
        above = int(markers.driver_parents[driver])
        between[driver] = []
        member = int(skeleton.parents[joint])
        while spread and above >= 0 and member != markers.drivers[above]:
            between[driver].append(member)
            leads_to[member] += 1
            member = int(skeleton.parents[member])
    turns = len(markers.drivers)
    owners = {int(joint): (driver, 1.0) for driver, joint in enumerate(markers.drivers)}
    for members in between.values():
        own = [member for member in members if leads_to[member] == 1]
        owners.update((member, (turns, 1.0 / len(own))) for member in own)
        turns += bool(own)
    joints = np.array(sorted(owners))
    index = {int(joint): i for i, joint in enumerate(joints)}
    parents = np.full(len(joints), -1)
    above_of = np.eye(len(joints), dtype=bool)
    depth = np.zeros(len(joints), np.int64)
    for i, joint in enumerate(joints):
        parent = int(skeleton.parents[joint])
        while parent >= 0 and parent not in index:
            parent = int(skeleton.parents[parent])
        if parent >= 0:
            parents[i] = index[parent]
            above_of[:, i] |= above_of[:, index[parent]]
            depth[i] = depth[index[parent]] + 1
    arms = np.where((parents >= 0)[:, None], heads[joints] - heads[joints[parents]], 0.0)
    moving = {index[int(markers.drivers[driver])] for driver in stretched} | set(np.flatnonzero(parents < 0).tolist())
    rest_markers = markers.positions(skeleton.rest_globals)
    return _Tree(
        joints=joints,
        parents=parents,
        owners=np.array([owners[int(j)][0] for j in joints]),
        shares=np.array([owners[int(j)][1] for j in joints]),
        heads=heads[joints],
        arms=arms,
        movers=np.array(sorted(moving)),
        carriers=np.array([index[int(j)] for j in markers.joints]),
        offsets=rest_markers - heads[markers.joints],
        above=above_of,
        levels=tuple(np.flatnonzero(depth == level) for level in range(1, int(depth.max()) + 1)),
        turns=turns,
    )


def _check(points: Points, markers: MarkerSet) -> None:
    if points.points.shape[1:] != (len(markers), 3):
        raise GenerationError(f"points of {points.points.shape[1]} markers; accepted: {len(markers)}")
    if not np.all(np.isfinite(points.points)) or not np.any(points.confidence > 0):
        raise GenerationError("no marker has a finite position and any confidence; accepted: at least one")


def _stretched(skeleton: Skeleton, markers: MarkerSet, points: Points) -> tuple[int, ...]:
    """Drivers (indices into ``markers.drivers``) whose head leaves its place in the parent's space.

    Told without knowing any rotation: the distances of a head from its parent's markers are constant if it stays.
    Drivers with other joints between them and their parent are not looked at, since these may bend.
    """
    rest = markers.positions(skeleton.rest_globals)
    extent = max(float(np.linalg.norm(np.ptp(rest, axis=0))), 1e-9)
    heads = {int(markers.joints[m]): int(m) for m in np.flatnonzero(markers.kinds == MarkerKind.HEAD)}
    weight = points.confidence / np.maximum(points.sigma, SIGMA_FLOOR * extent) ** 2
    out = []
    for driver, joint in enumerate(markers.drivers):
        above = markers.driver_parents[driver]
        if above < 0 or int(joint) not in heads or skeleton.parents[joint] != markers.drivers[above]:
            continue
        head = heads[int(joint)]
        for other in np.flatnonzero(markers.joints == markers.drivers[above]):
            distance = np.linalg.norm(points.points[:, head] - points.points[:, other], axis=-1)
            change = distance - np.linalg.norm(rest[head] - rest[other])
            trust = np.minimum(weight[:, head], weight[:, other])
            rms = np.sqrt(np.sum(trust * change**2) / max(float(trust.sum()), 1e-30))
            both = trust > 0
            if not np.any(both):
                continue
            noise = np.sqrt(np.median(points.sigma[both, head]) ** 2 + np.median(points.sigma[both, other]) ** 2)
            if rms > max(STRETCH_SIGMAS * noise, STRETCH_LEAST * extent):
                out.append(driver)
                break
    return tuple(out)


def _extent(tree: _Tree) -> float:
    """Diagonal of the markers' rest box, world units."""
    at = tree.heads[tree.carriers] + tree.offsets
    return max(float(np.linalg.norm(np.ptp(at, axis=0))), 1e-9)


def _forward(tree: _Tree, turns: Array, places: Array) -> tuple[Array, Array]:
    """Δ (F, N, 3, 3) and heads (F, N, 3) for turns (F, D, 4) and places (F, T, 3).

    A root's place is that of its head; that of another mover is added to its arm, in rest axes.
    """
    own = turns[:, tree.owners]
    if np.any(tree.shares < 1):
        part = rotations.to_rotation_vector(own) * tree.shares[:, None]
        own = rotations.from_rotation_vector(part)
    delta = rotations.to_matrix(own)
    heads = np.broadcast_to(tree.arms, (*delta.shape[:2], 3)).copy()
    heads[:, tree.movers] += places
    for level in tree.levels:
        parent = tree.parents[level]
        heads[:, level] = heads[:, parent] + np.einsum("fnij,fnj->fni", delta[:, parent], heads[:, level])
        delta[:, level] = delta[:, parent] @ delta[:, level]
    return delta, heads


def _markers_at(tree: _Tree, delta: Array, heads: Array) -> Array:
    """Markers (F, M, 3) on joints as ``_forward`` gives them."""
    at: Array = heads[:, tree.carriers] + np.einsum("fmij,mj->fmi", delta[:, tree.carriers], tree.offsets)
    return at


def _shown(tree: _Tree, confidence: Array) -> Array:
    """(F, D) in [0, 1]: the least confidence of the markers that show a turn, relative to the marker's best frame.

    A turn is shown by the markers on its joints and by the next heads below. Markers that no frame sees do not count,
    and a turn that has no others is 1 throughout.
    """
    best = confidence.max(axis=0, initial=0.0)
    relative = np.where(best > 0, np.minimum(1.0, 2 * confidence / np.maximum(best, 1e-300)), 1.0)
    shown = np.ones((len(confidence), tree.turns))
    on_head = np.linalg.norm(tree.offsets, axis=-1) < 1e-9 * _extent(tree)
    for marker, carrier in enumerate(tree.carriers):
        joints = [int(carrier)]
        top = _next_carrier(tree, int(carrier)) if on_head[marker] else -1
        while top >= 0 and joints[-1] != top:
            joints.append(int(tree.parents[joints[-1]]))
        for turn in np.unique(tree.owners[joints]):
            shown[:, turn] = np.minimum(shown[:, turn], relative[:, marker])
    return shown


def _start(
    tree: _Tree, targets: Array, information: Array, shown: Array, spread: float, speed_weight: float
) -> tuple[Array, Array]:
    """Turns and places by Wahba's problem from root to leaf, each joint pulled towards its parent's rotation.

    In frames that do not show a joint's turn, it is pulled towards where the frames about them that do have it.
    """
    frames = len(targets)
    delta = np.broadcast_to(np.eye(3), (frames, len(tree.joints), 3, 3)).copy()
    turns = np.broadcast_to(rotations.IDENTITY, (frames, tree.turns, 4)).copy()
    heads = np.zeros((frames, len(tree.joints), 3))
    places = np.zeros((frames, len(tree.movers), 3))
    slot = {int(joint): i for i, joint in enumerate(tree.movers)}
    extent = _extent(tree)
    on_head = np.linalg.norm(tree.offsets, axis=-1) < 1e-9 * extent
    prior = 1.0 / spread**2
    for joint in range(len(tree.joints)):
        parent = tree.parents[joint]
        above = delta[:, parent] if parent >= 0 else np.broadcast_to(np.eye(3), (frames, 3, 3))
        delta[:, joint] = above
        base = heads[:, parent] if parent >= 0 else 0.0
        heads[:, joint] = base + np.einsum("fij,j->fi", above, tree.arms[joint])
        if not np.any(tree.carriers == joint):
            continue  # a joint left out: the descent turns it
        own = np.flatnonzero(tree.carriers == joint)
        below = [m for m in np.flatnonzero(on_head) if _next_carrier(tree, tree.carriers[m]) == joint]
        rest = np.concatenate([tree.offsets[own], *(_arm_from(tree, tree.carriers[m], joint)[None] for m in below)])
        which = np.concatenate([own, np.array(below, np.int64)])
        # the head of a driver below joints that turn is not rigid with this one, but tells where it points
        direct = np.array([True] * len(own) + [tree.parents[tree.carriers[m]] == joint for m in below])
        weight = information[:, which] * np.where(direct, 1.0, LOOSE)
        # nor is one that stretches, by as much as its prior allows
        slides = np.array([False] * len(own) + [int(tree.carriers[m]) in slot for m in below])
        weight[:, slides] /= 1 + weight[:, slides] * (STRETCH_SPREAD * extent) ** 2
        total = np.maximum(weight.sum(axis=1), 1e-30)
        mean_rest = weight @ rest / total[:, None]
        mean_seen = np.einsum("fm,fmi->fi", weight, targets[:, which]) / total[:, None]
        seen = targets[:, which] - mean_seen[:, None]
        covariance = np.einsum("fm,fmi,fmj->fij", weight, seen, rest[None] - mean_rest[:, None])
        delta[:, joint] = rotations.nearest(covariance + prior * above)
        clear = shown[:, tree.owners[joint]] >= CLEAR
        if np.any(clear) and not np.all(clear):
            turned = rotations.from_matrix(np.swapaxes(above, -1, -2) @ delta[:, joint])
            carried = above @ rotations.to_matrix(_turns_between(turned, np.flatnonzero(clear)))
            delta[~clear, joint] = rotations.nearest((covariance + speed_weight * carried)[~clear])
        if joint in slot:
            found = mean_seen - np.einsum("fij,fj->fi", delta[:, joint], mean_rest)
            place = np.einsum("fji,fj->fi", above, found - base) - tree.arms[joint]
            seen = np.flatnonzero(weight.sum(axis=1) > 0)
            if not len(seen):
                place[:] = tree.heads[joint] if parent < 0 else 0.0
            for axis in range(3 if len(seen) else 0):
                place[:, axis] = np.interp(np.arange(frames), seen, place[seen, axis])
            places[:, slot[joint]] = place
            heads[:, joint] = base + np.einsum("fij,fj->fi", above, tree.arms[joint] + place)
        turns[:, tree.owners[joint]] = rotations.from_matrix(np.swapaxes(above, -1, -2) @ delta[:, joint])
    return turns, places


def _turns_between(turns: Array, known: IntArray) -> Array:
    """Turns (F, 4) as they are at the frames ``known``, along great arcs between these, constant outside."""
    position = np.interp(np.arange(len(turns)), known, np.arange(len(known)))
    before = np.floor(position).astype(np.int64)
    after = np.minimum(before + 1, len(known) - 1)
    return rotations.slerp(turns[known[before]], turns[known[after]], position - before)


def _next_carrier(tree: _Tree, joint: int) -> int:
    """The nearest joint above that carries markers; -1 above a root."""
    parent = int(tree.parents[joint])
    while parent >= 0 and not np.any(tree.carriers == parent):
        parent = int(tree.parents[parent])
    return parent


def _arm_from(tree: _Tree, joint: int, ancestor: int) -> Array:
    """Rest head of ``joint`` relative to that of ``ancestor``."""
    arm = np.zeros(3)
    while joint != ancestor:
        arm = arm + tree.arms[joint]
        joint = int(tree.parents[joint])
    return arm


def _normal_equations(
    tree: _Tree, delta: Array, heads: Array, at: Array, errors: Array, weights: Array
) -> tuple[Array, Array]:
    """JᵀWJ (F, U, U) and JᵀWr (F, U) of the marker errors for U = 3 D + 3 T unknowns.

    A turn by ω (world axes) at joint j moves a marker at x below it by ω × (x - hⱼ). So the block of joints j and k, k
    at or below j, is Σ w [x - hⱼ]ₓᵀ [x - hₖ]ₓ over the markers below k, which depends on these markers through their
    weight, first and second moment alone; no Jacobian is formed.
    """
    frames, joints = heads.shape[:2]
    center = np.einsum("fm,fmi->fi", weights, at) / np.maximum(weights.sum(axis=1), 1e-30)[:, None]
    x, h = at - center[:, None], heads - center[:, None]
    below = tree.above[:, tree.carriers].astype(np.float64)  # (N, M)
    wx = weights[..., None] * x
    wr = weights[..., None] * errors
    outer = (wx[..., :, None] * x[..., None, :]).reshape(frames, -1, 9)
    zeroth = weights @ below.T
    first = below @ wx
    second = (below @ outer).reshape(frames, joints, 3, 3)
    force = below @ wr
    torque = below @ np.cross(x, wr) - np.cross(h, force)

    frame_axes = np.broadcast_to(np.eye(3), (frames, joints, 3, 3)).copy()
    inner = np.flatnonzero(tree.parents >= 0)
    frame_axes[:, inner] = delta[:, tree.parents[inner]]
    frame_axes *= tree.shares[:, None, None]

    j, k = np.nonzero(tree.above)
    s0, s1, s2 = zeroth[:, k, None], first[:, k], second[:, k]
    hj, hk = h[:, j], h[:, k]
    dots = np.trace(s2, axis1=-2, axis2=-1) - np.sum((hj + hk) * s1, axis=-1) + s0[..., 0] * np.sum(hj * hk, axis=-1)
    arm = s1 - s0 * hj
    block = hk[..., :, None] * arm[..., None, :] + (s1[..., :, None] * hj[..., None, :]) - s2
    block[..., [0, 1, 2], [0, 1, 2]] += dots[..., None]
    # so far [a]ᵀ[b] = (a·b) 1 - b aᵀ with a = x - hⱼ, b = x - hₖ
    block = np.swapaxes(frame_axes[:, j], -1, -2) @ block @ frame_axes[:, k]
    full = np.zeros((frames, joints, joints, 3, 3))
    full[:, j, k] = block
    full[:, k, j] = np.swapaxes(block, -1, -2)

    places = len(tree.movers)
    lever = first - zeroth[..., None] * h  # Σ w (x - hₖ) over the markers below k
    move_axes = np.broadcast_to(np.eye(3), (frames, places, 3, 3)).copy()
    hung = tree.parents[tree.movers] >= 0
    move_axes[:, hung] = delta[:, tree.parents[tree.movers[hung]]]
    cross = np.zeros((frames, places, joints, 3, 3))
    for place, top in enumerate(tree.movers):
        axes = np.swapaxes(move_axes[:, place], -1, -2)[:, None]
        under = np.flatnonzero(tree.above[top])
        cross[:, place, under] = -axes @ rotations.skew(lever[:, under]) @ frame_axes[:, under]
        over = np.flatnonzero(tree.above[:, top] & (np.arange(joints) != top))
        arms = first[:, top, None] - zeroth[:, top, None, None] * h[:, over]
        cross[:, place, over] = -axes @ rotations.skew(arms) @ frame_axes[:, over]
    local_torque = np.einsum("fnji,fnj->fni", frame_axes, torque)

    if joints > tree.turns:
        share = np.zeros((tree.turns, joints))
        share[tree.owners, np.arange(joints)] = 1.0
        half = (share @ full.reshape(frames, joints, -1)).reshape(frames, tree.turns, joints, 9)
        full = (share @ half).reshape(frames, tree.turns, tree.turns, 3, 3)
        cross = (share @ cross.reshape(frames, places, joints, 9)).reshape(frames, places, tree.turns, 3, 3)
        local_torque = share @ local_torque
    else:
        order = np.argsort(tree.owners)
        full, cross, local_torque = full[:, order][:, :, order], cross[:, :, order], local_torque[:, order]

    size = 3 * tree.turns
    hessian = np.zeros((frames, size + 3 * places, size + 3 * places))
    hessian[:, :size, :size] = np.swapaxes(full, 2, 3).reshape(frames, size, size)
    coupling = np.swapaxes(cross, 2, 3).reshape(frames, 3 * places, size)
    hessian[:, size:, :size] = coupling
    hessian[:, :size, size:] = np.swapaxes(coupling, 1, 2)
    for i, upper in enumerate(tree.movers):
        for other, lower in enumerate(tree.movers):
            if tree.above[upper, lower]:
                moved = np.swapaxes(move_axes[:, i], -1, -2) @ move_axes[:, other] * zeroth[:, lower, None, None]
                rows, columns = slice(size + 3 * i, size + 3 * i + 3), slice(size + 3 * other, size + 3 * other + 3)
                hessian[:, rows, columns] = moved
                hessian[:, columns, rows] = np.swapaxes(moved, -1, -2)
    pull = np.einsum("ftji,ftj->fti", move_axes, force[:, tree.movers])
    gradient = np.concatenate([local_torque.reshape(frames, -1), pull.reshape(frames, -1)], axis=-1)
    return hessian, gradient


def _solve_in_time(blocks: Array, right: Array, coupling: Array, damping: float) -> Array:
    """Solve the block-tridiagonal system of all frames (block Thomas algorithm).

    Args:
        blocks: (F, U, U) symmetric, what each frame adds by itself.
        right: (F, U).
        coupling: (U,) weight of the squared difference between neighbouring frames.
        damping: Levenberg-Marquardt, relative to the diagonal.
    """
    frames, size = right.shape
    neighbours = np.full(frames, 2.0)
    neighbours[[0, -1]] = 1.0 if frames > 1 else 0.0
    diagonal = np.arange(size)
    blocks = blocks.copy()
    blocks[:, diagonal, diagonal] *= 1 + damping
    blocks[:, diagonal, diagonal] += neighbours[:, None] * coupling
    inverse = np.empty_like(blocks)
    reduced = right.copy()
    for frame in range(frames):
        block = blocks[frame]
        if frame:
            block = block - coupling[:, None] * inverse[frame - 1] * coupling
            reduced[frame] += coupling * (inverse[frame - 1] @ reduced[frame - 1])
        inverse[frame] = _inverse(block)
    solution = np.empty_like(right)
    for frame in range(frames - 1, -1, -1):
        ahead = coupling * solution[frame + 1] if frame + 1 < frames else 0.0
        solution[frame] = inverse[frame] @ (reduced[frame] + ahead)
    return solution


def _inverse(block: Array) -> Array:
    """Inverse of a symmetric positive matrix, by Cholesky; by LU where rounding has made it indefinite."""
    factor, failed = dpotrf(block, lower=1)
    if failed:
        return np.asarray(np.linalg.inv(block), np.float64)
    lower, _ = dpotri(factor, lower=1)
    whole: Array = lower + lower.T  # above the diagonal, ``dpotrf`` leaves zeros
    np.fill_diagonal(whole, lower.diagonal())
    return whole


def _pose(skeleton: Skeleton, tree: _Tree, turns: Array, places: Array) -> Pose:
    """Local transforms of all joints from turns in rest axes."""
    own = rotations.from_rotation_vector(rotations.to_rotation_vector(turns[:, tree.owners]) * tree.shares[:, None])
    parents = skeleton.parents[tree.joints]
    linear = np.where((parents >= 0)[:, None, None], skeleton.rest_globals[parents][:, :3, :3], np.eye(3))
    u, _, vt = np.linalg.svd(linear)
    axes = u @ vt  # a mirrored parent keeps its reflection: conjugation by it is still a rotation
    local = np.swapaxes(axes, -1, -2) @ rotations.to_matrix(own) @ axes
    pose = skeleton.posed(rotations=np.repeat(skeleton.rest.rotations[None], len(turns), axis=0))
    turned = rotations.multiply(rotations.from_matrix(local), skeleton.rest.rotations[tree.joints])
    pose.rotations[:, tree.joints] = rotations.normalise(turned)
    for place, top in enumerate(tree.movers):
        joint, parent = int(tree.joints[top]), int(parents[top])
        # the rest of the tree turns with the parent, so a head's rest place plus its offset is what the parent sees
        at = places[:, place] + (tree.heads[top] if tree.parents[top] >= 0 else 0.0)
        above = skeleton.rest_globals[parent] if parent >= 0 else np.eye(4)
        pose.translations[:, joint] = np.linalg.solve(above[:3, :3], (at - above[:3, 3]).T).T
    return Pose(pose.translations, rotations.make_continuous(pose.rotations), pose.scales)
