from __future__ import annotations

import cv2
import numpy as np

from animax.assets.markers import MarkerKind
from animax.cli.rest_picture import SHIFT, draw, fixed


def test_a_marker_is_drawn_where_it_is():
    """Pixel centres are at halves: a dot at (20.5, 12.5) is symmetric about pixel (20, 12)."""
    for kind in MarkerKind:
        picture = np.full((32, 48, 3), 255, np.uint8)
        draw(picture, np.array([20.5, 12.5]), kind, [200, 0, 0])
        inked = np.argwhere(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) < 250)
        np.testing.assert_allclose((inked.min(axis=0) + inked.max(axis=0)) / 2, [12, 20])


def test_fixed_point_keeps_fractions_of_a_pixel():
    assert fixed(np.array([1.0, 2.25])) == (1 << (SHIFT - 1), int(1.75 * (1 << SHIFT)))
