"""One generation, or retargeting, in a thread: started, watched and stopped from the event loop."""

from __future__ import annotations

import asyncio
import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from animax.assets.rig import Rig
from animax.assets.skeleton import Skeleton
from animax.errors import Cancelled
from animax.motion.clip import Clip
from animax.request import OnProgress, Progress, ShouldStop
from animax.service.stage_clock import StageClock
from animax.service.waiting import within
from animax.v1 import animation_service_pb2 as pb
from animax.wire.clip import PackedClip, pack


class Model(Protocol):
    """What the service needs of a loaded model."""

    @property
    def name(self) -> str:
        """Name of the model."""

    @property
    def sha256(self) -> str:
        """Hex digest of its weights."""

    @property
    def provider(self) -> str:
        """Where it runs."""

    @property
    def fps(self) -> float:
        """Frames a second that it generates."""

    def warm_up(self) -> object:
        """Run it once; raises ``EngineError`` when it cannot."""


class Animation(Protocol):
    """What the service needs of a result."""

    @property
    def clip(self) -> Clip:
        """The motion."""

    @property
    def timings(self) -> dict[str, float]:
        """Seconds by value of ``Stage``."""

    @property
    def confidence(self) -> float:
        """0 to 1."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """One sentence each."""


class Animate(Protocol):
    """``animax.pipeline.animate`` or what stands for it."""

    def __call__(
        self,
        rig: Rig,
        request: Any,  # a Request, or what else the implementation carries out
        model: Any,  # each implementation has a model class of its own
        /,
        *,
        progress: OnProgress | None,
        should_stop: ShouldStop | None,
    ) -> Animation:
        """Generate; called in a thread."""


@dataclass(frozen=True)
class Writers:
    """Functions that write the files of ``file_formats``.

    Attributes:
        glb: rig and clip to GLB bytes.
        bvh: skeleton and clip to BVH text.
    """

    glb: Callable[[Rig, Clip], bytes]
    bvh: Callable[[Skeleton, Clip], str]

    def write(self, file_format: int, rig: Rig, clip: Clip) -> bytes:
        """The file's bytes."""
        if file_format == pb.FILE_FORMAT_GLB:
            return self.glb(rig, clip)
        return self.bvh(rig.skeleton, clip).encode()


@dataclass(frozen=True, eq=False)
class File:
    """A finished file."""

    format: pb.FileFormat.ValueType
    content: bytes
    sha256: str


@dataclass(frozen=True, eq=False)
class Product:
    """A generated clip, ready to be sent."""

    clip: PackedClip
    frames_sha256: str
    files: tuple[File, ...]
    timings: dict[str, float]
    confidence: float
    warnings: tuple[str, ...]

    @property
    def nbytes(self) -> int:
        """Memory it takes."""
        return self.clip.nbytes + sum(len(file.content) for file in self.files)


class Generation:
    """A running generation.

    Attributes:
        done: the product, or the error; set on the event loop after the thread has let go of the engine.
        latest: what was last heard of it; a file being written is told by ``writing``.
        writing: the files are being written.
        clock: of its stages.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = threading.Event()
        self._changed = asyncio.Event()
        self.done: asyncio.Future[Product] = self._loop.create_future()
        self.latest: Progress | None = None
        self.writing = False
        self.clock = StageClock()

    @classmethod
    def start(
        cls,
        executor: Executor,
        animate: Animate,
        model: Model | None,
        rig: Rig,
        request: Any,
        file_formats: Sequence[pb.FileFormat.ValueType],
        writers: Writers,
    ) -> Generation:
        """Begin in a thread of ``executor``."""
        generation = cls()
        future = executor.submit(generation._run, animate, model, rig, request, file_formats, writers)
        future.add_done_callback(generation._hand_over)
        return generation

    def stop(self) -> None:
        """Ask it to stop at the next step; ``done`` tells when it has."""
        self._stop.set()

    async def news(self, seconds: float) -> bool:
        """Wait until there is progress or an end, for at most ``seconds``; True when it is done."""
        with suppress(TimeoutError):
            await within(self._changed.wait(), seconds, self.done)
        self._changed.clear()
        return self.done.done()

    def _run(
        self,
        animate: Animate,
        model: Model | None,
        rig: Rig,
        request: Any,
        file_formats: Sequence[pb.FileFormat.ValueType],
        writers: Writers,
    ) -> Product:
        try:
            return self._make(animate, model, rig, request, file_formats, writers)
        finally:
            self.clock.leave()

    def _make(
        self,
        animate: Animate,
        model: Model | None,
        rig: Rig,
        request: Any,
        file_formats: Sequence[pb.FileFormat.ValueType],
        writers: Writers,
    ) -> Product:
        if self._stop.is_set():
            raise Cancelled("cancelled before it began")
        animation = animate(rig, request, model, progress=self._report, should_stop=self._stop.is_set)
        clip = pack(animation.clip, rig.skeleton)
        timings = dict(animation.timings)
        files = []
        if file_formats:
            began = time.monotonic()
            self.writing = True
            self.clock.enter("write")
            self._tell()
            for file_format in file_formats:
                if self._stop.is_set():
                    raise Cancelled("cancelled while files were written")
                content = writers.write(file_format, rig, animation.clip)
                files.append(File(file_format, content, hashlib.sha256(content).hexdigest()))
            timings["write"] = time.monotonic() - began
        return Product(
            clip, clip.sha256(), tuple(files), timings, float(animation.confidence), tuple(animation.warnings)
        )

    def _report(self, progress: Progress) -> None:
        self.latest = progress
        self.clock.enter(progress.stage.value)
        self._tell()

    def _tell(self) -> None:
        self._on_loop(self._changed.set)

    def _hand_over(self, future: Future[Product]) -> None:
        def finish() -> None:
            error = future.exception()
            if error is None:
                self.done.set_result(future.result())
            else:
                self.done.set_exception(error)
                self.done.exception()  # seen: a caller that is gone must not leave a complaint in the log

        self._on_loop(finish)

    def _on_loop(self, call: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the loop was closed while the thread finished its step
            self._loop.call_soon_threadsafe(call)
