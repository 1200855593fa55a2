"""The large model's latent space: pictures and coloured pose maps behind a causal video VAE, as ONNX graphs.

A window of F = 1 + 4 k frames is 1 + k latent frames: the first frame has one of its own, every four after it share
one, which depends on them and on what was before. So a window that goes on from another cannot take its latents over:
the last frames are decoded, and encoded as the beginning of a clip.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet
from animax.diffusion.engine import OnnxGraph
from animax.diffusion.sampler import Latents, Sample, Take
from animax.errors import ModelError
from animax.views.camera import Cameras
from animax.views.pose_map import Maps, Observations
from animax.views.rgb import RgbPoseMap, reduced

READ = 160
"""Pixels of the pose maps that markers are found in: larger ones are made smaller (docs/decisions.md)."""


class VideoSpace:
    """Between maps and what the network sees; a ``Space``. Safe to call from several threads.

    One view of one modality is coded at a time, whatever asks for it, so that memory is bounded by one window of it.

    Args:
        codec: of the pose maps, as large as the pictures.
        encoder: ``pictures`` (B, 3, h, H, W) in [−1, 1], the first h frames of a clip, to ``latents`` (B, C, s, y, x).
        decoder: the inverse for a whole window.

    Raises:
        ModelError: the graphs fit neither each other nor the pictures.
    """

    def __init__(self, codec: RgbPoseMap, encoder: OnnxGraph, decoder: OnnxGraph) -> None:
        self.codec = codec
        self._encoder, self._decoder = encoder, decoder
        self._lock = Lock()
        # each without its batch: colours or channels, frames, height, width
        pictures, latents = _shape(encoder, "pictures", inputs=True), _shape(encoder, "latents", inputs=False)
        made, window = _shape(decoder, "pictures", inputs=False), _shape(decoder, "latents", inputs=True)
        self._encoded, self._window, self.frames = pictures[1], window[1], made[1]
        self.latent_channels, self.rays_size = window[0], window[2]
        self.patch = (self.frames - 1) // max(1, self._window - 1)
        square = (3, codec.size, codec.size)
        fits = (
            (pictures[0], *pictures[2:]) == (made[0], *made[2:]) == square
            and (latents[0], *latents[2:]) == (window[0], *window[2:])
            and window[2] == window[3]
            and self.frames == 1 + self.patch * (self._window - 1)
            and self._encoded == 1 + self.patch * (latents[1] - 1)
            and 1 <= latents[1] <= self._window
        )
        if not fits:
            raise ModelError(
                f"{encoder.name} is from {pictures} to {latents}, {decoder.name} from {window} to {made}; "
                f"accepted: colours, frames, {codec.size} and {codec.size} pixels, and latents of one kind"
            )
        self.history = latents[1]
        """Latent frames that the encoder makes at once."""

    @property
    def rgb_size(self) -> int:
        """See ``Space``."""
        return self.codec.size

    @property
    def markers(self) -> int:
        """See ``Space``."""
        return self.codec.colours

    def channels(self, markers: MarkerSet, which: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:  # noqa: ARG002
        """See ``Space``: all are in use, and none shows certain markers alone."""
        return np.full(self.latent_channels, which is None)

    def drawn_at(self, places: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """See ``Space``: where they are."""
        return places

    def seen_at(self, drawn: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:  # noqa: ARG002
        """See ``Space``."""
        return drawn

    def encode(self, pictures: NDArray[np.uint8] | None, maps: Maps, *, held: bool = False) -> Sample:
        """See ``Space``."""
        slot = self.history - 1 if held else 0

        def each(frames: Maps) -> Latents:  # (F, 3, H, W)
            return np.stack([self._encode(frame[None])[slot] for frame in frames])

        pose = np.stack([each(view) for view in maps])
        if pictures is None:
            return Sample(np.zeros_like(pose), pose)
        return Sample(np.stack([each(_levels(view)) for view in pictures]), pose)

    def tangents(self, markers: MarkerSet, cameras: Cameras, positions: NDArray[np.float64]) -> None:  # noqa: ARG002
        """See ``Space``: a latent shows several markers."""
        return

    def latest(self, takes: Sequence[Take], count: int) -> Sample:
        """See ``Space``: the frames are decoded and encoded again."""

        def again(stream: str, view: int) -> Latents:
            parts: list[Maps] = []
            for take in reversed(takes):
                if sum(map(len, parts)) < count:
                    parts.insert(0, self._decode(take, stream, view))
            return self._encode(np.concatenate(parts)[-count:])[: 1 + (count - 1) // self.patch]

        views = range(len(takes[-1].latents.pose))
        return Sample(*(np.stack([again(stream, view) for view in views]) for stream in ("rgb", "pose")))

    def observe(self, takes: Sequence[Take], markers: MarkerSet, frame: int) -> Observations:
        """See ``Space``."""
        size = min(READ, self.codec.size)
        reader, points, confidence = self.codec.resized(size), [], []
        for view in range(len(takes[0].latents.pose)):
            maps = (reduced(self._decode(take, "pose", view), size) for take in takes)
            seen = [reader.decode(view_maps[None], markers, frame) for view_maps in maps]
            points.append(np.concatenate([one.points for one in seen], axis=1))
            confidence.append(np.concatenate([one.confidence for one in seen], axis=1))
        return Observations(np.concatenate(points), np.concatenate(confidence))

    def maps(self, takes: Sequence[Take]) -> Maps:
        """See ``Space``."""
        return self._whole(takes, "pose")

    def pictures(self, takes: Sequence[Take]) -> NDArray[np.uint8]:
        """See ``Space``."""
        bytes_: NDArray[np.uint8] = np.rint(np.moveaxis(self._whole(takes, "rgb"), 2, -1) * 255).astype(np.uint8)
        return bytes_

    def _whole(self, takes: Sequence[Take], stream: str) -> Maps:
        views = range(len(takes[0].latents.pose))
        return np.stack([np.concatenate([self._decode(take, stream, view) for take in takes]) for view in views])

    def _encode(self, frames: Maps) -> Latents:
        """Latents (s, C, y, x) of the first frames (n, 3, H, W) of a clip, levels in [0, 1].

        What comes after them does not matter to a causal encoder: the last frame is repeated. So of a single frame, the
        first is the latent frame of a clip's beginning, and the last that of a picture that stands still.
        """
        at = np.minimum(np.arange(self._encoded), len(frames) - 1)
        video = np.moveaxis(frames[at], 1, 0)[None] * np.float32(2) - np.float32(1)
        with self._lock:
            (latents,) = self._encoder(pictures=video)
        out: Latents = np.moveaxis(latents[0], 0, 1)
        return out

    def _decode(self, take: Take, stream: str, view: int) -> Maps:
        """The take's frames (n, 3, H, W) of one view, levels in [0, 1]."""
        latents: Latents = getattr(take.latents, stream)[view]
        if not take.loop:
            return self._decode_window(latents)[take.begin : take.end]
        # a circle's slots all hold several frames: each window begins with slots whose frames are dropped
        length, lead = len(latents), min(self.history, self._window - 1)
        fresh, parts = self._window - lead, []
        for start in range(0, length, fresh):
            frames = self._decode_window(latents[(start - lead + np.arange(self._window)) % length])
            parts.append(frames[1 + self.patch * (lead - 1) :][: self.patch * (length - start)])
        return np.concatenate(parts)

    def _decode_window(self, latents: Latents) -> Maps:
        with self._lock:
            (video,) = self._decoder(latents=np.moveaxis(latents, 1, 0)[None])
        levels: Maps = np.clip((np.moveaxis(video[0], 0, 1) + 1) / 2, 0, 1)
        return levels


def _levels(pictures: NDArray[np.uint8]) -> Maps:
    """Pictures (F, H, W, 3) as levels (F, 3, H, W)."""
    return np.moveaxis(pictures, -1, 1).astype(np.float32) / np.float32(255)


def _shape(graph: OnnxGraph, name: str, *, inputs: bool) -> tuple[int, ...]:
    """Of an input or output (B, C, F, H, W) without its batch.

    Raises:
        ModelError: there is none of that name, or its size is free.
    """
    shapes = graph.inputs if inputs else graph.outputs
    shape = shapes.get(name, ())
    if len(shape) != 5 or not all(isinstance(size, int) for size in shape[1:]):
        raise ModelError(
            f"{graph.name} has {shapes}; accepted: {name!r} with batch, channels, frames, height and width, "
            "all but the batch fixed"
        )
    return tuple(int(size) for size in shape[1:])
