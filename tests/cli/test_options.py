from __future__ import annotations

import argparse
import json
import re
from dataclasses import fields

import pytest

from animax.cli.options import add_request, as_typed, request_of
from animax.errors import OptionError
from animax.request import JointMask, PinnedPose, PoseSource, PromptChange, Request, RootMode


def parsed(*arguments: str) -> Request:
    parser = argparse.ArgumentParser()
    add_request(parser)
    return request_of(parser.parse_args(arguments), "walks")


def test_without_arguments_a_request_has_its_own_defaults():
    assert parsed() == Request("walks")


def test_every_field_of_a_request_can_be_given():
    given = parsed(
        *("--seconds", "3.5", "--fps", "24", "--seed", "7", "--loop", "--root-mode", "root_motion"),
        *("--guidance", "4", "--steps", "12", "--no-foot-cleanup"),
        *("--first-pose", "rest", "--pose-at", "1.5", "Walk@0.25"),
        *("--joints", "Spine", "Head", "--joints-alone", "--base-clip", "Walk cycle"),
    )
    pinned = (PinnedPose(1.5, PoseSource("Walk", 0.25)),)
    mask = JointMask(("Spine", "Head"), True, "Walk cycle")
    assert given == Request(
        *("walks", 3.5, 24.0, 7, True, RootMode.ROOT_MOTION, 4.0, 12, False),
        first_pose=PoseSource(),
        pinned_poses=pinned,
        joint_mask=mask,
    )
    default = Request("walks")
    untouched = [f.name for f in fields(Request) if getattr(given, f.name) == getattr(default, f.name)]
    assert untouched == ["prompt", "last_pose", "prompt_changes"]
    arriving = parsed("--last-pose", "Idle@0", "--prompt-at", "0.5", "trots", "--prompt-at", "1.5", "sits down")
    assert arriving.last_pose == PoseSource("Idle")
    assert arriving.prompt_changes == (PromptChange(0.5, "trots"), PromptChange(1.5, "sits down"))


def test_a_pose_may_be_a_file_of_rotations(tmp_path):
    path = tmp_path / "pose.json"
    path.write_text(json.dumps({"Head": [0.6, 0, 0, 0.8], "Tail": [0, 0, 0, 1]}))
    given = parsed("--first-pose", str(path)).first_pose
    assert given == PoseSource(rotations=(("Head", (0.6, 0.0, 0.0, 0.8)), ("Tail", (0.0, 0.0, 0.0, 1.0))))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("", "JSON"),
        ("[]", "a JSON object"),
        ('{"Head": 3}', "Head: 3"),
        ('{"Head": [1, 2, 3, 4]}', "unit quaternion"),
        ('{"Head": ["x", 0, 0, 1]}', "[x, y, z, w]"),
    ],
)
def test_a_file_that_is_no_pose_is_refused(tmp_path, content, says):
    path = tmp_path / "pose.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OptionError, match=re.escape(says)) as refused:
        parsed("--first-pose", str(path))
    assert refused.value.name == "first_pose"


@pytest.mark.parametrize(
    ("field", "arguments", "told"),
    [
        ("pinned_poses", ["--pose-at", "9", "rest"], "--pose-at"),
        ("prompt_changes", ["--prompt-at", "9", "x"], "--prompt-at"),
        ("last_pose", ["--last-pose=rest"], "--last-pose"),
        ("joint_mask", ["--joints", "x"], "--joints"),
        ("joint_mask.base_clip", ["--joints", "x", "--base-clip", "y"], "--base-clip"),
        ("max_queued", ["--queue", "-1"], "--queue"),
        ("tls.key", ["--tls-key", "x"], "--tls-key"),
        ("prompt", ["animate", "rig.glb", "x"], "prompt"),
        ("slots", [], "slots"),
    ],
)
def test_a_field_is_told_as_it_was_typed(field, arguments, told):
    assert as_typed(field, arguments) == told


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (("--first-pose", "Walk"), "first_pose"),
        (("--first-pose", "Walk@soon"), "first_pose"),
        (("--first-pose", "missing.json"), "first_pose"),
        (("--last-pose", "rest", "--loop"), "last_pose"),
        (("--pose-at", "9", "rest"), "pinned_poses"),
        (("--pose-at", "soon", "rest"), "pose_at"),
        (("--prompt-at", "1", " "), "prompt"),
        (("--prompt-at", "1.5", "a", "--prompt-at", "0.5", "b"), "prompt_changes"),
        (("--prompt-at", "0", "a"), "prompt_changes"),
        (("--prompt-at", "1", "a", "--loop"), "prompt_changes"),
        (("--joints-alone",), "joints_alone"),
        (("--base-clip", "Walk"), "base_clip"),
    ],
)
def test_controls_that_cannot_be_name_their_option(arguments, name):
    with pytest.raises(OptionError) as refused:
        parsed(*arguments)
    assert refused.value.name == name
    assert refused.value.accepted


@pytest.mark.parametrize("arguments", [("--seconds", "99"), ("--fps", "nan"), ("--seed", "-1"), ("--steps", "0")])
def test_values_out_of_range_name_their_option(arguments):
    with pytest.raises(OptionError) as refused:
        parsed(*arguments)
    assert f"--{refused.value.name}" == arguments[0]
