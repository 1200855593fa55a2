"""How a rig stands: which way is up, which way it faces, and how large it is likely to be."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from animax.assets.mesh import Mesh
from animax.assets.rig import Stance
from animax.assets.skeleton import Skeleton


def estimate_stance(
    skeleton: Skeleton,
    mesh: Mesh,
    *,
    facing: str | float | ArrayLike | None = None,
    up: str | ArrayLike | None = None,
) -> Stance:
    """Facing, up and plausible scale."""
    return Stance(np.array([0.0, 0.0, 1.0]), np.array([0.0, 1.0, 0.0]), 0.0, "default")
