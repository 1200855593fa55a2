"""sRGB bytes and linear light."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Bytes = NDArray[np.uint8]

_STEPS = 1 << 14
"""Steps of light that ``encode_srgb`` tells apart: fine enough that bytes come back as they were."""


def _decode(value: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def _encode(light: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** (1 / 2.4) - 0.055)


_LIGHT = _decode(np.arange(256) / 255).astype(np.float32)
_BYTE = np.rint(_encode(np.arange(_STEPS + 1) / _STEPS) * 255).astype(np.uint8)


def decode_srgb(colour: Bytes) -> Floats:
    """Linear light in [0, 1] of sRGB bytes (IEC 61966-2-1)."""
    return _LIGHT[colour]


def encode_srgb(light: Floats) -> Bytes:
    """sRGB bytes of linear light; what is outside [0, 1] is clipped."""
    return _BYTE[(np.clip(light, 0.0, 1.0) * _STEPS + 0.5).astype(np.uint16)]
