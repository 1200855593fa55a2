"""Training the large network by the paper's recipe, on one processor or, under ``accelerate launch``, on many GPUs.

    z = (1 − σ) x + σ ε,   loss = ‖ network(z, σ) − (ε − x) ‖²

on the latents of both modalities; the template's are given clean and are out of the loss (paper § 3.2).
Ctrl-C saves and stops; the same command goes on.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import pickle
import random
import shutil
import tarfile
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from accelerate import Accelerator
from numpy.typing import NDArray
from safetensors import SafetensorError
from torch import Tensor

from animax.cli.interruption import Interruption
from animax.cli.options import positive
from animax.errors import Cancelled, ModelError, OptionError
from animax_engine.network import WAN_1_3B, NetworkConfig, VideoPoseTransformer
from animax_engine.wan.cache import VAE_STRIDE, read_facts
from animax_engine.wan.recipe import Recipe, merge_adapters, prepare, start_view_attention
from animax_engine.wan.weights import load_weights, network_config, open_weights, save_tensors

STATE = "state"
"""Folder of a run that it goes on from."""
LOG = "log.csv"
NETWORK = "network.safetensors"
"""The network as trained, adapters merged; with ``config.json`` beside, what the next stage starts from."""
PROGRESS = "progress.json"
"""In ``STATE``, written last: the step it is of, and the recipe."""
KEPT = ("stage", "rank", "adapted")
"""Of a recipe, what a run that goes on cannot change."""
SHUFFLED = 64
"""Samples among which the next one is drawn; each takes 20 MB at full size. The cache is mixed already."""
ARRAYS = ("rgb", "pose", "text", "rays")
"""Of a sample."""
TOLD = 10
"""Steps from one line of progress to the next."""
OPEN_POINTS = {
    "condition_time": ("clean", "shared"),
    "view_every": None,
    "view_positions": ("grid", "none"),
    "view_modulation": ("block", "none"),
    "view_embedding": (0, 4),
}
"""The paper's open points that are fields of ``NetworkConfig``, with what they can be; None: a number from 1."""


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


def batches(cache: Path, recipe: Recipe, size: int, *, skip: int = 0, processes: int = 1) -> Iterator[LatentBatch]:
    """Endless batches of the cache's samples; every process of a run gets shards of its own. The order depends on the
    seed alone.

    Args:
        cache: folder of ``animax-engine wan cache``.
        recipe: gives the seed.
        size: samples of a batch.
        skip: batches to leave out at the start; they are read, but not decoded.
        processes: of the run.

    Raises:
        ModelError: there is no cache, it is empty or damaged, or has fewer shards than the run has processes.
    """
    tokens = read_facts(cache)["tokens"]
    shards = sorted(str(path) for path in cache.glob("*.tar"))
    if len(shards) < processes:
        raise ModelError(
            f"cache {cache.name!r} has {len(shards)} shards; accepted: one for each of {processes} processes"
        )
    drawn = webdataset.WebDataset(shards, shardshuffle=False, nodesplitter=webdataset.split_by_node, empty_check=False)
    source = iter(drawn.shuffle(SHUFFLED, rng=random.Random(recipe.seed)).repeat())
    try:
        for _ in islice(source, skip * size):
            pass
        while chosen := [_decoded(sample, tokens) for sample in islice(source, size)]:
            yield LatentBatch(*(torch.from_numpy(np.stack([sample[name] for sample in chosen])) for name in ARRAYS))
    except (tarfile.TarError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"cache {cache.name!r} is damaged: {error}") from error
    raise ModelError(f"cache {cache.name!r} holds no samples; accepted: a folder of `animax-engine wan cache`")


def _decoded(sample: dict[str, bytes], tokens: int) -> dict[str, NDArray[np.float16]]:
    """The arrays of a sample, its prompt padded. webdataset's own decoder would unpickle what is named so."""
    arrays = {name: np.load(io.BytesIO(sample[f"{name}.npy"]), allow_pickle=False) for name in ARRAYS}
    states = arrays["text"]
    arrays["text"] = np.pad(states, ((0, tokens - len(states)), (0, 0)))
    return arrays


