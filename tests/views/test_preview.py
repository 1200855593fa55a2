import cv2
import numpy as np
import pytest

from animax.assets.skeleton import Pose
from animax.errors import OptionError
from animax.motion.clip import Clip
from animax.views.preview import preview_pictures, write_preview

from .shapes import FACES, cube, rig

PALETTE = [(0.8, 0.1, 0.1), (0.1, 0.8, 0.1), (0.1, 0.1, 0.8), (0.8, 0.8, 0.1), (0.1, 0.8, 0.8), (0.8, 0.1, 0.8)]


@pytest.fixture(scope="module")
def box():
    return rig(cube(PALETTE))


def moving(path, fps=30.0):
    """A clip whose root follows ``path`` (F, 3)."""
    path = np.asarray(path, float)
    frames = len(path)
    turns = np.tile([0.0, 0, 0, 1], (frames, 1, 1))
    return Clip("move", fps, Pose(path[:, None], turns, np.ones((frames, 1, 3))))


def body(picture):
    """Pixels that are of the cube: its colours are strong, floor and sky are grey."""
    levels = picture.astype(int)
    return levels.max(axis=-1) - levels.min(axis=-1) > 60


@pytest.mark.parametrize("suffix", [".mp4", ".gif", ".png", ".MP4"])
def test_previews_are_read_back_with_all_frames(tmp_path, box, suffix):
    path = tmp_path / f"clip{suffix}"
    write_preview(path, box, moving(np.linspace([0, 0, 0], [0, 0.5, 0], 10)), size=64, columns=5)
    if suffix == ".png":
        assert cv2.imread(str(path)).shape == (64, 5 * 64, 3)
    elif suffix == ".gif":
        assert len(cv2.imreadanimation(str(path))[1].frames) == 10
    else:
        video = cv2.VideoCapture(str(path))
        assert sum(1 for _ in iter(lambda: video.read()[0], False)) == 10


def test_a_one_frame_clip_is_a_preview_too(tmp_path, box):
    for suffix in (".mp4", ".gif", ".png"):
        write_preview(tmp_path / f"still{suffix}", box, moving([[0, 0, 0]]), size=32)
        assert (tmp_path / f"still{suffix}").stat().st_size > 0


def test_an_unknown_suffix_is_refused_before_any_work(tmp_path, box):
    with pytest.raises(OptionError, match=r"preview is 'clip\.avi'; accepted: .*\.mp4, \.gif, \.png"):
        write_preview(tmp_path / "clip.avi", box, moving([[0, 0, 0]]))
    with pytest.raises(OptionError, match="size is 4"):
        write_preview(tmp_path / "clip.png", box, moving([[0, 0, 0]]), size=4)


def test_three_quarters_show_the_face_the_left_side_and_the_top(box):
    picture = preview_pictures(box, moving([[0, 0, 0]]), size=96)[0]
    seen = {name for name, colour in zip(FACES, PALETTE, strict=True) if shows(picture, colour)}
    assert seen == {"+z", "+x", "+y"}


def shows(picture, colour):
    """Whether at least twenty pixels have a hue."""
    pixels = picture[body(picture)].astype(float) ** 2.2
    share = pixels / pixels.sum(axis=-1, keepdims=True)
    return np.sum(np.abs(share - np.array(colour) / np.sum(colour)).max(axis=-1) < 0.03) > 20


@pytest.mark.parametrize("distance", [0.3, 1.0, 30.0])
def test_the_body_stays_in_the_picture_however_far_it_goes(box, distance):
    pictures = preview_pictures(box, moving(np.linspace([0, 0, 0], [distance, 0, distance], 24)), size=64)
    for picture in pictures:
        seen = body(picture)
        assert seen.sum() > 0.05 * 64 * 64
        assert not seen[[0, -1]].any()
        assert not seen[:, [0, -1]].any()


def test_the_floor_passes_below_a_body_that_travels_and_stands_below_one_that_does_not(box):
    def floor_changes(path):
        first, last = preview_pictures(box, moving(path), size=96)[[5, -6]].astype(int)
        floor = np.zeros((96, 96), bool)
        floor[80:] = True
        return np.abs(first - last)[floor].max()

    assert floor_changes(np.linspace([0, 0, 0], [7.3, 0, 3.1], 40)) > 8
    assert floor_changes(np.zeros((40, 3))) == 0


def test_a_jump_leaves_its_shadow_below(box):
    """The shadow is the darkest of the floor, and the farther from the body the higher it is."""
    low, high = preview_pictures(box, moving([[0, 0, 0], [0, 1.5, 0]]), size=96)
    rows = [np.flatnonzero(body(picture).any(axis=1)).max() for picture in (low, high)]
    assert rows[1] < rows[0] - 10
    edge = cv2.dilate(body(high).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    grey = np.where(edge, 255, high.min(axis=-1))
    assert np.unravel_index(grey.argmin(), grey.shape)[0] > rows[1]


def test_size_and_place_do_not_matter(box):
    """The same motion a hundred times as large and elsewhere gives the same pictures, but for the grid's phase."""
    small = preview_pictures(box, moving(np.linspace([0, 0, 0], [0, 0.4, 0], 3)), size=64)
    large = rig(cube(PALETTE, half=50.0))
    moved = preview_pictures(large, moving(np.linspace([900, 50, 900], [900, 90, 900], 3)), size=64)
    for a, b in zip(small, moved, strict=True):
        np.testing.assert_allclose(body(a).sum(), body(b).sum(), rtol=0.02)
