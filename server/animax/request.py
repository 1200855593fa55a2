"""What a caller asks for and what it hears while the work goes on. Used alike by CLI, service and library."""

from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from dataclasses import asdict, dataclass
from enum import Enum
from itertools import pairwise
from typing import Any

from animax.bone_map import BoneMap
from animax.errors import OptionError

MAX_PROMPT = 500
"""Characters of a prompt."""
SECONDS = (0.25, 60.0)
"""Of one clip; what shall last longer is performed (``AnimateInteractive``)."""
FPS = (1.0, 120.0)
GUIDANCE = (1.0, 15.0)
STEPS = (1, 64)
ROOT_SCALE = (0.0, 10.0)
"""Of the travel of a clip that is retargeted."""
MAX_SEED = 2**63 - 1
MAX_VARIANTS = 8
"""Clips of one request, on a server that is not configured otherwise and without one."""
MAX_CONTROLS = 64
"""Pinned poses, and prompt changes, of one request."""
MAX_NAMES = 2000
"""Joints named by one request, for each option."""
UNIT = 1e-3
"""How far a given quaternion's length may be from one."""


class RootMode(str, Enum):
    """What happens to the body's travel over the ground."""

    IN_PLACE = "in_place"
    """The body stays over its spot; sway, bounce and turning remain."""
    ROOT_MOTION = "root_motion"
    """The root covers the ground that the feet imply."""
    FIXED_BASE = "fixed_base"
    """The root does not translate at all (machines, plants, doors)."""


@dataclass(frozen=True)
class PoseSource:
    """A pose of a rig, by reference: the rest pose, or a frame of one of its file's clips, and given rotations over it.

    Attributes:
        clip: name of an animation in the rig's file; None: the rest pose.
        seconds: time in that clip.
        rotations: local rotations (x, y, z, w) by joint name, in place of those of clip or rest.
    """

    clip: str | None = None
    seconds: float = 0.0
    rotations: tuple[tuple[str, tuple[float, float, float, float]], ...] = ()

    def __post_init__(self) -> None:
        check_number("pose", self.seconds, 0.0, math.inf)
        given = tuple((name, tuple(map(float, turn))) for name, turn in self.rotations)
        object.__setattr__(self, "rotations", given)
        _check_count("pose", len(given), MAX_NAMES, "joint rotations")
        for name, turn in given:
            if len(turn) != 4 or not abs(math.hypot(*turn) - 1) < UNIT:
                raise OptionError("pose", (name, turn), "four numbers x, y, z, w of a unit quaternion for each joint")


@dataclass(frozen=True)
class PinnedPose:
    """A pose that a clip takes at a time.

    Attributes:
        at: seconds from the start of the clip.
        pose: where the pose comes from.
    """

    at: float
    pose: PoseSource


@dataclass(frozen=True)
class PromptChange:
    """Another prompt from a time on.

    Attributes:
        at: seconds from the start of the clip.
        prompt: from then on.
    """

    at: float
    prompt: str

    def __post_init__(self) -> None:
        check_number("prompt_changes", self.at, 0.0, SECONDS[1])
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))


@dataclass(frozen=True)
class JointMask:
    """The joints that follow the prompt; all others keep to another motion.

    Attributes:
        joints: names; ``upper_body`` stands for all joints but the body root and the legs.
        alone: only those, without the joints below them.
        base_clip: animation in the rig's file that the other joints follow; None: they rest.
    """

    joints: tuple[str, ...]
    alone: bool = False
    base_clip: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.joints, str):
            raise OptionError("joint_mask", self.joints, "a sequence of names")
        object.__setattr__(self, "joints", tuple(self.joints))
        if not 1 <= len(self.joints) <= MAX_NAMES:
            raise OptionError("joint_mask", f"{len(self.joints)} names", f"1 to {MAX_NAMES} names of joints")


