"""Pinned poses and joint masks, made exact in a clip."""

from __future__ import annotations

import numpy as np
import pytest

from animax import rotations
from animax.assets import load_rig, read_clips
from animax.errors import OptionError
from animax.motion.clip import Clip
from animax.motion.control import keep, pin, resolve, upper_body
from animax.procedural import generate
from animax.request import JointMask, PinnedPose, PoseSource, Request

from .synthetic import random_pose

FPS = 30.0


@pytest.fixture(scope="module")
def rig():
    return load_rig(generate("biped", seed=2))


@pytest.fixture(scope="module")
def clip_name(rig):
    return next(clip.name for clip in read_clips(rig) if clip.loop)


def moving(rig, seconds=2.0, *, loop=False, seed=0):
    frames = round(seconds * FPS) + (not loop)
    return Clip("x", FPS, random_pose(rig, frames, degrees=15, seed=seed), loop)


def steps(rig, clip):
    heads = rig.skeleton.positions(clip.pose)
    if clip.loop:
        heads = np.concatenate([heads, heads[:1]])
    return np.linalg.norm(np.diff(heads, axis=0), axis=-1).max(axis=1)


def test_without_controls_there_is_nothing_to_resolve(rig):
    assert resolve(rig, Request("x", loop=True, seconds=4)) is None


@pytest.mark.parametrize("loop", [False, True])
def test_pinned_frames_carry_the_pose_exactly_and_their_surroundings_lead_there(rig, clip_name, loop):
    request = Request(
        "x",
        loop=loop,
        first_pose=PoseSource(),
        pinned_poses=(PinnedPose(1.0, PoseSource(clip_name, 0.2)),),
        last_pose=None if loop else PoseSource(clip_name, 0.4),
    )
    controls = resolve(rig, request)
    assert controls is not None
    before = moving(rig, loop=loop)
    after = pin(before, controls)
    at = controls.pinned_frames(len(after), FPS)
    assert at == ([0, 30] if loop else [0, 30, 60])
    for frame, (_, pose) in zip(at, controls.pins, strict=True):
        np.testing.assert_array_equal(np.abs(after.pose.rotations[frame]), np.abs(pose.rotations))
        np.testing.assert_array_equal(
            rotations.to_matrix(after.pose.rotations[frame]), rotations.to_matrix(pose.rotations)
        )
        np.testing.assert_array_equal(after.pose.translations[frame], pose.translations)
    assert np.all(np.sum(after.pose.rotations[1:] * after.pose.rotations[:-1], axis=-1) >= 0)
    np.testing.assert_allclose(np.linalg.norm(after.pose.rotations, axis=-1), 1, atol=1e-9)
    # no frame stands out: what is missing is shared out over at least SHORTEST seconds
    missing = max(
        np.linalg.norm(rig.skeleton.positions(before.pose[i]) - rig.skeleton.positions(after.pose[i]), axis=-1).max()
        for i in at
    )
    assert steps(rig, after).max() < steps(rig, before).max() + 0.35 * missing


def test_a_clip_that_takes_the_pose_already_is_not_changed(rig):
    before = moving(rig)
    there = before.pose[20]
    given = tuple((name, tuple(turn)) for name, turn in zip(rig.skeleton.names, there.rotations, strict=True))
    controls = resolve(rig, Request("x", pinned_poses=(PinnedPose(20 / FPS, PoseSource(rotations=given)),)))
    after = pin(before, controls)
    np.testing.assert_allclose(after.pose.rotations, before.pose.rotations, atol=1e-9)


def test_the_pull_of_a_pin_ends_at_the_next_one(rig):
    pins = (PinnedPose(0.5, PoseSource()), PinnedPose(0.6, PoseSource()))
    after = pin(moving(rig), resolve(rig, Request("x", pinned_poses=pins)))
    rest = rig.skeleton.rest.rotations
    assert rotations.between(after.pose.rotations[[15, 18]], rest).max() < 1e-7
    assert rotations.between(after.pose.rotations[60], rest).max() > 0.05


