"""A rig: skeleton, mesh and the document they came from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from animax.assets.mesh import Mesh
from animax.assets.skeleton import Skeleton

if TYPE_CHECKING:
    from animax.assets.document import Document

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Stance:
    """How a rig stands in its file's space.

    Attributes:
        forward: (3,) unit, the way it faces; perpendicular to ``up``.
        up: (3,) unit.
        confidence: 0 (a guess) to 1 (certain, or given by the user).
        source: where ``forward`` comes from.
        scale: metres per file unit that the estimate thinks right; 1 when the file's size is plausible. For reports
            only: nothing is rescaled.
    """

    forward: Array
    up: Array
    confidence: float
    source: Literal["override", "estimated", "default"]
    scale: float = 1.0

    @property
    def right(self) -> Array:
        """(3,) unit: the rig's own left-to-right axis seen from behind, forward × up."""
        return np.cross(self.forward, self.up)

    @property
    def axes(self) -> Array:
        """(3, 3) unit rows: the rig's left, up and forward."""
        return np.stack([np.cross(self.up, self.forward), self.up, self.forward])


@dataclass(frozen=True, eq=False)
class Rig:
    """A rigged mesh, in the space and units of its file.

    Attributes:
        name: for people; from the file name or the scene.
        sha256: hex digest of the file's bytes: the rig's identity on the wire.
        skeleton: see ``Skeleton``.
        mesh: see ``Mesh``.
        joint_nodes: (J,) glTF node index of every joint.
        stance: facing, up and plausible scale.
        document: the source, kept whole so that a writer adds an animation and changes nothing else.
        warnings: what was odd in the file and how it was read, one sentence each.
    """

    name: str
    sha256: str
    skeleton: Skeleton
    mesh: Mesh
    joint_nodes: IntArray
    stance: Stance
    document: Document
    warnings: tuple[str, ...] = ()

    @cached_property
    def deforming(self) -> IntArray:
        """Indices of the joints that move vertices: those with more than a ten-thousandth of all skin weight."""
        weights = self.mesh.joint_weights(len(self.skeleton))
        return np.flatnonzero(weights > 1e-4 * max(float(weights.sum()), 1e-12))

    @cached_property
    def rest_vertices(self) -> Array:
        """(N, 3) skinned vertices of the rest pose, world space."""
        return self.mesh.skin(self.skeleton.rest_globals)

    @cached_property
    def rest_box(self) -> tuple[Array, Array]:
        """Corners (3,) and (3,) of the rest pose's bounding box over vertices and deforming joints."""
        points = self.rest_vertices
        if not len(points):
            points = self.skeleton.rest_globals[:, :3, 3]
        return points.min(axis=0), points.max(axis=0)

    @cached_property
    def size(self) -> float:
        """Diagonal of ``rest_box``: the D by which all errors are divided."""
        low, high = self.rest_box
        return float(np.linalg.norm(high - low))

    def to_body(self, points: Array) -> Array:
        """World points (..., 3) in the body frame: from the middle of ``rest_box``, along ``Stance.axes``, in half
        sizes."""
        low, high = self.rest_box
        return (points - (low + high) / 2) @ self.stance.axes.T / (self.size / 2)

    def moves_from_body(self, moves: Array) -> Array:
        """Differences (..., 3) between points of the body frame, in world space."""
        return moves @ self.stance.axes * (self.size / 2)
