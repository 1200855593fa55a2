"""Long clips by continuation: is the last stretch of a clip like its first?

Every window goes on from the frames of the one before, so errors could add up: the body sinks, leans or comes to rest.
A clip is cut into stretches of two seconds, and each is measured alone.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.diffusion.model import Model, load_model
from animax.motion.body import body_root
from animax.pipeline import animate
from animax.request import Request
from animax_engine.dataset.bank import read_sources
from animax_engine.evaluate.generation import Subject
from animax_engine.evaluate.measures import jerk, moved

Array = NDArray[np.float64]
STRETCH = 2.0
"""Seconds."""


@dataclass(frozen=True)
class Stretch:
    """One stretch of a clip; lengths in rest diagonals.

    Attributes:
        height: mean height of the body root over its rest.
        lean: mean distance of the markers' middle from its rest place, over the ground.
        moved: how far markers move, as ``measures.moved``.
        jerk: as ``measures.jerk``.
    """

    rig: str
    prompt: str
    number: int
    height: float
    lean: float
    moved: float
    jerk: float


def measure(subject: Subject, model: Model, prompt: str, seconds: float, seed: int) -> Iterator[Stretch]:
    """The stretches of one clip in place."""
    rig = subject.rig
    clip = animate(rig, Request(prompt, seconds=seconds, fps=model.fps, seed=seed), model).clip
    skeleton, up = rig.skeleton, rig.stance.up
    root = body_root(rig)
    heights = (skeleton.positions(clip.pose)[:, root] - skeleton.rest_globals[root, :3, 3]) @ up / rig.size
    points = subject.points(clip)
    rest = subject.points(clip.with_pose(skeleton.posed(rotations=skeleton.rest.rotations[None])))[0]
    middle = (points.mean(axis=1) - rest.mean(axis=0))[:, [0, 2]] / 2  # two body-frame units are a diagonal
    length = round(STRETCH * model.fps)
    for number in range(len(points) // length):
        part = slice(number * length, (number + 1) * length)
        yield Stretch(
            subject.source.id,
            prompt,
            number,
            float(heights[part].mean()),
            float(np.linalg.norm(middle[part], axis=-1).mean()),
            moved(points[part]),
            jerk(points[part], clip.fps),
        )


def summary(stretches: list[Stretch]) -> str:
    """A table in Markdown: medians over clips, for the first stretch, those between, and the last."""
    last = max(stretch.number for stretch in stretches)
    groups = {
        f"first {STRETCH:g} s": [s for s in stretches if s.number == 0],
        "between": [s for s in stretches if 0 < s.number < last],
        f"last {STRETCH:g} s": [s for s in stretches if s.number == last],
    }
    rows = ["| stretch | root height over rest | middle off its place | markers move | jerk |", "|---" * 5 + "|"]
    for title, some in groups.items():
        columns = [
            100 * np.median(np.abs([s.height for s in some])),
            100 * np.median([s.lean for s in some]),
            100 * np.median([s.moved for s in some]),
            np.median([s.jerk for s in some]),
        ]
        rows.append(f"| {title} | {columns[0]:.1f} % | {columns[1]:.1f} % | {columns[2]:.1f} % | {columns[3]:.3g} |")
    return "\n".join(rows)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine evaluate --duration``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --duration", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder with manifest.json")
    parser.add_argument("--model", default="embedded", help="a model's name or folder")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--rigs", type=int, default=12, help="(default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=20.0, help="of a clip (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=100)
    args = parser.parse_args(argv)
    model = load_model(args.model)
    random = np.random.default_rng(0)
    sources = [source for source in read_sources(args.data) if source.split == args.split]
    stretches: list[Stretch] = []
    for i in random.permutation(len(sources))[: args.rigs]:
        subject = Subject.read(sources[i], model.space.markers, model.fps)
        captions = subject.facts[int(random.integers(len(subject.facts)))]["captions"]
        stretches += measure(subject, model, str(captions[0]), args.seconds, args.seed)
    print(summary(stretches))
