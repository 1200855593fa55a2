import sys

import cv2
import numpy as np
import pytest

from animax.errors import OptionError
from animax.views.picture_files import write_pictures


def moving_square(frames=20, height=48, width=64):
    """A red square that goes from left to right on green."""
    pictures = np.full((frames, height, width, 3), (40, 160, 60), np.uint8)
    for i, picture in enumerate(pictures):
        left = i * (width - 16) // max(1, frames - 1)
        picture[16:32, left : left + 16] = (220, 30, 30)
    return pictures


def read_video(path):
    video = cv2.VideoCapture(str(path))
    frames = []
    while (got := video.read())[0]:
        frames.append(got[1][..., ::-1])
    return np.array(frames), video.get(cv2.CAP_PROP_FPS)


@pytest.mark.parametrize("encoder", ["h264", "vp9"])
@pytest.mark.parametrize(("fps", "frames"), [(30.0, 20), (24.0, 1), (12.5, 7)])
def test_mp4_is_read_back_by_opencv(tmp_path, monkeypatch, encoder, fps, frames):
    if encoder == "h264":
        pytest.importorskip("av", reason="PyAV is not installed (pip install animax[video])")
    else:
        monkeypatch.setitem(sys.modules, "av", None)
    pictures = moving_square(frames)
    write_pictures(tmp_path / "clip.mp4", pictures, fps)
    back, rate = read_video(tmp_path / "clip.mp4")
    assert back.shape == pictures.shape
    assert rate == pytest.approx(fps, rel=1e-3)
    assert np.abs(back.astype(int) - pictures).mean() < 12


def test_mp4_is_what_browsers_play(tmp_path):
    """H.264 in 4:2:0, its index before the pictures."""
    av = pytest.importorskip("av", reason="PyAV is not installed (pip install animax[video])")
    write_pictures(tmp_path / "clip.mp4", moving_square(), 30)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
    data = (tmp_path / "clip.mp4").read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")


def test_odd_sizes_grow_by_a_pixel(tmp_path):
    write_pictures(tmp_path / "clip.mp4", moving_square(3, 33, 51), 30)
    assert read_video(tmp_path / "clip.mp4")[0].shape == (3, 34, 52, 3)


@pytest.mark.parametrize(("fps", "frames", "kept"), [(10.0, 12, 12), (30.0, 30, 30), (120.0, 60, 20)])
def test_gif_keeps_its_frames_and_its_speed(tmp_path, fps, frames, kept):
    pictures = moving_square(frames)
    write_pictures(tmp_path / "clip.gif", pictures, fps)
    read, animation = cv2.imreadanimation(str(tmp_path / "clip.gif"))
    assert read
    assert len(animation.frames) == kept
    assert sum(animation.durations) / 1000 == pytest.approx(frames / fps, abs=0.011)
    stride = frames // kept
    for ours, theirs in zip(pictures[::stride], animation.frames, strict=True):
        assert np.abs(ours.astype(int) - theirs[..., 2::-1]).mean() < 2


def test_png_is_an_exact_strip_from_first_to_last(tmp_path):
    pictures = moving_square(9)
    write_pictures(tmp_path / "strip.png", pictures, 30, columns=3)
    back = cv2.imread(str(tmp_path / "strip.png"))[..., ::-1]
    np.testing.assert_array_equal(back, np.concatenate(list(pictures[[0, 4, 8]]), axis=1))


def test_unknown_suffixes_and_no_pictures_are_refused(tmp_path):
    with pytest.raises(OptionError, match=r"'clip\.webp'; accepted: a name that ends in \.mp4, \.gif, \.png"):
        write_pictures(tmp_path / "clip.webp", moving_square(), 30)
    with pytest.raises(OptionError, match="at least one"):
        write_pictures(tmp_path / "clip.gif", moving_square()[:0], 30)
    assert not list(tmp_path.iterdir())
