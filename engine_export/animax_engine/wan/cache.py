"""Samples for the large network: windows of clips, rendered and drawn in four views, encoded once, in shards.

The VAE and the text encoder are Wan's own, by diffusers and transformers, from a local folder in diffusers' layout. A
shard is a WebDataset tar; one that is there is not made again, so that a broken run goes on, and any number of machines
may work on one folder: each takes the shards in an order of its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import torch
import webdataset
from numpy.typing import NDArray
from torch import Tensor, nn

from animax.assets import load_rig
from animax.assets.markers import choose_markers
from animax.errors import AnimaxError, EngineError, ModelError, OptionError
from animax.views.camera import ELEVATION, ROOM, template_cameras
from animax.views.render import render_frames
from animax.views.rgb import RADIUS, RgbPoseMap
from animax_engine.dataset.bank import Source, read_sources, source_clips

FACTS = "cache.json"
PARTS = ("vae", "text_encoder", "tokenizer")
"""Folders of a model that the cache depends on."""
VAE_STRIDE = (4, 8)
"""Frames and pixels of a latent; the first frame has one of its own."""


TOKENS = 512
"""Pieces of a prompt that Wan reads; what is left is padding."""


@dataclass(frozen=True)
class CacheConfig:
    """What is encoded.

    Attributes:
        size: pixels of a view's side; the paper's 480.
        frames: of a window, 1 + a multiple of 4; the paper's 81 at most.
        windows: of each clip, at different starts.
        shard: samples of a shard.
        tokens: of a prompt at most; zeros follow it (Wan: 512).
        radius: of a pose map's circles, in widths of the picture (see ``RgbPoseMap``). Not in the paper.
        elevation: of the cameras, degrees; the paper's is 0, which loses depth where joints are hidden.
        room: radius that the cameras show, in half diagonals of the rest box. Not in the paper.
    """

    size: int = 480
    frames: int = 81
    windows: int = 1
    shard: int = 32
    tokens: int = TOKENS
    radius: float = RADIUS
    elevation: float = ELEVATION
    room: float = ROOM

    def __post_init__(self) -> None:
        if self.frames < 1 or (self.frames - 1) % VAE_STRIDE[0]:
            raise OptionError("frames", self.frames, f"1 + a multiple of {VAE_STRIDE[0]}")
        if self.size < 1 or self.size % (2 * VAE_STRIDE[1]):
            raise OptionError("size", self.size, f"a multiple of {2 * VAE_STRIDE[1]}")
        for name in ("windows", "shard", "tokens"):
            if getattr(self, name) < 1:
                raise OptionError(name, getattr(self, name), "1 or more")
        if not 0 < self.radius < 0.5:
            raise OptionError("radius", self.radius, "above 0, below 0.5")
        if not -80 <= self.elevation <= 80:
            raise OptionError("elevation", self.elevation, "-80 to 80")
        if not 1 <= self.room <= 10:
            raise OptionError("room", self.room, "1 to 10")


@dataclass(frozen=True)
class Window:
    """One sample to be made: a stretch of a rig's clip, number ``number`` of those of the clip."""

    source: Source
    clip: str
    number: int

    @property
    def key(self) -> str:
        """Its name in a shard: without dots, where WebDataset takes the rest for a file's kind."""
        return f"{re.sub(r'[^A-Za-z0-9_-]', '_', self.source.id)}-{zlib.crc32(self.clip.encode()):08x}-{self.number}"


@dataclass(frozen=True)
class Coders:
    """Encoders of pictures and prompts.

    Attributes:
        video: (B, 3, F, H, W) in [−1, 1] to latents (B, C, f, h, w) of about unit variance.
        text: a prompt to the states (tokens, width) of its first pieces, no more than there are.
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


class ScaledVae(nn.Module):
    """Wan's VAE with latents of about unit variance."""

    def __init__(self, vae: Any) -> None:
        super().__init__()
        self.vae = vae
        self.register_buffer("mean", torch.tensor(vae.config.latents_mean).reshape(1, -1, 1, 1, 1))
        self.register_buffer("std", torch.tensor(vae.config.latents_std).reshape(1, -1, 1, 1, 1))


class VaeEncoder(ScaledVae):
    """Pictures (B, 3, F, H, W) in [−1, 1] to latents (B, C, f, h, w)."""

    def forward(self, pictures: Tensor) -> Tensor:
        """The mode of the posterior."""
        latents: Tensor = (self.vae.encode(pictures, return_dict=False)[0].mode() - self.mean) / self.std
        return latents


class VaeDecoder(ScaledVae):
    """The inverse of ``VaeEncoder``."""

    def forward(self, latents: Tensor) -> Tensor:
        """Pictures in [−1, 1]."""
        pictures: Tensor = self.vae.decode(latents * self.std + self.mean, return_dict=False)[0]
        return pictures


