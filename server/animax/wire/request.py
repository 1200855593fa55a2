"""Requests as messages: what a client asks for, checked."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

from animax.errors import OptionError
from animax.request import MAX_SEED, Request, RootMode, Stage
from animax.v1 import animation_service_pb2 as pb
from animax.wire.control import control_fields, read_controls

ROOT_MODES: dict[int, RootMode] = {
    pb.ROOT_MODE_IN_PLACE: RootMode.IN_PLACE,
    pb.ROOT_MODE_ROOT_MOTION: RootMode.ROOT_MOTION,
    pb.ROOT_MODE_FIXED_BASE: RootMode.FIXED_BASE,
}
ROOT_MODE_VALUES = {mode: pb.RootMode.ValueType(value) for value, mode in ROOT_MODES.items()}
STAGES: dict[Stage, pb.Stage.ValueType] = {
    Stage.TEMPLATE: pb.STAGE_TEMPLATE,
    Stage.TEXT: pb.STAGE_TEXT,
    Stage.DENOISE: pb.STAGE_DENOISE,
    Stage.TRIANGULATE: pb.STAGE_TRIANGULATE,
    Stage.ROTATIONS: pb.STAGE_ROTATIONS,
    Stage.CLEAN: pb.STAGE_CLEAN,
}
STAGE_OF = {value: stage for stage, value in STAGES.items()}
FILE_FORMATS: dict[str, pb.FileFormat.ValueType] = {"glb": pb.FILE_FORMAT_GLB, "bvh": pb.FILE_FORMAT_BVH}
RIG_ID = re.compile("[0-9a-f]{64}")
SEED_BITS = 32
"""Bits of a seed that the service draws: few enough to be copied by hand."""


@dataclass(frozen=True)
class Order:
    """An ``AnimateRequest``, checked.

    Attributes:
        rig_id: hex SHA-256 of the rig's file.
        request: of variant 0.
        variants: clips to generate, at least one.
        facing: x, y, z in file space; empty trusts the rig's own stance.
        file_formats: values of animax.v1.FileFormat, in the order asked.
        model: name; empty takes the server's default.
    """

    rig_id: str
    request: Request
    variants: int
    facing: tuple[float, ...]
    file_formats: tuple[pb.FileFormat.ValueType, ...]
    model: str = ""

    def variant(self, index: int) -> Request:
        """The request of one variant."""
        return replace(self.request, seed=self.request.seed + index)


def check_rig_id(rig_id: str, field: str = "rig_id") -> str:
    """``rig_id`` itself.

    Raises:
        OptionError: it is no lower-case hex SHA-256.
    """
    if not RIG_ID.fullmatch(rig_id):
        raise OptionError(field, rig_id, "64 lower-case hex digits")
    return rig_id


def check_file_formats(formats: Sequence[pb.FileFormat.ValueType]) -> tuple[pb.FileFormat.ValueType, ...]:
    """``formats`` themselves.

    Raises:
        OptionError: one is unknown, or there twice.
    """
    if len(set(formats)) != len(formats) or not set(formats) <= set(FILE_FORMATS.values()):
        raise OptionError("file_formats", list(formats), "values of animax.v1.FileFormat, each at most once")
    return tuple(formats)


def read_animate_request(message: pb.AnimateRequest, max_variants: int) -> Order:
    """Check a message and fill in what it leaves out.

    Raises:
        OptionError: a field is out of range; its name is the field's.
    """
    variants = message.variants or 1
    if variants > max_variants:
        raise OptionError("variants", variants, f"1 to {max_variants}")
    seed = message.seed if message.HasField("seed") else secrets.randbits(SEED_BITS)
    if seed + variants - 1 > MAX_SEED:
        raise OptionError("seed", seed, f"0 to {MAX_SEED}, less the further variants")
    if message.root_mode and message.root_mode not in ROOT_MODES:
        raise OptionError("root_mode", message.root_mode, "a value of animax.v1.RootMode")
    formats = check_file_formats(message.file_formats)
    defaults = Request("defaults")
    request = Request(
        prompt=message.prompt,
        seconds=message.seconds if message.HasField("seconds") else defaults.seconds,
        fps=message.fps if message.HasField("fps") else defaults.fps,
        seed=seed,
        loop=message.loop,
        root_mode=ROOT_MODES.get(message.root_mode, defaults.root_mode),
        guidance=message.guidance if message.HasField("guidance") else None,
        steps=message.steps if message.HasField("steps") else None,
        foot_cleanup=message.foot_cleanup if message.HasField("foot_cleanup") else defaults.foot_cleanup,
        **read_controls(message),
    )
    rig_id = check_rig_id(message.rig_id)
    return Order(rig_id, request, variants, tuple(message.facing), formats, message.model)


def animate_request_message(
    rig_id: str,
    request: Request,
    *,
    variants: int = 1,
    facing: Sequence[float] = (),
    file_formats: Sequence[str] = (),
    model: str = "",
) -> pb.AnimateRequest:
    """A request as its message.

    Args:
        rig_id: from an upload.
        request: what to generate.
        variants: clips, with seeds one apart.
        facing: x, y, z in file space; empty trusts the service's estimate.
        file_formats: any of ``glb`` and ``bvh``.
        model: a name that the capabilities list; empty takes the server's default.

    Raises:
        OptionError: an unknown file format, or a number of variants below one.
    """
    for name in file_formats:
        if name not in FILE_FORMATS:
            raise OptionError("file_formats", name, " or ".join(FILE_FORMATS))
    if variants < 1:
        raise OptionError("variants", variants, "1 or more")
    return pb.AnimateRequest(
        rig_id=rig_id,
        prompt=request.prompt,
        seed=request.seed,
        seconds=request.seconds,
        fps=request.fps,
        loop=request.loop,
        root_mode=ROOT_MODE_VALUES[request.root_mode],
        guidance=request.guidance,
        steps=request.steps,
        foot_cleanup=request.foot_cleanup,
        variants=variants,
        facing=facing,
        file_formats=[FILE_FORMATS[name] for name in file_formats],
        model=model,
        **control_fields(request),
    )
