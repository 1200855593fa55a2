"""Measures of generated motion: retrieval, static failures, jerk, decoding confidence."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.assets import load_rig, read_clips
from animax.assets.markers import choose_markers
from animax.diffusion.model import Model, load_model
from animax.errors import AnimaxError
from animax.motion.clip import Clip
from animax.motion.travel import remove_travel
from animax.pipeline import animate
from animax.request import Request
from animax_engine.dataset.bank import Source, read_sources, to_body
from animax_engine.evaluate.retrieval import Track, rank_of

Array = NDArray[np.float64]
STATIC = 0.02
"""A clip whose markers all stay within this share of the rest diagonal is a static failure (models suite B6)."""


@dataclass(frozen=True)
class Result:
    """One generated clip against the real clips of its rig."""

    rig: str
    category: str
    clip: str
    action: str
    prompt: str
    seed: int
    clips: int
    rank: int
    moved: float
    moved_real: float
    jerk: float
    jerk_real: float
    confidence: float
    residual: float

    @property
    def static(self) -> bool:
        """Does not move although the real clip does."""
        return self.moved < STATIC <= self.moved_real


def jerk(points: Array, fps: float) -> float:
    """Mean length of the third difference of positions (F, M, 3), body-frame units / s³."""
    return float(np.linalg.norm(np.diff(points, n=3, axis=0), axis=-1).mean() * fps**3) if len(points) > 3 else 0.0


def moved(points: Array) -> float:
    """Largest range of any marker (F, M, 3), in rest diagonals (two body-frame units)."""
    return float(np.linalg.norm(np.ptp(points, axis=0), axis=-1).max() / 2)


def evaluate_rig(
    source: Source, model: Model, per_rig: int, seeds: range, random: np.random.Generator
) -> Iterator[Result]:
    """Generate from one caption of up to ``per_rig`` clips of a rig, once for every seed."""
    rig = load_rig(source.path, facing=source.facing)
    markers = choose_markers(rig, model.space.codec.channels)
    facts = source.clips or {}
    clips = [clip for clip in read_clips(rig, fps=model.fps) if clip.name in facts and len(clip) >= 4]

    def track(pose_globals: Array) -> Array:
        return to_body(rig, markers.positions(pose_globals))

    def real_track(clip: Clip) -> Track:
        points = track(rig.skeleton.globals(remove_travel(clip, rig).pose))
        loops = bool(facts[clip.name]["loop"])
        # what the manifest alone calls a loop still has its closing frame
        return Track(points[:-1] if loops and not clip.loop else points, loops or clip.loop)

    real = [real_track(clip) for clip in clips]
    chosen = random.permutation(len(clips))[:per_rig]
    for wanted in chosen:
        fact = facts[clips[wanted].name]
        prompt = str(fact["captions"][int(random.integers(len(fact["captions"])))])
        for seed in seeds:
            request = Request(prompt, seconds=2.0, fps=model.fps, seed=seed, foot_cleanup=False)
            made = animate(rig, request, model)
            points = track(rig.skeleton.globals(made.clip.pose))
            # several clips of one action count as one answer
            same = [i for i, clip in enumerate(clips) if facts[clip.name]["action"] == fact["action"]]
            others = [i for i in range(len(clips)) if i not in same]
            rank = min(rank_of(points, [real[i] for i in [j, *others]], 0) for j in same)
            yield Result(
                source.id,
                source.category,
                clips[wanted].name,
                str(fact["action"]),
                prompt,
                seed,
                1 + len(others),
                rank,
                moved(points),
                moved(real[wanted].points),
                jerk(points, model.fps),
                jerk(real[wanted].points, model.fps),
                made.confidence,
                made.residual,
            )


def summary(results: list[Result]) -> dict[str, float]:
    """Means and medians over results of rigs with at least two different actions."""
    asked = [r for r in results if r.clips >= 2]
    ratio = [r.jerk / r.jerk_real for r in results if r.jerk_real > 1e-6]
    reach = [r.moved / r.moved_real for r in results if r.moved_real > STATIC]
    return {
        "clips": len(results),
        "top1": float(np.mean([r.rank == 0 for r in asked])),
        "top3": float(np.mean([r.rank < 3 for r in asked])),
        "chance": float(np.mean([1 / r.clips for r in asked])),
        "static": float(np.mean([r.static for r in results])),
        "range_ratio": float(np.median(reach)),
        "jerk_ratio": float(np.median(ratio)),
        "confidence": float(np.mean([r.confidence for r in results])),
        "residual": float(np.median([r.residual for r in results])),
    }


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine evaluate --generation``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --generation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--model", default="embedded", help="a model's name or folder")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--per-rig", type=int, default=4, help="clips a rig, at most")
    parser.add_argument("--rigs", type=int, default=0, help="rigs, at most; 0 takes all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--csv", type=Path, help="write a line a clip")
    args = parser.parse_args(argv)
    model = load_model(args.model)
    random = np.random.default_rng(0)
    sources = [source for source in read_sources(args.data) if source.split == args.split]
    if args.rigs:
        sources = [sources[i] for i in sorted(random.permutation(len(sources))[: args.rigs])]
    results: list[Result] = []
    for source in sources:
        try:
            results += evaluate_rig(source, model, args.per_rig, range(100, 100 + args.seeds), random)
        except AnimaxError as error:
            print(f"{source.id}: {error}")
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(results[0])))
            writer.writeheader()
            writer.writerows(asdict(r) for r in results)
    by_category = {c: [r for r in results if r.category == c] for c in sorted({r.category for r in results})}
    for category, members in by_category.items():
        figures = summary(members)
        print(f"{category:12s} " + "  ".join(f"{k} {v:.3g}" for k, v in figures.items()))
    print(json.dumps({"split": args.split, **summary(results)}))


if __name__ == "__main__":
    main()
