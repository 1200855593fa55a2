"""Pictures of what the network saw and made, for people: template views, and generated views and pose maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from animax.errors import OptionError
from animax.views.picture_files import write_pictures
from animax.views.pose_map import Maps, PoseMapCodec
from animax.views.rgb import RgbPoseMap, maximin_palette
from animax.views.splat import SplatPoseMap, spline_weights

Floats = NDArray[np.float32]
Places = NDArray[np.float64]
Bytes = NDArray[np.uint8]

SIDE = 192
"""Least width and height of a view in the pictures, pixels."""
SHARPNESS = 20
"""Power that turns a splat three cells wide into a dot."""
GAP = 2
"""Pixels between views."""


def write_debug(
    directory: Path | str,
    codec: PoseMapCodec,
    *,
    template_rgb: Bytes,
    template_maps: Maps,
    template_mask: Floats | None = None,
    rgb: Bytes | None = None,
    maps: Maps | None = None,
    places: Places | None = None,
    fps: float = 15.0,
    columns: int = 8,
) -> list[Path]:
    """Write ``template_rgb.png``, ``template_pose.png`` (and ``template_mask.png``), the views side by side.

    Of what was generated, write ``rgb`` and ``pose`` as ``.mp4`` (all frames) and ``.png`` (``columns`` of them, a row
    for each view).

    Args:
        directory: made if it is not there.
        codec: of the pose maps.
        template_rgb: (V, H, W, 3) template views, sRGB.
        template_maps: (V, C, h, w) template pose maps.
        template_mask: (V, H, W) share of each pixel that the body covers.
        rgb: (V, F, H, W, 3) generated views, sRGB.
        maps: (V, F, C, h, w) generated pose maps.
        places: (V, 1, C, 2, ``SIDE``) see ``pose_pictures``.
        fps: of what was generated.
        columns: frames of a strip.

    Returns:
        the files, in the order they were written.

    Raises:
        OptionError: an array has another shape than it should.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    stills = {"template_rgb": template_rgb, "template_pose": pose_pictures(codec, template_maps)}
    if template_mask is not None:
        grey = np.rint(np.clip(template_mask, 0, 1) * 255).astype(np.uint8)
        stills["template_mask"] = np.repeat(grey[..., None], 3, axis=-1)
    clips = {"rgb": rgb, "pose": None if maps is None else pose_pictures(codec, maps, places)}
    written = []
    for name, views in stills.items():
        written.append(directory / f"{name}.png")
        write_pictures(written[-1], _beside(views[:, None]), fps)
    for name, frames in clips.items():
        if frames is None:
            continue
        if frames.ndim != 5:
            raise OptionError(name, frames.shape, "an array with views and frames before height, width and colour")
        written.append(directory / f"{name}.mp4")
        write_pictures(written[-1], _beside(frames), fps)
        written.append(directory / f"{name}.png")
        chosen = np.unique(np.linspace(0, frames.shape[1] - 1, max(1, columns)).round().astype(int))
        write_pictures(written[-1], _sheet(frames[:, chosen]), fps, columns=1)
    return written


def pose_pictures(codec: PoseMapCodec, maps: Maps, places: Places | None = None) -> Bytes:
    """Pictures (..., H, W, 3) sRGB that a person can read, of pose maps (..., C, h, w), on the frame of the views.

    RGB maps are shown as they are. Of splat maps each channel is a dot in a colour of its own: its grid, interpolated
    by the spline that drew it, raised to a power. A smeared splat is a smeared dot, a weak one a dark dot.

    Args:
        codec: of the maps.
        maps: (..., C, h, w).
        places: (..., C, 2, ``SIDE``) where in a channel's map the picture's columns and rows are, in widths of the
            map's image; None where every map shows the picture. Of splat maps.

    Raises:
        OptionError: the maps are not the codec's.
    """
    if maps.ndim < 3 or maps.shape[-3:] != (codec.channels, codec.size, codec.size):
        raise OptionError("maps", maps.shape, f"(..., {codec.channels}, {codec.size}, {codec.size})")
    if isinstance(codec, RgbPoseMap):
        levels = np.moveaxis(np.clip(maps, 0, 1), -3, -1)
    else:
        border = 1 if isinstance(codec, SplatPoseMap) else 0
        levels = _splat_levels(maps, (np.arange(SIDE) + 0.5) / SIDE if places is None else places, border)
    return np.rint(levels * 255).astype(np.uint8)


def _splat_levels(maps: Maps, places: Places, border: int) -> Floats:
    """(..., SIDE, SIDE, 3) levels of maps (..., C, h, w) whose ``border`` cells lie outside the image."""
    size = maps.shape[-1]
    # once for all frames that share their places
    weights = spline_weights(border + places * (size - 2 * border), size)
    weights = np.broadcast_to(weights, (*maps.shape[:-2], 2, SIDE, size))
    # the peak of a whole splat, interpolated, becomes one wherever it lies
    whole = float((spline_weights(np.array([size / 2]), size) ** 2).sum()) ** 2
    colours = maximin_palette(maps.shape[-3])
    out = np.empty((*maps.shape[:-3], SIDE, SIDE, 3), np.float32)
    for i in np.ndindex(maps.shape[:-3]):
        image, across, down = np.maximum(maps[i], 0).astype(np.float64), weights[i][:, 0], weights[i][:, 1]
        channels = down @ image @ across.swapaxes(-1, -2) / whole
        peaks = channels.max(axis=(1, 2), keepdims=True)
        dots = np.clip(peaks, 0, 1) * (channels / np.maximum(peaks, 1e-9)) ** SHARPNESS
        out[i] = colours[dots.argmax(axis=0)] * dots.max(axis=0)[..., None]
    return out


def _beside(views: Bytes) -> Bytes:
    """(F, H, W, 3) pictures of views (V, F, h, w, 3) side by side, enlarged to at least ``SIDE``."""
    return _joined(list(views), axis=2)


def _sheet(views: Bytes) -> Bytes:
    """(1, H, W, 3) picture of views (V, F, h, w, 3): a row for each view, a column for each frame."""
    rows = [_joined([view[None, i] for i in range(view.shape[0])], axis=2) for view in views]
    return _joined(rows, axis=1, enlarge=False)


def _joined(pictures: list[Bytes], axis: int, *, enlarge: bool = True) -> Bytes:
    if enlarge:
        pictures = [_enlarged(p) for p in pictures]
    gap_shape = list(pictures[0].shape)
    gap_shape[axis] = GAP
    gap = np.full(gap_shape, 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    return np.concatenate(parts, axis=axis)


def _enlarged(pictures: Bytes) -> Bytes:
    factor = -(-SIDE // pictures.shape[1])
    return pictures.repeat(factor, axis=1).repeat(factor, axis=2)
