"""What plans are worth by themselves, before any network: clips of a bank's markers, straight from its repertoire.

Every kind of motion of every rig is asked for by one of its captions, and the nearest of the rig's clips should be of
that kind (see ``retrieval``). Besides: how often the kind whose captions are nearest to a prompt is the one that it
names.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.engine import default_threads
from animax.diffusion.repertoire import CAPTIONS, Repertoire
from animax.diffusion.text import TextEncoder
from animax_engine.dataset.cycles import own_clips
from animax_engine.dataset.repertoire import repertoire_of
from animax_engine.evaluate.prompts import PARAPHRASES
from animax_engine.evaluate.retrieval import Track, clip_distance

Array = NDArray[np.float64]

FRAMES = 33
"""Two seconds."""


@dataclass(frozen=True)
class Planned:
    """One plan among a rig's clips.

    Attributes:
        rank: kinds of motion that are nearer than the one asked for.
        kinds: of the rig.
        distance: from the clip asked for, in half sizes of the body.
    """

    rank: int
    kinds: int
    distance: float


def planned_rig(
    repertoire: Repertoire, without: bool, rig: tuple[int, Array, list[tuple[Any, Array, Any]]]
) -> list[Planned]:
    """Plans of every kind of motion of a rig: its number, rest (M, 3) and clips (see ``own_clips``)."""
    number, rest, clips = rig
    actions = [str(clip["action"]) for clip, _, _ in clips]
    if len(set(actions)) < 2:
        return []
    tracks = [Track(points, loop=clip["period"] > 0) for clip, points, _ in clips]
    out, text = [], TextEncoder()
    for i, (clip, _, _) in enumerate(clips):
        if actions.index(actions[i]) != i:
            continue
        said = clip["captions"][i % len(clip["captions"])]
        plan = repertoire.plan(rest, text.encode([said])[0], i, without=number if without else None)
        made = rest + plan.moves(plan.tempo.turns(np.arange(FRAMES)))
        distances = np.array([clip_distance(made, track) for track in tracks])
        ranked = list(dict.fromkeys(actions[j] for j in np.argsort(distances)))
        out.append(Planned(ranked.index(actions[i]), len(ranked), float(distances[i])))
    return out


def named(repertoire: Repertoire, prompts: list[tuple[set[int], str]], captions: int) -> float:
    """Share of ``prompts``, each with the kinds that it names, to which ``captions`` of one of these are nearest."""
    states = TextEncoder().encode([prompt for _, prompt in prompts])
    right = [
        int(repertoire.nearness(state, captions).argmax()) in kinds
        for (kinds, _), state in zip(prompts, states, strict=True)
    ]
    return float(np.mean(right))


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine evaluate --plans BANK``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --plans", description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--every", type=int, default=1, help="takes every so many-th rig")
    parser.add_argument("--without", action="store_true", help="train rigs are planned without their own clips")
    args = parser.parse_args(argv)
    if args.without and args.split != "train":
        parser.error("--without is for --split train: other rigs have no clips in the repertoire")
    repertoire = repertoire_of(args.bank, TextEncoder())
    every = [(number, rest, clips) for number, (_, rest, clips) in enumerate(own_clips(args.bank, (args.split,)))]
    rigs = every[:: args.every]
    with ProcessPoolExecutor(default_threads()) as pool:
        found = [one for rig in pool.map(partial(planned_rig, repertoire, args.without), rigs) for one in rig]
    print(f"{args.split} rigs: {len(found)} plans of {len(rigs)} rigs", end="")
    print(", without their own clips" if args.without else "")
    top1, top3 = (np.mean([one.rank < within for one in found]) for within in (1, 3))
    print(f"nearest {top1:.3f}  three nearest {top3:.3f}  chance {np.mean([1 / one.kinds for one in found]):.3f}")
    print(f"distance from the clip, half sizes: {np.mean([one.distance for one in found]):.4f}")
    known = [clip for _, _, clips in own_clips(args.bank) for clip, _, _ in clips]
    kinds: dict[str, set[int]] = defaultdict(set)
    for clip, kind in zip(known, repertoire.kind, strict=True):
        kinds[clip["action"]].add(int(kind))
    asked = [clip for _, _, clips in every for clip, _, _ in clips if clip["action"] in kinds]
    told = [(kinds[clip["action"]], caption) for clip in asked for caption in clip["captions"]]
    others = [(kinds[action], said) for action in PARAPHRASES if action in kinds for said in PARAPHRASES[action]]
    print("the kind named is the nearest, by captions of each:")
    for captions, name in ((1, "the nearest"), (CAPTIONS, f"the {CAPTIONS} nearest"), (len(repertoire.text), "all")):
        ours, theirs = (named(repertoire, prompts, captions) for prompts in (told, others))
        print(f"  {name:14s} captions {ours:.3f}  paraphrases {theirs:.3f}")


if __name__ == "__main__":
    main()