def check_fit(batch: LatentBatch, config: NetworkConfig) -> None:
    """Whether a cache's samples are of the network's sizes.

    Raises:
        ModelError: they are not.
    """
    for name, seen, accepted in (
        ("rgb", tuple(batch.rgb.shape[3:]), (config.rgb.channels, config.rgb.size, config.rgb.size)),
        ("pose", tuple(batch.pose.shape[3:]), (config.pose.channels, config.pose.size, config.pose.size)),
        ("text", batch.text.shape[2], config.text_width),
        ("rays", tuple(batch.rays.shape[2:]), (6, config.pose.size, config.pose.size)),
    ):
        if seen != accepted:
            raise ModelError(f"{name} of the cache is of {seen}; accepted by this network: {accepted}")


def read_network(path: Path, base: NetworkConfig, points: dict[str, Any] | None = None) -> VideoPoseTransformer:
    """The network of an earlier stage's folder, else Wan's own weights with fresh additions.

    Args:
        path: folder.
        base: of a network whose sizes the folder does not state.
        points: ``OPEN_POINTS`` that were asked for.

    Raises:
        ModelError: the weights cannot be read or do not fit.
        OptionError: the earlier stage was trained with other open points.
    """
    points = points or {}
    if not (path / NETWORK).is_file():
        network = VideoPoseTransformer(replace(network_config(path, base), **points))
        load_weights(network, path)
        return network
    try:
        values = json.loads((path / "config.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"folder {path.name!r} holds {NETWORK} without a whole config.json") from error
    config = NetworkConfig.from_dict(values)
    for name, value in points.items():
        if value != getattr(config, name):
            raise OptionError(name, value, f"{getattr(config, name)}, as in {path.name!r}")
    network = VideoPoseTransformer(config)
    with open_weights(path / NETWORK) as files:
        state = {name: file.get_tensor(name) for name, file in files.items()}
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        raise ModelError(f"{NETWORK} of {path.name!r} is not of the network in its config.json") from error
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
    say: Callable[[str], None] = lambda _: None,
    should_stop: Callable[[], bool] = lambda: False,
) -> list[float]:
    """Train for ``steps`` steps in all, going on from ``out`` where a run was saved; leaves the merged network there.

    Args:
        network: as it was before this stage; its layers are changed.
        cache: folder of ``animax-engine wan cache``.
        out: folder of the run.
        recipe: see there.
        steps: of the run in all.
        batch: samples of a step and process.
        accelerator: what it runs on.
        save_every: steps from one save to the next.
        say: takes lines of progress, from the first process alone.
        should_stop: asked after every step; where any process says so, all save and stop.

    Returns:
        The loss of every step of this call.

    Raises:
        Cancelled: it was asked to stop; the same call goes on.
        ModelError: the cache or what was saved does not fit, or the loss is no number.
        OptionError: the run was begun with another recipe.
    """
    first, config = _saved_step(out, recipe), network.config
    source = batches(cache, recipe, batch, skip=first, processes=accelerator.num_processes)
    prepare(network, recipe)
    network.checkpointing = True
    network.train()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimiser = torch.optim.AdamW(trained, lr=recipe.rate, weight_decay=recipe.weight_decay)
    model, optimiser = accelerator.prepare(network, optimiser)
    if first:
        _load(accelerator, out)
    main = accelerator.is_main_process
    if main:
        out.mkdir(parents=True, exist_ok=True)
        _keep_log(out / LOG, first)
        say(f"step {first} of {steps}, {sum(p.numel() for p in trained) / 1e6:.1f} M parameters trained")
    losses: list[float] = []
    began = time.monotonic()
    for step, drawn in zip(range(first, steps), source, strict=False):
        if step == first:
            check_fit(drawn, config)
        # numbers of its own for every step and process: a resumed run draws what an unbroken one would
        seed = zlib.crc32(f"{recipe.seed} {step} {accelerator.process_index}".encode())
        generator = torch.Generator().manual_seed(seed)
        if recipe.stage == 1:
            views = torch.randint(drawn.rgb.shape[1], (len(drawn.rgb), 1), generator=generator)
            drawn = drawn.of_views(views)
        for group in optimiser.param_groups:
            group["lr"] = recipe.rate * min(1.0, (step + 1) / max(1, recipe.warmup))
        with accelerator.autocast():
            parts = velocity_loss(model, drawn.to(accelerator.device), recipe, generator)
        loss = parts["rgb"] + recipe.pose_weight * parts["pose"]
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            raise ModelError(f"the loss of step {step} is {losses[-1]}; accepted: a finite number")
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), recipe.clip_norm)  # FSDP knows the model by its whole list
        optimiser.step()
        optimiser.zero_grad()
        done, taken = step + 1, time.monotonic() - began
        if main:
            values = [round(parts[name].item(), 6) for name in ("rgb", "pose")]
            _append(out / LOG, [step, round(taken, 1), *values, optimiser.param_groups[0]["lr"]])
            if done % TOLD == 0 or done in (first + 1, steps):
                each = taken / (done - first)
                told = f"step {done} of {steps}: rgb {values[0]:.4f}, pose {values[1]:.4f}"
                say(f"{told}, {each:.2f} s a step, {(steps - done) * each / 3600:.1f} h left")
        stop = _any(accelerator, should_stop())
        if stop or done == steps or done % save_every == 0:
            _save(accelerator, out, done, recipe)
        if stop and done < steps:
            raise Cancelled(f"stopped after step {done} of {steps}")
    state = accelerator.get_state_dict(model)  # every process takes part: under FSDP each holds a share
    if main:
        write_network(_merged(state, config, recipe), out)
        say(f"written: {out / NETWORK}")
    accelerator.wait_for_everyone()
    return losses