def load_coders(folder: Path, device: str | None = None, tokens: int = TOKENS) -> Coders:
    """Wan's VAE and text encoder from a folder with ``vae``, ``text_encoder`` and ``tokenizer``.

    Args:
        folder: local.
        device: torch's name of it; None takes a GPU where this process has one.
        tokens: pieces of a prompt at most, the closing one among them.

    Raises:
        ModelError: one of them is not there, or not as safetensors.
        OptionError: there is no such device.
    """
    vae, encoder, tokenizer = load_parts(folder)
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        encode_video, encoder = VaeEncoder(vae).to(device), encoder.to(device)
    except (AssertionError, RuntimeError) as error:  # torch's, for a kind or a number that is not there
        raise OptionError("device", device, "a device that torch finds here, as cpu or cuda:0") from error

    @torch.inference_mode()
    def video(pictures: Tensor) -> Tensor:
        latents: Tensor = encode_video(pictures.to(device))
        return latents.cpu()

    @torch.inference_mode()
    def text(prompt: str) -> Tensor:
        pieces = tokenizer(prompt, truncation=True, return_tensors="pt", max_length=tokens).to(device)
        states: Tensor = encoder(pieces.input_ids, pieces.attention_mask).last_hidden_state
        return states[0].cpu()

    return Coders(video, text)


def windows(data: list[Path], config: CacheConfig, say: Callable[[str], None] = lambda _: None) -> list[Window]:
    """Every sample of the training rigs below ``data``, in an order that mixes them and never changes.

    Args:
        data: folders of rigs.
        config: gives the windows of a clip.
        say: is told of rigs that are left out.

    Raises:
        OptionError: two rigs have one name.
    """
    found: list[Window] = []
    for folder in data:
        for source in read_sources(folder):
            if source.split != "train":
                continue
            try:
                names = source.clips or dict.fromkeys(
                    clip.name for clip, _ in source_clips(source, load_rig(source.path))
                )
            except AnimaxError as error:
                say(f"{source.id} left out: {error}")
                continue
            found += [Window(source, name, number) for name in names for number in range(config.windows)]
    rigs: dict[str, Path] = {}
    for window in found:
        if rigs.setdefault(window.key, window.source.path) != window.source.path:
            raise OptionError("DATA", window.source.id, "rigs of different names, in all folders together")
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
    if not facts["captions"]:
        raise AnimaxError(f"clip {window.clip!r} of {window.source.id} has no caption")
    random = np.random.default_rng(zlib.crc32(window.key.encode()))
    period, last = facts["period"], len(clip) - 1
    if period:
        times = (random.integers(period) + np.arange(config.frames)) % period
    else:
        times = np.minimum(random.integers(max(0, last + 1 - config.frames) + 1) + np.arange(config.frames), last)
    globals_ = np.concatenate([rig.skeleton.rest_globals[None], rig.skeleton.globals(clip.pose)[times]])
    cameras = template_cameras(rig, size=config.size, elevation=config.elevation, room=config.room)
    codec = RgbPoseMap(config.size, config.radius * config.size)
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
    arrays = {"rgb": torch.stack(rgb), "pose": torch.stack(pose), "text": coders.text(prompt)[: config.tokens]}
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
    scratch = path.with_suffix(f".{uuid4().hex}.tmp")
    left_out = []
    try:
        with webdataset.TarWriter(str(scratch), mtime=0) as shard:  # the same bytes whenever it is written
            for window in samples:
                try:
                    arrays = encode(window, config, coders)
                except AnimaxError as error:
                    left_out.append(f"; {window.key} left out: {error}")
                    continue
                shard.write({"__key__": window.key, **{f"{name}.npy": array for name, array in arrays.items()}})
        scratch.replace(path)
    finally:
        scratch.unlink(missing_ok=True)
    return f"{path.name}: {len(samples) - len(left_out)} samples{''.join(left_out)}"


def write_cache(
    data: list[Path],
    out: Path,
    config: CacheConfig,
    load: Callable[[], Coders],
    *,
    model: str = "",
    ray_address: str | None = None,
) -> Iterator[str]:
    """Write every shard that is missing; yields lines of progress.

    Args:
        data: folders of rigs.
        out: folder of the cache, for a cluster on a disk that all machines share.
        config: what is encoded.
        load: gives the coders; called once in every process that works.
        model: names the coders (``identity``): a cache is of one model.
        ray_address: of a Ray cluster; ``local`` starts one here. None works in this process.

    Raises:
        ModelError: there are no rigs, or the folder holds a cache of another configuration.
        OptionError: two rigs have one name.
        EngineError: the cluster does not answer, or a worker died.
    """
    left_out: list[str] = []
    found = windows(data, config, left_out.append)
    yield from left_out
    if not found:
        names = ", ".join(repr(folder.name) for folder in data)
        raise ModelError(f"no rig to train on in {names}; accepted: folders of .glb and .gltf files with clips")
    shards = [found[i : i + config.shard] for i in range(0, len(found), config.shard)]
    listing = "\n".join(window.key for window in found)
    facts = {
        **asdict(config),
        "samples": len(found),
        "windows_sha256": hashlib.sha256(listing.encode()).hexdigest(),
        "model_sha256": model,
    }
    out.mkdir(parents=True, exist_ok=True)
    if (out / FACTS).exists() and (before := read_facts(out)) != facts:
        differing = ", ".join(f"{name} {before.get(name)!r}" for name in facts if before.get(name) != facts[name])
        raise ModelError(f"{out.name!r} holds a cache of other settings, rigs or model; accepted: {differing}")
    # in an order of its own: several machines that began at the same end would all make the same shards
    jobs = [(int(i), shards[i]) for i in np.random.default_rng().permutation(len(shards))]
    done = (
        _by_ray(jobs, out, config, load, ray_address)
        if ray_address is not None
        else _by_this_process(jobs, out, config, load)
    )
    for i, line in enumerate(done, start=1):
        if i == 1:  # not before the model has been read
            scratch = out / f"{FACTS}.{uuid4().hex}.tmp"
            scratch.write_text(json.dumps(facts), "utf-8")
            scratch.replace(out / FACTS)
        yield f"{i}/{len(shards)} {line}"


