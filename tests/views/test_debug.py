import cv2
import numpy as np
import pytest

from animax.errors import OptionError
from animax.views.debug import SIDE, pose_pictures, write_debug
from animax.views.rgb import RgbPoseMap, maximin_palette
from animax.views.splat import SplatPoseMap

from .shapes import marker_set

POINTS = np.random.default_rng(0).uniform(10, 86, (4, 6, 8, 2))


def drawn(codec):
    return codec.draw(POINTS, np.ones(POINTS.shape[:3]), marker_set(8), 96)


@pytest.mark.parametrize("codec", [SplatPoseMap(), RgbPoseMap()], ids=["splat", "rgb"])
def test_everything_is_written_and_can_be_read(tmp_path, codec):
    rgb = np.random.default_rng(1).integers(0, 255, (4, 6, 32, 32, 3)).astype(np.uint8)
    maps = drawn(codec)
    written = write_debug(
        tmp_path / "new" / "debug",
        codec,
        template_rgb=rgb[:, 0],
        template_maps=maps[:, 0],
        template_mask=np.ones((4, 32, 32), np.float32),
        rgb=rgb,
        maps=maps,
        columns=3,
    )
    names = ["template_rgb.png", "template_pose.png", "template_mask.png", "rgb.mp4", "rgb.png", "pose.mp4", "pose.png"]
    assert [path.name for path in written] == names
    for path in written:
        if path.suffix == ".mp4":
            video = cv2.VideoCapture(str(path))
            assert sum(1 for _ in iter(lambda video=video: video.read()[0], False)) == 6
        else:
            height, width, _ = cv2.imread(str(path)).shape
            across, down = (3, 4) if path.stem in ("rgb", "pose") else (4, 1)
            assert width >= across * SIDE
            assert height >= down * SIDE
            assert width / height == pytest.approx(across / down, rel=0.05)


def test_only_the_template_is_written_where_nothing_was_generated(tmp_path):
    codec = SplatPoseMap()
    rgb = np.zeros((4, 16, 16, 3), np.uint8)
    written = write_debug(tmp_path, codec, template_rgb=rgb, template_maps=drawn(codec)[:, 0])
    assert [path.name for path in written] == ["template_rgb.png", "template_pose.png"]


def test_a_splat_shows_as_a_dot_of_its_channels_colour_where_its_marker_is():
    """In the frame of the views, not of the grid with its border."""
    codec = SplatPoseMap()
    markers = marker_set(1)
    for x, y in ((20.3, 70.9), (48.0, 48.0), (3.0, 90.0)):
        points = np.array([[[[x, y]]]])
        picture = pose_pictures(codec, codec.draw(points, np.ones((1, 1, 1)), markers, 96))[0, 0].astype(float)
        light = picture.sum(axis=-1)
        row, column = np.unravel_index(light.argmax(), light.shape)
        np.testing.assert_allclose((np.array([column, row]) + 0.5) * 96 / SIDE, [x, y], atol=4.0)
        colour = picture[row, column]
        np.testing.assert_allclose(colour / colour.max(), maximin_palette(64)[0], atol=0.02)
        assert colour.max() > 120


def test_what_is_drawn_off_its_place_is_shown_in_its_place():
    codec = SplatPoseMap()
    rest = np.array([[[[30.0, 60.0]]]])
    points = rest + np.array([[[[0.0, 0.0]], [[4.0, -9.0]], [[-20.0, 12.0]]]])
    pixels = (np.arange(SIDE) + 0.5) / SIDE
    places = np.broadcast_to(pixels + (48 - rest[..., None]) / 96, (1, 1, 64, 2, SIDE))
    maps = codec.draw(points + 48 - rest, np.ones((1, 3, 1)), marker_set(1), 96)
    for picture, place in zip(pose_pictures(codec, maps, places)[0], points[0, :, 0], strict=True):
        light = picture.astype(float).sum(axis=-1)
        row, column = np.unravel_index(light.argmax(), light.shape)
        np.testing.assert_allclose((np.array([column, row]) + 0.5) * 96 / SIDE, place, atol=4.0)


def test_rgb_maps_are_shown_as_they_are():
    codec = RgbPoseMap()
    maps = drawn(codec)
    np.testing.assert_allclose(np.moveaxis(pose_pictures(codec, maps), -1, 2) / 255, maps, atol=0.5 / 255 + 1e-6)


def test_maps_of_another_codec_are_refused():
    with pytest.raises(OptionError, match=r"maps is \(4, 6, 3, 96, 96\); accepted: \(\.\.\., 64, 8, 8\)"):
        pose_pictures(SplatPoseMap(), drawn(RgbPoseMap()))
