"""Numbers within their limits."""

from __future__ import annotations

import math
from collections.abc import Mapping

from animax.errors import OptionError


def check_ranges(settings: object, ranges: Mapping[str, tuple[float, float]]) -> None:
    """Check the attributes that ``ranges`` names; None is left to whoever allows it.

    Raises:
        OptionError: one is not within its least and most.
    """
    for name, (low, high) in ranges.items():
        value = getattr(settings, name)
        if value is not None and not (math.isfinite(value) and low <= value <= high):
            raise OptionError(name, value, in_words(low, high))


def in_words(low: float, high: float) -> str:
    """A range as errors and documents tell it."""
    return f"{_plain(low)} to {_plain(high)}"


def _plain(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"
