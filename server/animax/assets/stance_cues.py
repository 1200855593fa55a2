"""Cues to the way a rig faces, from names, symmetry and shape.

Every cue is a number for each of four candidate directions; the four are quarter turns of one another, and turning the
rig by a quarter turn moves the numbers along. So no cue prefers an axis of the file.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from animax.assets import joint_names as names_of
from animax.assets.mesh import Mesh
from animax.assets.skeleton import Skeleton

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

CANDIDATES: Array = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [-1.0, 0.0, 0.0]])
"""Forward, in a frame whose y axis is up: +Z, then quarter turns about +Y by the right-hand rule."""
SURFACE_SAMPLES = 3000
TREE_POINTS = 20_000
MIRRORED_POINTS = 1500

CUES = (
    "symmetry",
    "joint_symmetry",
    "sides",
    "head_to_tail",
    "face",
    "front_legs",
    "toes",
    "top",
    "detail",
    "head_detail",
    "mass",
    "higher_end",
    "thicker_end",
    "wider_end",
    "joint_end",
)


def stance_cues(
    skeleton: Skeleton, mesh: Mesh, axes: Array, *, use_names: bool = True, vertices: Array | None = None
) -> Array:
    """The cues of a rig.

    Args:
        skeleton: of the rig.
        mesh: of the rig.
        axes: (3, 3), rows are the x, y (up) and z axes of the frame in which ``CANDIDATES`` are given, in file space.
        use_names: whether to read joint names.
        vertices: (N, 3) of the rest pose in file space, where they are at hand.

    Returns:
        (4, K) numbers of the order of one, 0 where a cue has nothing to say; columns as in ``CUES``.
    """
    globals_ = skeleton.rest_globals
    heads = globals_[:, :3, 3] @ axes.T
    vertices = (mesh.skin(globals_) if vertices is None else vertices) @ axes.T
    weights = mesh.joint_weights(len(skeleton))
    names = skeleton.names if use_names else ("",) * len(skeleton)
    body = _Body(heads, vertices, mesh.triangles, weights, names, skeleton)
    rows = []
    for forward in CANDIDATES:
        left = np.cross([0.0, 1.0, 0.0], forward)
        rows.append([*body.symmetries(forward, left), *body.named(forward, left), *body.shape(forward, left)])
    return np.array(rows)


class _Body:
    """A rest pose in the frame of the candidates, and what the cues share."""

    def __init__(
        self,
        heads: Array,
        vertices: Array,
        triangles: IntArray,
        weights: Array,
        names: tuple[str, ...],
        skeleton: Skeleton,
    ) -> None:
        points = vertices if len(vertices) else heads
        self.low, self.high = points.min(axis=0), points.max(axis=0)
        self.diagonal = float(np.linalg.norm(self.high - self.low))
        self.height = max(float(self.high[1] - self.low[1]), 1e-3 * self.diagonal)
        self.heads, self.vertices = heads, points
        self.deforming = heads[weights > 1e-4 * weights.sum()] if weights.sum() > 0 else heads
        self.surface = surface_samples(vertices, triangles) if len(triangles) else points
        self.center = self.surface.mean(axis=0)
        self.lift = (self.surface[:, 1] - self.low[1]) / self.height
        self._symmetry = {axis: self._asymmetry(self.vertices, axis) for axis in (0, 2)}
        self._joint_symmetry = {axis: self._asymmetry(self.deforming, axis) for axis in (0, 2)}
        self._sides = self._side_direction(names)
        self._named = self._named_directions(names, weights, skeleton)

    def symmetries(self, forward: Array, left: Array) -> list[float]:
        """How much more symmetric left and right are than front and back, over vertices and over joints."""
        front, side = int(np.argmax(np.abs(forward))), int(np.argmax(np.abs(left)))
        errors = (self._symmetry, self._joint_symmetry)
        return [float(np.clip(np.log((e[front] + 1e-3) / (e[side] + 1e-3)), -3, 3)) for e in errors]

    def named(self, forward: Array, left: Array) -> list[float]:
        """Left minus right; head minus tail; face minus skull; front minus hind legs; foot to toe."""
        return [float(self._sides @ left), *(float(np.clip(v @ forward, -1, 1)) for v in self._named)]

    def shape(self, forward: Array, left: Array) -> list[float]:
        """Cues that need no names: where the top, the detail (vertices per area), the detail of the head, and the mass
        lie; which end is higher, thicker, wider, and holds more joints."""
        along = self.surface @ forward
        first, last = along.min(), along.max()
        u = (along - first) / max(last - first, 1e-9)
        skull = self.vertices[:, 1] > self.low[1] + 0.75 * self.height
        place, reach = self.deforming @ forward, 0.05 * self.diagonal
        foremost = self.deforming[place >= place.max() - reach].mean(axis=0)
        hindmost = self.deforming[place <= place.min() + reach].mean(axis=0)
        ahead = np.sum(place > first + 0.6 * (last - first))
        behind = np.sum(place < first + 0.4 * (last - first))
        lifted = (foremost - hindmost)[1] / self.diagonal + 0.1 * (np.log1p(ahead) - np.log1p(behind))

        def apart(a: Array, b: Array, gain: float) -> float:
            if len(a) < 4 or len(b) < 4:
                return 0.0
            return float(np.clip((a.mean(axis=0) - b.mean(axis=0)) @ forward / self.diagonal * gain, -1, 1))

        def spread(part: Array, *across: Array) -> float:
            return (
                float(np.log(sum(np.std(part @ axis) for axis in across) + 0.01 * self.diagonal)) if len(part) else 0.0
            )

        front, back = self.surface[u > 0.78], self.surface[u < 0.22]
        up = np.array([0.0, 1.0, 0.0])
        higher = 0.0
        if len(front) and len(back):
            higher = float(np.clip((front.mean(axis=0) - back.mean(axis=0)) @ up / self.diagonal * 4, -1, 1))
        middle = (self.low + self.high) / 2
        return [
            apart(self.surface[self.lift > 0.88], self.surface, 5),
            apart(self.vertices, self.surface, 20),
            apart(self.vertices[skull], self.surface[self.lift > 0.75], 20),
            float(np.clip((self.center - middle) @ forward / self.diagonal * 10, -1, 1)),
            higher,
            float(np.clip(spread(front, up, left) - spread(back, up, left), -1.5, 1.5)),
            float(np.clip(spread(front, left) - spread(back, left), -1.5, 1.5)),
            float(np.clip(lifted * 4, -1, 1)),
        ]

    def _asymmetry(self, points: Array, axis: int) -> float:
        """Root mean square distance of mirrored points from the nearest point, in diagonals; the best of two planes."""
        if len(points) < 3:
            return 1.0
        tree = cKDTree(thinned(points, TREE_POINTS))
        shown = thinned(points, MIRRORED_POINTS)
        best = 1.0
        for plane in (np.median(points[:, axis]), (points[:, axis].min() + points[:, axis].max()) / 2):
            mirrored = shown.copy()
            mirrored[:, axis] = 2 * plane - mirrored[:, axis]
            distance, _ = tree.query(mirrored, distance_upper_bound=self.diagonal)
            distance = np.minimum(distance, self.diagonal)
            best = min(best, float(np.sqrt(np.mean(distance**2))) / self.diagonal)
        return best

    def _side_direction(self, names: tuple[str, ...]) -> Array:
        """Mean of (left - right) over pairs of joints, of length 1 where all agree."""
        arms = np.array([self.heads[a] - self.heads[b] for a, b in names_of.pairs(names)]).reshape(-1, 3)
        arms[:, 1] = 0.0
        total = np.linalg.norm(arms, axis=-1).sum()
        return arms.sum(axis=0) / total if total > 1e-3 * self.diagonal else np.zeros(3)

    def _named_directions(self, names: tuple[str, ...], weights: Array, skeleton: Skeleton) -> list[Array]:
        def mean(joints: list[int]) -> Array:
            return np.asarray(self.heads[joints].mean(axis=0))

        head, tail = names_of.group(names, names_of.HEAD), names_of.group(names, names_of.TAIL)
        face, skull = names_of.group(names, names_of.FACE), names_of.group(names, names_of.SKULL)
        fore, hind = names_of.group(names, names_of.FRONT), names_of.group(names, names_of.HIND)
        trunk = weights @ self.heads / weights.sum() if weights.sum() > 0 else self.heads.mean(axis=0)
        axis, gaze, legs = np.zeros((3, 3))
        if head or tail:
            axis = ((mean(head) if head else trunk) - (mean(tail) if tail else trunk)) / self.diagonal * 4
        if face and skull:
            gaze = (mean(face) - self.heads[skull[0]]) * [1, 0, 1]
            gaze /= max(float(np.linalg.norm(gaze)), 0.02 * self.diagonal)
        if fore and hind:
            legs = (mean(fore) - mean(hind)) / self.diagonal * 3
        links = [(joint, int(skeleton.parents[joint])) for joint in names_of.group(names, names_of.TOE)]
        toes = self._common_direction([(joint, parent) for joint, parent in links if parent >= 0])
        return [axis, gaze, legs, toes]

    def _common_direction(self, links: list[tuple[int, int]]) -> Array:
        """Horizontal mean of (joint - parent), of length 1 where all agree."""
        arms = np.array([self.heads[joint] - self.heads[parent] for joint, parent in links]).reshape(-1, 3)
        arms[:, 1] = 0.0
        total = np.linalg.norm(arms, axis=-1).sum()
        return arms.sum(axis=0) / total if total > 1e-3 * self.diagonal else np.zeros(3)


def thinned(points: Array, count: int) -> Array:
    """At most ``count`` of the points (N, 3), evenly over their order."""
    if len(points) <= count:
        return points
    return points[np.linspace(0, len(points) - 1, count).astype(np.int64)]


def surface_samples(vertices: Array, triangles: IntArray, count: int = SURFACE_SAMPLES) -> Array:
    """Points (count, 3) spread evenly over the area of triangles: a low-discrepancy sequence, so always the same."""
    a, b, c = (vertices[triangles[:, corner]] for corner in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=-1)
    total = area.sum()
    if not total > 0:
        return thinned(vertices, count)
    i = np.arange(count)
    # R2 sequence (Roberts): the plane's analogue of the golden ratio
    s, t = (0.5 + i * 0.7548776662466927) % 1.0, (0.5 + i * 0.5698402909980532) % 1.0
    chosen = np.minimum(np.searchsorted(np.cumsum(area) / total, (i + 0.5) / count), len(triangles) - 1)
    fold = s + t > 1
    s, t = np.where(fold, 1 - s, s)[:, None], np.where(fold, 1 - t, t)[:, None]
    return np.asarray((1 - s - t) * a[chosen] + s * b[chosen] + t * c[chosen])
