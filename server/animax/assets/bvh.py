"""Clip → BVH."""

from __future__ import annotations

import re
import warnings

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from animax import rotations
from animax.assets.joint_names import unique_names
from animax.assets.skeleton import Skeleton
from animax.errors import RigError
from animax.motion.clip import Clip

Array = NDArray[np.float64]

ROTATION_CHANNELS = "Zrotation Xrotation Yrotation"
POSITION_CHANNELS = "Xposition Yposition Zposition"
STRETCH = 1e-5
"""Change of a bone vector, in skeleton sizes, from which a joint gets position channels of its own."""


def write_bvh(skeleton: Skeleton, clip: Clip, *, units_per_metre: float = 100.0) -> str:
    """A clip as BVH text (Biovision hierarchy), as MotionBuilder, Maya and Blender read it.

    Conventions. Axes are glTF's (right-handed, +Y up). Lengths are file units times ``units_per_metre``; the
    default writes centimetres. All rotations zero is the rest pose: OFFSET is the vector from parent to joint in
    the world axes of the rest pose, so rest rotations and scales are part of the offsets. Rotations are local to
    the parent's turned axes, degrees, matrix Rz · Rx · Ry, without jumps over time. The root's OFFSET is zero and
    its position channels are its world position. Any other joint whose bone vector changes (translation, animated
    or non-uniform scale) has position channels too, which stand in place of its OFFSET, so that the joints'
    positions are always the clip's. Several roots go below one still ROOT. A loop is written without a closing
    frame.

    Raises:
        RigError: the clip has another number of joints, or values that are not finite.
    """
    joints = len(skeleton)
    if clip.pose.rotations.shape != (len(clip), joints, 4) or not len(clip):
        raise RigError(f"clip has rotations of shape {clip.pose.rotations.shape}; accepted: (frames, {joints}, 4)")
    rest = skeleton.rest_globals
    world = skeleton.globals(clip.pose)
    if not np.all(np.isfinite(world)):
        raise RigError("clip holds NaN or infinity; accepted: finite numbers")
    turns = _turns(skeleton, rest, world)
    rest_heads, heads = rest[:, :3, 3], world[..., :3, 3]
    parents = skeleton.parents
    has_parent = parents >= 0
    offsets = np.where(has_parent[:, None], rest_heads - rest_heads[parents], rest_heads)
    bones = heads - np.where(has_parent[:, None], heads[:, parents], 0.0)
    parent_turns = np.where(has_parent[:, None, None], turns[:, parents], np.eye(3))
    local_turns = np.swapaxes(parent_turns, -1, -2) @ turns
    places = np.einsum("fjba,fjb->fja", parent_turns, bones)
    size = max(float(np.ptp(rest_heads, axis=0).max()), 1e-9)
    moving = np.abs(places - offsets).max(axis=(0, 2)) > STRETCH * size
    roots = np.flatnonzero(~has_parent)
    if len(roots) == 1:
        moving[roots[0]] = True
        offsets[roots[0]] = 0.0
    angles = _euler(local_turns)
    hierarchy, order = _hierarchy(skeleton, offsets * units_per_metre, moving, single_root=len(roots) == 1)
    columns = [np.zeros((len(clip), 6))] if len(roots) != 1 else []
    for joint in order:
        if moving[joint]:
            columns.append(places[:, joint] * units_per_metre)
        columns.append(angles[:, joint])
    rows = np.concatenate(columns, axis=1)
    motion = [" ".join(f"{value:.6f}" for value in row) for row in rows + 0.0]
    return "\n".join(
        ["HIERARCHY", *hierarchy, "MOTION", f"Frames: {len(clip)}", f"Frame Time: {1 / clip.fps:.8f}", *motion, ""]
    )


