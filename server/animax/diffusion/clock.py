"""The clock: what the network is told of where in its cycle a motion is.

As in phase-functioned networks (Holden et al. 2017, "Phase-Functioned Neural Networks for Character Control"): a gait
at a given phase is one posture, while a gait at any phase is none. Time is counted in turns. A motion that repeats
turns round once a period; one that does not is done after one turn and holds its end.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEATURES = 8
"""Numbers that a time slot is told; all zero: nothing is said."""
USUAL_PERIOD = 16.0
"""Frames whose logarithm is zero."""


def slot_frames(slots: int, patch: int) -> Array:
    """(S,) frame of a window whose time each slot is told: of the first its only one, of others one in the middle."""
    return np.maximum(np.arange(slots) - 1, 0) * patch + np.where(np.arange(slots) > 0, 1 + patch // 2, 0.0)


def told(turns: Array, repeats: NDArray[np.bool_], period: Array) -> NDArray[np.float32]:
    """Features (..., S, ``FEATURES``) of slots.

    Args:
        turns: (..., S) at each slot.
        repeats: (...) whether the motion turns round.
        period: (...) frames of a turn.
    """
    turns = np.asarray(turns, float)
    again = np.broadcast_to(np.asarray(repeats, float)[..., None], turns.shape)
    angle = 2 * np.pi * turns
    features = [
        np.ones_like(turns),
        again,
        *(again * wave(times * angle) for times in (1, 2) for wave in (np.cos, np.sin)),
        (1 - again) * (2 * turns.clip(0.0, 1.0) - 1),
        np.broadcast_to(np.log2(np.asarray(period, float) / USUAL_PERIOD)[..., None], turns.shape),
    ]
    return np.stack(features, axis=-1).astype(np.float32)


@dataclass(frozen=True)
class Tempo:
    """How a motion takes its time.

    Attributes:
        repeats: it turns round; else it is done once.
        period: frames of a turn.
        begin: turns at frame 0.
    """

    repeats: bool
    period: float
    begin: float = 0.0

    def looped(self, frames: int) -> Tempo:
        """That of a loop of so many frames: whole turns of about the same length; one alone where the motion does not
        turn round."""
        if not self.repeats:
            return Tempo(False, float(frames))
        return replace(self, period=frames / max(1, round(frames / self.period)))

    def turns(self, frames: Array) -> Array:
        """Turns at ``frames``, shaped as these."""
        turns: Array = self.begin + frames / self.period
        return turns

    def told(self, frames: Array) -> NDArray[np.float32]:
        """Features (S, ``FEATURES``) of the slots at ``frames`` (S,)."""
        return told(self.turns(frames), np.array(self.repeats), np.array(self.period))
