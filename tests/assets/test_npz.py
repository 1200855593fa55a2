"""The archive round trip, its keys, and what is refused."""

from __future__ import annotations

import contextlib
import io
import zipfile

import numpy as np
import pytest

from animax.assets import Limits, load_rig, read_clips, read_npz, write_npz
from animax.assets.npz import KEYS
from animax.errors import AssetError, RigError
from tests.assets.glb_builder import arm


def written() -> tuple:
    rig = load_rig(arm().bytes())
    (clip,) = read_clips(rig, 30)
    return rig.skeleton, clip, write_npz(rig.skeleton, clip)


def changed(**arrays) -> bytes:
    with np.load(io.BytesIO(written()[2])) as archive:
        found = dict(archive) | arrays
    out = io.BytesIO()
    np.savez(out, **{key: value for key, value in found.items() if value is not None})
    return out.getvalue()


def test_every_number_comes_back_exactly(tmp_path):
    skeleton, clip, content = written()
    (tmp_path / "clip.npz").write_bytes(content)
    for source in (content, tmp_path / "clip.npz"):
        read_skeleton, read_clip = read_npz(source)
        assert read_skeleton.names == skeleton.names
        np.testing.assert_array_equal(read_skeleton.parents, skeleton.parents)
        for part in ("translations", "rotations", "scales"):
            np.testing.assert_array_equal(getattr(read_clip.pose, part), getattr(clip.pose, part))
            np.testing.assert_array_equal(getattr(read_skeleton.rest, part), getattr(skeleton.rest, part))
        assert (read_clip.name, read_clip.fps, read_clip.loop) == (clip.name, clip.fps, clip.loop)


def test_keys_are_the_documented_ones_and_bytes_repeat():
    skeleton, clip, content = written()
    with np.load(io.BytesIO(content)) as archive:
        assert set(archive) == set(KEYS)
    assert write_npz(skeleton, clip) == content


@pytest.mark.parametrize("name", sorted(KEYS))
def test_a_missing_array_is_refused(name):
    with pytest.raises(AssetError, match="accepted"):
        read_npz(changed(**{name: None}))


@pytest.mark.parametrize(
    "arrays",
    [
        {"format": np.array("other")},
        {"rotations": np.zeros((3, 2, 4))},
        {"rotations": np.array(1.0)},
        {"translations": np.full((31, 4, 3), np.nan)},
        {"fps": np.array(0.0)},
        {"fps": np.array([30.0])},
        {"fps": np.array("x")},
        {"parents": np.array([-1, 5, 1, 2])},
        {"parents": np.array([-1.0, 0, 1, 2])},
        {"names": np.array(["a"] * 4)},
        {"names": np.array(["a", None], dtype=object)},
    ],
    ids=range(11),
)
def test_broken_arrays_are_refused(arrays):
    with pytest.raises((AssetError, RigError), match="accepted"):
        read_npz(changed(**arrays))


def test_damage_is_refused():
    content = written()[2]
    random = np.random.default_rng(0)
    for source in (b"", b"PK", content[:-30], content[: len(content) // 2], b"\x93NUMPY" + bytes(100)):
        with pytest.raises(AssetError):
            read_npz(source)
    for _ in range(60):
        damaged = bytearray(content)
        for at in random.integers(0, len(content), 5):
            damaged[at] ^= 1 << random.integers(0, 8)
        with contextlib.suppress(AssetError, RigError):
            read_npz(bytes(damaged))


def test_a_zip_bomb_is_not_unpacked():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("names.npy", bytes(5_000_000))
    with pytest.raises(AssetError, match="unpacks"):
        read_npz(out.getvalue(), Limits(file_bytes=1_000_000))
