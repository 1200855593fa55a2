"""A picture of what a model makes: one strip for each rig and prompt, the prompt above it."""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from animax.assets import load_rig
from animax.diffusion.model import Model, load_model
from animax.pipeline import animate
from animax.request import Request
from animax.views.preview import preview_pictures

Bytes = NDArray[np.uint8]
CAPTION_HEIGHT = 26
EXAMPLES = (
    ("quadruped", "a quadruped walking"),
    ("biped", "a person walking"),
    ("bird", "a bird flying"),
    ("fish", "a fish swimming"),
    ("snake", "a snake slithering"),
    ("spider", "a spider walking"),
)
"""Example rigs, by file name, and what they are asked to do."""


def strip(
    rig_path: Path, prompt: str, model: Model, *, seed: int, size: int, columns: int, facing: str | None
) -> Bytes:
    """One strip (H, W, 3) of ``columns`` pictures of ``size`` pixels, spread over two seconds, under its prompt."""
    rig = load_rig(rig_path, facing=facing)
    made = animate(rig, Request(prompt, seconds=2.0, fps=model.fps, seed=seed), model)
    pictures = preview_pictures(rig, made.clip, size=size)
    chosen = np.linspace(0, len(pictures) - 1, columns).round().astype(int)
    row = np.concatenate(list(pictures[chosen]), axis=1)
    caption = np.full((CAPTION_HEIGHT, row.shape[1], 3), 255, np.uint8)
    text = f"{rig.name}: {prompt}"
    cv2.putText(caption, text, (8, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (40, 40, 40), 1, cv2.LINE_AA)
    out: Bytes = np.concatenate([caption, row])
    return out


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine gallery OUT.png [RIG=PROMPT ...]``."""
    parser = argparse.ArgumentParser(prog="animax-engine gallery", description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("pairs", nargs="*", metavar="RIG=PROMPT", help="default: the example rigs")
    parser.add_argument("--examples", type=Path, default=Path("examples"), help="folder of the example rigs")
    parser.add_argument("--model", default="embedded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", type=int, default=160)
    parser.add_argument("--columns", type=int, default=8)
    parser.add_argument("--facing", help="of all rigs; default: estimated")
    args = parser.parse_intermixed_args(argv)
    pairs = [(Path(rig), prompt) for rig, _, prompt in (pair.partition("=") for pair in args.pairs)]
    pairs = pairs or [(args.examples / f"{name}.glb", prompt) for name, prompt in EXAMPLES]
    model = load_model(args.model)
    options = {"seed": args.seed, "size": args.size, "columns": args.columns, "facing": args.facing}
    sheet = np.concatenate([strip(path, prompt, model, **options) for path, prompt in pairs])
    args.out.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(".png", sheet[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 9])
    args.out.write_bytes(data.tobytes())
    print(f"{args.out}: {len(pairs)} strips, model {model.name} {model.sha256[:12]}")


if __name__ == "__main__":
    main()
