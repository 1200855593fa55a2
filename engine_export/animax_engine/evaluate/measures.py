"""Figures of a single motion and of samples of motions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def jerk(points: Array, fps: float) -> float:
    """Mean length of the third difference of positions (F, M, 3), body-frame units / s³."""
    return float(np.linalg.norm(np.diff(points, n=3, axis=0), axis=-1).mean() * fps**3) if len(points) > 3 else 0.0


def moved(points: Array) -> float:
    """Largest range of any marker (F, M, 3), in rest diagonals (two body-frame units)."""
    return float(np.linalg.norm(np.ptp(points, axis=0), axis=-1).max() / 2)


def seam(points: Array) -> float:
    """Step from the last frame (F, M, 3) to the first, as a share of the largest step within."""
    steps = np.linalg.norm(np.diff(points, axis=0), axis=-1).mean(axis=-1)
    return float(np.linalg.norm(points[0] - points[-1], axis=-1).mean() / max(steps.max(), 1e-9))


def spread(windows: Sequence[Array]) -> float:
    """Mean distance of markers at the same frame over all pairs of windows (F, M, 3)."""
    return float(np.mean([np.linalg.norm(a - b, axis=-1).mean() for a, b in combinations(windows, 2)]))


def interval(
    groups: Sequence[Sequence[float]], statistic: Callable[[Array], float], *, resamples: int = 1000, seed: int = 0
) -> tuple[float, float]:
    """95 % interval of ``statistic`` over the pooled values, by drawing whole groups (rigs) with replacement."""
    random = np.random.default_rng(seed)
    arrays = [np.asarray(group, float) for group in groups if len(group)]
    if not arrays:
        return float("nan"), float("nan")
    drawn = [
        statistic(np.concatenate([arrays[i] for i in random.integers(len(arrays), size=len(arrays))]))
        for _ in range(resamples)
    ]
    low, high = np.percentile(drawn, [2.5, 97.5])
    return float(low), float(high)
