"""Temporal consistency of decoded markers, before triangulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from animax.views.pose_map import Observations

Array = NDArray[np.float64]

JUMP = 0.06
"""Displacement between neighbouring frames, in frame widths, above which there-and-back is taken for a mistake."""
DOUBT = 0.05
"""Factor on the confidence of a rejected observation: it still counts where no other view sees the marker."""


def reject_jumps(observations: Observations, frame: int) -> Observations:
    """Lower the confidence of single-frame jumps.

    A marker jumps at a frame when it is more than ``JUMP`` away from both neighbouring frames while these are less than
    half as far from one another; at the first and last frame, when it is that far from where the next two put it.

    Args:
        observations: points (V, F, M, 2), see ``Observations``.
        frame: width and height of the image that the points refer to, pixels.
    """
    points, confidence = observations.points, observations.confidence
    if points.shape[1] < 3:
        return observations
    seen = np.where(confidence[..., None] > 0, points, np.nan) / frame
    step = np.linalg.norm(np.diff(seen, axis=1), axis=-1)
    across = np.linalg.norm(seen[:, 2:] - seen[:, :-2], axis=-1)
    leap = np.minimum(step[:, :-1], step[:, 1:])
    jumps = np.zeros(confidence.shape, bool)
    jumps[:, 1:-1] = (leap > JUMP) & (across < leap / 2)
    for end, near, far in ((0, 1, 2), (-1, -2, -3)):
        miss = np.linalg.norm(seen[:, end] - (2 * seen[:, near] - seen[:, far]), axis=-1)
        leap = np.linalg.norm(seen[:, end] - seen[:, near], axis=-1)
        calm = np.linalg.norm(seen[:, near] - seen[:, far], axis=-1) < leap / 2
        jumps[:, end] = (miss > JUMP) & (leap > JUMP) & calm & ~jumps[:, near]
    return replace(observations, confidence=np.where(jumps, DOUBT * confidence, confidence))
