"""Cycles of clips: how long one turn takes, and where it begins.

Gaits of different rigs begin anywhere; their turns are counted from one and the same posture instead, so that "a
quarter into a walk" is the same for all. Other clips are counted from their first frame, where their action begins.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

STRIDES = frozenset(("walk", "run", "trot", "sneak", "crawl", "gallop"))
"""First words of actions whose turns begin when the left front foot is farthest ahead of the right one."""
BEATS = frozenset(("fly", "flap", "hop", "glide", "flight", "flutter", "bounce", "leap"))
"""... when what is farthest out is highest."""
WAVES = frozenset(("swim", "slither", "inch", "sidewind"))
"""... when the front is farthest to the left and the rear to the right."""
RESTS = frozenset(("idle", "stand", "float", "hover", "levitate", "sleep", "dance"))
"""... that go on and on, and whose turns begin with their clips."""
FOOT = 0.4
"""Share of a body's height below which there are feet."""
SIDE = 0.05
"""Distance from the middle, in half sizes, from which a marker is wholly on one side."""
MOST_TURNS = 4
"""In a clip that repeats."""
OTHERS = 0.1
"""Share of the motion that may not fit where a clip is taken for several turns."""
LEAST_CLIPS = 8
"""Of a category and action, to be shown in the table."""
PREFIXES = frozenset(("z", "skel"))
"""Of actions, before the word that counts."""


@dataclass(frozen=True)
class Cycle:
    """Of a clip.

    Attributes:
        repeats: whether it turns round.
        period: frames of a turn; of a clip that does not, its last frame.
        begin: turns at its first frame.
        swaps: half a turn passes where left and right change places.
    """

    repeats: bool
    period: float
    begin: float = 0.0
    swaps: bool = False


def own_clips(
    bank: Path, splits: tuple[str, ...] = ("train",)
) -> Iterator[tuple[dict[str, Any], Array, list[tuple[dict[str, Any], Array, Cycle]]]]:
    """The rigs of a bank: each with its entry of the index, (M, 3) markers at rest, and of its own clips the entry,
    (F, M, 3) markers and cycle."""
    index, poses = json.loads((bank / "index.json").read_text()), np.load(bank / "poses.npy", mmap_mode="r")
    for rig in index["rigs"]:
        if rig["split"] not in splits:
            continue
        first, rest = rig["first"] + 1, poses[rig["first"], rig["channels"]].astype(float)
        clips = []
        for clip in rig["clips"]:
            begin = clip.get("first", first)  # a clip follows the one before, unless its place is given
            first += clip["frames"]
            if not clip.get("borrowed"):
                points = poses[begin : begin + clip["frames"], rig["channels"]].astype(float)
                clips.append((clip, points, cycle_of(points, rest, clip["action"], clip["period"])))
        yield rig, rest, clips


def cycle_of(points: Array, rest: Array, action: str, period: int) -> Cycle:
    """The cycle of a clip.

    Args:
        points: (F, M, 3) markers in the body frame.
        rest: (M, 3) at rest.
        action: of the index.
        period: frames after which it repeats; 0: never.
    """
    if not period:
        return Cycle(False, float(max(len(points) - 1, 1)))
    waves = np.fft.rfft(points[:period] - points[:period].mean(axis=0), axis=0)
    power = np.sum(np.abs(waves) ** 2, axis=(1, 2))
    turns = next((n for n in range(MOST_TURNS, 1, -1) if fits(power, n) and period / n >= 2), 1)
    word = kind_of(action)
    weights = np.zeros_like(rest)
    if word in STRIDES:
        weights[:, 2] = feet(rest)
    elif word in BEATS:
        weights[:, 1] = np.abs(rest[:, 0])
    elif word in WAVES:
        weights[:, 0] = rest[:, 2] - rest[:, 2].mean()
    if turns >= len(waves) or not np.any(weights):
        return Cycle(True, period / turns)
    # cos(2π n t / F + angle) is highest when its turns are whole
    angle = np.angle(np.sum(waves[turns] * weights))
    return Cycle(True, period / turns, float(angle / (2 * np.pi)) % 1.0, swaps=word not in BEATS)


def feet(rest: Array) -> Array:
    """(M,) how far each marker, of (M, 3) at rest, is a left foot; right ones count below zero, those in front most."""
    low = rest[:, 1] - rest[:, 1].min()
    low = np.clip(1 - low / max(FOOT * low.max(), 1e-9), 0, 1)
    ahead = rest[:, 2] - rest[low > 0, 2].min()
    ahead = np.clip(ahead / max(ahead[low > 0].max(), 1e-9), 0, 1)
    return np.clip(rest[:, 0] / SIDE, -1, 1) * low * (0.1 + ahead**2)


def kind_of(action: str) -> str:
    """The word of an action that says how it moves."""
    said = action.split("_")
    return said[1] if len(said) > 1 and said[0] in PREFIXES else said[0]


def fits(power: Array, turns: int) -> bool:
    """Whether a motion whose waves have this ``power`` (F / 2 + 1,) is one and the same several times over."""
    total = power[1:].sum()
    return bool(total > 0 and power[turns::turns].sum() > (1 - OTHERS) * total)


def begins_anywhere(action: str) -> bool:
    """Whether an action may begin anywhere in its turn."""
    return kind_of(action) in STRIDES | BEATS | WAVES | RESTS


def agreement(points: Array, rest: Array, cycle: Cycle) -> complex:
    """When in a stride's turn the left feet are ahead, as a number of length one."""
    ahead = points[:, :, 2] @ np.clip(feet(rest), 0, None)
    turns = np.arange(len(points)) / cycle.period + cycle.begin
    wave = np.sum((ahead - ahead.mean()) * np.exp(2j * np.pi * turns))
    return complex(wave / max(abs(wave), 1e-12))


def main(argv: list[str] | None = None) -> None:
    """Command line: ``python -m animax_engine.dataset.cycles BANK``: how well strides of different rigs agree."""
    parser = argparse.ArgumentParser(prog="python -m animax_engine.dataset.cycles", description=__doc__)
    parser.add_argument("bank", type=Path)
    args = parser.parse_args(argv)
    found: dict[tuple[str, str], list[tuple[complex, complex]]] = defaultdict(list)
    for rig, rest, clips in own_clips(args.bank, ("train", "val")):
        for clip, points, cycle in clips:
            if clip["action"] in STRIDES and clip["period"]:
                once, plain = points[: clip["period"]], Cycle(True, cycle.period)
                pair = agreement(once, rest, cycle), agreement(once, rest, plain)
                found[rig["category"], clip["action"]].append(pair)
    print("category     action    clips   left feet agree   counted from the first frame")
    for (category, action), pairs in sorted(found.items()):
        if len(pairs) >= LEAST_CLIPS:
            told, plain = (abs(np.mean(side)) for side in zip(*pairs, strict=True))
            print(f"{category:<12} {action:<9} {len(pairs):>5} {told:>17.2f} {plain:>30.2f}")


if __name__ == "__main__":
    main()
