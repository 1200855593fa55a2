"""The surface of a rig: one vertex soup, bound to joints, with linear-blend skinning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Material:
    """What the template renderer needs of a glTF material.

    Attributes:
        name: as in the file.
        base_color: (4,) linear RGBA factor.
        texture: (H, W, 3) uint8 sRGB image, or None (no texture, or one in a format that falls back to the factor).
        double_sided: draw back faces too.
    """

    name: str
    base_color: Array
    texture: NDArray[np.uint8] | None = None
    double_sided: bool = False


@dataclass(frozen=True, eq=False)
class Mesh:
    """All triangles of a rig. A vertex is a weighted sum over *bindings*, a binding being a joint and the matrix that
    takes the vertex from its own mesh space to that joint's space (inverse bind matrix). Rigid parts have one binding.

    Attributes:
        positions: (N, 3) in mesh space.
        normals: (N, 3) unit, in mesh space.
        texcoords: (N, 2) of the base colour texture.
        colors: (N, 4) linear RGBA vertex colours, white where the file has none.
        triangles: (T, 3) vertex indices.
        triangle_materials: (T,) index into ``materials``.
        bindings: (N, 4) index into ``binding_joints``.
        weights: (N, 4), rows sum to one.
        binding_joints: (B,) joint index.
        inverse_binds: (B, 4, 4).
        materials: at least one.
    """

    positions: Array
    normals: Array
    texcoords: Array
    colors: Array
    triangles: IntArray
    triangle_materials: IntArray
    bindings: IntArray
    weights: Array
    binding_joints: IntArray
    inverse_binds: Array
    materials: tuple[Material, ...]

    def skin(self, globals_: Array) -> Array:
        """Vertex positions (..., N, 3) in world space for joint matrices (..., J, 4, 4): linear-blend skinning."""
        matrices = (globals_[..., self.binding_joints, :, :] @ self.inverse_binds)[..., :3, :]
        out = np.zeros((*globals_.shape[:-3], len(self.positions), 3))
        for slot in range(self.bindings.shape[1]):
            weight = self.weights[:, slot]
            used = np.flatnonzero(weight)
            if not len(used):
                continue
            m = matrices[..., self.bindings[used, slot], :, :]
            moved = np.einsum("...nij,nj->...ni", m[..., :3], self.positions[used]) + m[..., 3]
            out[..., used, :] += weight[used, None] * moved
        return out

    def joint_weights(self, joints: int) -> Array:
        """Total skin weight (J,) that each of ``joints`` joints carries."""
        total = np.zeros(joints)
        np.add.at(total, self.binding_joints[self.bindings], self.weights)
        return total
