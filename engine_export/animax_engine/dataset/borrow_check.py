"""How far borrowed clips can be trusted: where the rig has the motion itself, is its own clip of it the nearest of all?

The measure is that of generated motion (``evaluate.retrieval``), so the figures are what a perfect copy of the borrowed
clips would reach.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from animax_engine.evaluate.retrieval import Track, clip_distance

LEAST_ACTIONS = 3
"""Motions of its own that a rig must have for the question to mean something."""
LONGEST = 33
"""Frames that are compared."""


def check(bank: Path, most: int, seed: int = 0) -> list[tuple[str, str, int, float]]:
    """(category, motion, rank, chance) of up to ``most`` borrowed clips: the rank of the first own clip of the motion
    among all own ones, by distance, and how often chance would put one first."""
    index = json.loads((bank / "index.json").read_text())
    poses = np.load(bank / "poses.npy", mmap_mode="r")
    jobs: list[tuple[dict[str, Any], dict[str, Any]]] = []
    for rig in index["rigs"]:
        actions = {clip["action"] for clip in rig["clips"] if not clip.get("borrowed")}
        if len(actions) >= LEAST_ACTIONS:
            jobs += [(rig, c) for c in rig["clips"] if c.get("borrowed") and c["action"] in actions]
    chosen = np.random.default_rng(seed).permutation(len(jobs))[:most]
    out = []
    for rig, clip in (jobs[i] for i in chosen):
        tracks, actions_of, first = [], [], rig["first"] + 1
        for own in rig["clips"]:
            if not own.get("borrowed"):
                rows = poses[first : first + min(own["frames"], 2 * LONGEST), rig["channels"]].astype(np.float64)
                tracks.append(Track(rows, loop=own["period"] > 0))
                actions_of.append(own["action"])
                first += own["frames"]
        made = poses[clip["first"] : clip["first"] + min(clip["frames"], LONGEST), rig["channels"]].astype(np.float64)
        distances = np.array([clip_distance(made, track) for track in tracks])
        same = np.array([action == clip["action"] for action in actions_of])
        rank = int(np.sum(distances < distances[same].min()))
        out.append((rig["category"], clip["action"], rank, float(same.mean())))
    return out


def table(bank: Path, results: list[tuple[str, str, int, float]]) -> str:
    """A row for each category: rigs, own and borrowed clips, and how the borrowed ones fare."""
    index = json.loads((bank / "index.json").read_text())
    lines = ["| category | train rigs | own clips | borrowed | checked | top-1 | top-3 | chance |", "|---" * 8 + "|"]
    categories = sorted({rig["category"] for rig in index["rigs"]})
    for category in [*categories, "all"]:
        rigs = [r for r in index["rigs"] if r["split"] == "train" and category in (r["category"], "all")]
        clips = [clip for rig in rigs for clip in rig["clips"]]
        borrowed = sum(clip.get("borrowed", False) for clip in clips)
        ranks = np.array([rank for of, _, rank, _ in results if category in (of, "all")])
        chance = [c for of, _, _, c in results if category in (of, "all")]
        shares = [f"{s:.2f}" for s in (np.mean(ranks < 1), np.mean(ranks < 3), np.mean(chance))] if len(ranks) else []
        cells = [category, len(rigs), len(clips) - borrowed, borrowed, len(ranks), *(shares or ["", "", ""])]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``python -m animax_engine.dataset.borrow_check BANK``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bank", type=Path)
    parser.add_argument("--most", type=int, default=1500, help="clips to check, chosen at random")
    args = parser.parse_args(argv)
    print(table(args.bank, check(args.bank, args.most)))


if __name__ == "__main__":
    main()