@dataclass(frozen=True)
class Request:
    """One animation. Out-of-range values raise ``OptionError`` at once.

    Attributes:
        prompt: what the rig shall do, in English.
        seconds: length of the clip.
        fps: frames a second of the result.
        seed: same rig, prompt, seed, model and provider give the same bytes.
        loop: the last frame joins the first without a seam.
        root_mode: see ``RootMode``.
        guidance: how strictly the prompt is followed; None takes the model's own default.
        steps: denoising steps; None takes the model's own default.
        foot_cleanup: pin feet that touch the ground.
        first_pose: the pose of the first frame.
        last_pose: the pose of the last frame; not with ``loop``.
        pinned_poses: poses at times in between.
        prompt_changes: other prompts from later times on, in rising order; not with ``loop``.
        joint_mask: which joints follow the prompt; None: all.
    """

    prompt: str
    seconds: float = 2.0
    fps: float = 30.0
    seed: int = 0
    loop: bool = False
    root_mode: RootMode = RootMode.IN_PLACE
    guidance: float | None = None
    steps: int | None = None
    foot_cleanup: bool = True
    first_pose: PoseSource | None = None
    last_pose: PoseSource | None = None
    pinned_poses: tuple[PinnedPose, ...] = ()
    prompt_changes: tuple[PromptChange, ...] = ()
    joint_mask: JointMask | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "prompt", checked_prompt(self.prompt))
        object.__setattr__(self, "root_mode", checked_root_mode(self.root_mode))
        for name, limits in (("seconds", SECONDS), ("fps", FPS), ("guidance", GUIDANCE), ("steps", STEPS)):
            if getattr(self, name) is not None or name in ("seconds", "fps"):
                check_number(name, getattr(self, name), *limits, whole=name == "steps")
        check_number("seed", self.seed, 0, MAX_SEED, whole=True)
        for name, kind in (("first_pose", PoseSource), ("last_pose", PoseSource), ("joint_mask", JointMask)):
            _check_kind(name, getattr(self, name), (kind, type(None)))
        for name, member in (("pinned_poses", PinnedPose), ("prompt_changes", PromptChange)):
            object.__setattr__(self, name, tuple(getattr(self, name)))
            _check_count(name, len(getattr(self, name)), MAX_CONTROLS, "of them")
            for control in getattr(self, name):
                _check_kind(name, control, (member,))
        for pin in self.pinned_poses:
            check_number("pinned_poses", pin.at, 0.0, self.seconds)
        times = [0.0, *(change.at for change in self.prompt_changes), self.seconds]
        if any(not a < b for a, b in pairwise(times)):
            accepted = f"rising seconds between 0 and {self.seconds:g}, both left out"
            raise OptionError("prompt_changes", times[1:-1], accepted)
        for name in ("last_pose", "prompt_changes"):
            if self.loop and getattr(self, name):
                raise OptionError(name, "given", "nothing with loop: a loop has neither end nor order")

    @property
    def pins(self) -> tuple[PinnedPose, ...]:
        """All pinned poses by rising time."""
        ends = [PinnedPose(at, pose) for at, pose in ((0.0, self.first_pose), (self.seconds, self.last_pose)) if pose]
        return tuple(sorted([*ends, *self.pinned_poses], key=lambda pin: pin.at))

    def as_dict(self) -> dict[str, object]:
        """Plain values, for manifests and logs."""
        return asdict(self)


def check_endless(request: Request) -> None:
    """Raise ``OptionError`` where a request asks of a performance, which has no end, what only a clip has."""
    for name in ("last_pose", "pinned_poses", "prompt_changes", "joint_mask", "loop"):
        if getattr(request, name):
            raise OptionError(name, "given", "first_pose alone: a performance has no end")


def check_number(name: str, value: Any, low: float, high: float, *, whole: bool = False) -> None:
    """Raise ``OptionError`` for what is no number, or none within ``low`` and ``high``."""
    accepted = f"{low:g} to {high:g}" if math.isfinite(high) else f"{low:g} or more"
    if whole and high > 2**53:
        accepted = f"{low} to {high}"
    kind = numbers.Integral if whole else numbers.Real
    is_number = isinstance(value, kind) and not isinstance(value, bool)
    if not is_number or not low <= value <= high or value == math.inf:
        raise OptionError(name, value, accepted)


