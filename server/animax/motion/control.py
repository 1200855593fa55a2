"""What a request pins of a rig's motion: poses at times, and joints that follow another motion than the prompt's.

The sampler gets both as known latents, so that the rest of the motion fits them; here they are made exact.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray

from animax import rotations
from animax.assets.clips import clip_names, read_clips
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.errors import OptionError, some_of
from animax.motion.body import body_root
from animax.motion.clip import Clip
from animax.motion.legs import find_legs
from animax.motion.loop import close_loop
from animax.motion.resample import frame_count, sample
from animax.motion.travel import remove_travel
from animax.request import JointMask, PoseSource, Request

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

UPPER_BODY = "upper_body"
"""Stands for all joints but the body root and the legs, unless a joint has this name."""
SHORTEST, LONGEST = 0.3, 1.5
"""Seconds before and after a pinned pose over which what is missing comes and goes: the more, the longer ..."""
PACE = np.pi / 1.5
"""... at so many radians a second."""


@dataclass(frozen=True, eq=False)
class Controls:
    """What is pinned, on one rig.

    Attributes:
        pins: seconds and pose (J joints, in place), by rising time.
        kept: (J,) joints that follow ``base``.
        base: the motion of the kept joints, in place; None: they rest.
        seconds: length of the clip that is asked for.
        loop: whether it is a loop.
    """

    pins: tuple[tuple[float, Pose], ...]
    kept: BoolArray
    base: Clip | None
    seconds: float
    loop: bool

    def base_pose(self, rig: Rig, times: NDArray[np.floating[Any]]) -> Pose:
        """The base motion at ``times`` (F,): a loop goes round, what is no loop holds its last pose; below a looping
        clip it is stretched in time to go round a whole number of times."""
        if self.base is None:
            return rig.skeleton.posed(rotations=np.repeat(rig.skeleton.rest.rotations[None], len(times), axis=0))
        at = np.asarray(times * self.base.fps, np.float64)
        if self.loop:
            rounds = max(1, round(self.seconds * self.base.fps / len(self.base)))
            at *= rounds * len(self.base) / (self.seconds * self.base.fps)
        elif not self.base.loop:
            at = np.minimum(at, len(self.base) - 1.0)
        return sample(self.base.pose, at, loop=self.base.loop)

    def pinned_frames(self, frames: int, fps: float) -> list[int]:
        """The frame of each pin in a clip of so many frames."""
        if self.loop:
            return [round(seconds * frames / self.seconds) % frames for seconds, _ in self.pins]
        return [min(round(seconds * fps), frames - 1) for seconds, _ in self.pins]

    def placed(self, rig: Rig) -> BoolArray:
        """(J,) kept joints above which all joints are kept, too: their place in space is known."""
        placed = self.kept.copy()
        for joint, parent in enumerate(rig.skeleton.parents):
            placed[joint] &= parent < 0 or placed[parent]
        return placed

    def pinned_pose(self, rig: Rig, at: float, pose: Pose) -> Pose:
        """A pinned pose (1, J) with the base motion's in place of the kept joints."""
        return _with_joints(pose, self.base_pose(rig, np.array([at])), self.kept)


def resolve(rig: Rig, request: Request) -> Controls | None:
    """The controls of a request on a rig; None where it has none.

    Raises:
        OptionError: a joint, clip or time that the rig's file does not have, or two poses at one frame.
    """
    mask = request.joint_mask
    if not request.pins and mask is None:
        return None
    clips: dict[str, Clip] = {}
    pins = []
    for pinned in request.pins:
        ends = {"first_pose": request.first_pose, "last_pose": request.last_pose}
        option = next((name for name, pose in ends.items() if pose is pinned.pose), "pinned_poses")
        pins.append((pinned.at, _pose_of(rig, pinned.pose, option, clips)))
    base = None
    if mask is not None and mask.base_clip is not None:
        base = _clip_of(rig, mask.base_clip, "joint_mask.base_clip", clips)
        base = close_loop(base) if request.loop else base
    kept = np.zeros(len(rig.skeleton), bool) if mask is None else ~_chosen(rig, mask)
    controls = Controls(tuple(pins), kept, base, request.seconds, request.loop)
    frames = controls.pinned_frames(frame_count(request.seconds, request.fps, loop=request.loop), request.fps)
    for (before, a), (after, b) in combinations(zip(request.pins, frames, strict=True), 2):
        if a == b:
            what = f"poses at {before.at:g} s and {after.at:g} s"
            raise OptionError(
                "pinned_poses", what, f"one pose for each frame of 1/{request.fps:g} s, first and last included"
            )
    return controls


def keep(clip: Clip, rig: Rig, controls: Controls) -> Clip:
    """The clip with the kept joints exactly as in the base motion."""
    if not controls.kept.any():
        return clip
    times = np.arange(len(clip)) / clip.fps
    pose = _with_joints(clip.pose, controls.base_pose(rig, times), controls.kept)
    return clip.with_pose(replace(pose, rotations=rotations.make_continuous(pose.rotations)))


