"""Curves over time that motions are made of. Phases run from 0 to 1 over a clip; values are (F,)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.interpolate import PchipInterpolator

Array = NDArray[np.float64]


def wave(phase: ArrayLike, cycles: int = 1, lag: ArrayLike = 0.0) -> Array:
    """Sine of unit amplitude; ``lag`` (in cycles) makes it come later."""
    turn = cycles * np.asarray(phase, np.float64) - np.asarray(lag, np.float64)
    return np.asarray(np.sin(2 * np.pi * turn), np.float64)


def keyed(phase: ArrayLike, keys: Sequence[tuple[float, float]]) -> Array:
    """Through (phase, value) keys, flat at the ends and at extremes, without overshoot (monotone cubic).

    Before the first and after the last key the value is held.
    """
    at, values = np.array(keys, np.float64).T
    curve = PchipInterpolator(np.concatenate([[at[0] - 1], at, [at[-1] + 1]]), np.pad(values, 1, mode="edge"))
    return np.asarray(curve(np.clip(phase, at[0], at[-1])), np.float64)


def cyclic(phase: ArrayLike, keys: Sequence[tuple[float, float]]) -> Array:
    """Like ``keyed``, but keys repeat with period 1."""
    at, values = np.array(keys, np.float64).T
    times = np.concatenate([at - 1, at, at + 1])
    return np.asarray(PchipInterpolator(times, np.tile(values, 3))(np.mod(phase, 1.0)), np.float64)


def ease(x: ArrayLike) -> Array:
    """0 below 0, 1 above 1, with zero first and second derivative at both (quintic)."""
    x = np.clip(np.asarray(x, np.float64), 0.0, 1.0)
    return np.asarray(x**3 * (x * (6 * x - 15) + 10), np.float64)


def hump(phase: ArrayLike, start: float, rise: float, fall: float, end: float) -> Array:
    """0, easing to 1 between ``start`` and ``rise``, back to 0 between ``fall`` and ``end``."""
    phase = np.asarray(phase, np.float64)
    return ease((phase - start) / (rise - start)) * (1 - ease((phase - fall) / (end - fall)))


def noise(phase: ArrayLike, rng: np.random.Generator, octaves: int = 3) -> Array:
    """Smooth periodic noise of about unit amplitude."""
    total = np.zeros_like(np.asarray(phase, np.float64))
    for octave in range(1, octaves + 1):
        total += wave(phase, octave, rng.random()) * rng.uniform(0.5, 1.0) / octave
    return total / 1.2
