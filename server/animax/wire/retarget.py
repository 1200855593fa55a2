"""Retargeting as messages: what a client asks for, checked, and bone maps both ways."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from animax.assets.rig import Rig
from animax.bone_map import BoneMap, ChainPair, FoundBy
from animax.errors import OptionError
from animax.motion.bone_matching import left_over
from animax.request import MAX_NAMES, RetargetRequest
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.wire.clip import CONTENT_BYTES
from animax.wire.request import FILE_FORMATS, ROOT_MODE_VALUES, ROOT_MODES, check_file_formats, check_rig_id

MAP_SOURCES: dict[FoundBy, retarget_pb.MapSource.ValueType] = {
    "name": retarget_pb.MAP_SOURCE_NAME,
    "shape": retarget_pb.MAP_SOURCE_SHAPE,
    "given": retarget_pb.MAP_SOURCE_GIVEN,
}
_FOUND_BY: dict[int, FoundBy] = {value: name for name, value in MAP_SOURCES.items()}


@dataclass(frozen=True)
class Source:
    """Where a clip comes from, checked.

    Attributes:
        rig_id: of the file; empty for a job.
        clip: animation in the file; may be empty where there is only one.
        index: of the animation, in place of its name.
        job_id: of the job; empty for a file.
        variant: of the job.
        facing: x, y, z in file space; empty trusts the rig's own stance.
    """

    rig_id: str = ""
    clip: str = ""
    index: int | None = None
    job_id: str = ""
    variant: int = 0
    facing: tuple[float, ...] = ()


@dataclass(frozen=True)
class RetargetOrder:
    """A ``RetargetRequest`` message, checked.

    Attributes:
        source: of the clip.
        target: rig id.
        facing: of the target; empty trusts its own stance.
        request: options.
        file_formats: values of animax.v1.FileFormat, in the order asked.
    """

    source: Source
    target: str
    facing: tuple[float, ...]
    request: RetargetRequest
    file_formats: tuple[pb.FileFormat.ValueType, ...] = ()


def read_retarget_request(message: retarget_pb.RetargetRequest) -> RetargetOrder:
    """Check a message and fill in what it leaves out.

    Raises:
        OptionError: a field is out of range; its name is the field's.
    """
    if message.root_mode and message.root_mode not in ROOT_MODES:
        raise OptionError("root_mode", message.root_mode, "a value of animax.v1.RootMode")
    request = RetargetRequest(
        bones=read_bone_map(message.bone_map) if message.HasField("bone_map") else None,
        only_given=message.only_given,
        fps=message.fps if message.HasField("fps") else None,
        root_mode=ROOT_MODES.get(message.root_mode),
        root_scale=message.root_scale if message.HasField("root_scale") else 1.0,
        foot_cleanup=message.foot_cleanup if message.HasField("foot_cleanup") else True,
    )
    return RetargetOrder(
        _read_source(message.source),
        check_rig_id(message.target_rig_id, "target_rig_id"),
        tuple(message.target_facing),
        request,
        check_file_formats(message.file_formats),
    )


def read_map_request(message: retarget_pb.MapBonesRequest) -> RetargetOrder:
    """Check a message.

    Raises:
        OptionError: a field is out of range; its name is the field's.
    """
    return RetargetOrder(
        _read_source(message.source),
        check_rig_id(message.target_rig_id, "target_rig_id"),
        tuple(message.target_facing),
        RetargetRequest(
            bones=read_bone_map(message.bone_map) if message.HasField("bone_map") else None,
            only_given=message.only_given,
        ),
    )


def _read_source(message: retarget_pb.ClipSource) -> Source:
    kind = message.WhichOneof("clip")
    if kind == "file":
        rig_id = check_rig_id(message.file.rig_id, "source.file.rig_id")
        index = message.file.clip_index if message.file.HasField("clip_index") else None
        if index is not None and message.file.clip:
            raise OptionError("source.file.clip_index", index, "a clip's name or its index, not both")
        return Source(rig_id=rig_id, clip=message.file.clip, index=index, facing=tuple(message.facing))
    if kind == "job":
        return Source(job_id=message.job.job_id, variant=message.job.variant, facing=tuple(message.facing))
    raise OptionError("source", kind, "a clip of an uploaded file, or of a job")


def read_bone_map(message: retarget_pb.BoneMap) -> BoneMap:
    """The pairs of a map; how they were found is not read: whoever sends them gives them.

    Raises:
        OptionError: there are too many, or one has no target.
    """
    if len(message.chains) > MAX_NAMES:
        raise OptionError("bone_map", f"{len(message.chains)} chains", f"at most {MAX_NAMES}")
    for pair in message.chains:
        if not pair.target:
            raise OptionError("bone_map", f"{list(pair.source)} to nothing", "at least one target joint in each chain")
    return BoneMap(tuple(ChainPair(tuple(pair.source), tuple(pair.target)) for pair in message.chains))


def bone_map_message(bones: BoneMap, source: Rig, target: Rig) -> retarget_pb.BoneMap:
    """A map as its message, with what it leaves over.

    Raises:
        OptionError: it is larger than a message may be.
    """
    unused, resting = left_over(bones, source, target)
    chains = [
        retarget_pb.ChainPair(
            source=pair.source, target=pair.target, found_by=MAP_SOURCES[pair.found_by], confidence=pair.confidence
        )
        for pair in bones.pairs
    ]
    message = retarget_pb.BoneMap(chains=chains, unused_source=unused, resting_target=resting)
    if message.ByteSize() > CONTENT_BYTES:
        raise OptionError(
            "bone_map", f"{message.ByteSize()} bytes", f"at most {CONTENT_BYTES}, names of joints included"
        )
    return message


@dataclass(frozen=True)
class MappedBones:
    """An answer of ``MapBones``.

    Attributes:
        bones: the map, with how each pair was found.
        unused: joints that move the source's surface and drive nothing.
        resting: joints that move the target's surface and are driven by nothing.
        warnings: what should be looked at, one sentence each.
    """

    bones: BoneMap
    unused: tuple[str, ...]
    resting: tuple[str, ...]
    warnings: tuple[str, ...]

    @staticmethod
    def of(message: retarget_pb.MapBonesResponse) -> MappedBones:
        """That of a message."""
        told = message.bone_map
        return MappedBones(
            found_map(told), tuple(told.unused_source), tuple(told.resting_target), tuple(message.warnings)
        )


def found_map(message: retarget_pb.BoneMap) -> BoneMap:
    """The map of an answer, with how its pairs were found."""
    return BoneMap(
        tuple(
            ChainPair(
                tuple(pair.source),
                tuple(pair.target),
                ChainPair.cost_of(pair.confidence),
                _FOUND_BY.get(pair.found_by, "shape"),
            )
            for pair in message.chains
        )
    )


def clip_source(
    clip: str | int = "", *, rig_id: str = "", job_id: str = "", variant: int = 0, facing: Sequence[float] = ()
) -> retarget_pb.ClipSource:
    """A clip of a file, or of a job, as its message.

    Args:
        clip: name of an animation of the file, or its number; empty for its only one.
        rig_id: of the uploaded file.
        job_id: of the job.
        variant: of the job.
        facing: x, y, z that the source's rig faces; empty trusts the server's estimate.

    Raises:
        OptionError: neither or both of file and job are named.
    """
    if bool(rig_id) == bool(job_id):
        raise OptionError("source", f"rig {rig_id!r} and job {job_id!r}", "one of the two")
    if job_id:
        return retarget_pb.ClipSource(job=retarget_pb.JobClip(job_id=job_id, variant=variant), facing=facing)
    which = {"clip_index": clip} if isinstance(clip, int) else {"clip": clip}
    return retarget_pb.ClipSource(file=retarget_pb.FileClip(rig_id=rig_id, **which), facing=facing)


def retarget_message(
    source: retarget_pb.ClipSource,
    target_rig_id: str,
    request: RetargetRequest,
    *,
    facing: Sequence[float] = (),
    file_formats: Sequence[str] = (),
) -> retarget_pb.RetargetRequest:
    """A request as its message.

    Raises:
        OptionError: an unknown file format.
    """
    for name in file_formats:
        if name not in FILE_FORMATS:
            raise OptionError("file_formats", name, " or ".join(FILE_FORMATS))
    return retarget_pb.RetargetRequest(
        source=source,
        target_rig_id=target_rig_id,
        target_facing=facing,
        bone_map=_given(request),
        only_given=request.only_given,
        fps=request.fps,
        root_mode=ROOT_MODE_VALUES[request.root_mode] if request.root_mode else pb.ROOT_MODE_UNSPECIFIED,
        root_scale=request.root_scale,
        foot_cleanup=request.foot_cleanup,
        file_formats=[FILE_FORMATS[name] for name in file_formats],
    )


def map_message(
    source: retarget_pb.ClipSource, target_rig_id: str, request: RetargetRequest, *, facing: Sequence[float] = ()
) -> retarget_pb.MapBonesRequest:
    """The question for the map of a request."""
    return retarget_pb.MapBonesRequest(
        source=source,
        target_rig_id=target_rig_id,
        target_facing=facing,
        bone_map=_given(request),
        only_given=request.only_given,
    )


def _given(request: RetargetRequest) -> retarget_pb.BoneMap | None:
    if request.bones is None:
        return None
    pairs = request.bones.pairs
    return retarget_pb.BoneMap(chains=[retarget_pb.ChainPair(source=p.source, target=p.target) for p in pairs])
