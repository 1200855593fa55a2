"""Samples for the large network: windows of clips, rendered and drawn in four views, encoded once, in shards.

The VAE and the text encoder are Wan's own, by diffusers and transformers, from a local folder in diffusers' layout. A
shard is a WebDataset tar; one that is there is not made again, so that a broken run goes on, and any number of machines
may work on one folder.
"""

from __future__ import annotations

import argparse
import json
import os
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Tensor

from animax.assets import load_rig
from animax.assets.markers import choose_markers
from animax.errors import AnimaxError, ModelError
from animax.views.camera import ROOM, template_cameras
from animax.views.render import render_frames
from animax.views.rgb import RADIUS, RgbPoseMap
from animax_engine.dataset.bank import Source, read_sources, source_clips

FACTS = "cache.json"
VAE_STRIDE = (4, 8)
"""Frames and pixels of a latent; the first frame has one of its own."""


@dataclass(frozen=True)
class CacheConfig:
    """What is encoded.

    Attributes:
        size: pixels of a view's side; the paper's 480.
        frames: of a window, 1 + a multiple of 4; the paper's 81 at most.
        windows: of each clip, at different starts.
        shard: samples of a shard.
        tokens: of a prompt; zeros follow it (Wan: 512).
    """

    size: int = 480
    frames: int = 81
    windows: int = 1
    shard: int = 32
    tokens: int = 512

    def __post_init__(self) -> None:
        if (self.frames - 1) % VAE_STRIDE[0]:
            raise ModelError(f"frames is {self.frames}; accepted: 1 + a multiple of {VAE_STRIDE[0]}")
        if self.size % (2 * VAE_STRIDE[1]):
            raise ModelError(f"size is {self.size}; accepted: a multiple of {2 * VAE_STRIDE[1]}")


@dataclass(frozen=True)
class Window:
    """One sample to be made: a stretch of a rig's clip, number ``number`` of those of the clip."""

    source: Source
    clip: str
    number: int

    @property
    def key(self) -> str:
        """Its name in a shard."""
        return f"{self.source.id}-{zlib.crc32(self.clip.encode()):08x}-{self.number}"


@dataclass(frozen=True)
class Coders:
    """Encoders of pictures and prompts.

    Attributes:
        video: (B, 3, F, H, W) in [−1, 1] to latents (B, C, f, h, w) of about unit variance.
        text: a prompt to its states (tokens, width), no more than there are.
    """

    video: Callable[[Tensor], Tensor]
    text: Callable[[str], Tensor]


def load_parts(folder: Path) -> tuple[Any, Any, Any]:
    """Wan's VAE, text encoder and tokenizer, from the folder of that name each.

    Raises:
        ModelError: one of them is not there, or not as safetensors.
    """
    from diffusers import AutoencoderKLWan
    from transformers import AutoTokenizer, UMT5EncoderModel

    try:
        vae = AutoencoderKLWan.from_pretrained(folder, subfolder="vae", use_safetensors=True, local_files_only=True)
        encoder = UMT5EncoderModel.from_pretrained(
            folder, subfolder="text_encoder", use_safetensors=True, local_files_only=True
        )
        tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer", local_files_only=True)
    except (OSError, ValueError) as error:
        reason = str(error).splitlines()[0].replace(str(folder), folder.name)
        raise ModelError(f"{folder.name!r} lacks a part of the model as diffusers writes it: {reason}") from error
    return vae.eval().requires_grad_(False), encoder.eval().requires_grad_(False), tokenizer


def load_coders(folder: Path, device: str = "cpu") -> Coders:
    """Wan's VAE and text encoder from a folder with ``vae``, ``text_encoder`` and ``tokenizer``.

    Raises:
        ModelError: one of them is not there, or not as safetensors.
    """
    vae, encoder, tokenizer = load_parts(folder)
    vae, encoder = vae.to(device), encoder.to(device)
    mean, std = (
        torch.tensor(values, device=device).reshape(1, -1, 1, 1, 1)
        for values in (vae.config.latents_mean, vae.config.latents_std)
    )

    @torch.inference_mode()
    def video(pictures: Tensor) -> Tensor:
        return ((vae.encode(pictures.to(device)).latent_dist.mode() - mean) / std).cpu()

    @torch.inference_mode()
    def text(prompt: str) -> Tensor:
        tokens = tokenizer(prompt, truncation=True, return_tensors="pt", max_length=512).to(device)
        states: Tensor = encoder(tokens.input_ids, tokens.attention_mask).last_hidden_state
        return states[0].cpu()

    return Coders(video, text)


