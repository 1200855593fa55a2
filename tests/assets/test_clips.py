"""Sampling of animations against SciPy."""

from __future__ import annotations

import json
import time

import numpy as np
import pytest
from scipy.interpolate import CubicHermiteSpline
from scipy.spatial.transform import Rotation, Slerp

from animax.assets import Limits, load_rig, read_clips
from animax.errors import AssetError, OptionError
from tests.assets.glb_builder import Glb, arm
from tests.assets.oracle import Oracle

TIMES = [0.25, 0.5, 1.5, 1.75]


def quaternions(count: int, seed: int = 0) -> np.ndarray:
    return Rotation.random(count, random_state=seed).as_quat()


def moved(tracks, **fields) -> Glb:
    """The arm with one animation of tracks (joint node, path, times, values, interpolation)."""
    glb = arm()
    del glb.json["animations"]
    glb.animation(tracks, **fields)
    return glb


def one(glb: Glb, fps: float):
    rig = load_rig(glb.bytes())
    (clip,) = read_clips(rig, fps)
    return rig, clip


def test_linear_rotations_are_slerps():
    keys = quaternions(4)
    keys[2] *= -1  # the sign of a quaternion is no matter
    _, clip = one(moved([(1, "rotation", TIMES, keys, "LINEAR")]), 40)
    expected = Slerp(TIMES, Rotation.from_quat(keys))(0.25 + clip.times)
    difference = expected.inv() * Rotation.from_quat(clip.pose.rotations[:, 1])
    assert difference.magnitude().max() < 1e-6
    assert len(clip) == 61
    assert np.sum(clip.pose.rotations[1:] * clip.pose.rotations[:-1], axis=-1).min() > 0


@pytest.mark.parametrize("path", ["translation", "scale"])
def test_linear_vectors_are_piecewise_linear(path):
    keys = np.random.default_rng(1).uniform(1, 2, (4, 3))
    _, clip = one(moved([(1, path, TIMES, keys, "LINEAR")]), 40)
    values = (clip.pose.translations if path == "translation" else clip.pose.scales)[:, 1]
    expected = np.stack([np.interp(0.25 + clip.times, TIMES, keys[:, i]) for i in range(3)], axis=-1)
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_steps_hold_until_the_next_key():
    keys = np.arange(12.0).reshape(4, 3)
    _, clip = one(moved([(1, "translation", TIMES, keys, "STEP")]), 20)
    held = np.searchsorted(TIMES, 0.25 + clip.times + 1e-9, side="right") - 1
    np.testing.assert_allclose(clip.pose.translations[:, 1], keys[held])


@pytest.mark.parametrize("path", ["translation", "scale", "rotation"])
def test_cubic_splines_are_hermite_splines(path):
    width = 4 if path == "rotation" else 3
    parts = np.random.default_rng(2).uniform(0.5, 1.5, (4, 3, width))
    _, clip = one(moved([(1, path, TIMES, parts.reshape(-1, width), "CUBICSPLINE")]), 40)
    at = np.minimum(0.25 + clip.times, TIMES[-1])
    expected = np.empty((len(at), width))
    for k in range(3):
        spline = CubicHermiteSpline(TIMES[k : k + 2], parts[k : k + 2, 1], [parts[k, 2], parts[k + 1, 0]])
        inside = (at >= TIMES[k]) & (at <= TIMES[k + 1])
        expected[inside] = spline(at[inside])
    if path == "rotation":
        expected /= np.linalg.norm(expected, axis=-1, keepdims=True)
    values = getattr(clip.pose, path + "s")[:, 1]
    np.testing.assert_allclose(np.abs(values), np.abs(expected), atol=1e-6)


def test_normalised_integer_rotations():
    keys = quaternions(4)
    glb = moved([(1, "rotation", TIMES, keys, "LINEAR")])
    glb.json["animations"][0]["samplers"][0]["output"] = glb.accessor(np.round(keys * 32767), "i2", normalized=True)
    _, clip = one(glb, 4)
    expected = Slerp(TIMES, Rotation.from_quat(keys))(0.25 + clip.times)
    assert (expected.inv() * Rotation.from_quat(clip.pose.rotations[:, 1])).magnitude().max() < 2e-4


def test_a_clip_starts_at_its_first_key_and_holds_ends():
    late = (1, "rotation", [2.0, 3.0], quaternions(2), "LINEAR")
    later = (2, "translation", [2.5, 2.6], [[0, 0, 0], [1, 1, 1]], "LINEAR")
    rig, clip = one(moved([late, later]), 10)
    assert len(clip) == 11
    assert clip.seconds == pytest.approx(1.0)
    np.testing.assert_allclose(clip.pose.translations[:6, 2], 0)
    np.testing.assert_allclose(clip.pose.translations[6:, 2], 1, atol=1e-6)
    # what has no channel rests
    for joint in (0, 3):
        np.testing.assert_allclose(clip.pose.rotations[:, joint], np.tile(rig.skeleton.rest.rotations[joint], (11, 1)))


def test_single_keys_make_a_still_clip():
    _, clip = one(moved([(1, "rotation", [0.5], quaternions(1), "LINEAR")]), 30)
    assert len(clip) == 1