def _merged(state: dict[str, Tensor], config: NetworkConfig, recipe: Recipe) -> VideoPoseTransformer:
    """The network of a whole state, its adapters merged."""
    with torch.device("meta"):
        network = VideoPoseTransformer(config)
        prepare(network, recipe)
    network.load_state_dict({name: tensor.detach().cpu().clone() for name, tensor in state.items()}, assign=True)
    merge_adapters(network)
    return network


def _any(accelerator: Accelerator, here: bool) -> bool:
    """Whether it is so in any process."""
    return bool(accelerator.reduce(torch.tensor(float(here), device=accelerator.device), "sum").item())


def _state(out: Path) -> Path | None:
    """The folder of what was saved last: the one before, where a save broke off between its two renames."""
    folders = (out / STATE, out / f"{STATE}.old")
    return next((folder for folder in folders if (folder / PROGRESS).is_file()), None)


def _saved_step(out: Path, recipe: Recipe) -> int:
    """Steps that a run has behind it; 0 for a new one.

    Raises:
        ModelError: what was saved is damaged.
        OptionError: the run was begun with another recipe.
    """
    folder = _state(out)
    if folder is None:
        return 0
    try:
        saved = json.loads((folder / PROGRESS).read_text("utf-8"))
        step, before = int(saved["step"]), {name: saved["recipe"][name] for name in KEPT}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{PROGRESS} of the run {out.name!r} is damaged") from error
    for name, value in before.items():
        if getattr(recipe, name) != value:
            raise OptionError(name, getattr(recipe, name), f"{value}, as the run {out.name!r} was begun with")
    return step


def _load(accelerator: Accelerator, out: Path) -> None:
    try:
        accelerator.load_state(str(_state(out)))
    except (RuntimeError, ValueError, KeyError, OSError, EOFError, pickle.UnpicklingError, SafetensorError) as error:
        reason = (str(error).splitlines() or [""])[0][:120]
        raise ModelError(f"what the run {out.name!r} saved is damaged, or of another network: {reason}") from error