Jobs = list[tuple[int, list[Window]]]


def _by_this_process(jobs: Jobs, out: Path, config: CacheConfig, load: Callable[[], Coders]) -> Iterator[str]:
    coders = load()
    for number, samples in jobs:
        yield write_shard(number, samples, out, config, coders)


def _by_ray(jobs: Jobs, out: Path, config: CacheConfig, load: Callable[[], Coders], address: str) -> Iterator[str]:
    """A worker for every GPU of the cluster; without any, for every core."""
    import ray

    try:
        ray.init(address=None if address == "local" else address, ignore_reinit_error=True, log_to_driver=False)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise EngineError(f"no Ray cluster at {address!r}; accepted: an address that answers, or local") from error
    resources = ray.cluster_resources()

    @ray.remote(num_gpus=1 if resources.get("GPU") else 0)
    class Worker:
        def __init__(self) -> None:
            self.coders = load()

        def write(self, number: int, samples: list[Window]) -> str:
            return write_shard(number, samples, out, config, self.coders)

    count = int(resources.get("GPU") or resources["CPU"])
    try:
        pool = ray.util.ActorPool([Worker.remote() for _ in range(min(count, len(jobs)))])
        yield from pool.map_unordered(lambda worker, job: worker.write.remote(*job), jobs)
    except ray.exceptions.RayError as error:
        reason = [line for line in str(error).splitlines() if line.strip()][-1].strip()
        raise EngineError(f"a worker failed: {reason}") from error
    finally:
        ray.shutdown()


def identity(folder: Path) -> str:
    """Digest of names and sizes of a model's files, of the parts that a cache depends on; their 25 GB are not read."""
    paths = [path for part in PARTS for path in sorted((folder / part).rglob("*")) if path.is_file()]
    listing = "".join(f"{path.relative_to(folder).as_posix()} {path.stat().st_size}\n" for path in paths)
    return hashlib.sha256(listing.encode()).hexdigest()


def read_facts(cache: Path) -> dict[str, Any]:
    """The settings that a cache was written with; ``size`` and ``tokens`` among them.

    Raises:
        ModelError: it is none.
    """
    try:
        facts = json.loads((cache / FACTS).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{cache.name!r} holds no {FACTS}; accepted: a folder of `animax-engine wan cache`") from error
    if not isinstance(facts, dict) or not all(isinstance(facts.get(name), int) for name in ("size", "tokens")):
        raise ModelError(f"{FACTS} of {cache.name!r} is damaged; accepted: size and tokens, whole numbers")
    return facts


def main(argv: list[str] | None = None) -> None:
    """Command line: ``animax-engine wan cache OUT DATA [DATA ...] --model WAN``."""
    parser = argparse.ArgumentParser(prog="animax-engine wan cache", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("data", type=Path, nargs="+", metavar="DATA", help="folders of rigs")
    parser.add_argument("--model", type=Path, required=True, metavar="DIR", help="Wan's folder in diffusers' layout")
    parser.add_argument("--device", help="(default: a GPU where there is one)")
    parser.add_argument("--ray", metavar="ADDRESS", help="of a Ray cluster, or local")
    group = parser.add_argument_group("what is encoded", "see animax_engine.wan.cache.CacheConfig")
    for name, value in asdict(CacheConfig()).items():
        group.add_argument(f"--{name}", type=type(value), default=value, metavar="X", help="(default: %(default)s)")
    args = parser.parse_args(argv)
    config = CacheConfig(**{name: getattr(args, name) for name in asdict(CacheConfig())})
    for line in write_cache(
        args.data,
        args.out,
        config,
        lambda: load_coders(args.model, args.device, config.tokens),
        model=identity(args.model),
        ray_address=args.ray,
    ):
        print(line, flush=True)


if __name__ == "__main__":
    main()
