"""Clients of the service: blocking (``Client``) and for asyncio (``AsyncClient``).

    with Client("localhost:50051") as client:
        rig = client.upload("hero.glb")
        result = client.animate(rig.rig_id, Request("waves hello", seconds=3)).collect()
        print(result.clip.fps, len(result.clip))

        job = client.create_job(rig.rig_id, "waves hello", request_id="shot-17")    # a server with a job store
        for job in client.watch_job(job.job_id):
            print(job.state, job.progress.fraction)
        result = client.job_result(job.job_id, files=["glb"])

        cat = client.upload("cat.glb")
        source = clip_source("Walk", rig_id=client.upload("walks.glb").rig_id)      # or clip_source(job_id=...)
        print(client.map_bones(source, cat.rig_id).bones)                           # to look at, and to correct
        result = client.retarget(source, cat.rig_id, files=["glb"]).collect()

Events are the messages of animax.v1 (``Header``, ``Progress``, ``ClipStart``, ``Frames``, ``FileChunk``, ``Summary``),
in the order that proto/animax/v1/animation_service.proto states; a stream is checked against it as it is read.
Errors are those of ``animax.errors``, of the same class as if the call had been made in this process.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, TypeVar, cast

import grpc

from animax.assets.stance import direction
from animax.errors import AssetError, Cancelled
from animax.performance_stream import AsyncPerformanceStream, PerformanceStream
from animax.request import Request, RetargetRequest
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import animation_service_pb2_grpc as pb_grpc
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import asset_service_pb2_grpc as asset_pb_grpc
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import job_service_pb2_grpc as job_pb_grpc
from animax.v1 import retarget_service_pb2 as retarget_pb
from animax.v1 import retarget_service_pb2_grpc as retarget_pb_grpc
from animax.wire.channel import Pem, TokenChannel, channel_credentials, channel_options, check_token
from animax.wire.failure import typed_errors
from animax.wire.interactive import opening_message
from animax.wire.jobs import create_message, list_message, result_message
from animax.wire.request import animate_request_message
from animax.wire.retarget import MappedBones, clip_source, map_message, retarget_message
from animax.wire.stream import Event, Result, StreamReader, breach

__all__ = [
    "AnimationStream",
    "AsyncAnimationStream",
    "AsyncClient",
    "AsyncPerformanceStream",
    "Client",
    "Event",
    "MappedBones",
    "PerformanceStream",
    "Result",
    "clip_source",
]

Message = TypeVar("Message")
OnProgress = Callable[[pb.Progress], object]
PLAIN = RetargetRequest()
"""Everything is found, nothing is changed."""
UPLOAD_CHUNK = 256 * 1024
"""Bytes."""


class Client:
    """Blocking client; may be used from several threads.

    Args:
        target: ``host:port``.
        credentials: of ``grpc.ssl_channel_credentials``, in place of ``ca``, ``certificate`` and ``key``.
        timeout: seconds for each call; None waits as long as the server does.
        token: to show to servers that want to know who calls. Over cleartext it goes to this machine alone.
        ca: PEM file (or its bytes) with the roots that the server's certificate must have; turns TLS on.
        certificate: PEM file (or its bytes) with the chain to show to servers that ask for one.
        key: PEM file (or its bytes) with its private key.

    Raises:
        OptionError: what is given does not belong together.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = None,
        token: str | None = None,
        ca: Pem | None = None,
        certificate: Pem | None = None,
        key: Pem | None = None,
    ) -> None:
        options = channel_options(target)
        credentials = credentials or channel_credentials(ca, certificate, key)
        check_token(token, target, secure=credentials is not None)
        if credentials is None:
            self._channel = grpc.insecure_channel(target, options)
        else:
            self._channel = grpc.secure_channel(target, credentials, options)
        self._timeout = timeout
        channel = cast(grpc.Channel, TokenChannel(self._channel, token)) if token else self._channel
        self._animation = pb_grpc.AnimationServiceStub(channel)
        self._assets = asset_pb_grpc.AssetServiceStub(channel)
        self._jobs = job_pb_grpc.JobServiceStub(channel)
        self._retargeting = retarget_pb_grpc.RetargetServiceStub(channel)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and everything that runs over it."""
        self._channel.close()

    def capabilities(self) -> pb.GetCapabilitiesResponse:
        """What the server can do and where its limits are."""
        with typed_errors():
            return answered(self._animation.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=self._timeout))

    def upload(self, source: str | Path | bytes, *, name: str | None = None) -> asset_pb.Rig:
        """Make sure that the server has a rig; it is sent only if it is not there.

        Args:
            source: path or bytes of a GLB.
            name: for people; default: the file's name.

        Raises:
            AssetError, RigError: the file cannot be read, or is refused.
            ServiceError: see its subclasses.
        """
        messages = upload_messages(*read_source(source, name))
        with typed_errors():
            known = answered(self._assets.HasAsset(has_message(messages[0]), timeout=self._timeout))
            if known.HasField("rig"):
                return known.rig
            return answered(self._assets.UploadAsset(iter(messages), timeout=self._timeout)).rig

    def animate(
        self,
        rig_id: str,
        request: Request | str,
        *,
        variants: int = 1,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        model: str = "",
        timeout: float | None = None,
    ) -> AnimationStream:
        """Animate an uploaded rig.

        Args:
            rig_id: ``upload(...).rig_id``.
            request: what to generate; a prompt stands for ``Request(prompt)``.
            variants: clips to generate, with seeds one apart.
            facing: an axis of the file (``+z``, ``-x``, ...) or a direction (3,); None trusts the server's estimate.
            files: ``glb``, ``bvh`` or both, to be sent after the frames.
            model: one of those that the capabilities list; empty takes the server's default.
            timeout: seconds for the whole stream; None takes the client's.

        Raises:
            OptionError: an option is out of range.
        """
        message = order_message(rig_id, request, variants, facing, files, model)
        return AnimationStream(self._animation.Animate(message, timeout=timeout or self._timeout))

    def create_job(
        self,
        rig_id: str,
        request: Request | str,
        *,
        request_id: str | None = None,
        variants: int = 1,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        labels: Mapping[str, str] = MappingProxyType({}),
        model: str = "",
    ) -> job_pb.Job:
        """Order an animation that is made without anybody waiting for it; see ``animate`` for what is not said here.

        Args:
            rig_id: of an uploaded rig.
            request: what to generate.
            request_id: makes it safe to repeat the call: the same id is the same job; None draws one.
            variants: clips to generate.
            facing: where the rig looks.
            files: what ``job_result`` brings if it is not asked for others.
            labels: for ``list_jobs``.
            model: one of those that the capabilities list; empty takes the server's default.

        Raises:
            RequestIdError: the request id was used with another request.
            BusyError: too many jobs are waiting.
        """
        message = create_message(order_message(rig_id, request, variants, facing, files, model), request_id, labels)
        with typed_errors():
            return answered(self._jobs.CreateAnimationJob(message, timeout=self._timeout)).job

    def get_job(self, job_id: str) -> job_pb.Job:
        """A job as it stands.

        Raises:
            UnknownJobError: there is none of this id.
        """
        with typed_errors():
            return answered(self._jobs.GetJob(job_pb.GetJobRequest(job_id=job_id), timeout=self._timeout)).job

    def list_jobs(
        self,
        *,
        states: Sequence[str] = (),
        rig_id: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
        page_size: int = 0,
    ) -> Iterator[job_pb.Job]:
        """Jobs, the latest first, page by page as they are read.

        Args:
            states: any of ``queued``, ``running``, ``succeeded``, ``failed``, ``cancelled``; none for all.
            rig_id: only of this rig.
            labels: only with all of these.
            page_size: jobs to ask for at a time; 0 leaves it to the server.
        """
        message = list_message(states, rig_id, labels, page_size)
        while True:
            with typed_errors():
                page = answered(self._jobs.ListJobs(message, timeout=self._timeout))
            yield from page.jobs
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    def cancel_job(self, job_id: str) -> job_pb.Job:
        """Cancel a job; what has ended stays as it is. Returns how it stands then."""
        with typed_errors():
            return answered(self._jobs.CancelJob(job_pb.CancelJobRequest(job_id=job_id), timeout=self._timeout)).job

    def watch_job(self, job_id: str, *, after: int = 0) -> Iterator[job_pb.Job]:
        """The job after each of its changes, to its end.

        Args:
            job_id: of the job.
            after: ``Job.change`` of the last change seen, to go on after an error.

        Raises:
            UnavailableError: the server shuts down or is gone; another one can go on.
        """
        call = self._jobs.WatchJob(job_pb.WatchJobRequest(job_id=job_id, after_change=after))
        try:
            with typed_errors():
                for message in call:
                    if message.HasField("job"):
                        yield message.job
        finally:
            call.cancel()

    def job_result(self, job_id: str, *, files: Sequence[str] = ()) -> Result:
        """The result of a job that succeeded.

        Args:
            job_id: of the job.
            files: ``glb``, ``bvh`` or both; none for those of the order.

        Raises:
            JobStateError: it has not ended, or has no result.
            ResultExpiredError: the result made room for others.
            StreamError: the stream was cut or breaks the contract.
        """
        reader = StreamReader()
        with typed_errors():
            for message in self._jobs.GetJobResult(result_message(job_id, files), timeout=self._timeout):
                reader.feed(message)
        return reader.result()

    def perform(
        self,
        rig_id: str,
        request: Request | str,
        *,
        facing: str | Sequence[float] | None = None,
        real_time: bool = False,
        lead_seconds: float | None = None,
        seconds: float | None = None,
        speed: float | None = None,
        heading: Sequence[float] = (),
        target: Sequence[float] = (),
        model: str = "",
    ) -> PerformanceStream:
        """Let an uploaded rig perform: motion of any length that can be changed on the way.

        Args:
            rig_id: ``upload(...).rig_id``.
            request: what to begin with; its length does not count, of its controls only the first pose.
            facing: as in ``animate``.
            real_time: send frames as fast as they are played; else as fast as they are made and read.
            lead_seconds: of motion made ahead, 0.1 to 30; the less, the sooner a change is seen.
            seconds: length; None: until it is stopped or closed.
            speed: of playing, 0.1 to 4; 1 as generated.
            heading: (3,) direction in file space that the body shall face.
            target: (3,) place in file space, metres, that the body shall go to, with ``RootMode.ROOT_MOTION``.
            model: as in ``animate``.

        Raises:
            OptionError: an option is out of range, or the request asks for what only a clip has.
        """
        return PerformanceStream(
            self._animation.AnimateInteractive,
            opening_message(
                rig_id,
                Request(request) if isinstance(request, str) else request,
                facing=facing_numbers(facing),
                real_time=real_time,
                lead_seconds=lead_seconds,
                seconds=seconds,
                speed=speed,
                heading=heading,
                target=target,
                model=model,
            ),
        )

    def map_bones(
        self,
        source: retarget_pb.ClipSource,
        target: str,
        request: RetargetRequest = PLAIN,
        *,
        facing: str | Sequence[float] | None = None,
    ) -> MappedBones:
        """Which chains of the source's rig would drive which of the target.

        Args:
            source: from ``clip_source``; which of a file's clips does not matter.
            target: rig id of the rig that shall move.
            request: its map corrects what is found.
            facing: where the target looks; see ``animate``.

        Raises:
            OptionError: the map names joints that do not exist.
        """
        message = map_message(source, target, request, facing=facing_numbers(facing))
        with typed_errors():
            return MappedBones.of(answered(self._retargeting.MapBones(message, timeout=self._timeout)))

    def retarget(
        self,
        source: retarget_pb.ClipSource,
        target: str,
        request: RetargetRequest = PLAIN,
        *,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        timeout: float | None = None,
    ) -> AnimationStream:
        """Carry a clip over to another uploaded rig.

        The stream's events are those of ``animate``, with a ``BoneMap`` of the contract after the header.

        Args:
            source: from ``clip_source``.
            target: rig id of the rig that shall move.
            request: options, and corrections of the bone map.
            facing: where the target looks; see ``animate``.
            files: ``glb``, ``bvh`` or both, to be sent after the frames.
            timeout: seconds for the whole stream; None takes the client's.

        Raises:
            OptionError: an option is out of range.
        """
        message = retarget_message(source, target, request, facing=facing_numbers(facing), file_formats=files)
        return AnimationStream(self._retargeting.Retarget(message, timeout=timeout or self._timeout))


class AnimationStream:
    """An ``Animate`` or ``Retarget`` stream that is being read: iterate over its events, or ``collect`` them.

    Leaving the loop or the ``with`` block before the end cancels the request.
    """

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reader = StreamReader()

    def __enter__(self) -> AnimationStream:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cancel()

    def __iter__(self) -> Iterator[Event]:
        try:
            with typed_errors():
                for message in self._call:
                    event = self._reader.feed(message)
                    if event is not None:
                        yield event
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Stop the generation; harmless after the end."""
        self._call.cancel()

    def collect(self, on_progress: OnProgress | None = None) -> Result:
        """Read to the end.

        Raises:
            StreamError: the stream was cut or breaks the contract.
        """
        for event in self:
            if on_progress is not None and isinstance(event, pb.Progress):
                on_progress(event)
        return self._reader.result()


