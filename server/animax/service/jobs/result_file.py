"""A job's result as one file: the messages of its stream, each with its length before it.

header, then for each variant clip_start and frames, then the summary. GLB and BVH files are not in it: they are made
from the frames when somebody asks for them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

import numpy as np
from google.protobuf.message import DecodeError
from google.protobuf.proto import parse_length_prefixed, serialize_length_prefixed

from animax.errors import DamagedError, OptionError
from animax.motion.clip import Clip
from animax.v1 import animation_service_pb2 as pb
from animax.wire.clip import PackedClip, unpack
from animax.wire.rig import read_skeleton


@dataclass(frozen=True)
class Written:
    """A file that was written: its content's hash and its size."""

    sha256: str
    size: int


def write_result(file: IO[bytes], messages: Iterable[pb.AnimateResponse]) -> None:
    """Append some messages."""
    for message in messages:
        serialize_length_prefixed(message, file)  # type: ignore[arg-type]  # any buffered file will do


def finish(file: IO[bytes]) -> Written:
    """Hash and size of a file that is complete; it stands at its beginning then."""
    size = file.tell()
    file.seek(0)
    digest = hashlib.sha256()
    while data := file.read(1024 * 1024):
        digest.update(data)
    file.seek(0)
    return Written(digest.hexdigest(), size)


def read_result(file: IO[bytes]) -> Iterator[pb.AnimateResponse]:
    """The messages, one after the other.

    Raises:
        DamagedError: the file is not what was written.
    """
    while True:
        try:
            message = parse_length_prefixed(pb.AnimateResponse, file)  # type: ignore[arg-type]
        except (DecodeError, ValueError, EOFError):
            raise damaged() from None
        if message is None:
            return
        yield message


def read_clip(file: IO[bytes], variant: int) -> Clip:
    """One of the clips of a file.

    Raises:
        OptionError: it holds no such variant.
        DamagedError: the file is not what was written.
    """
    header, start, frames, complete = pb.Header(), None, list[pb.Frames](), False
    for message in read_result(file):
        kind = message.WhichOneof("event")
        if kind == "header":
            header = message.header
            if variant >= header.variants:
                raise OptionError("variant", variant, f"0 to {header.variants - 1}")
        elif kind == "clip_start" and message.clip_start.variant == variant:
            start = message.clip_start
        elif kind == "frames" and message.frames.variant == variant:
            frames.append(message.frames)
        complete = kind == "summary"
    if start is None or not complete:
        raise damaged()
    return unpack(gather(header, start, frames), read_skeleton(header.skeleton), name=header.prompt, loop=header.loop)


def gather(header: pb.Header, start: pb.ClipStart, frames: Sequence[pb.Frames]) -> PackedClip:
    """The clip of some messages."""
    count, rotated, moved = start.frame_count, len(start.rotated_joints), len(start.translated_joints)
    rotations = np.concatenate([np.array(part.rotations, np.float32) for part in frames])
    translations = np.concatenate([np.array(part.translations, np.float32) for part in frames])
    if len(rotations) != count * rotated * 4 or len(translations) != count * moved * 3:
        raise damaged()
    return PackedClip(
        header.fps,
        np.array(start.rotated_joints, np.int64),
        np.array(start.translated_joints, np.int64),
        rotations.reshape(count, rotated, 4),
        translations.reshape(count, moved, 3),
    )


def damaged() -> DamagedError:
    """The error for a result that is not what was written."""
    return DamagedError("the stored result is not what was written; order it again", reason="RESULT_DAMAGED")
