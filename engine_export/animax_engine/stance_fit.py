"""Fits the weights of ``animax.assets.stance`` on rigs whose facing is known, and reports how often it is right.

    python -m animax_engine.stance_fit DATA

``DATA`` holds ``manifest.json`` (a list ``rigs`` of ``file``, ``split``, ``front_axis``, ``rest_to_clip_yaw_deg``).
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize

from animax.assets import Rig, load_rig
from animax.assets.stance import PRIOR, WEIGHTS, estimate_stance
from animax.assets.stance_cues import CANDIDATES, CUES, stance_cues

Array = NDArray[np.float64]
IntArray = NDArray[np.int64]

PENALTY = 1.0
"""Weight decay, in log-likelihood per squared log-odds."""
FRONTS = ("+z", "+x", "-z", "-x")


def fit(cues: Array, truth: IntArray, penalty: float = PENALTY) -> Array:
    """Weights (K,) that make ``truth`` (N,) likeliest among the four candidates of ``cues`` (N, 4, K): multinomial
    logistic regression with one weight a cue."""
    rows = np.arange(len(truth))

    def loss(weights: Array) -> tuple[float, Array]:
        scores = cues @ weights
        scores -= scores.max(axis=1, keepdims=True)
        chances = np.exp(scores)
        chances /= chances.sum(axis=1, keepdims=True)
        value = -np.log(chances[rows, truth]).sum() + penalty * weights @ weights
        expected = np.einsum("nc,nck->k", chances, cues)
        return float(value), expected - cues[rows, truth].sum(axis=0) + 2 * penalty * weights

    return np.asarray(minimize(loss, np.zeros(cues.shape[2]), jac=True).x)


def report(rigs: list[Rig], truth: IntArray, title: str, *, use_names: bool, prior: float) -> str:
    """Lines that say how often the estimate is right, overall and by confidence."""
    stances = [estimate_stance(rig.skeleton, rig.mesh, use_names=use_names, prior=prior) for rig in rigs]
    right = np.array([stance.forward @ CANDIDATES[t] > 0.9 for stance, t in zip(stances, truth, strict=True)])
    confidence = np.array([stance.confidence for stance in stances])
    bins = [(0.0, 0.6), (0.6, 0.8), (0.8, 0.95), (0.95, 1.01)]
    parts = []
    for low, high in bins:
        inside = (confidence >= low) & (confidence < high)
        parts.append(f"{low:.2f}+: {right[inside].sum()}/{inside.sum()}")
    sure = confidence >= 0.6
    wrong = ", ".join(rig.name for rig, ok in zip(rigs, right, strict=True) if not ok)
    return (
        f"{title}: {right.mean():.1%} of {len(right)}; at confidence >= 0.6 {right[sure].mean():.1%} of {sure.sum()}\n"
        f"   by confidence {', '.join(parts)}\n   wrong: {wrong}\n"
    )


def main() -> None:
    """See the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data
    entries = [e for e in json.loads((data / "manifest.json").read_text())["rigs"] if e["front_axis"]]
    # where the clips face another way than the rest pose, the manifest's axis is that of the clips
    straight = [e for e in entries if abs(e["rest_to_clip_yaw_deg"]) < 45]
    rigs = {e["id"]: load_rig(data / e["file"], name=e["id"]) for e in entries}
    axes = np.eye(3)
    train = [e for e in straight if e["split"] == "train"]
    cues = [
        stance_cues(rigs[e["id"]].skeleton, rigs[e["id"]].mesh, axes, use_names=n) for n in (True, False) for e in train
    ]
    truth = np.array([FRONTS.index(e["front_axis"]) for e in train] * 2)
    weights = fit(np.array(cues), truth)
    lines = [f'    "{cue}": {weight:.2f},\n' for cue, weight in zip(CUES, weights, strict=True)]
    WEIGHTS.update(zip(CUES, map(float, weights), strict=True))
    for title, chosen in (
        ("train", train),
        ("val", [e for e in straight if e["split"] == "val"]),
        ("all, clips turned against the rest pose included", entries),
    ):
        known = np.array([FRONTS.index(e["front_axis"]) for e in chosen])
        for use_names in (True, False):
            for prior, word in ((PRIOR, "with"), (0.0, "without")):
                label = f"{title}, {'names' if use_names else 'no names'}, {word} the convention"
                lines.append(report([rigs[e["id"]] for e in chosen], known, label, use_names=use_names, prior=prior))
    sys.stdout.write("".join(lines))


if __name__ == "__main__":
    main()
