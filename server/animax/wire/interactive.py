"""Performances on the wire: openings and changes as messages and back, and the reading end of a stream."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.rig import Rig
from animax.assets.skeleton import Skeleton
from animax.errors import OptionError, StreamError
from animax.motion.clip import Clip
from animax.motion.steering import Steering
from animax.request import GUIDANCE, Request, RootMode, check_endless, checked_prompt
from animax.v1 import animation_service_pb2 as pb
from animax.wire.clip import PackedClip, unpack
from animax.wire.control import pose_message
from animax.wire.request import ROOT_MODE_VALUES, Order, read_animate_request
from animax.wire.rig import facing_stance, floats, read_skeleton, shaped
from animax.wire.stream import breach

Array = NDArray[np.float64]

SPEED = (0.1, 4.0)
LEAD = (0.1, 30.0)
DEFAULT_LEAD = 1.0
"""Seconds."""
_COMMON = ("rig_id", "prompt", "root_mode", "model")
_OPTIONAL = ("seed", "fps", "guidance", "steps", "foot_cleanup")


@dataclass(frozen=True)
class Opening:
    """An ``AnimateInteractiveOpening``, checked.

    Attributes:
        order: rig, request and model.
        real_time: frames are sent as they are played.
        lead: seconds that are made ahead.
        seconds: length; None: until it is stopped.
        steering: the steering to begin with, as a change.
    """

    order: Order
    real_time: bool
    lead: float
    seconds: float | None
    steering: pb.AnimateInteractiveChange


@dataclass(frozen=True, eq=False)
class Course:
    """What holds for what is made next.

    Attributes:
        prompt: see ``Request``.
        guidance: see ``Request``.
        steering: speed and direction.
        stop: nothing more is to be made.
    """

    prompt: str
    guidance: float | None
    steering: Steering
    stop: bool = False

    def changed(self, change: pb.AnimateInteractiveChange, rig: Rig, root_mode: RootMode) -> Course:
        """The course after a change.

        Raises:
            OptionError: a field is out of range; its name is the field's.
        """
        steering = self.steering
        if change.HasField("speed"):
            steering = replace(steering, speed=_within("speed", change.speed, SPEED))
        if change.heading:
            if root_mode is RootMode.FIXED_BASE:
                raise OptionError("heading", list(change.heading), "nothing with ROOT_MODE_FIXED_BASE")
            try:
                heading = facing_stance(rig.stance, change.heading).forward
            except OptionError as error:
                raise OptionError("heading", error.seen, error.accepted) from error
            steering = replace(steering, heading=heading, target=None)
        if change.target:
            target = np.array(change.target, np.float64)
            if root_mode is not RootMode.ROOT_MOTION:
                raise OptionError("target", list(change.target), "nothing but with ROOT_MODE_ROOT_MOTION")
            if target.shape != (3,) or not np.all(np.abs(target) < 1e6):
                raise OptionError("target", list(change.target), "three finite numbers, metres below 1e6")
            steering = replace(steering, heading=None, target=target)
        guidance = _within("guidance", change.guidance, GUIDANCE) if change.HasField("guidance") else self.guidance
        prompt = checked_prompt(change.prompt) if change.HasField("prompt") else self.prompt
        return Course(prompt, guidance, steering, self.stop or change.stop)


def read_opening(message: pb.AnimateInteractiveOpening) -> Opening:
    """Check a message and fill in what it leaves out.

    Raises:
        OptionError: a field is out of range; its name is the field's.
    """
    plain: dict[str, Any] = {name: getattr(message, name) for name in _COMMON}
    given = {field.name: value for field, value in message.ListFields()}
    plain |= {name: given[name] for name in _OPTIONAL if name in given}
    if message.HasField("first_pose"):
        plain["first_pose"] = message.first_pose
    order = read_animate_request(pb.AnimateRequest(**plain, facing=message.facing), 1)
    if message.pacing not in pb.Pacing.values():
        raise OptionError("pacing", message.pacing, "a value of animax.v1.Pacing")
    lead = _within("lead_seconds", message.lead_seconds, LEAD) if message.HasField("lead_seconds") else DEFAULT_LEAD
    seconds = _within("seconds", message.seconds, (0.05, 86_400.0)) if message.HasField("seconds") else None
    steering = pb.AnimateInteractiveChange(heading=message.heading, target=message.target)
    if message.HasField("speed"):
        steering.speed = message.speed
    return Opening(order, message.pacing == pb.PACING_REAL_TIME, lead, seconds, steering)


def opening_message(
    rig_id: str,
    request: Request,
    *,
    facing: Sequence[float] = (),
    real_time: bool = False,
    lead_seconds: float | None = None,
    seconds: float | None = None,
    speed: float | None = None,
    heading: Sequence[float] = (),
    target: Sequence[float] = (),
    model: str = "",
) -> pb.AnimateInteractiveOpening:
    """An opening as its message; see the fields of ``AnimateInteractiveOpening``.

    Raises:
        OptionError: the request asks for what only a clip has.
    """
    check_endless(request)
    return pb.AnimateInteractiveOpening(
        rig_id=rig_id,
        prompt=request.prompt,
        seed=request.seed,
        fps=request.fps,
        root_mode=ROOT_MODE_VALUES[request.root_mode],
        guidance=request.guidance,
        steps=request.steps,
        foot_cleanup=request.foot_cleanup,
        facing=facing,
        first_pose=pose_message(request.first_pose),
        pacing=pb.PACING_REAL_TIME if real_time else pb.PACING_BURST,
        lead_seconds=lead_seconds,
        seconds=seconds,
        speed=speed,
        heading=heading,
        target=target,
        model=model,
    )


class PackedPoses:
    """The numbers of poses for ``Frames``, numbered and hashed as they go out.

    Args:
        fps: frames a second.
        rotated: (R,) joints.
        translated: (T,) joints.
    """

    def __init__(self, fps: float, rotated: NDArray[np.int64], translated: NDArray[np.int64]) -> None:
        self._fps, self._rotated, self._translated = fps, rotated, translated
        self._digest = hashlib.sha256()
        self.frames = 0

    def message(self, turned: Array, moved: Array) -> pb.Frames:
        """The next frames: rotations (N, J, 4), translations (N, J, 3)."""
        parts = [turned[:, self._rotated].astype("<f4"), moved[:, self._translated].astype("<f4")]
        self._digest.update(np.concatenate([part.reshape(len(turned), -1) for part in parts], axis=1).tobytes())
        first, self.frames = self.frames, self.frames + len(turned)
        return pb.Frames(
            first_frame=first,
            first_seconds=first / self._fps,
            frame_count=len(turned),
            rotations=floats(parts[0]),
            translations=floats(parts[1]),
        )

    def sha256(self) -> str:
        """Of all frames so far, as ``PerformanceSummary.frames_sha256`` defines it."""
        return self._digest.hexdigest()


class PerformanceReader:
    """Takes the messages of one performance in order. Any breach of the contract raises ``StreamError``.

    Attributes:
        header: what the opening was resolved to; None before it came.
        skeleton: of the rig; joints in the order of the clip.
        summary: None before the end.
    """

    def __init__(self) -> None:
        self.header: pb.Header | None = None
        self.skeleton: Skeleton | None = None
        self.summary: pb.PerformanceSummary | None = None
        self._start: pb.PerformanceStart | None = None
        self._frames: list[tuple[Array, Array]] = []
        self._count = 0
        self._digest = hashlib.sha256()

    def feed(self, message: pb.AnimateInteractiveResponse) -> Any:
        """The event of a message; None for one that this version does not know.

        Raises:
            StreamError: the message breaks the contract.
        """
        kind = message.WhichOneof("event")
        if kind is None:
            return None
        if self.summary is not None or (self.header is None) != (kind == "header"):
            raise breach(f"a {kind} came out of order")
        event = getattr(message, kind)
        if kind == "header":
            self.header, self.skeleton = event, read_skeleton(event.skeleton)
        elif kind == "start":
            if self._start is not None:
                raise breach("a second start came")
            self._start = event
        elif kind == "frames":
            self._take(event)
        elif kind == "finished":
            if (event.frame_count, event.frames_sha256) != (self._count, self._digest.hexdigest()):
                raise breach("the frames are not those that were sent")
            self.summary = event
        return event

    def clip(self) -> Clip:
        """What came so far, whole or not.

        Raises:
            StreamError: there is no frame.
        """
        if self.header is None or self.skeleton is None or self._start is None or not self._frames:
            raise StreamError("the stream ended before its first frame", reason="STREAM_CUT", retry_after=0.0)
        packed = PackedClip(
            self.header.fps,
            np.array(self._start.rotated_joints, np.int64),
            np.array(self._start.translated_joints, np.int64),
            np.concatenate([turned for turned, _ in self._frames]).astype(np.float32),
            np.concatenate([moved for _, moved in self._frames]).astype(np.float32),
        )
        return unpack(packed, self.skeleton, name=self.header.prompt, loop=False)

    def pose(self, frames: pb.Frames) -> tuple[Array, Array]:
        """Rotations (N, R, 4) and translations (N, T, 3) of a message."""
        if self._start is None:
            raise breach("frames came before the start")
        turned = shaped(frames.rotations, (frames.frame_count, len(self._start.rotated_joints), 4), "frames.rotations")
        count = len(self._start.translated_joints)
        return turned, shaped(frames.translations, (frames.frame_count, count, 3), "frames.translations")

    def _take(self, frames: pb.Frames) -> None:
        turned, moved = self.pose(frames)
        if frames.first_frame != self._count or not len(turned):
            raise breach(f"frames from {frames.first_frame} came; accepted: to go on from {self._count}")
        if not np.isfinite(moved).all() or np.any(np.abs(np.linalg.norm(turned, axis=-1) - 1) > 1e-3):
            raise breach("frames hold quaternions that are not unit or translations that are not finite")
        flat = np.concatenate([turned.reshape(len(turned), -1), moved.reshape(len(turned), -1)], axis=1)
        self._digest.update(flat.astype("<f4").tobytes())
        self._count += len(turned)
        self._frames.append((rotations.normalise(turned), moved))


def _within(name: str, value: float, limits: tuple[float, float]) -> float:
    if not limits[0] <= value <= limits[1]:
        raise OptionError(name, value, f"{limits[0]:g} to {limits[1]:g}")
    return value