def test_joints_outside_the_mask_follow_the_base_exactly(rig, clip_name):
    mask = JointMask(("upper_body",), base_clip=clip_name)
    controls = resolve(rig, Request("x", joint_mask=mask))
    before = moving(rig)
    after = keep(before, rig, controls)
    chosen = upper_body(rig)
    assert 0 < chosen.sum() < len(chosen)
    assert not controls.kept[chosen].any()
    np.testing.assert_array_equal(
        rotations.to_matrix(after.pose.rotations[:, chosen]), rotations.to_matrix(before.pose.rotations[:, chosen])
    )
    base = controls.base_pose(rig, np.arange(len(after)) / FPS)
    np.testing.assert_array_equal(
        rotations.to_matrix(after.pose.rotations[:, ~chosen]), rotations.to_matrix(base.rotations[:, ~chosen])
    )
    # the base itself is the file's clip, round and round
    (clip,) = read_clips(rig, names=[clip_name])
    np.testing.assert_allclose(rotations.between(base.rotations[0], clip.pose.rotations[0]), 0, atol=1e-7)


def test_upper_body_has_arms_and_head_and_no_legs(rig):
    names = {name for name, chosen in zip(rig.skeleton.names, upper_body(rig), strict=True) if chosen}
    said = " ".join(names).lower()
    assert "head" in said
    assert not any(word in said for word in ("thigh", "shin", "foot", "toe", "leg"))


def test_a_mask_names_joints_with_or_without_those_below(rig):
    parent = next(j for j, children in enumerate(rig.skeleton.children) if j > 1 and children)
    name, child = rig.skeleton.names[parent], rig.skeleton.children[parent][0]
    below = resolve(rig, Request("x", joint_mask=JointMask((name,)))).kept
    alone = resolve(rig, Request("x", joint_mask=JointMask((name,), alone=True))).kept
    assert not below[parent]
    assert not below[child]
    assert alone[child]
    assert (~alone).sum() == 1
    # what hangs on a joint that moves has no known place
    placed = resolve(rig, Request("x", joint_mask=JointMask((name,), alone=True))).placed(rig)
    assert not placed[child]


def test_kept_joints_win_over_pinned_poses(rig, clip_name):
    request = Request("x", first_pose=PoseSource(clip_name, 0.2), joint_mask=JointMask(("upper_body",)))
    controls = resolve(rig, request)
    after = pin(keep(moving(rig), rig, controls), controls)
    rest = rig.skeleton.rest.rotations
    assert rotations.between(after.pose.rotations, rest)[:, controls.kept].max() < 1e-7
    np.testing.assert_array_equal(
        after.pose.rotations[0, ~controls.kept], controls.pins[0][1].rotations[~controls.kept]
    )


def test_a_base_below_a_loop_goes_round_a_whole_number_of_times(rig, clip_name):
    controls = resolve(
        rig, Request("x", seconds=2.3, loop=True, joint_mask=JointMask(("upper_body",), base_clip=clip_name))
    )
    ends = controls.base_pose(rig, np.array([0.0, 2.3]))
    assert rotations.between(ends.rotations[0], ends.rotations[1]).max() < 1e-6


@pytest.mark.parametrize(
    ("request_", "name"),
    [
        (Request("x", first_pose=PoseSource("no such clip")), "first_pose"),
        (Request("x", last_pose=PoseSource(rotations=(("no such joint", (0, 0, 0, 1)),))), "last_pose"),
        (Request("x", joint_mask=JointMask(("no such joint",))), "joint_mask"),
        (Request("x", joint_mask=JointMask(("upper_body",), base_clip="no such clip")), "joint_mask.base_clip"),
        (Request("x", pinned_poses=(PinnedPose(1, PoseSource()), PinnedPose(1.01, PoseSource()))), "pinned_poses"),
    ],
)
def test_what_the_rig_lacks_is_named(rig, request_, name):
    with pytest.raises(OptionError) as refused:
        resolve(rig, request_)
    assert refused.value.name == name


def test_a_time_after_the_end_of_the_clip_is_named(rig, clip_name):
    with pytest.raises(OptionError, match="the length of"):
        resolve(rig, Request("x", first_pose=PoseSource(clip_name, 999.0)))


@pytest.mark.parametrize(
    "request_",
    [
        Request("x", seconds=2, loop=True, first_pose=PoseSource(), pinned_poses=(PinnedPose(2.0, PoseSource()),)),
        Request("x", seconds=1.02, last_pose=PoseSource(), pinned_poses=(PinnedPose(1.0, PoseSource()),)),
        Request("x", seconds=2, pinned_poses=(PinnedPose(1.0, PoseSource()), PinnedPose(1.01, PoseSource()))),
    ],
    ids=["around a loop", "at the end", "close together"],
)
def test_two_poses_of_one_frame_are_refused(rig, request_):
    with pytest.raises(OptionError, match="one pose for each frame of 1/30 s, first and last"):
        resolve(rig, request_)
