"""Fewer keys for the same motion."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from animax import rotations

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

ANGLE_TOLERANCE = 5e-3
"""Radians by which interpolation between kept keys may miss a rotation."""


def kept_frames(turns: Array, shifts: Array, shift_tolerance: float) -> IntArray:
    """Frames from which linear interpolation restores the others, first and last among them (Douglas-Peucker).

    One set of frames serves all bones, so that a file stores their times once.

    Args:
        turns: (F, J, 4) quaternions, sign-continuous.
        shifts: (F, J, 3) metres.
        shift_tolerance: metres by which a restored shift may miss.
    """
    kept = {0, len(turns) - 1}
    spans = [(0, len(turns) - 1)]
    while spans:
        start, end = spans.pop()
        if end - start < 2:
            continue
        share = (np.arange(start + 1, end) - start) / (end - start)
        angles = rotations.between(
            rotations.slerp(turns[start][None], turns[end][None], share[:, None]), turns[start + 1 : end]
        )
        line = shifts[start] + share[:, None, None] * (shifts[end] - shifts[start])
        offsets = np.linalg.norm(line - shifts[start + 1 : end], axis=-1)
        # rounded, so that ties between the two sides of a body break alike on every machine
        error = np.round(np.maximum(angles / ANGLE_TOLERANCE, offsets / shift_tolerance).max(axis=-1), 4)
        if error.max() > 1:
            middle = start + 1 + int(np.argmax(error))
            kept.add(middle)
            spans += [(start, middle), (middle, end)]
    return np.array(sorted(kept))