def pin(clip: Clip, controls: Controls) -> Clip:
    """The clip with the pinned poses exactly at their frames.

    What is missing there is given to the frames around, falling smoothly to nothing over ``SHORTEST`` to ``LONGEST``
    seconds, or up to the next pinned pose. Kept joints are not touched.
    """
    if not controls.pins:
        return clip
    frames = len(clip)
    at = controls.pinned_frames(frames, clip.fps)
    free = ~controls.kept
    turned, moved = clip.pose.rotations.copy(), clip.pose.translations.copy()
    for number, (_, pose) in enumerate(controls.pins):
        here = at[number]
        twist = rotations.to_rotation_vector(
            rotations.multiply(rotations.conjugate(clip.pose.rotations[here]), pose.rotations)
        )
        shift = pose.translations - clip.pose.translations[here]
        angle = float(np.linalg.norm(twist[free], axis=-1).max(initial=0.0))
        share = _shares(frames, here, at, clip.fps * float(np.clip(angle / PACE, SHORTEST, LONGEST)), loop=clip.loop)
        near = np.flatnonzero(share > 0)
        part = share[near, None, None]
        turned[near] = rotations.multiply(turned[near], rotations.from_rotation_vector(part * twist * free[:, None]))
        moved[near] += part * shift * free[:, None]
    for here, (_, pose) in zip(at, controls.pins, strict=True):
        turned[here, free], moved[here, free] = pose.rotations[free], pose.translations[free]
    turned = rotations.make_continuous(turned)
    return clip.with_pose(replace(clip.pose, rotations=turned, translations=moved))


def _shares(frames: int, here: int, pinned: list[int], reach: float, *, loop: bool) -> Array:
    """(F,) 1 at frame ``here``, smoothly 0 ``reach`` frames away or at the next of the frames ``pinned``."""
    away = np.arange(frames) - here
    if loop:
        away = (away + frames // 2) % frames - frames // 2
    share = np.zeros(frames)
    for side in (-1, 1):
        gaps = [side * ((i - here + frames // 2) % frames - frames // 2 if loop else i - here) for i in pinned]
        room = min([gap for gap in gaps if gap > 0], default=frames // 2 if loop else np.inf)
        s = np.clip(1 - side * away / max(min(reach, room), 1.0), 0.0, 1.0)
        share = np.where(side * away >= 0, s**3 * (10 - 15 * s + 6 * s**2), share)
    return share


def _pose_of(rig: Rig, source: PoseSource, option: str, clips: dict[str, Clip]) -> Pose:
    pose = rig.skeleton.rest
    if source.clip is not None:
        clip = _clip_of(rig, source.clip, option, clips)
        if source.seconds > clip.seconds + 1 / clip.fps:
            raise OptionError(option, source.seconds, f"0 to {clip.seconds:g} s, the length of {source.clip!r}")
        pose = sample(clip.pose, np.array([min(source.seconds * clip.fps, len(clip) - 1.0)]))[0]
    turned = pose.rotations.copy()
    for name, turn in source.rotations:
        turned[_joint(rig, name, option)] = rotations.normalise(turn)
    return replace(pose, rotations=turned, scales=rig.skeleton.rest.scales)


def _clip_of(rig: Rig, name: str, option: str, clips: dict[str, Clip]) -> Clip:
    """A clip of the rig's file, in place."""
    if name not in clips:
        titles = clip_names(rig) if rig.document is not None else []
        if name not in titles:
            raise OptionError(option, name, f"a clip of the rig's file: {', '.join(titles) or 'it has none'}")
        found = read_clips(rig, names=[name])
        if not found:
            raise OptionError(option, name, "a clip that moves joints of the rig")
        clips[name] = remove_travel(found[0], rig)
    return clips[name]


def _chosen(rig: Rig, mask: JointMask) -> BoolArray:
    """(J,) the joints that follow the prompt."""
    skeleton = rig.skeleton
    chosen = np.zeros(len(skeleton), bool)
    for name in mask.joints:
        if name == UPPER_BODY and name not in skeleton.names:
            chosen |= upper_body(rig)
        else:
            chosen[_joint(rig, name, "joint_mask")] = True
    if not mask.alone:
        for joint, parent in enumerate(skeleton.parents):
            chosen[joint] |= parent >= 0 and bool(chosen[parent])
    return chosen


def upper_body(rig: Rig) -> BoolArray:
    """(J,) all joints below the body root but the legs and what hangs on them."""
    root, parents = body_root(rig), rig.skeleton.parents
    legs = {joint for leg in find_legs(rig) for joint in (*leg.joints, leg.foot)}
    chosen = np.zeros(len(parents), bool)
    for joint, parent in enumerate(parents):
        chosen[joint] = parent >= 0 and (parent == root or bool(chosen[parent])) and joint not in legs
    return chosen


def _joint(rig: Rig, name: str, option: str) -> int:
    try:
        return rig.skeleton.names.index(name)
    except ValueError:
        raise OptionError(option, name, f"names of joints of the rig: {some_of(rig.skeleton.names)}") from None


def _with_joints(pose: Pose, other: Pose, joints: BoolArray) -> Pose:
    """``pose`` with ``joints`` (J,) as in ``other``."""
    return Pose(
        np.where(joints[:, None], other.translations, pose.translations),
        np.where(joints[:, None], other.rotations, pose.rotations),
        np.where(joints[:, None], other.scales, pose.scales),
    )
