"""gRPC-Web: the same answers as gRPC's, over sockets and frames written by hand."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import time
from collections.abc import AsyncIterator, Callable

import grpc
import pytest
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2

from animax.client import AsyncClient
from animax.errors import OptionError, ServiceError
from animax.service.config import ServerConfig, Tls
from animax.service.transport import tls_context
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import asset_service_pb2 as asset_pb
from animax.v1 import job_service_pb2 as job_pb
from tests.service.conftest import Running, serving, until
from tests.service.engine import FakeEngine
from tests.service.test_upload import declared
from tests.service.web_client import ANIMATION, ASSETS, Answer, Wire, frame, head, post, wire


@pytest.fixture
async def web() -> AsyncIterator[Running]:
    async with serving(web_port=0) as running:
        yield running


def port(running: Running) -> int:
    assert running.server.web is not None
    return running.server.web.port


async def uploaded(running: Running) -> str:
    async with AsyncClient(running.target) as client:
        return (await client.upload(running.glb)).rig_id


def events(answer: Answer) -> list[pb.AnimateResponse]:
    return [pb.AnimateResponse.FromString(message) for message in answer.messages]


def timeless(messages: list[pb.AnimateResponse]) -> list[Message]:
    """Without progress, and without what a clock says."""
    kept = [message for message in messages if not message.HasField("progress")]
    for message in kept:
        if message.HasField("summary"):
            message.summary.ClearField("total_seconds")
            message.summary.ClearField("queued_seconds")
            for clip in message.summary.clips:
                clip.ClearField("timings")
    return kept  # type: ignore[return-value]


@pytest.mark.parametrize("text", [False, True], ids=["binary", "text"])
async def test_a_stream_is_the_one_that_grpc_brings(web: Running, text: bool) -> None:
    request = pb.AnimateRequest(
        rig_id=await uploaded(web), prompt="waves ü", seed=7, variants=2, file_formats=[pb.FILE_FORMAT_GLB]
    )
    async with web.channel() as channel:
        expected = [message async for message in web.stub(channel).Animate(request)]
    async with wire(port(web)) as connection:
        answer = await connection.call(ANIMATION + "Animate", request, text=text)
        assert answer.status == 200
        assert answer.headers["content-type"] == f"application/grpc-web{'-text' if text else ''}+proto"
        assert answer.trailers.pop("x-request-id")
        assert answer.trailers == {"grpc-status": "0"}
        assert timeless(events(answer)) == timeless(expected)
        assert events(answer)[0].HasField("header")
        # the connection lives on
        again = await connection.call(ANIMATION + "GetCapabilities", pb.GetCapabilitiesRequest(), text=text)
        assert pb.GetCapabilitiesResponse.FromString(again.messages[0]).ready


async def test_errors_are_those_of_grpc_with_their_details(web: Running) -> None:
    requests: list[tuple[str, Message]] = [
        (ANIMATION + "Animate", pb.AnimateRequest(rig_id="0" * 64, prompt="x")),
        (ANIMATION + "Animate", pb.AnimateRequest(rig_id="0" * 64, prompt="ü%\n", seconds=1e9)),
        (ASSETS + "HasAsset", asset_pb.HasAssetRequest(rig_id="no id")),
        ("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest(service="none")),
    ]
    async with web.channel() as channel, wire(port(web)) as connection:
        for path, message in requests:
            method = channel.unary_stream(path, lambda m: m.SerializeToString(), bytes)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                async for _ in method(message):
                    pass
            answer = await connection.call(path, message)
            assert (answer.code, answer.details) == (caught.value.code().value[0], caught.value.details() or "")
            assert not answer.messages
            metadata = dict(caught.value.trailing_metadata() or ())
            if details := metadata.get("grpc-status-details-bin"):
                assert answer.rich.SerializeToString() == details


async def test_an_internal_error_tells_nothing(web: Running) -> None:
    web.engine.failure = RuntimeError("/secret/path")
    async with wire(port(web)) as connection:
        answer = await connection.call(ANIMATION + "Animate", pb.AnimateRequest(rig_id=await uploaded(web), prompt="x"))
    assert answer.reason in ("INTERNAL", "ENGINE_FAILED")
    assert "secret" not in str(answer.rich) + answer.details


async def test_health_and_jobs_can_be_asked_too(web: Running) -> None:
    async with wire(port(web)) as connection:
        answer = await connection.call("/grpc.health.v1.Health/Check", health_pb2.HealthCheckRequest())
        assert health_pb2.HealthCheckResponse.FromString(answer.messages[0]).status == 1
        # this server has no store
        answer = await connection.call("/animax.v1.JobService/ListJobs", job_pb.ListJobsRequest())
        assert answer.code == grpc.StatusCode.UNIMPLEMENTED.value[0]


async def test_messages_are_sent_as_they_are_made(web: Running) -> None:
    rig_id = await uploaded(web)
    web.engine.gate.clear()
    async with wire(port(web)) as connection:
        connection.send(post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x"))))
        status, headers = await connection.status()
        assert (status, headers["transfer-encoding"], headers["x-accel-buffering"]) == (200, "chunked", "no")
        seen, began = 0, time.monotonic()
        async for chunk in connection.chunks():
            seen += len(chunk) > 5
            if seen == 4:  # header, and progress while nothing happens
                break
        assert time.monotonic() - began < 3
        web.engine.gate.set()


async def test_a_closed_connection_stops_the_work_within_50_ms() -> None:
    delays = []
    async with serving(FakeEngine(steps=1000, step_seconds=0.005), web_port=0, slots=4) as running:
        rig_id = await uploaded(running)
        request = post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x")))
        slots, boundary = running.server.animation.slots, running.server._boundary
        for way in ("close", "reset", "half"):
            for _ in range(3):
                async with wire(port(running)) as connection:
                    connection.send(request)
                    await connection.status()
                    await until(lambda: running.engine.running == 1)
                    began = time.monotonic()
                    if way == "close":
                        connection.writer.close()
                    elif way == "reset":
                        connection.writer.transport.abort()
                    else:
                        connection.writer.write_eof()
                    while boundary.active:  # the handler is cancelled
                        await asyncio.sleep(0.001)
                    delays.append(time.monotonic() - began)
                    await until(lambda: slots.running == running.engine.running == 0, 0.5)
        assert running.engine.stopped == 9
    print(f"closed to cancelled: {1000 * max(delays):.1f} ms at most")
    assert sorted(delays)[len(delays) // 2] < 0.05
    assert max(delays) < 0.25  # a busy machine


async def test_leaving_the_queue_and_before_the_body_is_there() -> None:
    async with serving(FakeEngine(steps=1000, step_seconds=0.005), web_port=0, slots=1) as running:
        rig_id = await uploaded(running)
        request = post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x")))
        slots = running.server.animation.slots
        async with wire(port(running)) as first, wire(port(running)) as second:
            first.send(request)
            await until(lambda: slots.running == 1)
            second.send(request)
            await until(lambda: slots.waiting == 1)
            second.writer.close()
            await until(lambda: slots.waiting == 0, 0.5)
        async with wire(port(running)) as third:
            third.send(request[:-3])
            assert running.server.web is not None
            await until(lambda: bool(running.server.web._bridge.calls))  # type: ignore[union-attr]
            third.writer.close()
            await until(lambda: not running.server.web._bridge.calls, 0.5)  # type: ignore[union-attr]


@pytest.mark.parametrize(("header", "seconds"), [("300m", 0.3), ("300000u", 0.3), ("1S", 1.0), ("0m", 0.0)])
async def test_a_deadline_ends_the_call(header: str, seconds: float) -> None:
    async with serving(FakeEngine(steps=1000, step_seconds=0.005), web_port=0) as running:
        rig_id = await uploaded(running)
        async with wire(port(running)) as connection:
            began = time.monotonic()
            answer = await connection.call(
                ANIMATION + "Animate", pb.AnimateRequest(rig_id=rig_id, prompt="x"), f"grpc-timeout: {header}"
            )
            assert seconds <= time.monotonic() - began < seconds + 0.5
            assert (answer.code, answer.reason) == (4, "DEADLINE")
        await until(lambda: running.engine.running == running.server.animation.slots.running == 0, 0.5)


async def test_a_reader_that_does_not_read_is_shed() -> None:
    engine = FakeEngine(glb_bytes=30_000_000)
    async with serving(engine, web_port=0, write_timeout_seconds=0.5) as running:
        rig_id = await uploaded(running)
        request = pb.AnimateRequest(rig_id=rig_id, prompt="x", file_formats=[pb.FILE_FORMAT_GLB])
        _, writer = await asyncio.open_connection("127.0.0.1", port(running), limit=1024)
        writer.write(post(ANIMATION + "Animate", frame(request)))
        await until(lambda: running.server.animation.unread.nbytes > 0)
        await until(lambda: running.server.animation.unread.nbytes == 0 == running.server._boundary.active, 3)
        await until(lambda: not running.server.web._bridge.calls, 2)  # type: ignore[union-attr]
        writer.transport.abort()


async def test_an_upload_stream_comes_in_one_body(web: Running) -> None:
    body = b"".join(frame(message) for message in declared(web.glb))
    async with wire(port(web)) as connection:
        connection.send(head(ASSETS + "UploadAsset", "Transfer-Encoding: chunked", "Expect: 100-continue"))
        assert (await connection.status())[0] == 100
        for start in range(0, len(body), 777):
            part = body[start : start + 777]
            connection.send(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        connection.send(b"0\r\n\r\n")
        answer = await connection.answer()
    rig = asset_pb.UploadAssetResponse.FromString(answer.messages[0]).rig
    assert rig.rig_id == hashlib.sha256(web.glb).hexdigest()


async def test_a_stalled_body_is_ended() -> None:
    async with serving(web_port=0, upload_idle_seconds=0.3) as running, wire(port(running)) as connection:
        connection.send(post(ANIMATION + "GetCapabilities", frame(b""))[:-1])
        answer = await connection.answer()
        assert (answer.code, answer.reason) == (10, "UPLOAD_STALLED")
        async with wire(port(running)) as other:
            other.send(head(ASSETS + "UploadAsset", "Transfer-Encoding: chunked"))
            answer = await other.answer()
            assert (answer.code, answer.reason) == (10, "UPLOAD_STALLED")


async def test_both_directions_at_once_need_http_2(web: Running) -> None:
    async with wire(port(web)) as connection:
        answer = await connection.call(ANIMATION + "AnimateInteractive", b"")
    assert answer.code == 12
    assert "HTTP/2" in answer.details


async def test_without_the_option_there_is_no_second_port(running: Running) -> None:
    assert running.server.web is None


async def test_a_taken_port_is_an_error_and_frees_the_other(web: Running) -> None:
    with pytest.raises(ServiceError, match="cannot listen"):
        async with serving(web_port=port(web)):
            pass


@pytest.mark.parametrize("origin", ["studio.example", "https://a/b", "https://a:443", "HTTP://a", "null", ""])
def test_an_origin_that_no_browser_sends_is_refused(origin: str) -> None:
    with pytest.raises(OptionError, match="web_origins"):
        ServerConfig(web_port=0, web_origins=(origin,))


async def test_shutdown_lets_calls_finish_and_ends_the_rest() -> None:
    engine = FakeEngine(steps=40, step_seconds=0.02)
    async with serving(engine, web_port=0, grace_seconds=10) as running:
        rig_id = await uploaded(running)
        request = post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x")))
        async with wire(port(running)) as finishing, wire(port(running)) as watching, wire(port(running)) as idle:
            finishing.send(request)
            watching.send(post("/grpc.health.v1.Health/Watch", frame(b"")))
            await idle.call(ANIMATION + "GetCapabilities", b"")
            await until(lambda: running.engine.running == 1)
            stopping = asyncio.create_task(running.server.stop())
            await until(lambda: running.server.readiness.state.value == "shutting down")
            refused = await idle.call(ANIMATION + "Animate", pb.AnimateRequest(rig_id=rig_id, prompt="y"))
            assert (refused.code, refused.reason) == (14, "DRAINING")
            answer = await finishing.answer()
            assert answer.code == 0
            assert events(answer)[-1].HasField("summary")
            watched = await watching.answer()
            assert watched.code == 1  # CANCELLED, as over gRPC
            assert len(watched.messages) == 2  # SERVING, NOT_SERVING
            await asyncio.wait_for(stopping, 5)
            assert await idle.reader.read() == b""


async def test_a_second_signal_ends_calls_at_once() -> None:
    async with serving(FakeEngine(steps=1000, step_seconds=0.005), web_port=0, grace_seconds=60) as running:
        rig_id = await uploaded(running)
        async with wire(port(running)) as connection:
            connection.send(post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x"))))
            await until(lambda: running.engine.running == 1)
            began = time.monotonic()
            await running.server.stop(at_once=True)
            assert time.monotonic() - began < 3
            assert (await connection.answer()).code == 1


async def test_tls_is_that_of_the_grpc_port(authority: Callable[[str], list[bytes]]) -> None:
    roots, certificate, key = authority("localhost")
    trusting = ssl.create_default_context(cadata=roots.decode())
    async with serving(web_port=0, tls=Tls(certificate, key)) as running:
        async with wire(port(running), trusting) as connection:
            answer = await connection.call(ANIMATION + "GetCapabilities", b"", "Origin: https://127.0.0.1")
            assert answer.code == 0
            assert connection.writer.get_extra_info("ssl_object").version() in ("TLSv1.2", "TLSv1.3")
        with pytest.raises(ssl.SSLError):
            async with wire(port(running), ssl.create_default_context()):
                pass
        async with wire(port(running)) as connection:  # cleartext gets no answer
            connection.send(post(ANIMATION + "GetCapabilities", frame(b"")))
            assert not await connection.reader.read()
    with pytest.raises(OptionError, match="tls"):
        tls_context(Tls(b"no", b"certificate"))


async def test_mutual_tls_wants_a_certificate_here_too(
    authority: Callable[[str], list[bytes]],
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    roots, certificate, key = authority("localhost")
    _, own, own_key = authority("artist")
    identity = tmp_path_factory.mktemp("identity") / "artist.pem"
    identity.write_bytes(own + own_key)
    known = ssl.create_default_context(cadata=roots.decode())
    known.load_cert_chain(identity)
    async with serving(web_port=0, tls=Tls(certificate, key, client_authority=roots)) as running:
        async with wire(port(running), known) as connection:
            assert (await connection.call(ANIMATION + "GetCapabilities", b"")).code == 0
        with pytest.raises((OSError, asyncio.IncompleteReadError)):
            async with wire(port(running), ssl.create_default_context(cadata=roots.decode())) as connection:
                await connection.call(ANIMATION + "GetCapabilities", b"")


async def test_many_calls_leave_nothing_behind(web: Running) -> None:
    import psutil

    rig_id = await uploaded(web)
    request = pb.AnimateRequest(rig_id=rig_id, prompt="x")
    process = psutil.Process()

    async def one(index: int) -> None:
        async with wire(port(web)) as connection:
            connection.send(post(ANIMATION + "Animate", frame(request)))
            if index % 3:
                await connection.status()
            if index % 3 == 2:
                async for _ in connection.chunks():
                    pass

    async def rounds(count: int) -> tuple[int, int]:
        for _ in range(count):
            await asyncio.gather(*(one(index) for index in range(10)))
        await until(lambda: web.server.animation.slots.running == 0 == web.server._boundary.active)
        await asyncio.sleep(0.2)
        return len(asyncio.all_tasks()), process.num_fds()

    before = await rounds(2)
    after = await rounds(8)
    assert after[0] <= before[0] + 1
    assert after[1] <= before[1] + 2


async def sent(connection: Wire, message: asset_pb.UploadAssetChunkRequest) -> asset_pb.UploadAssetChunkResponse:
    answer = await connection.call(ASSETS + "UploadAssetChunk", message)
    assert answer.code == 0, answer.details
    return asset_pb.UploadAssetChunkResponse.FromString(answer.messages[0])


async def test_a_rig_uploaded_in_chunks_can_be_animated(web: Running) -> None:
    declaration = declared(web.glb)[0].declaration
    async with wire(port(web)) as connection:
        offset, rig = 0, None
        while rig is None or not rig.rig_id:
            message = asset_pb.UploadAssetChunkRequest(
                upload_id="an:id", declaration=declaration, offset=offset, chunk=web.glb[offset : offset + 1000]
            )
            response = await sent(connection, message)
            offset, rig = response.received_bytes, response.rig
        assert offset == len(web.glb)
        answer = await connection.call(ANIMATION + "Animate", pb.AnimateRequest(rig_id=rig.rig_id, prompt="x"))
        assert answer.code == 0
    async with AsyncClient(web.target) as client:
        assert await client.upload(web.glb) == rig
