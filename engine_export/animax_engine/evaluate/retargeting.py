"""Retargeting against ground truth: rigs of one library have clips of the same names, made by its author for each body.

A clip of one rig is retargeted onto another, of another skeleton, and compared with the author's own clip of that
name. They are no exact copies of one another, so the error does not go to zero; it is told beside that of a body that
stays at rest, and of local rotations that are copied by joint name.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.assets.rig import Rig
from animax.bone_map import STRANGE, BoneMap
from animax.motion.bone_matching import Limbs, map_bones, match_limbs
from animax.motion.clip import Clip
from animax.motion.resample import resample
from animax.motion.travel import remove_travel
from animax.request import RetargetRequest
from animax.retargeting import retarget_clip

Array = NDArray[np.float64]
FPS = 16.0
MOST_RIGS = 9
"""Of one category, whose limbs are found by shape."""
MOST_PAIRS = 12
"""Ordered pairs of rigs of one library."""


@dataclass(frozen=True)
class Compared:
    """One clip on one other rig; errors are mean distances over joints and frames, in rest diagonals of the target.

    Attributes:
        error: of the retargeted clip.
        copied: of local rotations copied by joint name.
        rest: of the rest pose.
        ends: of the retargeted clip, over the joints at which limbs end: hands, feet, heads, tails.
        seconds: that retargeting took, for each second of motion.
    """

    library: str
    source: str
    target: str
    clip: str
    error: float
    copied: float
    rest: float
    ends: float = 0.0
    seconds: float = 0.0


def main(argv: list[str] | None = None) -> int:
    """Command line: ``animax-engine evaluate --retargeting --data DIR``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --retargeting", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the data set")
    parser.add_argument("--pairs", type=int, default=MOST_PAIRS, help="of rigs in a library (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)
    print(summary(list(compare(args.data, args.pairs, args.seed))))
    print()
    print(shares(found_by_shape(args.data, args.seed)))
    return 0


def compare(data: Path, most: int, seed: int) -> Iterator[Compared]:
    """Clips of random pairs of rigs of other skeletons in the same library."""
    libraries: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for entry in json.loads((data / "manifest.json").read_text())["rigs"]:
        libraries[entry["animation_library"]].append(entry)
    random = np.random.default_rng(seed)

    @lru_cache(maxsize=16)
    def rig_of(file: str) -> tuple[Rig, dict[str, Clip]]:
        rig = load_rig(data / file)
        return rig, {clip.name: clip for clip in read_clips(rig, FPS)}

    for library, entries in libraries.items():
        pairs = [(a, b) for a in entries for b in entries if a["skeleton_id"] != b["skeleton_id"]]
        for i in random.permutation(len(pairs))[:most]:
            (source, clips), (target, own) = (rig_of(entry["file"]) for entry in pairs[i])
            bones = map_bones(source, target)
            for name, clip in clips.items():
                truth = own.get(name)
                # of one name and about as long
                if truth is not None and len(clip) > 2 and 0.8 < len(truth) / len(clip) < 1.25:
                    errors = _errors(clip, truth, source, target, bones)
                    yield Compared(library, pairs[i][0]["id"], pairs[i][1]["id"], name, *errors)


def _errors(
    clip: Clip, truth: Clip, source: Rig, target: Rig, bones: BoneMap
) -> tuple[float, float, float, float, float]:
    began = time.perf_counter()
    made = retarget_clip(clip, source, target, RetargetRequest(), bones=bones).clip
    took = (time.perf_counter() - began) / (len(clip) / FPS)
    rest = target.skeleton.posed(rotations=np.repeat(target.skeleton.rest.rotations[None], len(truth), axis=0))
    copied = resample(_copied(clip, source, target), FPS, seconds=len(truth) / FPS if truth.loop else truth.seconds)
    wanted, ours = _joints(truth, target), _joints(_as_long(made, truth), target)
    deforming = target.deforming.tolist()
    ends = [i for i, joint in enumerate(deforming) if not set(target.skeleton.children[joint]) & set(deforming)]
    return (
        _apart(ours, wanted, target),
        _apart(_joints(_as_long(copied, truth), target), wanted, target),
        _apart(_joints(truth.with_pose(rest), target), wanted, target),
        _apart(ours[:, ends], wanted[:, ends], target),
        took,
    )


def _as_long(clip: Clip, other: Clip) -> Clip:
    """The clip stretched to the length of another."""
    period = len(other) / FPS if clip.loop else other.seconds
    stretched = Clip(clip.name, FPS * len(clip) / len(other), clip.pose, clip.loop)
    out = resample(stretched, FPS, seconds=period)
    return out if len(out) == len(other) else resample(out, FPS, seconds=period)


def _copied(clip: Clip, source: Rig, target: Rig) -> Clip:
    """Local turns away from rest, copied by joint name: what is done where nothing is retargeted."""
    pose = target.skeleton.posed(rotations=np.repeat(target.skeleton.rest.rotations[None], len(clip), axis=0))
    for joint, name in enumerate(target.skeleton.names):
        if name in source.skeleton.names:
            ours = source.skeleton.names.index(name)
            turn = rotations.multiply(
                rotations.conjugate(source.skeleton.rest.rotations[ours]), clip.pose.rotations[:, ours]
            )
            pose.rotations[:, joint] = rotations.multiply(target.skeleton.rest.rotations[joint], turn)
    return clip.with_pose(pose)


def _joints(clip: Clip, rig: Rig) -> Array:
    """Heads (F, D, 3) of the joints that move vertices, of the clip in place."""
    return rig.skeleton.positions(remove_travel(clip, rig).pose)[:, rig.deforming]


def _apart(a: Array, b: Array, rig: Rig) -> float:
    frames = min(len(a), len(b))
    return float(np.linalg.norm(a[:frames] - b[:frames], axis=-1).mean() / rig.size)


def found_by_shape(data: Path, seed: int) -> list[tuple[float, bool]]:
    """Cost of each pair of limbs that is found without names, and whether the names say the same. Only limbs whose
    names are those of one other limb are looked at, of rigs of one category that share at least four of these."""
    random = np.random.default_rng(seed)
    topologies: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for entry in json.loads((data / "manifest.json").read_text())["rigs"]:
        topologies[entry["category"]].setdefault(entry["skeleton_id"], entry)
    out = []
    for entries in topologies.values():
        some = [list(entries.values())[i] for i in random.permutation(len(entries))[:MOST_RIGS]]
        limbs = [Limbs.of(load_rig(data / entry["file"])) for entry in some]
        for ours, theirs in permutations(limbs, 2):
            truth = _named_alike(ours, theirs)
            if len(truth) >= 4:
                pairs = match_limbs(_nameless(ours), _nameless(theirs)).pairs
                out += [(p.cost, truth[p.target] == p.source) for p in pairs if p.target in truth]
    return out


def _named_alike(ours: Limbs, theirs: Limbs) -> dict[tuple[str, ...], tuple[str, ...]]:
    def alike(limbs: Limbs, title: frozenset[str], side: int) -> list[int]:
        return [
            i
            for i, other in enumerate(limbs.titles)
            if other and len(title & other) >= len(title | other) / 2 and limbs.sides[i] == side
        ]

    out = {}
    for chain, title, side in zip(theirs.chains, theirs.titles, theirs.sides.tolist(), strict=True):
        found = alike(ours, title, side)
        if title and len(found) == len(alike(theirs, title, side)) == 1:
            out[chain] = ours.chains[found[0]]
    return out


def _nameless(limbs: Limbs) -> Limbs:
    return replace(limbs, titles=(frozenset(),) * len(limbs.titles), sides=np.zeros_like(limbs.sides))


def shares(found: list[tuple[float, bool]]) -> str:
    """A table in Markdown: how many of the pairs of limbs are right, by their cost."""
    lines = ["| cost of a pair | pairs | right |", "|---|---|---|"]
    for low, high in ((-np.inf, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.0), (1.0, np.inf), (-np.inf, np.inf)):
        right = [ok for cost, ok in found if low <= cost < high]
        name = "all" if low == -high else f"below {high:g}" if low < 0 else f"{low:g} to {min(high, STRANGE):g}"
        lines.append(f"| {name} | {len(right)} | {100 * float(np.mean(right or [0])):.0f} % |")
    return "\n".join(lines)


def summary(results: list[Compared]) -> str:
    """A table in Markdown: medians over clips, in percent of the target's rest diagonal."""
    lines = [
        "| library | pairs | clips | retargeted | ends of limbs | copied by name | at rest | nearer than both "
        "| ms a second |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for library in [*dict.fromkeys(r.library for r in results), "all"]:
        some = [r for r in results if library in ("all", r.library)]
        error, copied, rest = (100 * np.array([getattr(r, name) for r in some]) for name in ("error", "copied", "rest"))
        better = np.mean((error < copied) & (error < rest))
        pairs = len({(r.source, r.target) for r in some})
        ends, took = (np.array([getattr(r, name) for r in some]) for name in ("ends", "seconds"))
        row = [f"{np.median(column):.2f}" for column in (error, 100 * ends, copied, rest)]
        row += [f"{100 * better:.0f} %", f"{1000 * np.median(took):.0f}"]
        lines.append(f"| {library} | {pairs} | {len(some)} | {' | '.join(row)} |")
    return "\n".join(lines)
