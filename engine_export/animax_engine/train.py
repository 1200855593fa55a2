"""Training: rectified flow on joint video-pose latents, resumable.

    z = (1 − σ) r + σ ε,   logit σ ~ N(mean, std)

on r, the coefficients of what differs from the rest pose (``PrincipalComponents``). A clip has tens of thousands of
correlated numbers, so that its motion is decided while nearly all is noise: half of the noise levels lie above 0.82.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import math
import signal
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from animax.diffusion.engine import default_threads
from animax.diffusion.latents import LatentSpace
from animax.diffusion.repertoire import Repertoire
from animax.diffusion.text import TextEncoder
from animax.views.camera import ROOM
from animax_engine.crew import Crew
from animax_engine.dataset.bank import build_bank
from animax_engine.dataset.batches import Batch, Batches, drawn_motion, drawn_plan, picture_latents, shared_noise
from animax_engine.dataset.components import fit_components
from animax_engine.dataset.repertoire import repertoire_of
from animax_engine.export import read_state, repertoire_in, repertoire_state
from animax_engine.muon import Muon
from animax_engine.network import EMBEDDED, NetworkConfig, Stream, VideoPoseTransformer

FRAMES = 33
"""Of a sample: two seconds at 16 frames a second."""
LOG_EVERY = 50
"""Steps."""
SAVE_SECONDS = 300.0
STANDING = 0.3
"""What counts of an error that stands still over the whole slots of a clip: postures differ by more than motions do."""


@dataclass(frozen=True)
class TrainConfig:
    """One stage of training.

    Attributes:
        views: 1 (stage 1) or 4 (stage 2).
        rgb_share: of the steps, those that train RGB and pose together; the others train pose alone, on stretched
            bodies.
        batch: samples a step.
        steps: length of the stage, for the learning rate's decay to zero at its end (cosine).
        rate: peak learning rate; ``warmup`` steps lead up to it.
        freeze_trunk: train only cross-view attention and rays (paper: stage 2).
        sigma_mean, sigma_std: of the logit of the noise level.
        drop_text: share of samples without prompt.
        drop_clock: share of samples that are not told the time.
        history: share of samples whose first slots are given clean (continuation).
        pinned: share of samples whose last slot is given clean.
        rgb_weight: of the RGB loss against the pose loss.
        ema: decay of the averaged weights.
    """

    views: int = 1
    rgb_share: float = 0.5
    batch: int = 256
    steps: int = 10_000
    rate: float = 1e-3
    warmup: int = 200
    weight_decay: float = 0.01
    freeze_trunk: bool = False
    sigma_mean: float = 1.5
    sigma_std: float = 1.6
    drop_text: float = 0.1
    drop_clock: float = 0.15
    history: float = 0.25
    pinned: float = 0.1
    rgb_weight: float = 0.2
    ema: float = 0.999
    clip_norm: float = 1.0
    seed: int = 0


def flow_loss(
    network: VideoPoseTransformer,
    space: LatentSpace,
    batch: Batch,
    sigma: Tensor,
    keep_text: Tensor,
    rays: Tensor | None,
    clock: Tensor,
    noise: dict[str, Tensor],
) -> dict[str, Tensor]:
    """Loss of each stream for noise levels ``sigma`` (B, S): the squared error, as a share of what the best linear
    guess from each token alone would leave. Clean slots are out of it. Poses count by ``batch.weight``.

    Args:
        network: of streams with principal components.
        space: of the latents.
        batch: what to learn.
        sigma: (B, S).
        keep_text: (B,) False for samples without prompt.
        rays: (B, V, 6, h, w), or None.
        clock: (B, S, n).
        noise: white noise on latents by stream, as coefficients (B, V, S, places, K).
    """
    dtype = network.modulation.dtype
    level = sigma[:, None, :, None, None]
    template, _, motion = drawn_motion(batch, space)
    drawn = {"pose": (template, motion)}
    if batch.rgb is not None:
        pictures = picture_latents(batch.rgb)
        drawn["rgb"] = pictures[:, :, 0], pictures[:, :, 1:] - pictures[:, :, :1]
    target, noisy, templates = {}, {}, {}
    for name, (template, motion) in drawn.items():
        templates[name] = template.to(dtype)
        with torch.no_grad():
            target[name] = network.components[name].encode(motion.to(dtype)).float()
        noisy[name] = target[name] + level * (noise[name] - target[name])
    plan, planned = drawn_plan(batch, space), None
    if plan is not None:
        with torch.no_grad():
            planned = network.components["pose"].encode(plan.to(dtype))
    rgb, pose = network.denoise(
        noisy.get("rgb"),
        noisy["pose"],
        templates.get("rgb"),
        templates["pose"],
        sigma,
        batch.text.to(dtype) * keep_text[:, None, None],
        rays,
        clock.to(dtype),
        planned,
    )
    losses = {}
    for name, made in (("pose", pose), ("rgb", rgb)):
        if made is not None:
            linear = network.components[name].preconditioning(sigma)[2].square().sum(dim=-1)
            used = (sigma > 0)[:, None, :, None].expand(made.shape[:-1])
            off = torch.where(used[..., None], made - target[name], 0.0)
            error = (off if name == "rgb" else mostly_moving(off, used)).square().sum(dim=-1)
            weight = batch.weight[:, None, None, None] if name == "pose" else 1.0
            share = weight * error / linear.clamp(min=1e-6)
            losses[name] = torch.where(used, share, 0.0).sum() / used.sum().clamp(min=1)
    return losses


def mostly_moving(off: Tensor, used: Tensor) -> Tensor:
    """Errors of coefficients (B, V, S, C, K), in slots that are ``used`` (B, V, S, C), of which those that stand still
    from slot to slot count ``STANDING``; the first slot, of one frame, counts as it is."""
    counts = used[:, :, 1:, :, None].sum(dim=2, keepdim=True).clamp(min=1)
    standing = off[:, :, 1:].sum(dim=2, keepdim=True) / counts
    return torch.cat([off[:, :, :1], off[:, :, 1:] - (1 - STANDING**0.5) * standing], dim=2)


class Losses:
    """Random noise levels and noise for batches, and the loss of a network on them.

    Args:
        network: whose parameters the loss is differentiated by.
        config: of the stage.
        frames: F.
        space: of the latents.
        rays: (1, V, 6, h, w) of the template views, for several views.
        compiled: by ``torch.compile``.
    """

    def __init__(
        self,
        network: VideoPoseTransformer,
        config: TrainConfig,
        frames: int,
        space: LatentSpace,
        *,
        rays: Tensor | None = None,
        compiled: bool = False,
    ) -> None:
        self.network, self.config, self.frames, self.space = network, config, frames, space
        self.rays = None if rays is None or config.views == 1 else rays.to(network.modulation.dtype)
        self.flow_loss = torch.compile(flow_loss, dynamic=False) if compiled else flow_loss
        self.noise = torch.Generator().manual_seed(config.seed)
        self.first_slots = {name: part.first_slot().float().T for name, part in network.components.items()}
        """What a stream's first slot keeps of noise: computed once, since it would take a fifth of a step."""

    def sigmas(self, batch: int, slots: int) -> Tensor:
        """Noise levels (B, S): one a sample, zero where a slot is given clean."""
        c = self.config
        normal = torch.randn(batch, 1, generator=self.noise) * c.sigma_std + c.sigma_mean
        sigma = torch.sigmoid(normal).expand(batch, slots).clone()
        draw = torch.rand(batch, 2, generator=self.noise)
        given = torch.randint(1, slots // 2 + 1, (batch, 1), generator=self.noise)
        sigma[(torch.arange(slots) < given) & (draw[:, :1] < c.history)] = 0.0
        sigma[:, -1][draw[:, 1] < c.pinned] = 0.0
        return sigma

    def backward(self, batch: Batch) -> dict[str, float]:
        """Leave the gradients of the loss on ``batch`` in the network; gives the loss's parts."""
        c = self.config
        size, views, network = len(batch.points), batch.points.shape[1], self.network.config
        slots = 1 + (self.frames - 1) // network.pose.patch[0]
        keep_text = torch.rand(size, generator=self.noise) >= c.drop_text
        told = torch.rand(size, generator=self.noise) >= c.drop_clock
        clock = batch.time(network.pose.patch[0]) * told[:, None, None]
        rays = None if self.rays is None else self.rays.expand(size, -1, -1, -1, -1)
        noise = {}
        for name in ("pose", "rgb") if batch.rgb is not None else ("pose",):
            if name == "pose" and batch.moved is not None:
                shared = shared_noise(batch.moved, batch.mask, self.space, self.frames, self.noise)
                part = self.network.components[name]
                with torch.no_grad():
                    noise[name] = part.encode(shared.to(part.basis.dtype)).float()
                continue
            stream: Stream = getattr(network, name)
            places = batch.mask.shape[1] if name == "pose" else self.network.components[name].places
            shape = (size, views, slots, places, stream.components)
            noise[name] = torch.randn(shape, generator=self.noise)
            noise[name][:, :, 0] @= self.first_slots[name]
        losses = self.flow_loss(
            self.network, self.space, batch, self.sigmas(size, slots), keep_text, rays, clock, noise
        )
        loss = losses["pose"] + c.rgb_weight * losses.get("rgb", torch.zeros(()))
        loss.backward()  # type: ignore[no-untyped-call]
        return {name: loss.item() for name, loss in losses.items()}


def faster_type() -> torch.dtype:
    """bf16 where this processor multiplies matrices in it faster than in fp32; without such units it is 50 times
    slower."""
    times = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 256, dtype=kind)
        a @ a
        began = time.perf_counter()
        for _ in range(3):
            a @ a
        times[kind] = time.perf_counter() - began
    return min(times, key=lambda kind: times[kind])


