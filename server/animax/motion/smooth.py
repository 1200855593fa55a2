"""Smoothing of marker tracks by as much as their noise demands, and no more."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from animax.motion.triangulate import Points

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

STRENGTHS = np.concatenate([[0.0], np.logspace(-3, 4, 22)])
"""Candidate weights of the squared second difference."""
LONGEST = 240
"""Frames that are smoothed at once; longer tracks are cut into overlapping stretches."""
OVERLAP = 40


def denoise(points: Points) -> Points:
    """Smooth every marker's track, each by the strength that minimises its expected error.

    Whittaker's smoother, min |x - z|² + λ |z''|² with free ends, so that constant speed passes unchanged. λ is chosen
    per marker by Stein's unbiased risk estimate with the known noise ``points.sigma``: tracks without noise are
    returned as they are, and fast motion is blurred less than slow. ``sigma`` of the result is the estimated error
    that is left. Frames of low confidence are replaced by what the smooth track says there; frames of confidence 0 take
    no part at all, neither in the track nor in the choice of λ, and are bridged by straight lines afterwards.
    """
    frames = len(points.points)
    if frames > LONGEST:
        return _in_stretches(points)
    positions, sigma = points.points.copy(), points.sigma.copy()
    seen = points.confidence > 0
    for pattern in np.unique(seen, axis=1).T:
        times = np.flatnonzero(pattern)
        if len(times) < 4:
            continue
        alike = np.flatnonzero(np.all(seen == pattern[:, None], axis=0))
        there = np.ix_(times, alike)
        smooth, ratio = _denoised(times, points.points[there], points.confidence[there], points.sigma[there])
        positions[there] = smooth
        sigma[there] *= ratio
    return replace(points, points=_bridged(positions, seen), sigma=sigma)


def _denoised(times: IntArray, track: Array, confidence: Array, sigma: Array) -> tuple[Array, Array]:
    """Smooth tracks (T, M, 3) of markers seen at the frames ``times`` (T,), and the share (M,) of sigma left over."""
    count = len(times)
    sigma = np.median(sigma, axis=0)
    trust = np.minimum(1.0, 2 * confidence / confidence.max(axis=0))[..., None]
    roughness, basis = _second_difference_basis(tuple(times - times[0]))
    seen, smooth, left = track, _bridged(track, trust[..., 0] >= 0.5), sigma
    for _ in range(3 if np.any(trust < 1) else 1):
        track = trust * seen + (1 - trust) * smooth
        coefficients = np.einsum("ft,fmi->tmi", basis, track)
        power = np.sum(coefficients**2, axis=-1)
        shrink = 1 / (1 + STRENGTHS[:, None] * roughness)
        risk = (1 - shrink) ** 2 @ power + 3 * sigma**2 * (2 * shrink.sum(axis=1) - count)[:, None]
        chosen = np.argmin(risk, axis=0)
        kept = shrink[chosen]  # (M, T)
        smooth = np.einsum("ft,mt,tmi->fmi", basis, kept, coefficients)
        smooth = np.where((chosen == 0)[:, None], track, smooth)
        variance = sigma**2 * np.mean(kept**2, axis=1)
        left = np.sqrt(np.clip(risk[chosen, np.arange(len(chosen))] / (3 * count), variance, sigma**2))
    return smooth, left / np.maximum(sigma, 1e-300)


def _bridged(tracks: Array, trusted: NDArray[np.bool_]) -> Array:
    """Tracks (F, M, 3) with straight lines over frames that are not ``trusted`` (F, M)."""
    if np.all(trusted):
        return tracks
    out, frames = tracks.copy(), np.arange(len(tracks))
    for marker in np.flatnonzero(~trusted.all(axis=0) & trusted.any(axis=0)):
        known = np.flatnonzero(trusted[:, marker])
        for axis in range(3):
            out[:, marker, axis] = np.interp(frames, known, tracks[known, marker, axis])
    return out


@lru_cache(maxsize=64)
def _second_difference_basis(times: tuple[int, ...]) -> tuple[Array, Array]:
    """Eigenvalues (T,) and eigenvectors (T, T) of the squared second difference with free ends at T ``times``.

    Over a gap, the divided difference, weighted so that the sum of squares stays the integral of the squared second
    derivative.
    """
    step = np.diff(np.asarray(times, np.float64))
    slope = np.diff(np.eye(len(times)), axis=0) / step[:, None]
    difference = np.diff(slope, axis=0) / np.sqrt((step[1:] + step[:-1]) / 2)[:, None]
    values, vectors = np.linalg.eigh(difference.T @ difference)
    return np.maximum(values, 0.0), vectors


def _in_stretches(points: Points) -> Points:
    total = len(points.points)
    smooth, sigma = np.zeros_like(points.points), np.zeros_like(points.sigma)
    weight = np.zeros(total)
    step = LONGEST - OVERLAP
    for first in range(0, max(total - OVERLAP, 1), step):
        part = slice(first, min(first + LONGEST, total))
        piece = denoise(Points(*(a[part] for a in (points.points, points.confidence, points.residual, points.sigma))))
        length = len(piece.points)
        ramp = np.minimum(np.minimum(np.arange(length) + 1, np.arange(length)[::-1] + 1), OVERLAP).astype(np.float64)
        smooth[part] += ramp[:, None, None] * piece.points
        sigma[part] += ramp[:, None] * piece.sigma
        weight[part] += ramp
    return replace(points, points=smooth / weight[:, None, None], sigma=sigma / weight[:, None])
