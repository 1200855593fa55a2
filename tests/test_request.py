"""Requests made in Python: what is wrong is told by name, value and what is accepted."""

import math
import re

import numpy as np
import pytest

from animax.errors import OptionError
from animax.request import (
    MAX_SEED,
    JointMask,
    PinnedPose,
    PoseSource,
    PromptChange,
    Request,
    RetargetRequest,
    RootMode,
    check_endless,
)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"prompt": 5}, "prompt is 5"),
        ({"first_pose": "idle@1"}, "first_pose is 'idle@1'; accepted: a PoseSource or None"),
        ({"pinned_poses": ((1, "rest"),)}, "accepted: a PinnedPose"),
        ({"prompt_changes": ((1, "jumps"),)}, "accepted: a PromptChange"),
        ({"joint_mask": ("head",)}, "accepted: a JointMask or None"),
        ({"seconds": "3"}, "seconds is '3'; accepted: 0.25 to 60"),
        ({"seconds": None}, "seconds is None"),
        ({"fps": math.nan}, "fps is nan"),
        ({"guidance": True}, "guidance is True"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"seed": 1.0}, "seed is 1.0"),
        ({"seed": MAX_SEED + 1}, f"accepted: 0 to {MAX_SEED}"),
        ({"root_mode": "bogus"}, "root_mode is 'bogus'; accepted: in_place, root_motion, fixed_base"),
        ({"loop": True, "last_pose": PoseSource()}, "last_pose is 'given'; accepted: nothing with loop"),
    ],
)
def test_what_is_no_option_is_refused(options, told):
    with pytest.raises(OptionError, match=re.escape(told)):
        Request(**{"prompt": "walks", **options})


def test_numbers_of_any_kind_are_taken():
    request = Request("walks", seconds=np.float32(3), steps=np.int64(4), seed=MAX_SEED, root_mode="root_motion")
    assert (request.seconds, request.steps, request.root_mode) == (3, 4, RootMode.ROOT_MOTION)
    assert RetargetRequest(fps=None, root_mode="in_place").root_mode is RootMode.IN_PLACE


def test_parts_of_a_request_are_checked_too():
    with pytest.raises(OptionError, match="joint_mask is 'head'"):
        JointMask("head")
    with pytest.raises(OptionError, match="pose is inf"):
        PoseSource("idle", math.inf)
    with pytest.raises(OptionError, match="prompt_changes is 'soon'"):
        PromptChange("soon", "jumps")
    with pytest.raises(OptionError, match="root_scale is None"):
        RetargetRequest(root_scale=None)


@pytest.mark.parametrize(
    "options",
    [
        {"loop": True},
        {"last_pose": PoseSource()},
        {"pinned_poses": (PinnedPose(1.0, PoseSource()),)},
        {"prompt_changes": (PromptChange(1.0, "jumps"),)},
        {"joint_mask": JointMask(("head",))},
    ],
)
def test_a_performance_takes_nothing_that_needs_an_end(options):
    check_endless(Request("walks", first_pose=PoseSource()))
    with pytest.raises(OptionError, match=f"{next(iter(options))} is 'given'; accepted: first_pose alone"):
        check_endless(Request("walks", **options))
