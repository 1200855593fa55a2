"""Training the large network by the paper's recipe, on one processor or, under ``accelerate launch``, on many GPUs.

    z = (1 − σ) x + σ ε,   loss = ‖ network(z, σ) − (ε − x) ‖²

on the latents of both modalities; the template's are given clean and are out of the loss (paper § 3.2).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import random
import shutil
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from accelerate import Accelerator
from torch import Tensor

from animax.errors import ModelError
from animax_engine.network import WAN_1_3B, NetworkConfig, VideoPoseTransformer
from animax_engine.wan.cache import VAE_STRIDE, read_facts
from animax_engine.wan.recipe import Recipe, merge_adapters, prepare, start_view_attention
from animax_engine.wan.weights import load_weights, network_config, open_weights, save_tensors

STATE = "state"
"""Folder of a run that it goes on from."""
NETWORK = "network.safetensors"
"""The network as trained, adapters merged; with ``config.json`` beside, what the next stage starts from."""
SHUFFLED = 256
"""Samples among which the next one is drawn."""


@dataclass(frozen=True)
class LatentBatch:
    """Encoded samples, the template in the first slot.

    Attributes:
        rgb, pose: (B, V, 1 + F, C, h, w).
        text: (B, T, width), zeros behind the prompt.
        rays: (B, V, 6, h, w).
    """

    rgb: Tensor
    pose: Tensor
    text: Tensor
    rays: Tensor

    def of_views(self, views: Tensor) -> LatentBatch:
        """The views (B, V') of each sample."""
        rows = torch.arange(len(views))[:, None]
        return LatentBatch(self.rgb[rows, views], self.pose[rows, views], self.text, self.rays[rows, views])

    def to(self, device: torch.device) -> LatentBatch:
        """On a device, as fp32."""
        return LatentBatch(*(tensor.to(device).float() for tensor in (self.rgb, self.pose, self.text, self.rays)))


def velocity_loss(
    network: torch.nn.Module, batch: LatentBatch, recipe: Recipe, generator: torch.Generator
) -> dict[str, Tensor]:
    """The loss of each modality. All random numbers come from ``generator``, on the CPU."""
    size, device = len(batch.rgb), batch.rgb.device
    slots = batch.rgb.shape[2] - 1
    sigma = recipe.sigmas(size, generator).to(device)[:, None].expand(size, slots)
    keep_text = (torch.rand(size, generator=generator) >= recipe.drop_text).to(device)
    keep_image = (torch.rand(size, generator=generator) >= recipe.drop_image).to(device)
    level = sigma[:, None, :, None, None, None]
    noisy, target, template = {}, {}, {}
    for name, latents in (("rgb", batch.rgb), ("pose", batch.pose)):
        clean = latents[:, :, 1:]
        noise = torch.randn(clean.shape, generator=generator).to(device)
        noisy[name], target[name] = clean + level * (noise - clean), noise - clean
        template[name] = latents[:, :, 0] * keep_image[:, None, None, None, None]
    rgb, pose = network(
        noisy["rgb"],
        noisy["pose"],
        template["rgb"],
        template["pose"],
        sigma,
        batch.text * keep_text[:, None, None],
        batch.rays if recipe.stage == 2 else None,
    )
    return {name: (made.float() - target[name]).square().mean() for name, made in (("rgb", rgb), ("pose", pose))}


def batches(cache: Path, recipe: Recipe, size: int) -> Iterator[LatentBatch]:
    """Endless batches of the cache's samples; every process of a run gets shards of its own. The order depends on the
    seed alone.

    Raises:
        ModelError: there is no cache.
    """
    tokens = int(read_facts(cache)["tokens"])
    shards = sorted(str(path) for path in cache.glob("*.tar"))
    if not shards:
        raise ModelError(f"{cache.name!r} holds no shards; accepted: a folder of `animax-engine wan cache`")
    drawn = webdataset.WebDataset(shards, shardshuffle=False, nodesplitter=webdataset.split_by_node, empty_check=False)
    source = iter(drawn.shuffle(SHUFFLED, rng=random.Random(recipe.seed)).decode().repeat())
    while chosen := list(islice(source, size)):
        for sample in chosen:
            states = sample["text.npy"]
            sample["text.npy"] = np.pad(states, ((0, tokens - len(states)), (0, 0)))
        yield LatentBatch(
            *(
                torch.from_numpy(np.stack([sample[f"{name}.npy"] for sample in chosen]))
                for name in ("rgb", "pose", "text", "rays")
            )
        )


def read_network(path: Path, base: NetworkConfig) -> VideoPoseTransformer:
    """The network of an earlier stage's folder, else Wan's own weights with fresh additions.

    Raises:
        ModelError: the weights cannot be read or do not fit.
    """
    if (path / NETWORK).is_file():
        network = VideoPoseTransformer(NetworkConfig.from_dict(json.loads((path / "config.json").read_text("utf-8"))))
        with open_weights(path / NETWORK) as files:
            state = {name: file.get_tensor(name) for name, file in files.items()}
        try:
            network.load_state_dict(state)
        except RuntimeError as error:
            raise ModelError(f"{NETWORK} of {path.name!r} is not of the network in its config.json") from error
        return network
    network = VideoPoseTransformer(network_config(path, base))
    load_weights(network, path)
    start_view_attention(network)
    return network


def write_network(network: VideoPoseTransformer, folder: Path) -> None:
    """Write ``NETWORK`` and its ``config.json``."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(network.config.as_dict(), indent=1), "utf-8")
    save_tensors(network.state_dict(), folder / NETWORK)


def train(
    network: VideoPoseTransformer,
    cache: Path,
    out: Path,
    recipe: Recipe,
    *,
    steps: int,
    batch: int,
    accelerator: Accelerator,
    save_every: int = 500,
) -> list[float]:
    """Train for ``steps`` steps in all, going on from ``out`` where a run was saved; leaves the merged network there.

    Returns:
        The loss of every step of this call.
    """
    prepare(network, recipe)
    network.checkpointing = True
    network.train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate, weight_decay=recipe.weight_decay)
    model, optimiser = accelerator.prepare(network, optimiser)
    first = 0
    if (out / STATE).is_dir():
        accelerator.load_state(str(out / STATE))
        first = int(json.loads((out / STATE / "progress.json").read_text())["step"])
    out.mkdir(parents=True, exist_ok=True)
    source = islice(batches(cache, recipe, batch), first, None)
    losses: list[float] = []
    with (out / "log.csv").open("a", newline="") as file:
        log = csv.writer(file)
        if first == 0:
            log.writerow(["step", "seconds", "rgb", "pose", "rate"])
        began = time.monotonic()
        for step, drawn in zip(range(first, steps), source, strict=False):
            # numbers of its own for every step and process: a resumed run draws what an unbroken one would
            generator = torch.Generator().manual_seed(hash((recipe.seed, step, accelerator.process_index)) % 2**63)
            if recipe.stage == 1:
                views = torch.randint(drawn.rgb.shape[1], (len(drawn.rgb), 1), generator=generator)
                drawn = drawn.of_views(views)
            for group in optimiser.param_groups:
                group["lr"] = recipe.rate * min(1.0, (step + 1) / max(1, recipe.warmup))
            with accelerator.autocast():
                parts = velocity_loss(model, drawn.to(accelerator.device), recipe, generator)
            loss = parts["rgb"] + recipe.pose_weight * parts["pose"]
            if not math.isfinite(loss.item()):
                raise ModelError(f"the loss of step {step} is {loss.item()}; accepted: a finite number")
            accelerator.backward(loss)
            accelerator.clip_grad_norm_(trained, recipe.clip_norm)
            optimiser.step()
            optimiser.zero_grad()
            losses.append(loss.item())
            if accelerator.is_main_process:
                values = [parts[name].item() for name in ("rgb", "pose")]
                log.writerow([step, round(time.monotonic() - began, 1), *values, optimiser.param_groups[0]["lr"]])
                file.flush()
            if step + 1 == steps or (step + 1) % save_every == 0:
                _save(accelerator, out, step + 1)
    accelerator.wait_for_everyone()
    if accelerator.is_main_process:
        whole = accelerator.unwrap_model(model)
        merge_adapters(whole)
        write_network(whole, out)
    return losses


def _save(accelerator: Accelerator, out: Path, step: int) -> None:
    """Write the run's state beside the last one and put it in its place."""
    scratch = out / f"{STATE}.tmp"
    accelerator.save_state(str(scratch))
    if accelerator.is_main_process:
        (scratch / "progress.json").write_text(json.dumps({"step": step}))
        shutil.rmtree(out / STATE, ignore_errors=True)
        scratch.replace(out / STATE)
    accelerator.wait_for_everyone()


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan train CACHE OUT --start WAN``."""
    parser = argparse.ArgumentParser(prog="animax-engine wan train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cache", type=Path, metavar="CACHE", help="folder of `animax-engine wan cache`")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run; one that is there goes on")
    parser.add_argument(
        "--start", type=Path, required=True, metavar="DIR", help="Wan's folder, or stage 1's for stage 2"
    )
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--batch", type=int, default=1, help="samples a process (default: %(default)s)")
    parser.add_argument("--save-every", type=int, default=500, metavar="STEPS")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), default="bf16", help="(default: %(default)s)")
    for name, value in asdict(Recipe()).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help="(default: %(default)s)"
        )
    args = parser.parse_args(argv)
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe())})
    side = read_facts(args.cache)["size"] // VAE_STRIDE[1]
    base = replace(WAN_1_3B, rgb=replace(WAN_1_3B.rgb, size=side), pose=replace(WAN_1_3B.pose, size=side))
    options: dict[str, Any] = {"steps": args.steps, "batch": args.batch, "save_every": args.save_every}
    accelerator = Accelerator(mixed_precision=args.precision)
    train(read_network(args.start, base), args.cache, args.out, recipe, accelerator=accelerator, **options)


if __name__ == "__main__":
    main()
