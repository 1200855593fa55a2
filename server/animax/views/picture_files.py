"""Write a sequence of pictures as a file that a browser shows: MP4, GIF, or a strip as PNG."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from animax.errors import OptionError

Bytes = NDArray[np.uint8]

SUFFIXES = (".mp4", ".gif", ".png")
"""What ``write_pictures`` can write."""
FASTEST_GIF = 50.0
"""Pictures a second: browsers slow down a GIF whose pictures stand for less than two hundredths of a second."""


def write_pictures(path: Path | str, pictures: Bytes, fps: float, *, columns: int = 8) -> None:
    """Write pictures (F, H, W, 3) sRGB, shown at ``fps``, in the format of the path's suffix.

    MP4 is H.264 (yuv420p) where PyAV is installed (``pip install animax[video]``), else VP9; both play in browsers. An
    odd row or column at the edge is repeated, since both need even sizes. A GIF faster than ``FASTEST_GIF`` leaves out
    pictures and keeps its speed. A PNG is a strip of ``columns`` pictures spread evenly over all.

    Raises:
        OptionError: the suffix is none of ``SUFFIXES``, or there are no pictures.
    """
    path = Path(path)
    suffix = check_suffix(path)
    if pictures.ndim != 4 or not pictures.size:
        raise OptionError("pictures", pictures.shape, "(F, H, W, 3) with at least one picture")
    if suffix == ".png":
        chosen = np.unique(np.linspace(0, len(pictures) - 1, max(1, columns)).round().astype(int))
        _write_png(path, np.concatenate(list(pictures[chosen]), axis=1))
    elif suffix == ".gif":
        _write_gif(path, pictures, fps)
    else:
        _write_mp4(path, pictures, fps)


def check_suffix(path: Path | str, option: str = "preview") -> str:
    """The path's suffix in lower case.

    Raises:
        OptionError: it is none of ``SUFFIXES``.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise OptionError(option, Path(path).name, f"a name that ends in {', '.join(SUFFIXES)}")
    return suffix


def _write_png(path: Path, picture: Bytes) -> None:
    _, data = cv2.imencode(".png", picture[..., ::-1])
    path.write_bytes(data.tobytes())


def _write_gif(path: Path, pictures: Bytes, fps: float) -> None:
    stride = int(np.ceil(fps / FASTEST_GIF))
    frames = pictures[::stride]
    # a GIF counts in hundredths of a second: round the times, not the durations, to keep the speed
    ends = np.rint(np.arange(len(frames) + 1) * stride * 100 / fps).astype(int)
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]
    animation.durations = (np.diff(ends) * 10).tolist()
    animation.loop_count = 0
    # 3: a palette fitted to the pictures; the default is a fixed one of 3, 3 and 2 bits
    if not cv2.imwriteanimation(str(path), animation, [cv2.IMWRITE_GIF_DITHER, 3]):
        raise OSError(f"cannot write {path.name}")


def _write_mp4(path: Path, pictures: Bytes, fps: float) -> None:
    height, width = pictures.shape[1:3]
    pictures = np.pad(pictures, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")
    try:
        import av
    except ImportError:
        _write_vp9(path, pictures, fps)
        return
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=Fraction(fps).limit_denominator(1001))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "18", "preset": "medium"}
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")))
        container.mux(stream.encode())


def _write_vp9(path: Path, pictures: Bytes, fps: float) -> None:
    height, width = pictures.shape[1:3]
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, cv2.VideoWriter.fourcc(*"vp09"), fps, (width, height))
    if not writer.isOpened():
        raise OSError(f"cannot write {path.name}: OpenCV has no video encoder; pip install animax[video]")
    for picture in pictures:
        writer.write(np.ascontiguousarray(picture[..., ::-1]))
    writer.release()
