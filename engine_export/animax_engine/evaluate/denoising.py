"""What a network explains at each noise level: with its prompt, without one and with another's.

R² is the share of the motion's energy (what differs from the rest pose) that one call explains. Where it rises
from nothing, the motion is decided; the gap between the prompts is what the prompt decides. Of networks that are given
a plan, what the plan alone explains is the level to be above.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from animax.diffusion.text import TextEncoder
from animax_engine.dataset.batches import UNCHANGED, Batches, drawn_motion, drawn_plan, shared_noise
from animax_engine.dataset.repertoire import repertoire_of
from animax_engine.export import network_of, read_state, repertoire_in
from animax_engine.network import VideoPoseTransformer

LEVELS = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)


@dataclass(frozen=True)
class Explained:
    """R² at one noise level: the clip's own caption, none, another clip's."""

    sigma: float
    own: float
    none: float
    other: float


def explained_by_plan(batches: Batches, *, views: int, samples: int, seed: int) -> float:
    """R² of the plans of the clips that ``explained`` takes."""
    batches.random = np.random.default_rng(seed)
    batch = batches.draw(samples, views, joint=False)
    _, _, motion = drawn_motion(batch, batches.space)
    plan, used = drawn_plan(batch, batches.space), batch.mask[:, None, None, :, None, None]
    assert plan is not None
    return float(1 - ((plan - motion) * used).square().sum() / (motion * used).square().sum())


def explained(
    network: VideoPoseTransformer, batches: Batches, *, views: int, samples: int, seed: int
) -> Iterator[Explained]:
    """Pose tokens alone, on the same random clips and noise at every level; views share theirs as in sampling."""
    batches.random = np.random.default_rng(seed)
    batch = batches.draw(samples, views, joint=False)
    template, at_rest, motion = drawn_motion(batch, batches.space)
    clean = at_rest[:, :, None] + motion
    generator = torch.Generator().manual_seed(seed)
    if batch.moved is None:
        noise = torch.randn(clean.shape, generator=generator)
    else:
        noise = shared_noise(batch.moved, batch.mask, batches.space, clean.shape[2], generator)
    used = batch.mask[:, None, None, :, None, None]
    energy = (motion * used).square().sum()
    slots = 1 + (clean.shape[2] - 1) // network.config.pose.patch[0]
    rays = batches.rays().expand(samples, -1, -1, -1, -1) if views > 1 else None
    text, time = batch.text.float(), batch.time(network.config.pose.patch[0])
    plan = drawn_plan(batch, batches.space)
    plan = None if plan is None else at_rest[:, :, None] + plan
    for level in LEVELS:
        noisy = (1 - level) * clean + level * noise
        sigma = torch.full((samples, slots), level)

        def share(prompt: torch.Tensor, noisy: torch.Tensor = noisy, sigma: torch.Tensor = sigma) -> float:
            with torch.inference_mode():
                _, made = network(None, noisy, None, template, sigma, prompt, rays, time, plan)
            return float(1 - ((made.float() - clean) * used).square().sum() / energy)

        yield Explained(level, share(text), share(torch.zeros_like(text)), share(text.roll(1, 0)))


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine evaluate --denoising BANK MODEL``."""
    parser = argparse.ArgumentParser(prog="animax-engine evaluate --denoising", description=__doc__)
    parser.add_argument("bank", type=Path)
    parser.add_argument("model", help="checkpoint, model folder or model's name")
    parser.add_argument("--split", choices=("train", "val"), default="val")
    parser.add_argument("--views", type=int, choices=(1, 4), default=4)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--without", action="store_true", help="train rigs are planned without their own clips")
    args = parser.parse_args(argv)
    if args.without and args.split != "train":
        parser.error("--without is for --split train: other rigs have no clips in the repertoire")
    state = read_state(args.model)
    network, frames = network_of(state, str(args.model)), int(state["frames"])
    space = network.config.latent_space
    batches = Batches(args.bank, space, frames=frames, text=TextEncoder(), splits=(args.split,), augmentation=UNCHANGED)
    if network.config.plan:
        # only of the bank's own repertoire are the numbers of bodies known
        batches.repertoire = repertoire_of(args.bank, TextEncoder()) if args.without else repertoire_in(state)
        batches.left_out = float(args.without)
        by_plan = explained_by_plan(batches, views=args.views, samples=args.samples, seed=args.seed)
        print(f"by the plan alone: {by_plan:.3f}")
    print("noise level  own caption  no caption  another's")
    for row in explained(network, batches, views=args.views, samples=args.samples, seed=args.seed):
        print(f"{row.sigma:11.2f}  {row.own:11.3f}  {row.none:10.3f}  {row.other:9.3f}", flush=True)


if __name__ == "__main__":
    main()
