"""Markers seen in several views to points in space.

A weighted linear (DLT) solution starts a Gauss-Newton descent on the soft-L1 reprojection error, all points at once;
views that contradict the others are dropped.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from animax.errors import GenerationError
from animax.views.camera import Cameras
from animax.views.pose_map import Observations

Array = NDArray[np.float64]

SCALE_FLOOR = 5e-4
"""Least reprojection error, in frame widths, at which the soft-L1 loss turns from square to linear."""
OUTLIER = 6.0
"""A view contradicts the others when its reprojection error exceeds this many typical ones."""
LEAST_PACE = 0.02
"""Distance a frame that an unseen marker may have gone, at the least, in standard deviations of all points."""


@dataclass(frozen=True, eq=False)
class Points:
    """Markers in space.

    Attributes:
        points: (F, M, 3) world space, file units. Always finite: points that fewer than two views see are interpolated
            in time; a marker that is never seen stands at the mean of the others.
        confidence: (F, M) in [0, 1]; 0 where fewer than two views see the point. Interpolation is not evidence: a body
            that leaves the views while moving is not where it was last seen.
        residual: (F, M) root mean square reprojection error over the views used, pixels; 0 where interpolated.
        sigma: (F, M) standard error of a coordinate, file units: the reprojection error carried over by the geometry of
            the views; where interpolated, how far the marker may have gone meanwhile.
    """

    points: Array
    confidence: Array
    residual: Array
    sigma: Array


def triangulate(cameras: Cameras, observations: Observations, *, iterations: int = 6) -> Points:
    """Points of all frames and markers from their observations.

    Args:
        cameras: V views.
        observations: points (V, F, M, 2) in the cameras' pixels, confidence (V, F, M).
        iterations: Gauss-Newton steps.

    Raises:
        GenerationError: fewer than two views, or no marker is seen by two views in any frame.
    """
    views, frames, markers = observations.confidence.shape
    if views < 2 or len(cameras) != views:
        raise GenerationError(
            f"{views} observed views for {len(cameras)} cameras; accepted: at least 2 for as many cameras"
        )
    pixels = observations.points.reshape(views, -1, 2)
    finite = np.all(np.isfinite(pixels), axis=-1)
    pixels = np.where(finite[..., None], pixels, 0.0)
    weights = np.where(finite, np.clip(observations.confidence.reshape(views, -1), 0.0, 1.0), 0.0)
    usable = np.sum(weights > 0, axis=0) >= 2
    if not np.any(usable):
        raise GenerationError("no marker is seen by two views in any frame; accepted: at least one")

    found = np.flatnonzero(usable)
    solved, kept = _robust(cameras, pixels[:, found], weights[:, found], iterations)
    residuals, jacobian, _ = _reproject(cameras, solved, pixels[:, found])
    squares = np.sum(residuals**2, axis=-1) * (kept > 0)
    count = np.sum(kept > 0, axis=0)
    freedom = 2 * count - 3
    variance = np.sum(squares * kept, axis=0) / (np.maximum(kept.max(axis=0), 1e-9) * freedom)
    # the median of a chi-square over its freedom is below one; Wilson and Hilferty's approximation
    typical = float(np.median(variance / (1 - 2 / (9 * freedom)) ** 3))
    relative = kept / np.maximum(kept.max(axis=0), 1e-9)
    information = np.einsum("vn,vnki,vnkj->nij", relative, jacobian, jacobian)
    information += 1e-12 * np.trace(information, axis1=-2, axis2=-1)[:, None, None] * np.eye(3)
    spread = np.sqrt(np.trace(np.linalg.inv(information), axis1=-2, axis2=-1) / 3)

    total = frames * markers
    points = np.full((total, 3), np.nan)
    confidence, residual, sigma = np.zeros(total), np.zeros(total), np.zeros(total)
    points[found] = solved
    residual[found] = np.sqrt(np.sum(squares, axis=0) / (2 * count))
    excess = variance / max(OUTLIER**2 * typical, (SCALE_FLOOR * cameras.size) ** 2)
    confidence[found] = np.sum(kept, axis=0) / count / np.maximum(1.0, excess)
    sigma[found] = np.sqrt(typical) * spread
    shape = (frames, markers)
    return _fill_gaps(
        Points(points.reshape(*shape, 3), confidence.reshape(shape), residual.reshape(shape), sigma.reshape(shape))
    )


def _robust(cameras: Cameras, pixels: Array, weights: Array, iterations: int) -> tuple[Array, Array]:
    """Points (N, 3) and the weights (V, N) with which each view was used."""
    points = _descend(cameras, _linear(cameras, pixels, weights), pixels, weights, iterations)
    error = _errors(cameras, points, pixels)
    seen = weights > 0
    scale = max(1.4826 * float(np.median(error[seen])), SCALE_FLOOR * cameras.size)
    doubtful = np.flatnonzero(np.any(seen & (error > OUTLIER * scale), axis=0) & (np.sum(seen, axis=0) > 2))
    weights = weights.copy()
    views = len(pixels)
    for dropped in (1, 2):
        if not len(doubtful) or views - dropped < 2:
            break
        best_error, best_points = np.full(len(doubtful), np.inf), points[doubtful]
        best_weights = weights[:, doubtful]
        for out in combinations(range(views), dropped):
            trial = weights[:, doubtful].copy()
            trial[list(out)] = 0.0
            enough = np.sum(trial > 0, axis=0) >= 2
            trial = np.where(enough, trial, weights[:, doubtful])
            start = _linear(cameras, pixels[:, doubtful], trial)
            candidate = _descend(cameras, start, pixels[:, doubtful], trial, iterations)
            worst = np.max(np.where(trial > 0, _errors(cameras, candidate, pixels[:, doubtful]), 0.0), axis=0)
            # what is left must agree, and a view of little confidence is the likelier culprit
            worst = np.where(enough, worst * np.sqrt(1e-3 + weights[list(out)][:, doubtful].max(axis=0)), np.inf)
            better = worst < best_error
            best_error = np.where(better, worst, best_error)
            best_points = np.where(better[:, None], candidate, best_points)
            best_weights = np.where(better, trial, best_weights)
        agreed = best_error <= OUTLIER * scale
        chosen = doubtful[agreed]
        points[chosen], weights[:, chosen] = best_points[agreed], best_weights[:, agreed]
        doubtful = doubtful[~agreed]
        doubtful = doubtful[np.sum(weights[:, doubtful] > 0, axis=0) > 3]
    return points, weights


def _linear(cameras: Cameras, pixels: Array, weights: Array) -> Array:
    """Weighted DLT: rows (x p₃ - p₁) · (X, 1) = 0, each divided by its depth in a second pass."""
    center = np.mean(cameras.centers, axis=0)
    m = cameras.matrices.copy()
    m[:, :, 3] += m[:, :, :3] @ center
    rows = pixels[..., None] * m[:, None, 2:3, :] - m[:, None, :2, :]
    scale = weights / np.linalg.norm(m[:, 2, :3], axis=-1)[:, None]
    points = np.zeros((pixels.shape[1], 3))
    for _ in range(2):
        a = rows * scale[..., None, None]
        normal = np.einsum("vnki,vnkj->nij", a[..., :3], a[..., :3])
        right = -np.einsum("vnki,vnk->ni", a[..., :3], a[..., 3])
        points = _solve(normal, right)
        depth = np.einsum("vi,ni->vn", m[:, 2, :3], points) + m[:, 2, 3, None]
        scale = weights / np.maximum(np.abs(depth), 1e-9 * np.abs(depth).max())
    shifted: Array = points + center
    return shifted


def _descend(cameras: Cameras, points: Array, pixels: Array, weights: Array, iterations: int) -> Array:
    """Gauss-Newton on Σ weight · softL1(reprojection error), iteratively reweighted."""
    seen = weights > 0
    # a hundred-thousandth of a pixel at the points' distance
    distance = float(np.linalg.norm(cameras.centers - points.mean(axis=0), axis=-1).mean())
    tolerance = 1e-5 * distance / float(cameras.intrinsics[:, 0, 0].mean())
    for _ in range(iterations):
        residuals, jacobian, _ = _reproject(cameras, points, pixels)
        error = np.linalg.norm(residuals, axis=-1)
        scale = max(3 * float(np.median(error[seen])), SCALE_FLOOR * cameras.size)
        w = weights / np.sqrt(1 + (error / scale) ** 2)
        weighted = w[..., None, None] * jacobian
        normal = np.einsum("vnki,vnkj->nij", weighted, jacobian)
        step = -_solve(normal, np.einsum("vnki,vnk->ni", weighted, residuals))
        points = points + step
        if float(np.median(np.linalg.norm(step, axis=-1))) < tolerance and float(np.abs(step).max()) < 100 * tolerance:
            break
    return points


def _reproject(cameras: Cameras, points: Array, pixels: Array) -> tuple[Array, Array, Array]:
    """Residuals (V, N, 2), their Jacobian (V, N, 2, 3) and depths (V, N)."""
    projected, depth = cameras.project(points)
    m = cameras.matrices
    safe = np.where(np.abs(depth) > 1e-9, depth, 1e-9)
    jacobian = (m[:, None, :2, :3] - projected[..., None] * m[:, None, 2:3, :3]) / safe[..., None, None]
    return projected - pixels, jacobian, depth


def _errors(cameras: Cameras, points: Array, pixels: Array) -> Array:
    """Reprojection errors (V, N), pixels."""
    error: Array = np.linalg.norm(cameras.project(points)[0] - pixels, axis=-1)
    return error


def _solve(normal: Array, right: Array) -> Array:
    """Solutions (N, 3) of damped 3 × 3 systems."""
    damping = 1e-10 * np.trace(normal, axis1=-2, axis2=-1) + 1e-300
    solution: Array = np.linalg.solve(normal + damping[:, None, None] * np.eye(3), right[..., None])[..., 0]
    return solution


def _fill_gaps(points: Points) -> Points:
    """Interpolate in time what fewer than two views saw."""
    missing = points.confidence <= 0
    if not np.any(missing):
        return points
    positions, sigma = points.points.copy(), points.sigma.copy()
    frames = np.arange(len(positions))
    middle = np.nanmean(positions.reshape(-1, 3), axis=0)
    reach = float(np.linalg.norm(np.nanstd(positions.reshape(-1, 3), axis=0)))
    for marker in np.flatnonzero(missing.any(axis=0)):
        gaps = np.flatnonzero(missing[:, marker])
        seen = np.flatnonzero(~missing[:, marker])
        if not len(seen):
            positions[:, marker] = middle
            continue
        for axis in range(3):
            positions[gaps, marker, axis] = np.interp(gaps, seen, positions[seen, marker, axis])
        away = np.abs(frames[gaps, None] - seen).min(axis=1)
        steps = np.linalg.norm(np.diff(positions[seen, marker], axis=0), axis=-1) / np.diff(seen)
        pace = max(float(np.sqrt(np.mean(steps**2))) if len(steps) else 0.0, LEAST_PACE * reach)
        sigma[gaps, marker] = np.median(sigma[seen, marker]) + pace * away
    return Points(positions, points.confidence, points.residual, sigma)