def test_keys_at_the_same_time_do_no_harm():
    keys = [[0, 0, 0], [1, 0, 0], [5, 0, 0], [6, 0, 0]]
    _, clip = one(moved([(1, "translation", [0, 1, 1, 2], keys, "LINEAR")]), 10)
    assert np.all(np.isfinite(clip.pose.translations))
    np.testing.assert_allclose(clip.pose.translations[[5, 15], 1, 0], [0.5, 5.5], atol=1e-6)


def test_a_loop_leaves_out_its_closing_frame():
    a, b = quaternions(2)
    glb = moved([(1, "rotation", [0, 0.5, 1.0], [a, b, -a], "LINEAR")])
    rig, clip = one(glb, 10)
    assert clip.loop
    assert len(clip) == 10
    closing = Oracle(glb.bytes()).worlds(0, 0.0)
    np.testing.assert_allclose(rig.skeleton.globals(clip.pose[0]), [closing[n] for n in rig.joint_nodes], atol=1e-6)
    _, open_clip = one(moved([(1, "rotation", [0, 0.5, 1.0], [a, b, b], "LINEAR")]), 10)
    assert not open_clip.loop
    assert len(open_clip) == 11


@pytest.mark.parametrize("rate", [24, 25, 30, 60])
def test_the_rate_of_the_keys_is_found(rate):
    times = 3.0 + np.array([0, 1, 5, 8, 11]) / rate
    rig = load_rig(moved([(1, "rotation", times, quaternions(5), "LINEAR")]).bytes())
    assert read_clips(rig)[0].fps == rate


def test_names_choose_clips():
    glb = arm()
    glb.animation([(1, "rotation", [0, 1], quaternions(2), "LINEAR")], name="second")
    glb.json["animations"].append({"channels": [], "samplers": []})
    rig = load_rig(glb.bytes())
    assert [clip.name for clip in read_clips(rig, 10)] == ["swing", "second"]
    assert [clip.name for clip in read_clips(rig, 10, names=["second"])] == ["second"]
    with pytest.raises(OptionError, match="names"):
        read_clips(rig, 10, names=["third"])
    with pytest.raises(OptionError, match="fps"):
        read_clips(rig, 0)


def test_channels_that_move_no_joint_are_left_out():
    rotation = (1, "rotation", [0, 1], quaternions(2), "LINEAR")
    glb = moved([rotation, (1, "weights", [0, 5], [[0], [1]], "LINEAR")])
    glb.json["animations"][0]["channels"].append({"sampler": 1, "target": {"path": "pointer"}})
    glb.json["animations"][0]["channels"].append({"sampler": 1, "target": {"path": "rotation"}})
    (_, clip), (_, expected) = one(glb, 10), one(moved([rotation]), 10)
    assert len(clip) == len(expected) == 11, "they do not say how long the clip is"
    for values, plain in zip(vars(clip.pose).values(), vars(expected.pose).values(), strict=True):
        np.testing.assert_array_equal(values, plain)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda s, glb: s.update(interpolation="MAGIC"), "interpolation"),
        (lambda s, glb: s.update(output=glb.accessor(quaternions(3))), "4 keys and 3 values"),
        (lambda s, glb: s.update(output=glb.accessor(np.zeros((4, 3)))), "type"),
        (lambda s, glb: s.update(output=glb.accessor(np.full((4, 4), np.nan))), "NaN"),
        (lambda s, glb: s.update(input=glb.accessor([0.0, 2.0, 1.0, 3.0])), "fall"),
        (lambda s, glb: s.update(input=glb.accessor([0.0, 1.0, 2.0, 1e30])), "lasts"),
        (lambda s, glb: s.update(input=999), "input"),
        (lambda s, glb: s.pop("output"), "output"),
    ],
)
def test_broken_samplers_are_refused(change, words):
    glb = moved([(1, "rotation", TIMES, quaternions(4), "LINEAR")])
    change(glb.json["animations"][0]["samplers"][0], glb)
    rig = load_rig(glb.bytes())
    with pytest.raises(AssetError, match=words):
        read_clips(rig, 30)


def test_samples_over_all_clips_are_limited():
    glb = arm()
    for i in range(4):
        glb.animation([(1, "rotation", [0, 1000], quaternions(2), "LINEAR")], name=str(i))
    rig = load_rig(glb.bytes(), limits=Limits(clip_samples=10_000))
    with pytest.raises(AssetError, match="10000 in all"):
        read_clips(rig, 1)


def test_all_real_clips_are_read_in_time(real_rigs):
    entries = json.loads((real_rigs / "manifest.json").read_text("utf-8"))["rigs"][::6]
    spent, clips, agree = 0.0, 0, 0
    for entry in entries:
        rig = load_rig(real_rigs / entry["file"])
        started = time.process_time()
        read = read_clips(rig, 16)
        spent += time.process_time() - started
        assert [clip.name for clip in read] == [clip["name"] for clip in entry["clips"]]
        for clip, known in zip(read, entry["clips"], strict=True):
            frames = round(known["duration_s"] * 16) + (0 if clip.loop else 1)
            assert abs(len(clip) - frames) <= 1
            assert np.allclose(np.linalg.norm(clip.pose.rotations, axis=-1), 1)
            clips += 1
            agree += clip.loop == known["loop"]
    assert spent / clips < 0.02
    assert agree > 0.9 * clips
