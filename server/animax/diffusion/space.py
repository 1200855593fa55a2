"""What the pipeline asks of a latent space: small maps as they are, or pictures behind a video VAE."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet
from animax.diffusion.sampler import Latents, Sample, Take
from animax.views.camera import Cameras
from animax.views.pose_map import Maps, Observations, PoseMapCodec

Pictures = NDArray[np.uint8]


class Space(Protocol):
    """Between template views and pose maps on one side and what the network sees on the other."""

    @property
    def codec(self) -> PoseMapCodec:
        """Of the pose maps."""

    @property
    def rgb_size(self) -> int:
        """Height and width of the pictures."""

    @property
    def rays_size(self) -> int:
        """Height and width of the pose latents, hence of the rays."""

    @property
    def markers(self) -> int:
        """Channels among which a rig's markers are shared out (see ``choose_markers``)."""

    def channels(self, markers: MarkerSet, which: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """(C,) True for the pose latents' channels that are in use; with ``which`` (M,), for those that show these
        markers and nothing else."""

    def drawn_at(self, places: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where a clip's pose maps show markers at ``places`` in the image, in the template at ``rest``; all in widths
        of the image, of any shape, each coordinate by itself."""

    def seen_at(self, drawn: NDArray[np.float64], rest: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of ``drawn_at``."""

    def encode(self, pictures: Pictures | None, maps: Maps, *, held: bool = False) -> Sample:
        """Latents of single frames.

        Args:
            pictures: (V, F, H, W, 3); None leaves their latents zero.
            maps: (V, F, C, h, w) pose maps.
            held: each frame stands still for a time slot, instead of being the first of a clip.
        """

    def tangents(self, markers: MarkerSet, cameras: Cameras, positions: NDArray[np.float64]) -> Latents | None:
        """How each view's pose latents change when a marker moves.

        Args:
            markers: M of them.
            cameras: of the V views.
            positions: (M, 3) of the markers.

        Returns:
            (V, C, 3, h, w): for each axis of space what a move along it changes. Of a channel's three, those that the
            view sees are made orthonormal (the polar factor of the derivative, of rank two), so that they bring white
            noise in space to white noise on latents. None where a marker has no latents of its own.
        """

    def latest(self, takes: Sequence[Take], count: int) -> Sample:
        """The last ``count`` frames of a clip as latents of a window's beginning."""

    def observe(self, takes: Sequence[Take], markers: MarkerSet, frame: int) -> Observations:
        """Markers in the clip's pose maps; see ``PoseMapCodec.decode``."""

    def maps(self, takes: Sequence[Take]) -> Maps:
        """The clip's pose maps (V, F, C, h, w)."""

    def pictures(self, takes: Sequence[Take]) -> Pictures:
        """The clip's pictures (V, F, H, W, 3)."""
