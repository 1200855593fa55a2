"""Measures of generated motion: retrieval, static failures, range, jerk, foot skate, spread, loop seams, decoding."""

from __future__ import annotations

import argparse
import csv
import json
import multiprocessing
import os
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from animax.assets import load_rig
from animax.assets.markers import MarkerSet, choose_markers
from animax.assets.rig import Rig
from animax.diffusion.engine import default_threads
from animax.diffusion.latents import LatentSpace
from animax.diffusion.model import Model, load_model
from animax.diffusion.sampler import SPACINGS
from animax.errors import AnimaxError
from animax.motion.clip import Clip
from animax.motion.contacts import find_stances
from animax.motion.travel import remove_travel
from animax.pipeline import animate
from animax.request import Request
from animax.views.camera import Cameras
from animax_engine.dataset.bank import Source, read_sources, source_clips
from animax_engine.evaluate.measures import interval, jerk, moved, seam, spread
from animax_engine.evaluate.prompts import NONSENSE, PARAPHRASES
from animax_engine.evaluate.retrieval import Track, rank_of
from animax_engine.evaluate.retrieval_baseline import RetrievalBaseline

Array = NDArray[np.float64]
STATIC = 0.02
"""A clip whose markers all stay within this share of the rest diagonal is a static failure (models suite B6)."""
SECONDS = 2.0
STRETCHES = 10
"""Of a real clip, as long as what is made, by which its motion and its spread are measured."""


@dataclass(frozen=True)
class Made:
    """A clip for a prompt; confidence and reprojection residual where it was generated."""

    clip: Clip
    confidence: float = float("nan")
    residual: float = float("nan")


Maker = Callable[[Rig, str, str, int], Made]
"""From rig, its category, prompt and seed."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A rig and its real clips.

    Attributes:
        source: where it comes from.
        rig: the rig.
        markers: drawn in its pose maps.
        clips: in place.
        facts: captions, action and more of ``clips``.
        tracks: of ``clips``.
    """

    source: Source
    rig: Rig
    markers: MarkerSet
    clips: list[Clip]
    facts: list[dict[str, Any]]
    tracks: list[Track]

    @classmethod
    def read(cls, source: Source, channels: int, fps: float) -> Subject:
        """Load the rig and its captioned clips."""
        rig = load_rig(source.path, facing=source.facing)
        markers = choose_markers(rig, channels)
        found = list(source_clips(source, rig, fps))
        subject = cls(source, rig, markers, [clip for clip, _ in found], [facts for _, facts in found], [])
        for clip, facts in found:
            # what the manifest alone calls a loop still has its closing frame
            points = subject.points(clip)[: facts["period"] or None]
            subject.tracks.append(Track(points, facts["period"] > 0))
        return subject

    def points(self, clip: Clip) -> Array:
        """Markers (F, M, 3) in the body frame."""
        return self.rig.to_body(self.markers.positions(self.rig.skeleton.globals(clip.pose)))


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
    skate: float
    skate_real: float
    seam: float
    spread: float
    spread_real: float
    confidence: float
    residual: float

    @property
    def static(self) -> bool:
        """Does not move although the real clip does."""
        return self.moved < STATIC <= self.moved_real


def windows(track: Track, frames: int, count: int, random: np.random.Generator) -> list[Array]:
    """Random stretches of ``frames`` frames of a real clip; one that is too short is held at its end."""
    points = track.unrolled(frames)
    if len(points) < frames:
        points = np.concatenate([points, np.repeat(points[-1:], frames - len(points), axis=0)])
    starts = random.integers(len(points) - frames + 1, size=count)
    return [points[start : start + frames] for start in starts]


