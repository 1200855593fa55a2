"""The reading end of an ``Animate`` or ``Retarget`` stream: checks the contract, puts clips and files together."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from animax.assets.skeleton import Skeleton
from animax.bone_map import BoneMap
from animax.errors import StreamError
from animax.motion.clip import Clip
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import rig_pb2 as rig_pb
from animax.wire.clip import PackedClip, unpack
from animax.wire.request import FILE_FORMATS
from animax.wire.retarget import found_map
from animax.wire.rig import read_skeleton, shaped

Array = NDArray[np.float64]
Event = pb.Header | pb.Progress | pb.ClipStart | pb.Frames | pb.FileChunk | pb.Summary | retarget_pb.BoneMap
"""What a stream brings."""
_FORMAT_NAMES: dict[int, str] = {value: name for name, value in FILE_FORMATS.items()}
UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class Result:
    """A whole stream, verified.

    Attributes:
        header: what the request was resolved to.
        skeleton: of the rig; joints in the order of the clips.
        clips: one for each variant.
        files: for each variant, by format (``glb``, ``bvh``).
        summary: seeds, confidence, timings.
        warnings: about the rig and the clips.
        bones: which chains drove which, of a retargeting; else None.
    """

    header: pb.Header
    skeleton: Skeleton
    clips: tuple[Clip, ...]
    files: tuple[dict[str, bytes], ...]
    summary: pb.Summary
    warnings: tuple[str, ...]
    bones: BoneMap | None = None

    @property
    def clip(self) -> Clip:
        """The first variant."""
        return self.clips[0]


@dataclass(eq=False)
class _Variant:
    """A clip that is coming in."""

    start: pb.ClipStart
    rotations: list[Array] = field(default_factory=list)
    translations: list[Array] = field(default_factory=list)
    frames: int = 0
    files: dict[int, bytearray] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)


class StreamReader:
    """Takes the messages of one stream in order. Any breach of the contract raises ``StreamError``."""

    def __init__(self) -> None:
        self._header: pb.Header | None = None
        self._skeleton: Skeleton | None = None
        self._variants: list[_Variant] = []
        self._summary: pb.Summary | None = None
        self._bones: BoneMap | None = None

    def feed(
        self, message: pb.AnimateResponse | job_pb.GetJobResultResponse | retarget_pb.RetargetResponse
    ) -> Event | None:
        """The event of a message; None for one that this version does not know.

        Raises:
            StreamError: the message breaks the contract.
        """
        kind = message.WhichOneof("event")
        if kind is None:
            return None
        if self._summary is not None:
            raise breach(f"a {kind} came after the summary")
        if (self._header is None) != (kind == "header"):
            raise breach(f"a {kind} came {'before the' if self._header is None else 'as a second'} header")
        event: Event = getattr(message, kind)
        if isinstance(event, pb.Header):
            self._take_header(event)
        elif isinstance(event, pb.ClipStart):
            self._take_start(event)
        elif isinstance(event, pb.Frames):
            self._take_frames(event)
        elif isinstance(event, pb.FileChunk):
            self._take_chunk(event)
        elif isinstance(event, pb.Summary):
            self._take_summary(event)
        elif isinstance(event, retarget_pb.BoneMap):
            self._bones = found_map(event)
        return event

    def result(self) -> Result:
        """All of it.

        Raises:
            StreamError: the stream ended before its summary.
        """
        if self._header is None or self._skeleton is None or self._summary is None:
            raise StreamError("the stream ended before its summary", reason="STREAM_CUT", retry_after=0.0)
        skeleton, header = self._skeleton, self._header
        clips = [unpack(self._packed(v), skeleton, name=header.prompt, loop=header.loop) for v in self._variants]
        files = [{_FORMAT_NAMES[f]: bytes(data) for f, data in v.files.items()} for v in self._variants]
        warnings = [*header.warnings, *(text for v in self._variants for text in v.start.warnings)]
        return Result(header, skeleton, tuple(clips), tuple(files), self._summary, tuple(warnings), self._bones)

    def _take_header(self, header: pb.Header) -> None:
        if header.axes != rig_pb.AXIS_CONVENTION_RIGHT_HANDED_Y_UP_METRES:
            raise breach(f"axes are {header.axes}; accepted: right-handed, Y up, metres")
        if header.quaternion_order != rig_pb.QUATERNION_ORDER_XYZW:
            raise breach(f"quaternion_order is {header.quaternion_order}; accepted: x, y, z, w")
        self._header, self._skeleton = header, read_skeleton(header.skeleton)

    def _take_start(self, start: pb.ClipStart) -> None:
        if self._variants:
            self._check_complete(self._variants[-1])
        if start.variant != len(self._variants):
            raise breach(f"variant {start.variant} came; accepted: {len(self._variants)}")
        joints = len(self._skeleton or ())
        for listed in (start.rotated_joints, start.translated_joints):
            if any(joint >= joints for joint in listed) or list(listed) != sorted(set(listed)):
                raise breach("a list of joints does not rise within the skeleton")
        self._variants.append(_Variant(start))

    def _take_frames(self, frames: pb.Frames) -> None:
        variant = self._current(frames.variant)
        count, fps = frames.frame_count, self._header.fps if self._header else 0.0
        if frames.first_frame != variant.frames or not 1 <= count <= variant.start.frame_count - variant.frames:
            raise breach(f"{count} frames from {frames.first_frame} came; accepted: to go on from {variant.frames}")
        if abs(frames.first_seconds * fps - frames.first_frame) > 1e-3:
            raise breach(f"frame {frames.first_frame} is said to be at {frames.first_seconds:g} s at {fps:g} fps")
        turned = shaped(frames.rotations, (count, len(variant.start.rotated_joints), 4), "frames.rotations")
        moved = shaped(frames.translations, (count, len(variant.start.translated_joints), 3), "frames.translations")
        if not (np.isfinite(moved).all() and np.all(np.abs(np.linalg.norm(turned, axis=-1) - 1) < UNIT_TOLERANCE)):
            raise breach("frames hold quaternions that are not unit or translations that are not finite")
        variant.rotations.append(turned)
        variant.translations.append(moved)
        variant.frames += count

    def _take_chunk(self, chunk: pb.FileChunk) -> None:
        variant = self._current(chunk.variant)
        self._check_frames(variant)
        data = variant.files.setdefault(chunk.format, bytearray())
        if chunk.format not in _FORMAT_NAMES or chunk.offset != len(data):
            raise breach(f"bytes from {chunk.offset} of file format {chunk.format} came; accepted: from {len(data)}")
        data += chunk.content
        variant.sizes[chunk.format] = chunk.size_bytes

    def _take_summary(self, summary: pb.Summary) -> None:
        wanted = self._header.variants if self._header else 0
        if not len(summary.clips) == len(self._variants) == wanted:
            raise breach(f"{len(self._variants)} of {wanted} variants came before the summary")
        for told, variant in zip(summary.clips, self._variants, strict=True):
            self._check_complete(variant)
            if told.frames_sha256 != self._packed(variant).sha256():
                raise breach(f"the frames of variant {told.variant} are not those that were sent")
            for file in told.files:
                if hashlib.sha256(variant.files.get(file.format, b"")).hexdigest() != file.sha256:
                    raise breach(f"file format {file.format} of variant {told.variant} is not the one that was sent")
        self._summary = summary

    def _current(self, index: int) -> _Variant:
        if not self._variants or index != len(self._variants) - 1:
            raise breach(f"something of variant {index} came; accepted: the variant started last")
        return self._variants[-1]

    def _check_frames(self, variant: _Variant) -> None:
        if variant.frames != variant.start.frame_count:
            raise breach(
                f"{variant.frames} of {variant.start.frame_count} frames of variant {variant.start.variant} came"
            )

    def _check_complete(self, variant: _Variant) -> None:
        self._check_frames(variant)
        for file_format, data in variant.files.items():
            if len(data) != variant.sizes[file_format]:
                raise breach(f"{len(data)} of {variant.sizes[file_format]} bytes of file format {file_format} came")

    def _packed(self, variant: _Variant) -> PackedClip:
        start = variant.start
        return PackedClip(
            self._header.fps if self._header else 0.0,
            np.array(start.rotated_joints, np.int64),
            np.array(start.translated_joints, np.int64),
            np.concatenate([np.zeros((0, len(start.rotated_joints), 4)), *variant.rotations]).astype(np.float32),
            np.concatenate([np.zeros((0, len(start.translated_joints), 3)), *variant.translations]).astype(np.float32),
        )


def breach(text: str) -> StreamError:
    """The error for a stream that breaks the contract."""
    return StreamError(f"the stream breaks the contract: {text}", reason="CONTRACT_BROKEN")
