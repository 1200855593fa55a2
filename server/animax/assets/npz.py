"""Clip ↔ NumPy archive: the raw arrays, for analysis and for training."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax.assets.limits import Limits
from animax.assets.skeleton import Pose, Skeleton
from animax.errors import AssetError, RigError
from animax.motion.clip import Clip

FORMAT = "animax-clip-1"
KEYS = {
    "format": "the text animax-clip-1",
    "clip": "name of the clip",
    "fps": "samples a second",
    "loop": "whether the frame after the last is the first",
    "names": "(J,) joint names",
    "parents": "(J,) index of each joint's parent, -1 for a root; parents come first",
    "rest_translations": "(J, 3) local, metres",
    "rest_rotations": "(J, 4) local, unit quaternions (x, y, z, w)",
    "rest_scales": "(J, 3) local",
    "translations": "(F, J, 3) local, metres",
    "rotations": "(F, J, 4) local, unit quaternions (x, y, z, w), sign-continuous in time",
    "scales": "(F, J, 3) local",
}
"""The arrays of an archive."""


def write_npz(skeleton: Skeleton, clip: Clip) -> bytes:
    """A compressed archive of the arrays named in ``KEYS``, in 64 bit; the same input gives the same bytes."""
    rest, pose = skeleton.rest, clip.pose
    out = io.BytesIO()
    np.savez_compressed(
        out,
        format=np.array(FORMAT),
        clip=np.array(clip.name),
        fps=np.array(float(clip.fps)),
        loop=np.array(bool(clip.loop)),
        names=np.array(skeleton.names, dtype=np.str_),
        parents=skeleton.parents.astype(np.int64),
        rest_translations=rest.translations,
        rest_rotations=rest.rotations,
        rest_scales=rest.scales,
        translations=pose.translations,
        rotations=pose.rotations,
        scales=pose.scales,
    )
    return out.getvalue()


def read_npz(source: bytes | Path, limits: Limits = Limits()) -> tuple[Skeleton, Clip]:  # noqa: B008 - frozen
    """The skeleton and clip of an archive that ``write_npz`` wrote.

    Raises:
        AssetError: it is no such archive, is damaged, or is over ``limits.file_bytes`` when unpacked.
        RigError: its skeleton breaks a rule.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        with zipfile.ZipFile(file) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
        if unpacked > limits.file_bytes:
            raise AssetError(f"the archive unpacks to {unpacked} bytes; accepted: at most {limits.file_bytes}")
        with np.load(file, allow_pickle=False) as arrays:
            found = {key: arrays[key] for key in KEYS}
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, zipfile.BadZipFile, zipfile.LargeZipFile):
        raise AssetError("the file is not a whole clip archive; accepted: one that animax wrote") from None
    except Exception as error:  # zlib.error and the like, from deep inside the unpacking
        if isinstance(error, AssetError):
            raise
        raise AssetError("the archive is damaged; accepted: one that animax wrote") from None
    if str(found["format"]) != FORMAT:
        raise AssetError(f"the archive's format is {str(found['format'])[:40]!r}; accepted: {FORMAT}")
    return _checked(found)


def _checked(found: dict[str, NDArray[Any]]) -> tuple[Skeleton, Clip]:
    joints, frames = len(np.atleast_1d(found["names"])), len(np.atleast_1d(found["rotations"]))
    shapes = {"fps": (), "names": (joints,), "parents": (joints,)}
    for prefix, leading in (("rest_", ()), ("", (frames,))):
        for part, width in (("translations", 3), ("rotations", 4), ("scales", 3)):
            shapes[prefix + part] = (*leading, joints, width)
    for key, shape in shapes.items():
        kinds = "U" if key == "names" else "i" if key == "parents" else "fi"
        if found[key].shape != shape or found[key].dtype.kind not in kinds:
            raise AssetError(f"array {key} is {found[key].dtype} {found[key].shape}; accepted: {KEYS[key]}")
        if kinds == "fi" and not np.all(np.isfinite(found[key])):
            raise AssetError(f"array {key} holds NaN or infinity; accepted: finite numbers")
    if not found["fps"] > 0 or not frames or not joints:
        raise RigError(f"the archive has {joints} joints, {frames} frames, fps {found['fps']}; accepted: above 0 each")
    rest, pose = (
        Pose(*(found[prefix + part].astype(np.float64) for part in ("translations", "rotations", "scales")))
        for prefix in ("rest_", "")
    )
    skeleton = Skeleton(tuple(map(str, found["names"])), found["parents"].astype(np.int64), rest)
    return skeleton, Clip(str(found["clip"]), float(found["fps"]), pose, bool(found["loop"]))