def evaluate_rig(
    subject: Subject, make: Maker, prompts: str, per_rig: int, seeds: range, random: np.random.Generator
) -> Iterator[Result]:
    """Make up to ``per_rig`` clips of a rig, once for every seed.

    Args:
        subject: the rig.
        make: what is evaluated.
        prompts: "captions" of the real clips, "paraphrases" of their actions, or "nonsense".
        per_rig: real clips that are asked for.
        seeds: of each.
        random: chooses clips and prompts.
    """
    asked = [
        i for i in range(len(subject.clips)) if prompts != "paraphrases" or subject.facts[i]["action"] in PARAPHRASES
    ]
    for wanted in (asked[i] for i in random.permutation(len(asked))[:per_rig]):
        facts, real = subject.facts[wanted], subject.tracks[wanted]
        action = str(facts["action"])
        texts = {"captions": facts["captions"], "paraphrases": PARAPHRASES.get(action, ()), "nonsense": NONSENSE}
        prompt = str(texts[prompts][int(random.integers(len(texts[prompts])))])
        # several clips of one action count as one answer
        same = [i for i in range(len(subject.clips)) if subject.facts[i]["action"] == action]
        others = [i for i in range(len(subject.clips)) if i not in same]
        made = [make(subject.rig, subject.source.category, prompt, seed) for seed in seeds]
        drawn = [subject.points(one.clip) for one in made]
        stretches = windows(real, len(drawn[0]), STRETCHES, np.random.default_rng(wanted))
        moved_real, spread_real = float(np.mean([moved(stretch) for stretch in stretches])), spread(stretches)
        real_stances = find_stances(subject.clips[wanted], subject.rig)
        enough = len(drawn) > 1 and len({len(points) for points in drawn}) == 1
        for seed, one, points in zip(seeds, made, drawn, strict=True):
            rank = min(rank_of(points, [subject.tracks[i] for i in [j, *others]], 0) for j in same)
            stances = find_stances(one.clip, subject.rig)
            walks = bool(stances.planted.any() and real_stances.planted.any())
            yield Result(
                rig=subject.source.id,
                category=subject.source.category,
                clip=subject.clips[wanted].name,
                action=action,
                prompt=prompt,
                seed=seed,
                clips=1 + len(others),
                rank=rank,
                moved=moved(points),
                moved_real=moved_real,
                jerk=jerk(points, one.clip.fps),
                jerk_real=jerk(real.points, subject.clips[wanted].fps),
                skate=stances.skate if walks else float("nan"),
                skate_real=real_stances.skate if walks else float("nan"),
                seam=seam(points) if one.clip.loop else float("nan"),
                spread=spread(drawn) if enough else float("nan"),
                spread_real=spread_real if enough else float("nan"),
                confidence=one.confidence,
                residual=one.residual,
            )


def summary(results: list[Result]) -> dict[str, float]:
    """Means and medians; retrieval over rigs with at least two different actions."""
    asked = [r for r in results if r.clips >= 2]

    def middle(values: list[float]) -> float:
        known = [value for value in values if np.isfinite(value)]
        return float(np.median(known)) if known else float("nan")

    def ratio(above: str, below: str, least: float) -> float:
        pairs = [(getattr(r, above), getattr(r, below)) for r in results]
        return middle([a / b for a, b in pairs if b > least])

    def total_ratio(above: str, below: str) -> float:
        pairs = [(getattr(r, above), getattr(r, below)) for r in results]
        known = np.array([pair for pair in pairs if np.isfinite(pair).all()]).reshape(-1, 2).sum(axis=0)
        return float(known[0] / known[1]) if known[1] > 0 else float("nan")

    return {
        "clips": len(results),
        "top1": float(np.mean([r.rank == 0 for r in asked])) if asked else float("nan"),
        "top1_by_rig": float(np.mean([np.mean(group) for group in found_by_rig(asked, 1)])) if asked else float("nan"),
        "top3": float(np.mean([r.rank < 3 for r in asked])) if asked else float("nan"),
        "chance": float(np.mean([1 / r.clips for r in asked])) if asked else float("nan"),
        "static": float(np.mean([r.static for r in results])),
        "range_ratio": ratio("moved", "moved_real", STATIC),
        "jerk_ratio": ratio("jerk", "jerk_real", 1e-6),
        "skate_ratio": total_ratio("skate", "skate_real"),
        "spread_ratio": total_ratio("spread", "spread_real"),
        "seam": middle([r.seam for r in results]),
        "confidence": float(np.mean([r.confidence for r in results])),
        "residual": middle([r.residual for r in results]),
    }


def found_by_rig(results: list[Result], within: int) -> list[list[float]]:
    """Of each rig with at least two different actions, 1 for what is ``within`` the nearest, else 0."""
    groups: dict[str, list[float]] = {}
    for r in sorted((r for r in results if r.clips >= 2), key=lambda r: r.rig):
        groups.setdefault(r.rig, []).append(float(r.rank < within))
    return list(groups.values())


def intervals(results: list[Result]) -> dict[str, tuple[float, float]]:
    """95 % intervals of the retrieval figures, over rigs."""
    return {
        name: interval(found_by_rig(results, within), lambda values: float(values.mean()))
        for name, within in (("top1", 1), ("top3", 3))
    }


def model_maker(model: Model, *, loop: bool, steps: int | None, guidance: float | None) -> Maker:
    """What a user of ``animax animate`` gets, at the model's own frame rate."""

    def make(rig: Rig, _: str, prompt: str, seed: int) -> Made:
        request = Request(prompt, seconds=SECONDS, fps=model.fps, seed=seed, loop=loop, steps=steps, guidance=guidance)
        animation = animate(rig, request, model)
        return Made(animation.clip, animation.confidence, animation.residual)

    return make


