"""A folder of procedural rigs with a manifest, for a bank: more bodies for the categories that have few."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from animax.procedural import KINDS, captions, describe, generate

CATEGORIES = {
    "biped": "humanoid",
    "quadruped": "quadruped",
    "bird": "bird",
    "spider": "arthropod",
    "beetle": "arthropod",
    "snake": "snake",
    "fish": "fish",
    "chest": "prop",
    "robot_arm": "robot",
}
"""Category of the data set that each kind counts to."""
FIRST_SEED = 100
"""Smaller seeds are left to the examples that ship, which stay unseen in training."""


def write_rigs(out: Path, per_kind: int) -> int:
    """Write ``per_kind`` GLBs of every kind and manifest.json to ``out``; returns the number of rigs."""
    rigs = []
    for kind in KINDS:
        for seed in range(FIRST_SEED, FIRST_SEED + per_kind):
            name = f"procedural_{kind}_{seed}"
            file = Path("rigs") / f"{name}.glb"
            (out / file).parent.mkdir(parents=True, exist_ok=True)
            (out / file).write_bytes(generate(kind, seed))
            facts = describe(kind, seed)
            rigs.append(
                {
                    "id": name,
                    "file": str(file),
                    "split": "train",
                    "category": CATEGORIES.get(kind, kind),
                    "front_axis": "+z",
                    "noun": facts.noun,
                    "description": facts.description,
                    "clips": [
                        {"name": key, "loop": m.loop, "action": m.action, "captions": captions(kind, key, seed)}
                        for key, m in facts.motions.items()
                    ],
                }
            )
    (out / "manifest.json").write_text(json.dumps({"format_version": 1, "rigs": rigs}, indent=1))
    return len(rigs)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine procedural OUT``."""
    parser = argparse.ArgumentParser(prog="animax-engine procedural", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--per-kind", type=int, default=8)
    args = parser.parse_args(argv)
    print(f"{write_rigs(args.out, args.per_kind)} rigs in {args.out}")


if __name__ == "__main__":
    main()
