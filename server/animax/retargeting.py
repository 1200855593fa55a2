"""A clip of one rig for another: bone map, rotations, feet, travel, rate."""

from __future__ import annotations

import time
from dataclasses import dataclass

from animax.assets.clips import clip_names, read_clips
from animax.assets.rig import Rig
from animax.bone_map import BoneMap
from animax.errors import Cancelled, OptionError
from animax.motion.bone_matching import left_over, map_bones
from animax.motion.clip import Clip
from animax.motion.contacts import plant_feet
from animax.motion.resample import resample
from animax.motion.retarget import retarget
from animax.motion.travel import fix_base, recover_travel, remove_travel
from animax.request import OnProgress, Progress, RetargetRequest, RootMode, ShouldStop, Stage

FEW = 0.5
"""Share of a rig's joints: a map that drives fewer of them is told in a warning."""
NAMED = 8
"""Animations that an error names."""


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


def choose_clip(rig: Rig, name: str = "", fps: float | None = None) -> Clip:
    """The animation of a rig's file that is called ``name``; without a name, its only one.

    Raises:
        AssetError: its data is damaged or over a limit.
        OptionError: there is none of this name, or more than one to choose from.
    """
    names = clip_names(rig)
    listed = ", ".join(repr(known[:40]) for known in names[:NAMED]) + (", ..." if len(names) > NAMED else "")
    if not names:
        raise OptionError("clip", name, "a file with animations; this one has none")
    if not name and len(names) > 1:
        raise OptionError("clip", name, f"one of {listed}")
    if name and name not in names:
        raise OptionError("clip", name, listed)
    clips = read_clips(rig, fps, [name or names[0]])
    if not clips:
        raise OptionError("clip", name or names[0], "an animation that moves joints of its rig")
    return clips[0]


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
        progress: called before every stage.
        should_stop: asked before every stage.

    Raises:
        OptionError: the clip is not of ``source``, or the bone map names joints that do not exist.
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
    made = retarget(clip, source, target, bones)
    timings[Stage.ROTATIONS.value] = time.perf_counter() - began
    began = enter(Stage.CLEAN, 0.5)
    made = _finished(made, target, request)
    timings[Stage.CLEAN.value] = time.perf_counter() - began
    confidence, warnings = _judged(bones, source, target)
    return Retargeted(made, bones, timings, confidence, warnings)


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


def _judged(bones: BoneMap, source: Rig, target: Rig) -> tuple[float, tuple[str, ...]]:
    """How sure a map is, and what is to be said of it."""
    _, resting = left_over(bones, source, target)
    total = len(target.deforming)
    moving = {target.skeleton.names[joint] for joint in target.deforming.tolist()}
    sure = sum(pair.confidence * sum(name in moving for name in pair.target) for pair in bones.pairs if pair.source)
    warnings = []
    if len(resting) > (1 - FEW) * total:
        warnings.append(
            f"the bone map drives {total - len(resting)} of {total} joints of the target; the others stay at rest: "
            "look at the map and correct it"
        )
    return min(1.0, sure / max(total, 1)), tuple(warnings)