def _turns(skeleton: Skeleton, rest: Array, world: Array) -> Array:
    """World rotations (F, J, 3, 3) from the rest pose to the clip's pose: the nearest rotation where scales shear."""
    linear = rest[:, :3, :3]
    scale = np.abs(np.linalg.det(linear)) ** (1 / 3)
    regular = np.linalg.cond(linear / np.where(scale > 0, scale, 1.0)[:, None, None]) < 1e6
    regular &= scale > 1e-12
    inverse = np.linalg.inv(np.where(regular[:, None, None], linear, np.eye(3)))
    turns = rotations.nearest(np.where(regular[:, None, None], world[..., :3, :3] @ inverse, np.eye(3)))
    # a joint scaled to nothing turns as its parent does
    for joint in np.flatnonzero(~regular):
        parent = skeleton.parents[joint]
        turns[:, joint] = turns[:, parent] if parent >= 0 else np.eye(3)
    return turns


def _euler(turns: Array) -> Array:
    """Degrees (F, J, 3) about Z, X, Y with Rz · Rx · Ry, continuous in time."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # gimbal lock: any split of the two angles is right
        angles = Rotation.from_matrix(turns.reshape(-1, 3, 3)).as_euler("ZXY", degrees=True).reshape(*turns.shape[:-1])
    # the same rotation has a second triple; take whichever is nearer to the frame before
    for frame in range(1, len(angles)):
        before = angles[frame - 1]
        first = angles[frame]
        second = np.stack([first[:, 0] + 180, 180 - first[:, 1], first[:, 2] + 180], axis=-1)
        near = [t + 360 * np.round((before - t) / 360) for t in (first, second)]
        cost = [np.abs(t - before).sum(axis=-1) for t in near]
        angles[frame] = np.where((cost[1] < cost[0])[:, None], near[1], near[0])
    return np.asarray(angles)


def _hierarchy(
    skeleton: Skeleton, offsets: Array, moving: NDArray[np.bool_], *, single_root: bool
) -> tuple[list[str], list[int]]:
    """The lines of the HIERARCHY section and the joints in the order of their channels."""
    names = unique_names([re.sub(r"[^\w.:-]+", "_", name) or "joint" for name in ("root", *skeleton.names)])[1:]
    lines: list[str] = []
    order: list[int] = []

    def opened(title: str, offset: Array, channels: str, depth: int) -> None:
        indent = "\t" * depth
        lines.extend([f"{indent}{title}", f"{indent}{{", f"{indent}\tOFFSET {_triple(offset)}"])
        if channels:
            lines.append(f"{indent}\tCHANNELS {channels}")

    roots = [int(joint) for joint in np.flatnonzero(skeleton.parents < 0)]
    start = 0 if single_root else 1
    if not single_root:
        opened("ROOT root", np.zeros(3), f"6 {POSITION_CHANNELS} {ROTATION_CHANNELS}", 0)
    # a joint's number stands for its beginning, its complement for its end
    stack = [(joint, start) for joint in reversed(roots)]
    while stack:
        joint, depth = stack.pop()
        if joint < 0:
            lines.append("\t" * depth + "}")
            continue
        title = "ROOT" if single_root and depth == 0 else "JOINT"
        channels = f"6 {POSITION_CHANNELS} {ROTATION_CHANNELS}" if moving[joint] else f"3 {ROTATION_CHANNELS}"
        opened(f"{title} {names[joint]}", offsets[joint], channels, depth)
        order.append(joint)
        stack.append((~joint, depth))
        children = skeleton.children[joint]
        if not children:
            end = offsets[joint] / 2 if np.any(np.abs(offsets[joint]) > 1e-6) else np.array([0.0, 1.0, 0.0])
            opened("End Site", end, "", depth + 1)
            lines.append("\t" * (depth + 1) + "}")
        stack.extend((child, depth + 1) for child in reversed(children))
    if not single_root:
        lines.append("}")
    return lines, order


def _triple(vector: Array) -> str:
    return " ".join(f"{value:.6f}" for value in vector + 0.0)
