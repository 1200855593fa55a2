"""The repertoire of a bank: its clips as ``animax.diffusion.repertoire`` looks them up."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.repertoire import STEPS, Repertoire, courses
from animax.diffusion.text import TextEncoder
from animax_engine.dataset.captions import captions_of, synonyms
from animax_engine.dataset.cycles import Cycle, begins_anywhere, own_clips

Array = NDArray[np.float64]

AT_ONCE = 256
"""Captions that are encoded together."""


def repertoire_of(bank: Path, text: TextEncoder) -> Repertoire:
    """Of the own clips of a bank's train rigs, whose numbers are those of the bodies.

    Clips that are ordered alike, by the first of their captions ("walk"), are of one kind of motion, also where it has
    a name of its own for bodies of another build ("walk_legs"). Kinds are told by the captions of their clips and by
    further ones (``animax_engine.dataset.captions``).
    """
    kinds: dict[str, int] = {}
    anywhere: dict[str, bool] = {}
    captions: dict[tuple[str, int], None] = {}
    rests, clips, parts = [], [], []
    for number, (rig, rest, own) in enumerate(own_clips(bank)):
        rests.append(rest)
        for clip, points, cycle in own:
            action, order = clip["action"], clip["captions"][0]
            kind = kinds.setdefault(order, len(kinds))
            anywhere[order] = begins_anywhere(action)
            told = [*captions_of(clip, rig["category"]), *synonyms(action)]
            captions |= dict.fromkeys((caption, kind) for caption in told)
            made = parts_of(points - rest, cycle)
            scale = max(float(np.abs(made).max()) / STEPS, 1e-9)
            clips.append((kind, number, cycle.repeats, cycle.period, scale))
            parts.append(np.rint(made / scale).astype(np.int8).reshape(-1, 3))
    kind, body, repeats, period, scale = zip(*clips, strict=True)
    said = [caption for caption, _ in captions]
    states = np.concatenate([text.encode(said[i : i + AT_ONCE])[:, 0] for i in range(0, len(said), AT_ONCE)])
    return Repertoire(
        text=states / np.linalg.norm(states, axis=1, keepdims=True),
        told=np.array([kind for _, kind in captions], np.int64),
        anywhere=np.array(list(anywhere.values())),
        rest=np.concatenate(rests).astype(np.float32),
        ends=np.cumsum([len(rest) for rest in rests]),
        kind=np.array(kind, np.int64),
        body=np.array(body, np.int64),
        repeats=np.array(repeats, bool),
        period=np.array(period, np.float32),
        scale=np.array(scale, np.float32),
        parts=np.concatenate(parts),
    )


def parts_of(moves: Array, cycle: Cycle) -> Array:
    """``Plan.parts`` (N, M, 3) of a clip's moves (F, M, 3) from rest, by least squares."""
    turns = np.arange(len(moves)) / cycle.period + cycle.begin
    solved, *_ = np.linalg.lstsq(courses(turns, repeats=cycle.repeats), moves.reshape(len(moves), -1), rcond=None)
    return solved.reshape(-1, *moves.shape[1:])
