"""Is the motion the one that was asked for? Clip retrieval among the real clips of the same rig (measure C0).

A clip is generated from the caption of each real clip; the nearest real clip of that rig should be the one named.
Nearest under a distance that forgives where in a cycle a motion starts and how fast it goes, within a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Track:
    """Markers over time.

    Attributes:
        points: (F, M, 3) in the rig's body frame.
        loop: the frame after the last equals the first.
    """

    points: Array
    loop: bool = False

    def unrolled(self, frames: int) -> Array:
        """The points, a loop repeated until it holds ``frames`` and one more cycle."""
        if not self.loop:
            return self.points
        repeats = 2 + frames // len(self.points)
        return np.concatenate([self.points] * repeats)[: frames + len(self.points)]


def clip_distance(made: Array, real: Track) -> float:
    """Mean marker distance (body-frame units) along the best alignment of ``made`` (F, M, 3) with a stretch of
    ``real``.

    Subsequence dynamic time warping with steps (1, 1), (1, 2) and (2, 1): the start and end in ``real`` are free,
    speed may differ up to twofold. A real clip that is too short is held at its end.
    """
    reference = real.unrolled(2 * len(made))
    if len(reference) < len(made):
        reference = np.concatenate([reference, np.repeat(reference[-1:], len(made) - len(reference), axis=0)])
    a = made.reshape(len(made), -1, 3)
    cost = np.empty((len(a), len(reference)))
    for i, frame in enumerate(a):
        cost[i] = np.linalg.norm(reference - frame, axis=-1).mean(axis=-1)
    # total[i, j]: least cost of made[: i + 1] ending on reference j; every made frame is counted once
    total = np.full(cost.shape, np.inf)
    total[0] = cost[0]
    for i in range(1, len(cost)):
        best = np.full(cost.shape[1], np.inf)
        best[1:] = total[i - 1, :-1]
        best[2:] = np.minimum(best[2:], total[i - 1, :-2])
        if i >= 2:
            best[1:] = np.minimum(best[1:], total[i - 2, :-1] + cost[i - 1, 1:])
        total[i] = best + cost[i]
    least = float(total[-1].min())
    return least / len(cost) if np.isfinite(least) else float("inf")


def rank_of(made: Array, real: list[Track], wanted: int) -> int:
    """Place of the ``wanted`` real clip when all are ordered by distance from ``made``; 0 is nearest."""
    distances = np.array([clip_distance(made, track) for track in real])
    return int(np.sum(distances < distances[wanted]))