LEFT_OUT = 0.2
"""Share of samples that are planned without their own rig's clips, as those of other rigs will be."""


class Trainer:
    """Master weights and optimiser in fp32, the computation on a shadow copy in ``kind``."""

    def __init__(
        self, network: NetworkConfig, config: TrainConfig, frames: int, kind: torch.dtype = torch.bfloat16
    ) -> None:
        torch.manual_seed(config.seed)
        self.config, self.frames = config, frames
        self.master = VideoPoseTransformer(network)
        self.averaged = copy.deepcopy(self.master).requires_grad_(False)
        self.shadow = copy.deepcopy(self.master).to(kind)
        if config.freeze_trunk:
            for name, parameter in self.shadow.named_parameters():
                parameter.requires_grad_("view_attn" in name or "ray_embedding" in name)
        trained = {name for name, p in self.shadow.named_parameters() if p.requires_grad}
        masters = {n: p for n, p in self.master.named_parameters() if n in trained}
        self.masters = list(masters.values())
        trunk, matrices, vectors = [], [], []
        for name, parameter in masters.items():
            is_matrix = parameter.ndim >= 2 and parameter.shape[0] > 1
            in_trunk = name.startswith("blocks.") and parameter.ndim == 2
            (trunk if in_trunk else matrices if is_matrix else vectors).append(parameter)
        self.optimisers = (
            Muon(trunk, lr=config.rate, weight_decay=config.weight_decay),
            torch.optim.AdamW(
                [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}],
                lr=config.rate,
                betas=(0.9, 0.98),
                fused=True,
            ),
        )
        self.step = 0
        self.room = ROOM
        """Radius that the views show which the network is trained on, see ``template_cameras``."""
        self.repertoire: Repertoire | None = None
        """By which motions are planned, where the network is given a plan."""
        self.origin: dict[str, str] = {}
        """Licence and notice of the model that training went on from."""
        self.time_share = 0.0
        """Share of a run's time that has passed, resumptions included, where it is shorter than its steps would
        take."""

    def rate(self) -> float:
        """Learning rate of the coming step: linear warm-up, then a half cosine down to a hundredth."""
        c = self.config
        if self.step < c.warmup:
            return c.rate * (self.step + 1) / c.warmup
        done = min(1.0, max(self.step / max(c.steps, 1), self.time_share))
        return c.rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def train_step(self, gradients: list[Tensor | None]) -> float:
        """One optimiser step by the gradients of the shadow's trained parameters; gives their norm."""
        c = self.config
        for master, gradient in zip(self.masters, gradients, strict=True):
            master.grad = gradient
        norm = nn.utils.clip_grad_norm_(self.masters, c.clip_norm)
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                group["lr"] = self.rate()
            if torch.isfinite(norm):
                optimiser.step()
        with torch.no_grad():
            torch._foreach_copy_([p for p in self.shadow.parameters() if p.requires_grad], self.masters)
            decay = min(c.ema, (1 + self.step) / (10 + self.step))
            torch._foreach_lerp_(list(self.averaged.parameters()), list(self.master.parameters()), 1 - decay)
        self.step += 1
        return float(norm)

    def save(self, path: Path) -> None:
        """Write everything that a resumed run needs, atomically."""
        state = {
            "network": self.master.config.as_dict(),
            "train": asdict(self.config),
            "frames": self.frames,
            "room": self.room,
            "step": self.step,
            "time_share": self.time_share,
            **self.origin,
            **({} if self.repertoire is None else {"repertoire": repertoire_state(self.repertoire)}),
            "master": self.master.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        torch.save(state, path.with_suffix(".tmp"))
        path.with_suffix(".tmp").replace(path)

    def load(self, state: dict[str, Any], *, new_stage: bool = False) -> None:
        """Resume from a checkpoint's ``state``; a ``new_stage`` takes its averaged weights alone."""
        self.origin = {name: state[name] for name in ("licence", "notice") if name in state}
        if new_stage:
            ours = self.master.state_dict()
            fitting = {k: v for k, v in state["averaged"].items() if k in ours and v.shape == ours[k].shape}
            for name in sorted(set(ours) - set(fitting)):
                print(f"starts fresh: {name}")
            self.master.load_state_dict(fitting, strict=False)
            self.averaged.load_state_dict(self.master.state_dict())
        else:
            self.master.load_state_dict(state["master"])
            self.averaged.load_state_dict(state["averaged"])
            for optimiser, its_state in zip(self.optimisers, state["optimisers"], strict=True):
                optimiser.load_state_dict(its_state)
            self.step = int(state["step"])
            self.time_share = float(state.get("time_share", 0.0))
        self.take_over()

    def take_over(self) -> None:
        """Give the shadow, and what the average does not average, the master's values."""
        with torch.no_grad():
            self.shadow.load_state_dict(self.master.state_dict())
            for average, value in zip(self.averaged.buffers(), self.master.buffers(), strict=True):
                average.copy_(value)


def prefetch(
    batches: Batches, config: TrainConfig, size: int, first: int = 0, *, joint: bool = True
) -> Iterator[tuple[Batch, float]]:
    """Endless batches of ``size`` samples, the next one drawn in the background while a step runs; with the seconds
    waited for each. Whether step ``first`` + i trains both streams is the same in every process; without ``joint``,
    none does."""
    rgb_share = config.rgb_share if joint and batches.rgb is not None else 0.0

    def draw(number: int) -> Batch:
        both = np.random.default_rng([config.seed, number]).random() < rgb_share
        clips = batches.alike(size, batches.share_borrowed(joint=both))
        return batches.draw(size, config.views, joint=both, clips=clips).packed()

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(draw, first)
        for number in count(first + 1):
            begin = time.perf_counter()
            batch = waiting.result()
            waiting = pool.submit(draw, number)
            yield batch, time.perf_counter() - begin


@dataclass(frozen=True)
class Share:
    """What a process needs to compute its share of every step.

    Attributes:
        bank: folder.
        config: of the stage.
        frames: F.
        size: samples of this share.
        first: number of the coming step.
        seed: of this run; every process adds its number.
        compiled: by ``torch.compile``.
        repertoire: by which clips are planned.
    """

    bank: Path
    config: TrainConfig
    frames: int
    size: int
    first: int
    seed: int
    compiled: bool
    repertoire: Repertoire | None

    def batches(self, network: VideoPoseTransformer, number: int) -> Batches:
        """The bank, drawn from with a seed of its own."""
        space = network.config.latent_space
        batches = Batches(self.bank, space, frames=self.frames, text=TextEncoder(), seed=self.seed + number)
        batches.weigh()
        batches.repertoire, batches.left_out = self.repertoire, LEFT_OUT
        return batches

    def __call__(self, network: nn.Module, number: int) -> Iterator[tuple[dict[str, float], float]]:
        """Backward passes of fresh batches, one each time it is asked: the loss's parts, seconds waited for data."""
        assert isinstance(network, VideoPoseTransformer)
        batches = self.batches(network, number)
        config = replace(self.config, seed=self.seed + number)
        losses = Losses(network, config, self.frames, batches.space, rays=batches.rays(), compiled=self.compiled)
        joint = network.config.joint
        for batch, waited in prefetch(batches, self.config, self.size, self.first, joint=joint):
            yield losses.backward(batch), waited


ABLATIONS = ("plan", "joint", "shared_positions", "modality_embedding", "multi_view", "rays")
"""Parts of the method that a network can be trained without (paper, table 4)."""


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Parse and check the command line."""
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(
        prog="animax-engine train", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, metavar="OUT", help="folder of the run; one that is there goes on")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--bank", type=Path, metavar="BANK", help="of `animax-engine bank` or `borrow`")
    source.add_argument(
        "--data",
        type=Path,
        nargs="+",
        metavar="DIR",
        help="folders of GLB files, their bank is made in OUT/bank; without a manifest.json, clips are called by name",
    )
    parser.add_argument("--start", metavar="FROM", help="checkpoint, model folder or model's name to start from")
    parser.add_argument("--minutes", type=float, default=math.inf, help="length of the run, resumptions included")
    size = "(default: as in FROM, else %s)"
    parser.add_argument("--frames", type=int, help="of a sample " + size % FRAMES)
    parser.add_argument("--grid", type=int, help=size % EMBEDDED.pose.size)
    parser.add_argument("--depth", type=int, help=size % EMBEDDED.depth)
    parser.add_argument(
        "--components", type=int, help="of a marker's motion in a slot " + size % EMBEDDED.pose.components
    )
    parser.add_argument("--width", type=int, help=size % EMBEDDED.width)
    parser.add_argument("--marker-width", type=int, help=size % EMBEDDED.marker_width)
    parser.add_argument("--without", action="append", default=[], choices=ABLATIONS, help="an ablation; may repeat")
    parser.add_argument("--processes", type=int, default=default_threads(), help="each on one thread")
    parser.add_argument(
        "--precision",
        choices=("auto", "bf16", "fp32"),
        default="auto",
        help="of the computation; weights and optimiser are fp32 (default: what this processor is faster in)",
    )
    parser.add_argument("--compile", action="store_true", help="with torch.compile; pays for runs of an hour and more")
    parser.add_argument("--fit", action="store_true", help="find the principal components anew, also after --start")
    for name, value in asdict(defaults).items():
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            parser.add_argument(flag, action="store_true")
        else:
            parser.add_argument(flag, type=type(value), default=value, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    if args.batch % args.processes:
        parser.error(f"--batch is {args.batch}; accepted: a multiple of --processes ({args.processes})")
    return args


def chosen_network(args: argparse.Namespace, started: NetworkConfig | None) -> NetworkConfig:
    """The network that a run starts from, else ``EMBEDDED``, with what the command line changes."""
    network = started or EMBEDDED
    if args.grid:
        network = replace(
            network, pose=replace(network.pose, size=args.grid, patch=(network.pose.patch[0], args.grid, args.grid))
        )
    if args.components:
        network = replace(network, pose=replace(network.pose, components=args.components))
    if args.width:
        network = replace(network, width=args.width, heads=args.width // 64, ffn=3 * args.width)
    if args.marker_width:
        network = replace(network, marker_width=args.marker_width)
    if args.depth:
        network = replace(network, depth=args.depth)
    return replace(network, **dict.fromkeys(args.without, False))


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine train OUT --bank BANK``."""
    args = arguments(argv)
    torch.set_num_threads(1)
    config = TrainConfig(**{name: getattr(args, name) for name in asdict(TrainConfig())})
    args.out.mkdir(parents=True, exist_ok=True)
    checkpoint = args.out / "checkpoint.pt"
    resumes = checkpoint.exists()
    state = read_state(checkpoint if resumes else args.start) if resumes or args.start else None
    started = None if state is None else NetworkConfig.from_dict(state["network"])
    network = chosen_network(args, started)
    if args.bank is None:
        args.bank = args.out / "bank"
        for line in build_bank(args.data, args.bank, channels=network.pose.channels, rgb_size=network.rgb.size):
            print(line, flush=True)
    frames = args.frames or (state["frames"] if state else FRAMES)
    kinds = {"bf16": torch.bfloat16, "fp32": torch.float32}
    trainer = Trainer(network, config, frames, kinds.get(args.precision) or faster_type())
    if state is not None:
        trainer.load(state, new_stage=not resumes)
    trainer.room = json.loads((args.bank / "index.json").read_text())["room"]
    if network.plan:
        earlier = None if state is None else repertoire_in(state)
        if earlier is None or not resumes:
            own = repertoire_of(args.bank, TextEncoder())
            earlier = own if earlier is None else own.beside(earlier)
        trainer.repertoire = earlier
    size, seed = config.batch // args.processes, config.seed + int(time.time())
    share = Share(args.bank, config, frames, size, trainer.step, seed, args.compile, trainer.repertoire)
    fresh = args.fit or started is None
    unknown = [n for n in trainer.master.components if fresh or getattr(started, n) != getattr(network, n)]
    if unknown and not resumes:
        torch.set_num_threads(args.processes)
        fit_components(trainer.master, share.batches(trainer.master, 0), unknown)
        torch.set_num_threads(1)
        trainer.take_over()
    (args.out / "config.json").write_text(json.dumps({"network": network.as_dict(), "train": asdict(config)}, indent=1))

    stop: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda received, _: stop.append(received))
    log_path = args.out / "log.csv"
    begins = not log_path.exists()
    begin = saved = since = time.perf_counter()
    recent: deque[dict[str, float]] = deque(maxlen=LOG_EVERY)
    waited = 0.0
    passed = trainer.time_share if math.isfinite(args.minutes) else 0.0
    with Crew(args.processes - 1, trainer.shadow, share) as crew, log_path.open("a", newline="") as file:
        log = csv.writer(file)
        if begins:
            log.writerow(["step", "seconds", "samples_per_second", "waiting_share", "pose", "rgb", "norm", "rate"])
        own = share(trainer.shadow, 0)
        finished = False
        while not finished:
            crew.begin()
            parts, wait = next(own)
            trainer.time_share = passed + (time.perf_counter() - begin) / (60 * args.minutes)
            gradients = crew.finish()
            torch.set_num_threads(args.processes)  # the others wait
            recent.append({**parts, "norm": trainer.train_step(gradients)})
            torch.set_num_threads(1)
            waited += wait
            now = time.perf_counter()
            if trainer.step % LOG_EVERY == 0:
                mean = {
                    k: float(np.mean([r[k] for r in recent if k in r] or [math.nan])) for k in ("pose", "rgb", "norm")
                }
                speed = LOG_EVERY * config.batch / (now - since)
                row = [trainer.step, round(now - begin), round(speed), round(waited / (now - since), 3)]
                row += [round(mean[k], 5) for k in ("pose", "rgb", "norm")] + [trainer.rate()]
                log.writerow(row)
                file.flush()
                print(*row, flush=True)
                since, waited = now, 0.0
            finished = bool(stop) or trainer.step >= config.steps or trainer.time_share >= 1
            if finished or now - saved > SAVE_SECONDS:
                trainer.save(checkpoint)
                saved = now


if __name__ == "__main__":
    main()
