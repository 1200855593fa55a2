"""What a request pins, as messages and back."""

from __future__ import annotations

from typing import Any

import numpy as np

from animax.errors import OptionError
from animax.request import JointMask, PinnedPose, PoseSource, PromptChange, Request
from animax.v1 import animation_service_pb2 as pb


def control_fields(request: Request) -> dict[str, Any]:
    """The control fields of an ``AnimateRequest`` for a request."""
    mask = request.joint_mask
    return {
        "first_pose": pose_message(request.first_pose),
        "last_pose": pose_message(request.last_pose),
        "pinned_poses": [pb.PinnedPose(seconds=pin.at, pose=pose_message(pin.pose)) for pin in request.pinned_poses],
        "prompt_changes": [pb.PromptChange(seconds=c.at, prompt=c.prompt) for c in request.prompt_changes],
        "joint_mask": mask and pb.JointMask(joints=mask.joints, alone=mask.alone, base_clip=mask.base_clip or ""),
    }


def read_controls(message: pb.AnimateRequest) -> dict[str, Any]:
    """The arguments of ``Request`` for the control fields of a message.

    Raises:
        OptionError: one of them is out of range; its name is the field's.
    """
    mask = message.joint_mask
    return {
        "first_pose": read_pose(message.first_pose, "first_pose") if message.HasField("first_pose") else None,
        "last_pose": read_pose(message.last_pose, "last_pose") if message.HasField("last_pose") else None,
        "pinned_poses": tuple(
            PinnedPose(pinned.seconds, read_pose(pinned.pose, "pinned_poses")) for pinned in message.pinned_poses
        ),
        "prompt_changes": tuple(_read_change(change) for change in message.prompt_changes),
        "joint_mask": (
            JointMask(tuple(mask.joints), mask.alone, mask.base_clip or None)
            if message.HasField("joint_mask")
            else None
        ),
    }


def pose_message(pose: PoseSource | None) -> pb.PoseSource | None:
    """A pose as its message."""
    if pose is None:
        return None
    return pb.PoseSource(
        clip=pose.clip or "",
        clip_seconds=pose.seconds,
        joints=[name for name, _ in pose.rotations],
        rotations=[number for _, turn in pose.rotations for number in turn],
    )


def read_pose(message: pb.PoseSource, field: str) -> PoseSource:
    """The pose of a message.

    Raises:
        OptionError: named ``field``.
    """
    if len(message.rotations) != 4 * len(message.joints):
        seen = f"{len(message.rotations)} numbers for {len(message.joints)} joints"
        raise OptionError(field, seen, "4 numbers for each joint")
    turns: Any = np.array(message.rotations, np.float64).reshape(-1, 4).tolist()
    try:
        return PoseSource(message.clip or None, message.clip_seconds, tuple(zip(message.joints, turns, strict=True)))
    except OptionError as error:
        raise OptionError(field, error.seen, error.accepted) from error


def _read_change(message: pb.PromptChange) -> PromptChange:
    try:
        return PromptChange(message.seconds, message.prompt)
    except OptionError as error:
        raise OptionError("prompt_changes", error.seen, error.accepted) from error