def checked_root_mode(value: object) -> RootMode:
    """A root mode, also by its value.

    Raises:
        OptionError: there is none like this.
    """
    try:
        return RootMode(value)
    except ValueError:
        raise OptionError("root_mode", value, ", ".join(RootMode)) from None


def _check_kind(name: str, value: object, kinds: tuple[type, ...]) -> None:
    if not isinstance(value, kinds):
        accepted = " or ".join("None" if kind is type(None) else f"a {kind.__name__}" for kind in kinds)
        raise OptionError(name, value, accepted)


def checked_prompt(prompt: str) -> str:
    """The prompt with runs of blanks made one.

    Raises:
        OptionError: it is blank, too long, or no text.
    """
    if not isinstance(prompt, str):
        raise OptionError("prompt", prompt, f"1 to {MAX_PROMPT} characters")
    text = prompt.strip()
    if not text:
        raise OptionError("prompt", prompt, f"1 to {MAX_PROMPT} characters that are not all blank")
    if len(text) > MAX_PROMPT:
        raise OptionError("prompt", f"{len(text)} characters", f"1 to {MAX_PROMPT} characters")
    if any(ord(c) < 32 and c not in "\t\n" for c in text) or any(0xD800 <= ord(c) < 0xE000 for c in text):
        raise OptionError("prompt", text, "text without control characters or lone surrogates")
    return " ".join(text.split())


def _check_count(name: str, count: int, most: int, what: str) -> None:
    if count > most:
        raise OptionError(name, f"{count} {what}", f"at most {most} {what}")


@dataclass(frozen=True)
class RetargetRequest:
    """What is asked of a retargeting. Out-of-range values raise ``OptionError`` at once.

    Attributes:
        bones: chains that hold; None: all are found by names and shape.
        only_given: joints that ``bones`` does not name stay at rest; else they are matched as they would be without it.
        fps: frames a second of the result; None: the clip's own.
        root_mode: None: the travel of the clip, scaled by the bodies' heights.
        root_scale: how far the body travels, times that; 0 not at all.
        foot_cleanup: pin feet that touch the ground.
    """

    bones: BoneMap | None = None
    only_given: bool = False
    fps: float | None = None
    root_mode: RootMode | None = None
    root_scale: float = 1.0
    foot_cleanup: bool = True

    def __post_init__(self) -> None:
        for name, limits in (("fps", FPS), ("root_scale", ROOT_SCALE)):
            if getattr(self, name) is not None or name == "root_scale":
                check_number(name, getattr(self, name), *limits)
        if self.root_mode is not None:
            object.__setattr__(self, "root_mode", checked_root_mode(self.root_mode))
        if self.only_given and self.bones is None:
            raise OptionError("only_given", True, "a bone map that is given")


class Stage(str, Enum):
    """The stages of one request, in order."""

    TEMPLATE = "template"
    """Rendering template views and drawing pose maps."""
    TEXT = "text"
    """Encoding the prompt."""
    DENOISE = "denoise"
    """Joint video-pose diffusion."""
    TRIANGULATE = "triangulate"
    """Pose maps to 3D markers."""
    ROTATIONS = "rotations"
    """Markers to joint rotations."""
    CLEAN = "clean"
    """Smoothing, feet, loop, travel, resampling."""


@dataclass(frozen=True)
class Progress:
    """Where a request stands.

    Attributes:
        stage: what is being done.
        fraction: of the whole request, 0 to 1, never falling.
        step: denoising step just done, from 1; 0 outside ``Stage.DENOISE``.
        steps: denoising steps in all.
    """

    stage: Stage
    fraction: float
    step: int = 0
    steps: int = 0


OnProgress = Callable[[Progress], None]
"""Called from the working thread."""
ShouldStop = Callable[[], bool]
"""Asked between stages and between denoising steps; True raises ``Cancelled`` there."""
