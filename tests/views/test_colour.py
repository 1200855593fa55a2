import numpy as np
import pytest

from animax.views.colour import decode_srgb, encode_srgb


def test_bytes_come_back():
    colours = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(encode_srgb(decode_srgb(colours)), colours)


@pytest.mark.parametrize(("colour", "light"), [(0, 0.0), (10, 0.003035), (128, 0.215861), (188, 0.502886), (255, 1.0)])
def test_known_values_of_the_standard(colour, light):
    assert decode_srgb(np.array([colour], np.uint8))[0] == pytest.approx(light, abs=1e-6)


def test_what_is_too_bright_or_dark_is_clipped():
    np.testing.assert_array_equal(encode_srgb(np.array([-0.5, 1.7], np.float32)), [0, 255])