class Apart(LatentSpace):
    """Views that do not share their noise."""

    def tangents(self, markers: MarkerSet, cameras: Cameras, positions: Array) -> None:  # type: ignore[override]  # noqa: ARG002
        """See ``Space``."""
        return


def baseline_maker(baseline: RetrievalBaseline) -> Maker:
    """The nearest training caption's clip, the same for every seed."""

    def make(rig: Rig, category: str, prompt: str, _: int) -> Made:
        clip = remove_travel(baseline.answer(rig, prompt, category), rig)
        return Made(clip)

    return make


class Evaluation:
    """What a process evaluates rigs with, by the options of the command line."""

    here: ClassVar[Evaluation]

    def __init__(self, options: argparse.Namespace) -> None:
        model = load_model(options.model, threads=1)
        given = {name: getattr(options, name) for name in ("spacing", "boldness") if getattr(options, name) is not None}
        model = replace(model, schedule=replace(model.schedule, **given))
        if options.apart and isinstance(model.space, LatentSpace):
            model = replace(model, space=Apart(**vars(model.space)))
        self.options, self.model = options, model
        if options.baseline:
            known = [source for source in read_sources(options.data) if source.split == "train"]
            self.make = baseline_maker(RetrievalBaseline(known, model.text, model.fps))
        else:
            self.make = model_maker(model, loop=options.loop, steps=options.steps, guidance=options.guidance)

    @classmethod
    def start(cls, options: argparse.Namespace) -> None:
        """Make this process's own."""
        cls.here = cls(options)

    @classmethod
    def of_rig(cls, source: Source) -> tuple[list[Result], str]:
        """Results of a rig, whichever others are evaluated, and what went wrong."""
        model, options = cls.here.model, cls.here.options
        random, seeds = np.random.default_rng(zlib.crc32(source.id.encode())), range(100, 100 + options.seeds)
        try:
            subject = Subject.read(source, model.space.markers, model.fps)
            return list(evaluate_rig(subject, cls.here.make, options.prompts, options.per_rig, seeds, random)), ""
        except AnimaxError as error:
            return [], f"{source.id}: {error}"


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine evaluate --generation``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --generation", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--model", default="embedded", help="a model's name or folder")
    parser.add_argument("--baseline", action="store_true", help="retrieve and retarget instead of generating")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--prompts", choices=("captions", "paraphrases", "nonsense"), default="captions")
    parser.add_argument("--per-rig", type=int, default=4, help="clips a rig, at most")
    parser.add_argument("--rigs", type=int, default=0, help="rigs, at most; 0 takes all")
    parser.add_argument("--seeds", type=int, default=1, help="clips of each; two or more measure their spread too")
    parser.add_argument("--loop", action="store_true", help="ask for loops and measure their seams")
    parser.add_argument("--steps", type=int, help="denoising steps; default: the model's own")
    parser.add_argument("--guidance", type=float, help="default: the model's own")
    parser.add_argument("--spacing", choices=SPACINGS, help="of the noise levels; default: the model's own")
    parser.add_argument("--boldness", type=float, help="against the plan; default: the model's own")
    parser.add_argument("--apart", action="store_true", help="views do not share their noise")
    parser.add_argument("--csv", type=Path, help="write a line a clip")
    parser.add_argument("--processes", type=int, default=default_threads(), help="default: one a core")
    args = parser.parse_args(argv)
    random = np.random.default_rng(0)
    sources = [source for source in read_sources(args.data) if source.split == args.split]
    if args.rigs:
        sources = [sources[i] for i in sorted(random.permutation(len(sources))[: args.rigs])]
    results: list[Result] = []
    os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    fresh = multiprocessing.get_context("spawn")  # numpy reads these when it is loaded
    with ProcessPoolExecutor(args.processes, fresh, initializer=Evaluation.start, initargs=(args,)) as pool:
        for made, failure in pool.map(Evaluation.of_rig, sources):
            results += made
            if failure:
                print(failure, flush=True)
    if args.csv:
        with args.csv.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(asdict(results[0])))
            writer.writeheader()
            writer.writerows(asdict(r) for r in results)
    by_category = {c: [r for r in results if r.category == c] for c in sorted({r.category for r in results})}
    for category, members in by_category.items():
        figures = summary(members)
        print(f"{category:12s} " + "  ".join(f"{k} {v:.3g}" for k, v in figures.items()))
    figures = {"split": args.split, "prompts": args.prompts, **summary(results)}
    print(json.dumps({**figures, **{f"{k}_95": v for k, v in intervals(results).items()}}))


if __name__ == "__main__":
    main()