def windows(data: list[Path], config: CacheConfig) -> list[Window]:
    """Every sample of the training rigs below ``data``, in an order that mixes them and never changes."""
    found = []
    for folder in data:
        for source in read_sources(folder):
            if source.split != "train":
                continue
            names = source.clips or dict.fromkeys(clip.name for clip, _ in source_clips(source, load_rig(source.path)))
            found += [Window(source, name, number) for name in names for number in range(config.windows)]
    return sorted(found, key=lambda window: (zlib.crc32(window.key.encode()), window.key))


def encode(window: Window, config: CacheConfig, coders: Coders) -> dict[str, NDArray[np.float16]]:
    """One sample: ``rgb`` and ``pose`` (V, 1 + f, C, h, w), the template first, ``text`` (T, width), ``rays``
    (V, 6, h, w).

    Raises:
        AnimaxError: the rig or the clip cannot be read.
    """
    rig = load_rig(window.source.path, facing=window.source.facing)
    found = [(clip, facts) for clip, facts in source_clips(window.source, rig) if clip.name == window.clip]
    if not found:
        raise AnimaxError(f"{window.source.id} has no clip {window.clip!r} of some length")
    clip, facts = found[0]
    random = np.random.default_rng(zlib.crc32(window.key.encode()))
    period, last = facts["period"], len(clip) - 1
    if period:
        times = (random.integers(period) + np.arange(config.frames)) % period
    else:
        times = np.minimum(random.integers(max(0, last - config.frames) + 1) + np.arange(config.frames), last)
    globals_ = np.concatenate([rig.skeleton.rest_globals[None], rig.skeleton.globals(clip.pose)[times]])
    cameras = template_cameras(rig, size=config.size, room=ROOM)
    codec = RgbPoseMap(config.size, RADIUS * config.size)
    markers = choose_markers(rig, codec.colours)
    points, depths = cameras.project(markers.positions(globals_))
    maps = codec.draw(points, depths, markers, config.size)  # (V, 1 + F, 3, H, W)
    low, high = rig.rest_box
    side = config.size // VAE_STRIDE[1]
    rays = cameras.pluecker(side, (low + high) / 2, rig.size / 2, rig.stance.axes)
    rgb, pose, vertices = [], [], rig.mesh.skin(globals_)
    for view in range(len(maps)):  # one at a time: a view of 81 frames at 480 pixels is 56 MB of bytes
        pictures = render_frames(rig.mesh, vertices, cameras[[view]], up=rig.stance.up)[0]
        levels = np.moveaxis(pictures, -1, 1).astype(np.float32) / 255
        rgb.append(_latents(levels, coders))
        pose.append(_latents(maps[view], coders))
    prompt = str(facts["captions"][int(random.integers(len(facts["captions"])))])
    arrays = {"rgb": torch.stack(rgb), "pose": torch.stack(pose), "text": coders.text(prompt)}
    return {**{name: tensor.half().numpy() for name, tensor in arrays.items()}, "rays": rays.astype(np.float16)}


def _latents(levels: NDArray[np.float32], coders: Coders) -> Tensor:
    """(1 + f, C, h, w) of pictures (1 + F, 3, H, W) in [0, 1]: the template on its own, then the clip."""
    video = torch.from_numpy(levels).movedim(1, 0)[None] * 2 - 1
    parts = [coders.video(video[:, :, :1]), coders.video(video[:, :, 1:])]
    return torch.cat(parts, dim=2)[0].movedim(1, 0)