class AsyncClient:
    """The same for asyncio; see ``Client``. To be made and used within one event loop.

    Args:
        own_connection: share no connection with other clients of this process; the others are those of ``Client``.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout: float | None = None,
        token: str | None = None,
        ca: Pem | None = None,
        certificate: Pem | None = None,
        key: Pem | None = None,
        own_connection: bool = False,
    ) -> None:
        options = [*channel_options(target), ("grpc.use_local_subchannel_pool", int(own_connection))]
        credentials = credentials or channel_credentials(ca, certificate, key)
        check_token(token, target, secure=credentials is not None)
        if credentials is None:
            self._channel = grpc.aio.insecure_channel(target, options)
        else:
            self._channel = grpc.aio.secure_channel(target, credentials, options)
        self._timeout = timeout
        channel = cast(grpc.aio.Channel, TokenChannel(self._channel, token)) if token else self._channel
        self._animation = pb_grpc.AnimationServiceStub(channel)
        self._assets = asset_pb_grpc.AssetServiceStub(channel)
        self._jobs = job_pb_grpc.JobServiceStub(channel)
        self._retargeting = retarget_pb_grpc.RetargetServiceStub(channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        await self.close()

    async def close(self) -> None:
        """See ``Client.close``."""
        await self._channel.close()

    async def capabilities(self) -> pb.GetCapabilitiesResponse:
        """See ``Client.capabilities``."""
        with typed_errors():
            return answered(await self._animation.GetCapabilities(pb.GetCapabilitiesRequest(), timeout=self._timeout))

    async def upload(self, source: str | Path | bytes, *, name: str | None = None) -> asset_pb.Rig:
        """See ``Client.upload``."""
        messages = upload_messages(*read_source(source, name))
        with typed_errors():
            known = answered(await self._assets.HasAsset(has_message(messages[0]), timeout=self._timeout))
            if known.HasField("rig"):
                return known.rig
            return answered(await self._assets.UploadAsset(iter(messages), timeout=self._timeout)).rig

    def animate(
        self,
        rig_id: str,
        request: Request | str,
        *,
        variants: int = 1,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        model: str = "",
        timeout: float | None = None,
    ) -> AsyncAnimationStream:
        """See ``Client.animate``."""
        message = order_message(rig_id, request, variants, facing, files, model)
        return AsyncAnimationStream(self._animation.Animate(message, timeout=timeout or self._timeout))

    async def create_job(
        self,
        rig_id: str,
        request: Request | str,
        *,
        request_id: str | None = None,
        variants: int = 1,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        labels: Mapping[str, str] = MappingProxyType({}),
        model: str = "",
    ) -> job_pb.Job:
        """See ``Client.create_job``."""
        message = create_message(order_message(rig_id, request, variants, facing, files, model), request_id, labels)
        with typed_errors():
            return answered(await self._jobs.CreateAnimationJob(message, timeout=self._timeout)).job

    async def get_job(self, job_id: str) -> job_pb.Job:
        """See ``Client.get_job``."""
        with typed_errors():
            return answered(await self._jobs.GetJob(job_pb.GetJobRequest(job_id=job_id), timeout=self._timeout)).job

    async def list_jobs(
        self,
        *,
        states: Sequence[str] = (),
        rig_id: str = "",
        labels: Mapping[str, str] = MappingProxyType({}),
        page_size: int = 0,
    ) -> AsyncIterator[job_pb.Job]:
        """See ``Client.list_jobs``."""
        message = list_message(states, rig_id, labels, page_size)
        while True:
            with typed_errors():
                page = answered(await self._jobs.ListJobs(message, timeout=self._timeout))
            for job in page.jobs:
                yield job
            if not page.next_page_token:
                return
            message.page_token = page.next_page_token

    async def cancel_job(self, job_id: str) -> job_pb.Job:
        """See ``Client.cancel_job``."""
        with typed_errors():
            return answered(
                await self._jobs.CancelJob(job_pb.CancelJobRequest(job_id=job_id), timeout=self._timeout)
            ).job

    async def watch_job(self, job_id: str, *, after: int = 0) -> AsyncIterator[job_pb.Job]:
        """See ``Client.watch_job``."""
        call = self._jobs.WatchJob(job_pb.WatchJobRequest(job_id=job_id, after_change=after))
        try:
            with typed_errors():
                async for message in call:
                    if message.HasField("job"):
                        yield message.job
        finally:
            call.cancel()

    async def job_result(self, job_id: str, *, files: Sequence[str] = ()) -> Result:
        """See ``Client.job_result``."""
        reader = StreamReader()
        with typed_errors():
            async for message in self._jobs.GetJobResult(result_message(job_id, files), timeout=self._timeout):
                reader.feed(message)
        return reader.result()

    def perform(
        self,
        rig_id: str,
        request: Request | str,
        *,
        facing: str | Sequence[float] | None = None,
        real_time: bool = False,
        lead_seconds: float | None = None,
        seconds: float | None = None,
        speed: float | None = None,
        heading: Sequence[float] = (),
        target: Sequence[float] = (),
        model: str = "",
    ) -> AsyncPerformanceStream:
        """See ``Client.perform``."""
        return AsyncPerformanceStream(
            self._animation.AnimateInteractive,
            opening_message(
                rig_id,
                Request(request) if isinstance(request, str) else request,
                facing=facing_numbers(facing),
                real_time=real_time,
                lead_seconds=lead_seconds,
                seconds=seconds,
                speed=speed,
                heading=heading,
                target=target,
                model=model,
            ),
        )

    async def map_bones(
        self,
        source: retarget_pb.ClipSource,
        target: str,
        request: RetargetRequest = PLAIN,
        *,
        facing: str | Sequence[float] | None = None,
    ) -> MappedBones:
        """See ``Client.map_bones``."""
        message = map_message(source, target, request, facing=facing_numbers(facing))
        with typed_errors():
            return MappedBones.of(answered(await self._retargeting.MapBones(message, timeout=self._timeout)))

    def retarget(
        self,
        source: retarget_pb.ClipSource,
        target: str,
        request: RetargetRequest = PLAIN,
        *,
        facing: str | Sequence[float] | None = None,
        files: Sequence[str] = (),
        timeout: float | None = None,
    ) -> AsyncAnimationStream:
        """See ``Client.retarget``."""
        message = retarget_message(source, target, request, facing=facing_numbers(facing), file_formats=files)
        return AsyncAnimationStream(self._retargeting.Retarget(message, timeout=timeout or self._timeout))


class AsyncAnimationStream:
    """See ``AnimationStream``."""

    def __init__(self, call: Any) -> None:
        self._call = call
        self._reader = StreamReader()
        self._cancelled = False

    async def __aenter__(self) -> AsyncAnimationStream:
        return self

    async def __aexit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.cancel()

    async def __aiter__(self) -> AsyncIterator[Event]:
        try:
            with typed_errors():
                async for message in self._call:
                    event = self._reader.feed(message)
                    if event is not None:
                        yield event
        except asyncio.CancelledError:
            # grpc.aio raises this also for a call that was cancelled while its reader's task was not
            if self._cancelled:
                raise Cancelled("the request was cancelled") from None
            raise
        finally:
            self.cancel()

    def cancel(self) -> None:
        """See ``AnimationStream.cancel``."""
        self._cancelled = True
        self._call.cancel()

    async def code(self) -> grpc.StatusCode:
        """Status code of the call, once it has ended."""
        code: grpc.StatusCode = await self._call.code()
        return code

    async def collect(self, on_progress: OnProgress | None = None) -> Result:
        """See ``AnimationStream.collect``."""
        async for event in self:
            if on_progress is not None and isinstance(event, pb.Progress):
                on_progress(event)
        return self._reader.result()


def facing_numbers(facing: str | Sequence[float] | None) -> list[float]:
    """x, y, z of a facing; nothing where it is left to the server."""
    return [] if facing is None else direction(facing, "facing").tolist()


def answered(message: Message | None) -> Message:
    """The answer of a unary call. gRPC gives None for one without, which bytes that were harmed on the way can make.

    Raises:
        StreamError: there is none.
    """
    if message is None:
        raise breach("the call ended well, but without its answer")
    return message


def read_source(source: str | Path | bytes, name: str | None) -> tuple[bytes, str]:
    """Bytes and name of a file to upload."""
    if isinstance(source, bytes):
        return source, name or ""
    path = Path(source)
    try:
        return path.read_bytes(), path.stem if name is None else name
    except OSError as error:
        raise AssetError(f"{path.name} cannot be read: {error.strerror}; accepted: a GLB file") from error


def upload_messages(data: bytes, name: str) -> list[asset_pb.UploadAssetRequest]:
    """The messages that upload a file."""
    declaration = asset_pb.AssetDeclaration(
        size_bytes=len(data),
        format=asset_pb.ASSET_FORMAT_GLB,
        sha256=hashlib.sha256(data).hexdigest(),
        name=name,
    )
    chunks = (data[start : start + UPLOAD_CHUNK] for start in range(0, len(data), UPLOAD_CHUNK))
    return [
        asset_pb.UploadAssetRequest(declaration=declaration),
        *(asset_pb.UploadAssetRequest(chunk=chunk) for chunk in chunks),
    ]


def has_message(first: asset_pb.UploadAssetRequest) -> asset_pb.HasAssetRequest:
    """The question whether what is declared is there already."""
    return asset_pb.HasAssetRequest(rig_id=first.declaration.sha256)


def order_message(
    rig_id: str,
    request: Request | str,
    variants: int,
    facing: str | Sequence[float] | None,
    files: Sequence[str],
    model: str = "",
) -> pb.AnimateRequest:
    """The message of ``Client.animate``."""
    return animate_request_message(
        rig_id,
        Request(request) if isinstance(request, str) else request,
        variants=variants,
        facing=facing_numbers(facing),
        file_formats=files,
        model=model,
    )
