"""A clip of one rig for another: bone map, rotations, feet, travel, rate."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from animax import rotations
from animax.assets.clips import clip_names, read_clips
from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.bone_map import BoneMap
from animax.errors import BoneMapError, Cancelled, OptionError
from animax.motion.bone_matching import left_over, map_bones
from animax.motion.clip import Clip
from animax.motion.contacts import plant_feet
from animax.motion.resample import resample
from animax.motion.retarget import retarget
from animax.motion.travel import fix_base, recover_travel, remove_travel
from animax.request import OnProgress, Progress, RetargetRequest, RootMode, ShouldStop, Stage

FEW = 0.5
"""Share of a rig's joints: a map that drives fewer of them is told in a warning."""
UNSURE = 0.7
"""Confidence below which a pair of chains should be looked at."""
UNSURE_STANCE = 0.5
"""The same of which way a rig faces."""
LOST = np.deg2rad(15.0)
"""Turn of a bone that nothing follows from which it is told in a warning."""
NAMED = 160
"""Characters of names in a text."""
BLOCK = 512
"""Frames that are retargeted at a time: between them it can be stopped."""
DRIVEN = 0.7
"""Share of the work that is done once the rotations are."""
MOST_SAMPLES = 1_000_000
"""Frames times joints of one clip: about half a gigabyte while it is worked on."""


@dataclass(frozen=True, eq=False)
class Retargeted:
    """What a retargeting made.

    Attributes:
        clip: motion of the target.
        bones: the map that was used.
        timings: seconds by stage.
        confidence: of the map, mean over the target's joints that move vertices, 0 to 1; those at rest count as 0.
        warnings: one sentence each.
    """

    clip: Clip
    bones: BoneMap
    timings: dict[str, float]
    confidence: float
    warnings: tuple[str, ...] = ()


def choose_clip(rig: Rig, name: str = "", fps: float | None = None, *, index: int | None = None) -> Clip:
    """An animation of a rig's file: the one called ``name``, or at ``index``; without either, its only one.

    Raises:
        AssetError: its data is damaged or over a limit.
        OptionError: there is no such animation, or more than one to choose from.
    """
    names = clip_names(rig)
    if not names:
        raise OptionError("clip", name, "a file with animations; this one has none")
    if index is None:
        found = [i for i, known in enumerate(names) if name in ("", known)]
        if not found or (not name and len(found) > 1):
            raise OptionError("clip", name, f"one of {_listed(map(repr, names))}")
        if len(found) > 1:
            raise OptionError("clip", name, f"an index, for several have this name: {_listed(map(str, found))}")
        index = found[0]
    if index >= len(names):
        raise OptionError("clip_index", index, f"0 to {len(names) - 1}")
    clips = read_clips(rig, fps, index=index)
    if not clips:
        raise OptionError("clip", names[index], "an animation that moves joints of its rig")
    return clips[0]


def _listed(names: Iterable[str]) -> str:
    """As many as an error can hold."""
    out, room = list(names), NAMED
    for count, name in enumerate(out):
        room -= len(name) + 2
        if room < 0:
            return ", ".join([*out[:count], "..."])
    return ", ".join(out)


def bone_map(source: Rig, target: Rig, request: RetargetRequest) -> BoneMap:
    """The map of a request: what it gives, over what is found.

    Raises:
        OptionError: it names joints that do not exist, or one twice.
    """
    if request.bones is None:
        return map_bones(source, target)
    request.bones.check(source.skeleton.names, target.skeleton.names)
    return request.bones if request.only_given else request.bones.over(map_bones(source, target))


def retarget_clip(
    clip: Clip,
    source: Rig,
    target: Rig,
    request: RetargetRequest,
    *,
    bones: BoneMap | None = None,
    progress: OnProgress | None = None,
    should_stop: ShouldStop | None = None,
) -> Retargeted:
    """Carry ``clip`` of ``source`` over to ``target``.

    Args:
        clip: motion of ``source``.
        source: the rig that moves.
        target: the rig that shall move.
        request: options.
        bones: what ``bone_map`` found, if it is known already.
        progress: called before every stage and block of frames.
        should_stop: asked as often.

    Raises:
        OptionError: the clip is not of ``source`` or too long, or the bone map names joints that do not exist.
        BoneMapError: the map drives nothing.
        Cancelled: ``should_stop`` said so.
    """
    timings: dict[str, float] = {}

    def enter(stage: Stage, fraction: float) -> float:
        if should_stop is not None and should_stop():
            raise Cancelled("cancelled between two stages")
        if progress is not None:
            progress(Progress(stage, fraction))
        return time.perf_counter()

    began = enter(Stage.ROTATIONS, 0.0)
    bones = bone_map(source, target, request) if bones is None else bones
    require_work(clip, source, target, bones)
    blocks = []
    for first in range(0, len(clip), BLOCK):
        enter(Stage.ROTATIONS, DRIVEN * first / len(clip))
        part = clip.with_pose(clip.pose[first : first + BLOCK])
        blocks.append(retarget(part, source, target, bones, root_scale=request.root_scale).pose)
    made = clip.with_pose(_joined(blocks))
    timings[Stage.ROTATIONS.value] = time.perf_counter() - began
    began = enter(Stage.CLEAN, DRIVEN)
    made = _finished(made, target, request)
    timings[Stage.CLEAN.value] = time.perf_counter() - began
    confidence, warnings = judged(bones, source, target, clip)
    return Retargeted(made, bones, timings, confidence, warnings)


