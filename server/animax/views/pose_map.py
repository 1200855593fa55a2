"""Pose maps: images that show where every marker is, and the interface of the codecs that draw and decode them.

A pose map is a sum over markers of a splat at the marker's 2D position times the marker's colour code in R^C (paper
§ 3.1, generalised from RGB).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from animax.assets.markers import MarkerSet

Array = NDArray[np.float64]
Maps = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Observations:
    """Decoded markers.

    Attributes:
        points: (V, F, M, 2) pixels of the cameras that the codec was drawn for.
        confidence: (V, F, M) in [0, 1]; 0 means not seen.
    """

    points: Array
    confidence: Array


class PoseMapCodec(Protocol):
    """Draws markers into maps and finds them again."""

    @property
    def channels(self) -> int:
        """C, the number of channels of a map."""

    @property
    def size(self) -> int:
        """Height and width of a map."""

    def drawn(self, markers: MarkerSet) -> NDArray[np.int64]:
        """Indices of the markers that appear in the maps."""

    def draw(self, points: Array, depths: Array, markers: MarkerSet, frame: int) -> Maps:
        """Maps (V, F, C, size, size) of markers at ``points`` (V, F, M, 2) pixels with ``depths`` (V, F, M).

        ``frame`` is the width and height in pixels of the image that ``points`` refer to.
        """

    def decode(self, maps: Maps, markers: MarkerSet, frame: int) -> Observations:
        """The markers' positions in pixels of a ``frame`` × ``frame`` image, with confidence."""
