"""Skeletons, stances and rigs as messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from animax import rotations
from animax.assets.rig import Rig, Stance
from animax.assets.skeleton import Pose, Skeleton
from animax.errors import OptionError, StreamError
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import rig_pb2 as rig_pb

Array = NDArray[np.float64]

LEAST_ACROSS = 0.1
"""Sine of the angle to the up axis below which a facing is taken for a mistake."""
SOURCES: dict[str, rig_pb.StanceSource.ValueType] = {
    "override": rig_pb.STANCE_SOURCE_OVERRIDE,
    "estimated": rig_pb.STANCE_SOURCE_ESTIMATED,
    "default": rig_pb.STANCE_SOURCE_DEFAULT,
}


def floats(values: ArrayLike) -> list[float]:
    """All numbers of an array in order, rounded to binary32, for a packed field."""
    out: list[float] = np.asarray(values, np.float32).ravel().tolist()
    return out


def skeleton_message(skeleton: Skeleton) -> rig_pb.Skeleton:
    """A skeleton as its message."""
    return rig_pb.Skeleton(
        names=skeleton.names,
        parents=skeleton.parents.tolist(),
        rest_translations=floats(skeleton.rest.translations),
        rest_rotations=floats(skeleton.rest.rotations),
        rest_scales=floats(skeleton.rest.scales),
    )


def read_skeleton(message: rig_pb.Skeleton) -> Skeleton:
    """The skeleton of a message.

    Raises:
        StreamError: the lists do not have one entry for each joint.
    """
    joints = len(message.names)
    rest = Pose(
        shaped(message.rest_translations, (joints, 3), "skeleton.rest_translations"),
        # binary32 leaves them 1e-7 off unit length, which forward kinematics would take for scale
        rotations.normalise(shaped(message.rest_rotations, (joints, 4), "skeleton.rest_rotations")),
        shaped(message.rest_scales, (joints, 3), "skeleton.rest_scales"),
    )
    return Skeleton(tuple(message.names), np.array(message.parents, np.int64), rest)


def shaped(values: Sequence[float], shape: tuple[int, ...], field: str) -> Array:
    """The numbers of a packed field as an array of ``shape``.

    Raises:
        StreamError: there are more or fewer of them.
    """
    if len(values) != int(np.prod(shape)):
        raise StreamError(
            f"{field} has {len(values)} numbers; accepted: {' × '.join(map(str, shape))}", reason="MALFORMED_MESSAGE"
        )
    return np.array(values, np.float64).reshape(shape)


def stance_message(stance: Stance) -> rig_pb.Stance:
    """A stance as its message."""
    return rig_pb.Stance(
        forward=floats(stance.forward),
        up=floats(stance.up),
        confidence=stance.confidence,
        source=SOURCES[stance.source],
        metres_per_unit=stance.scale,
    )


def faced(rig: Rig, facing: Sequence[float]) -> Rig:
    """The rig with the stance that a request's ``facing`` makes of its own; itself where there is none.

    Raises:
        OptionError: see ``facing_stance``.
    """
    return replace(rig, stance=facing_stance(rig.stance, facing)) if facing else rig


def facing_stance(stance: Stance, facing: Sequence[float]) -> Stance:
    """The stance that a request's ``facing`` makes of a rig's own.

    Args:
        stance: of the rig.
        facing: x, y, z in file space, or nothing.

    Raises:
        OptionError: the facing is no direction, or lies along the rig's up axis.
    """
    if not facing:
        return stance
    direction = np.array(facing, np.float64)
    accepted = "three finite numbers, a direction across the rig's up axis"
    if direction.shape != (3,) or not np.isfinite(direction).all() or not direction.any():
        raise OptionError("facing", list(facing), accepted)
    direction /= np.linalg.norm(direction)
    across = direction - (direction @ stance.up) * stance.up
    length = float(np.linalg.norm(across))
    if length < LEAST_ACROSS:
        raise OptionError("facing", list(facing), accepted)
    return Stance(across / length, stance.up, 1.0, "override", stance.scale)


def rig_message(rig: Rig, drivers: Sequence[int]) -> asset_pb.Rig:
    """A rig as what an upload answers."""
    return asset_pb.Rig(
        rig_id=rig.sha256,
        name=rig.name,
        skeleton=skeleton_message(rig.skeleton),
        drivers=drivers,
        stance=stance_message(rig.stance),
        warnings=rig.warnings,
        vertex_count=len(rig.mesh.positions),
        size_metres=rig.size,
    )
