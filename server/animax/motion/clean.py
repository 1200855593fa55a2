"""From a solved pose to the clip that was asked for."""

from __future__ import annotations

from dataclasses import replace

from animax.assets.rig import Rig
from animax.assets.skeleton import Pose
from animax.motion.clip import Clip
from animax.motion.contacts import plant_feet
from animax.motion.control import Controls, keep, pin
from animax.motion.loop import close_loop, is_closed
from animax.motion.resample import resample
from animax.motion.travel import fix_base, recover_travel, remove_travel
from animax.request import Request, RootMode


def clean(rig: Rig, pose: Pose, fps: float, request: Request, controls: Controls | None = None) -> Clip:
    """The clip of a request: loop closed, rate and length as asked, feet planted, controls exact, travel as asked.

    A clip of ``request.seconds`` has a frame at 0 and one at ``seconds``; a loop has none at ``seconds``, where its
    first frame comes again.

    Args:
        rig: whose pose it is.
        pose: one leading dimension, in place.
        fps: frames a second of ``pose``.
        request: what was asked for.
        controls: of the request on this rig, from ``resolve``.
    """
    clip = Clip(name=request.prompt, fps=fps, pose=pose)
    if request.loop:
        clip = replace(clip, loop=True) if is_closed(clip, rig) else close_loop(clip)
    clip = resample(clip, request.fps, seconds=request.seconds)
    if request.root_mode is not RootMode.FIXED_BASE:
        clip = remove_travel(clip, rig)
        if request.foot_cleanup:
            clip = plant_feet(clip, rig)
    if controls is not None:
        clip = pin(keep(clip, rig, controls), controls)
    if request.root_mode is RootMode.FIXED_BASE:
        return fix_base(clip, rig)
    return recover_travel(clip, rig) if request.root_mode is RootMode.ROOT_MOTION else clip