def write_shard(number: int, samples: list[Window], out: Path, config: CacheConfig, coders: Coders) -> str:
    """Write a shard atomically, unless it is there; a line of progress. What cannot be read is left out and named."""
    path = out / f"shard-{number:05d}.tar"
    if path.exists():
        return f"{path.name}: kept"
    scratch = path.with_suffix(f".{os.getpid()}.tmp")
    left_out = []
    with webdataset.TarWriter(str(scratch)) as shard:
        for window in samples:
            try:
                arrays = encode(window, config, coders)
            except AnimaxError as error:
                left_out.append(f"; {window.key} left out: {error}")
                continue
            shard.write({"__key__": window.key, **{f"{name}.npy": array for name, array in arrays.items()}})
    scratch.replace(path)
    return f"{path.name}: {len(samples) - len(left_out)} samples{''.join(left_out)}"


def write_cache(
    data: list[Path], out: Path, config: CacheConfig, load: Callable[[], Coders], *, ray_address: str | None = None
) -> Iterator[str]:
    """Write every shard that is missing; yields lines of progress.

    Args:
        data: folders of rigs.
        out: folder of the cache, for a cluster on a disk that all machines share.
        config: what is encoded.
        load: gives the coders; called once in every process that works.
        ray_address: of a Ray cluster; ``local`` starts one here. None works in this process.

    Raises:
        ModelError: the folder holds a cache of another configuration.
    """
    found = windows(data, config)
    shards = [found[i : i + config.shard] for i in range(0, len(found), config.shard)]
    out.mkdir(parents=True, exist_ok=True)
    facts = {**asdict(config), "samples": len(found)}
    if (out / FACTS).exists() and json.loads((out / FACTS).read_text()) != facts:
        raise ModelError(f"{out.name!r} holds a cache of other settings or rigs; accepted: {(out / FACTS).read_text()}")
    (out / FACTS).write_text(json.dumps(facts))
    if ray_address is None:
        coders = load()
        for number, samples in enumerate(shards):
            yield f"{number + 1}/{len(shards)} {write_shard(number, samples, out, config, coders)}"
        return
    import ray

    ray.init(address=None if ray_address == "local" else ray_address, ignore_reinit_error=True, log_to_driver=False)

    @ray.remote(num_gpus=1 if ray.cluster_resources().get("GPU") else 0)
    class Worker:
        def __init__(self) -> None:
            self.coders = load()

        def write(self, number: int, samples: list[Window]) -> str:
            return write_shard(number, samples, out, config, self.coders)

    count = int(ray.cluster_resources().get("GPU") or ray.cluster_resources()["CPU"])
    pool = ray.util.ActorPool([Worker.remote() for _ in range(min(count, len(shards)))])
    try:
        done = pool.map_unordered(lambda worker, job: worker.write.remote(*job), list(enumerate(shards)))
        for i, line in enumerate(done, start=1):
            yield f"{i}/{len(shards)} {line}"
    finally:
        ray.shutdown()


def read_facts(cache: Path) -> dict[str, Any]:
    """The settings that a cache was written with.

    Raises:
        ModelError: it is none.
    """
    try:
        facts: dict[str, Any] = json.loads((cache / FACTS).read_text())
    except (OSError, ValueError) as error:
        raise ModelError(f"{cache.name!r} holds no {FACTS}; accepted: a folder of `animax-engine wan cache`") from error
    return facts


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan cache OUT DATA [DATA ...] --model WAN``."""
    parser = argparse.ArgumentParser(prog="animax-engine wan cache", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help="folders of rigs")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="Wan's folder in diffusers' layout")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    parser.add_argument("--device", default=device, help="(default: %(default)s)")
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster, or local")
    for name, value in asdict(CacheConfig()).items():
        parser.add_argument(f"--{name}", type=int, default=value, help="(default: %(default)s)")
    args = parser.parse_args(argv)
    config = CacheConfig(**{name: getattr(args, name) for name in asdict(CacheConfig())})
    for line in write_cache(
        args.data, args.out, config, lambda: load_coders(args.model, args.device), ray_address=args.ray
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