def require_work(clip: Clip, source: Rig, target: Rig, bones: BoneMap) -> None:
    """Return if there is something to do, and not too much.

    Raises:
        OptionError: the clip is too long.
        BoneMapError: the map drives nothing.
    """
    samples = len(clip) * max(len(source.skeleton), len(target.skeleton))
    if samples > MOST_SAMPLES:
        accepted = f"at most {MOST_SAMPLES} frames times joints; ask for fewer frames a second, or cut the clip"
        raise OptionError("clip", f"{samples} frames times joints", accepted)
    if not any(pair.source for pair in bones.pairs):
        raise BoneMapError(
            f"no bone of {target.name!r} follows any of {source.name!r}; accepted: a bone map with at least one pair"
        )


def moving_clips(rig: Rig) -> list[int]:
    """Numbers of the animations in a rig's file that move its joints."""
    return [i for i in range(len(clip_names(rig))) if read_clips(rig, 1.0, index=i)]


def _joined(blocks: list[Pose]) -> Pose:
    parts = [[getattr(block, name) for block in blocks] for name in ("translations", "rotations", "scales")]
    translations, turned, scales = (np.concatenate(part) for part in parts)
    return Pose(translations, rotations.make_continuous(turned), scales)


def _finished(clip: Clip, target: Rig, request: RetargetRequest) -> Clip:
    if request.fps is not None and request.fps != clip.fps:
        clip = resample(clip, request.fps)
    mode = request.root_mode
    if mode in (RootMode.IN_PLACE, RootMode.ROOT_MOTION):
        clip = remove_travel(clip, target)
    if request.foot_cleanup and mode is not RootMode.FIXED_BASE:
        clip = plant_feet(clip, target)
    if mode is RootMode.FIXED_BASE:
        return fix_base(clip, target)
    return recover_travel(clip, target) if mode is RootMode.ROOT_MOTION else clip


def judged(bones: BoneMap, source: Rig, target: Rig, clip: Clip | None = None) -> tuple[float, tuple[str, ...]]:
    """How sure a map is, and what should be looked at.

    Args:
        bones: the map.
        source: the rig that moves.
        target: the rig that shall move.
        clip: of the source; with it, motion that is lost is told.
    """
    unused, resting = left_over(bones, source, target)
    total = len(target.deforming)
    moving = {target.skeleton.names[joint] for joint in target.deforming.tolist()}
    sure = sum(pair.confidence * sum(name in moving for name in pair.target) for pair in bones.pairs if pair.source)
    warnings = []
    for which, rig in (("source", source), ("target", target)):
        if rig.stance.confidence < UNSURE_STANCE and rig.stance.source != "override":
            warnings.append(f"it is not sure which way the {which} faces: look at the result, and give its facing")
    if len(resting) > (1 - FEW) * total:
        warnings.append(
            f"the bone map drives {total - len(resting)} of {total} joints of the target; the others stay at rest: "
            "look at the map and correct it"
        )
    doubtful = [pair.target[0] for pair in bones.pairs if pair.source and pair.confidence < UNSURE]
    if doubtful:
        warnings.append(f"the bone map is not sure of {_listed(doubtful)}: look at the map and correct it")
    if clip is not None and unused:
        joints = [source.skeleton.names.index(name) for name in unused]
        turned = clip.pose.rotations[:, joints]
        away = rotations.between(turned[:1], turned).max(axis=0)
        lost = [name for name, angle in zip(unused, away, strict=True) if angle > LOST]
        if lost:
            warnings.append(f"nothing follows these moving bones of the source: {_listed(lost)}")
    return min(1.0, sure / max(total, 1)), tuple(warnings)
