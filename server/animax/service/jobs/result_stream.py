"""A stored result on its way to a client: its messages, and the files that are made from them."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import AbstractContextManager, aclosing
from typing import IO, Any

from animax.assets.rig import Rig
from animax.service.generation import File, Writers
from animax.service.jobs.result_file import damaged, gather, read_result
from animax.service.stream_messages import file_chunks, file_summary
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.wire.clip import unpack
from animax.wire.rig import read_skeleton

Call = Callable[..., Awaitable[Any]]
"""Runs a blocking function in a thread."""
Hold = Callable[[int], AbstractContextManager[None]]


class ResultStream:
    """Reads one result.

    Args:
        file: the stored result, read in threads.
        formats: of the files to make for each variant.
        rig: of the result; not needed unless a format is GLB.
        writers: make the files.
        call: runs them.
        hold: counts the bytes of files that are made and not sent yet.
    """

    def __init__(
        self,
        file: IO[bytes],
        formats: Sequence[pb.FileFormat.ValueType],
        rig: Rig | None,
        writers: Writers,
        call: Call,
        hold: Hold,
    ) -> None:
        self._messages = read_result(file)
        self._formats = formats
        self._rig = rig
        self._writers = writers
        self._call = call
        self._hold = hold
        self._header = pb.Header()
        self._start: pb.ClipStart | None = None
        self._frames: list[pb.Frames] = []
        self._summaries: list[list[pb.FileSummary]] = []

    async def messages(self) -> AsyncGenerator[job_pb.GetJobResultResponse, None]:
        """Everything to send, in order.

        Raises:
            DamagedError: the result is not what was written; no summary is sent then.
        """
        held: job_pb.GetJobResultResponse | None = None
        while (message := await self._call(next, self._messages, None)) is not None:
            kind = message.WhichOneof("event")
            if kind in ("clip_start", "summary"):
                async with aclosing(self._files()) as chunks:
                    async for chunk in chunks:
                        yield chunk
            if kind == "header":
                self._header = message.header
                del message.header.file_formats[:]
                message.header.file_formats.extend(self._formats)
                yield job_pb.GetJobResultResponse(header=message.header)
            elif kind == "clip_start":
                self._start = message.clip_start
                yield job_pb.GetJobResultResponse(clip_start=message.clip_start)
            elif kind == "frames":
                self._frames.append(message.frames)
                yield job_pb.GetJobResultResponse(frames=message.frames)
            elif kind == "summary":
                for clip, files in zip(message.summary.clips, self._summaries, strict=False):
                    clip.files.extend(files)
                # kept back until the end of the file has shown that all of it is what was written
                held = job_pb.GetJobResultResponse(summary=message.summary)
        if held is None:
            raise damaged()
        yield held

    async def _files(self) -> AsyncGenerator[job_pb.GetJobResultResponse, None]:
        """Files of the variant whose frames have all been read."""
        if self._start is None:
            return
        files = await self._call(self._make, self._start, self._frames) if self._formats else []
        with self._hold(sum(len(file.content) for file in files)):
            for file in files:
                for chunk in file_chunks(self._start.variant, file):
                    yield job_pb.GetJobResultResponse(file_chunk=chunk)
        self._summaries.append([file_summary(file) for file in files])
        self._start, self._frames = None, []

    def _make(self, start: pb.ClipStart, frames: Sequence[pb.Frames]) -> list[File]:
        header = self._header
        skeleton = read_skeleton(header.skeleton)
        clip = unpack(gather(header, start, frames), skeleton, name=header.prompt, loop=header.loop)
        files = []
        for kind in self._formats:
            if kind == pb.FILE_FORMAT_GLB:
                assert self._rig is not None
                content = self._writers.glb(self._rig, clip)
            else:
                content = self._writers.bvh(skeleton, clip).encode()
            files.append(File(kind, content, hashlib.sha256(content).hexdigest()))
        return files