def _save(accelerator: Accelerator, out: Path, step: int, recipe: Recipe) -> None:
    """Write the run's state beside the last one and put it in its place; at any moment one of the two is whole."""
    scratch, state, old = (out / name for name in (f"{STATE}.tmp", STATE, f"{STATE}.old"))
    if accelerator.is_main_process:
        shutil.rmtree(scratch, ignore_errors=True)  # of a save that broke off
    accelerator.wait_for_everyone()
    accelerator.save_state(str(scratch))
    accelerator.wait_for_everyone()  # each process writes a file of its own
    if accelerator.is_main_process:
        (scratch / PROGRESS).write_text(json.dumps({"step": step, "recipe": asdict(recipe)}), "utf-8")
        if state.exists():
            shutil.rmtree(old, ignore_errors=True)
            state.replace(old)
        scratch.replace(state)
        shutil.rmtree(old, ignore_errors=True)
    accelerator.wait_for_everyone()


def _keep_log(path: Path, first: int) -> None:
    """Begin the log, or cut it to the steps before ``first``: those after the last save are taken again."""
    rows = path.read_text("utf-8").splitlines()[1:] if first and path.is_file() else []
    kept = [row for row in rows if row.partition(",")[0].isdigit() and int(row.partition(",")[0]) < first]
    path.write_text("\n".join(["step,seconds,rgb,pose,rate", *kept]) + "\n", "utf-8")


def _append(path: Path, row: list[Any]) -> None:
    with path.open("a", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerow(row)


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan train CACHE OUT --start WAN``."""
    parser = argparse.ArgumentParser(prog="animax-engine wan train", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cache", type=Path, metavar="CACHE", help="folder of `animax-engine wan cache`")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run; one that is there goes on")
    parser.add_argument(
        "--start", type=Path, required=True, metavar="DIR", help="Wan's folder, or stage 1's for stage 2"
    )
    parser.add_argument("--steps", type=positive, default=10_000, help="in all (default: %(default)s)")
    parser.add_argument("--batch", type=positive, default=1, help="samples a process (default: %(default)s)")
    parser.add_argument("--save-every", type=positive, default=500, metavar="STEPS", help="(default: %(default)s)")
    parser.add_argument("--precision", choices=("no", "fp16", "bf16"), default="bf16", help="(default: %(default)s)")
    group = parser.add_argument_group("recipe", "what animax_engine.wan.recipe.Recipe says of each")
    for name, value in asdict(Recipe()).items():
        group.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, metavar="X", help="(default: %(default)s)"
        )
    group = parser.add_argument_group("network", "what NetworkConfig says of each; a run from stage 1 keeps stage 1's")
    for name, choices in OPEN_POINTS.items():
        usual = getattr(WAN_1_3B, name)
        kind = type(usual) if choices else positive
        group.add_argument(f"--{name.replace('_', '-')}", type=kind, choices=choices, help=f"(default: {usual})")
    args = parser.parse_args(argv)
    recipe = Recipe(**{name: getattr(args, name) for name in asdict(Recipe())})
    points = {name: getattr(args, name) for name in OPEN_POINTS if getattr(args, name) is not None}
    side = read_facts(args.cache)["size"] // VAE_STRIDE[1]
    base = replace(WAN_1_3B, rgb=replace(WAN_1_3B.rgb, size=side), pose=replace(WAN_1_3B.pose, size=side))
    torch.manual_seed(recipe.seed)  # of adapters and additions
    network = read_network(args.start, base, points)
    if recipe.stage == 2 and recipe.view_start == "within":
        start_view_attention(network)
    accelerator = Accelerator(mixed_precision=args.precision)
    with Interruption() as interruption:
        train(
            network,
            args.cache,
            args.out,
            recipe,
            steps=args.steps,
            batch=args.batch,
            accelerator=accelerator,
            save_every=args.save_every,
            say=lambda line: print(line, flush=True),
            should_stop=interruption,
        )


if __name__ == "__main__":
    main()
