"""Whatever comes to the web port gets a proper answer, costs little, and does the next caller no harm."""

from __future__ import annotations

import asyncio
import base64
import gc
import logging
import random
import struct
import time
from collections.abc import AsyncIterator

import psutil
import pytest

from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, serving, until
from tests.service.test_web import port, uploaded
from tests.service.web_client import ANIMATION, ASSETS, BINARY, TEXT, Answer, frame, head, post, wire

PATH = ANIMATION + "GetCapabilities"
HUGE = struct.pack(">BI", 0, 2**32 - 1)


@pytest.fixture
async def web() -> AsyncIterator[Running]:
    async with serving(web_port=0, web_idle_seconds=1.0, upload_idle_seconds=1.0) as running:
        yield running
        async with wire(port(running)) as connection:  # it still answers
            assert (await connection.call(PATH, b"")).code == 0
        await until(lambda: not running.server.web._bridge.calls, 2)  # type: ignore[union-attr]
        assert running.server._boundary.active == 0
        assert running.server._assets.memory.reserved == 0


STATUSES: dict[str, tuple[bytes, int, str]] = {
    "compressed": (post(PATH, frame(b"x", 1), "grpc-encoding: gzip"), 12, "compressed"),
    "trailers from a client": (post(PATH, frame(b"grpc-status: 0\r\n", 0x80)), 3, "flags 0x80"),
    "unknown flags": (post(PATH, frame(b"", 0x42)), 3, "flags 0x42"),
    "huge length": (post(PATH, HUGE), 8, "larger than max (4294967295 vs. 1114112)"),
    "huge length, endless": (head(PATH, "Content-Length: 99999999999") + HUGE + b"x" * 99, 8, "larger than max"),
    "over the limit by one": (post(PATH, frame(b"", length=1114113)), 8, "larger than max"),
    "truncated message": (post(PATH, frame(b"abc", length=9)), 3, "8 bytes into a frame"),
    "truncated header": (post(PATH, b"\0\0\0"), 3, "3 bytes into a frame"),
    "no message": (post(PATH, b""), 3, "no message"),
    "two messages": (post(PATH, frame(b"") + frame(b"")), 3, "several"),
    "no protobuf": (post(PATH, frame(b"\xff" * 9)), 3, "no message of animax.v1"),
    "no protobuf, health": (post("/grpc.health.v1.Health/Check", frame(b"\xff" * 9)), 3, "protobuf"),
    "no UTF-8": (post(ANIMATION + "Animate", frame(b"\x12\x02\xff\xfe")), 3, "UTF-8"),
    "no base64": (post(PATH, b"AAAA!A==", kind=TEXT), 3, "no base64"),
    "cut base64": (post(PATH, b"AAAAAAA", kind=TEXT), 3, "base64"),
    "padding only": (post(PATH, b"====", kind=TEXT), 3, "base64"),
    "base64 of a huge length": (post(PATH, base64.b64encode(HUGE), kind=TEXT), 8, "larger than max"),
    "unknown method": (post("/animax.v1.AnimationService/Nothing", frame(b"")), 12, "Method not found!"),
    "unknown service": (post("/animax.v2.AnimationService/Animate", frame(b"")), 12, "Method not found!"),
    "path up": (post("/../../etc/passwd", frame(b"")), 12, "Method not found!"),
    "root": (post("/", frame(b"")), 12, "Method not found!"),
    "both directions": (post(ANIMATION + "AnimateInteractive", frame(b"")), 12, "HTTP/2"),
    "timeout of words": (post(PATH, frame(b""), "grpc-timeout: soon"), 3, "grpc-timeout is 'soon'"),
    "timeout of nine digits": (post(PATH, frame(b""), "grpc-timeout: 999999999S"), 3, "1 to 8 digits"),
    "negative timeout": (post(PATH, frame(b""), "grpc-timeout: -1S"), 3, "1 to 8 digits"),
    "upload: no declaration": (post(ASSETS + "UploadAsset", frame(b"")), 3, "declaration"),
    "upload: nothing": (post(ASSETS + "UploadAsset", b""), 3, "declaration"),
    "upload: compressed": (post(ASSETS + "UploadAsset", frame(b"x", 1)), 12, "compressed"),
    "upload: huge": (post(ASSETS + "UploadAsset", HUGE), 8, "larger than max"),
    "upload: truncated": (post(ASSETS + "UploadAsset", b"\0"), 3, "into a frame"),
    "upload: no protobuf": (post(ASSETS + "UploadAsset", frame(b"\xff" * 9)), 3, "no message"),
    "odd metadata": (post(PATH, frame(b""), "x-bin: =?", "x-y: \xff\xfe"), 0, ""),
    "a timeout of ten thousand years": (post(PATH, frame(b""), "grpc-timeout: 99999999H"), 0, ""),
    "a whole address": (post("http://elsewhere" + PATH, frame(b"")), 0, ""),
    "bytes in the path": (post("/%00%ff/x", frame(b"")), 12, "Method not found!"),
    "parameters and case": (post(PATH, frame(b""), kind="Application/gRPC-Web; charset=x"), 0, ""),
}


@pytest.mark.parametrize("case", STATUSES)
async def test_what_grpc_cannot_take_gets_its_status(web: Running, case: str) -> None:
    request, code, says = STATUSES[case]
    async with wire(port(web)) as connection:
        connection.send(request)
        answer = await connection.answer()
    assert (answer.status, answer.code) == (200, code)
    assert says in answer.details
    assert_tells_nothing(answer)


REFUSALS: dict[str, tuple[bytes, int]] = {
    "GET": (head(PATH, method="GET"), 405),
    "PUT": (post(PATH, frame(b""), method="PUT"), 405),
    "plain OPTIONS": (head(PATH, method="OPTIONS"), 405),
    "no content type": (post(PATH, frame(b""), kind=None), 415),
    "gRPC itself": (post(PATH, frame(b""), kind="application/grpc"), 415),
    "JSON": (post(PATH, b"{}", kind="application/grpc-web+json"), 415),
    "gzip": (post(PATH, frame(b""), "Content-Encoding: gzip"), 415),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    "long path": (head("/" + "a" * 20_000), 400),
    "long header": (head(PATH, "x: " + "a" * 20_000), 400),
    "many headers": (head(PATH, *[f"x{n}: 1" for n in range(100)]), 400),
    "two lengths": (head(PATH, "Content-Length: 5", "Content-Length: 6") + frame(b""), 400),
    "length and chunks": (head(PATH, "Content-Length: 5", "Transfer-Encoding: chunked") + b"0\r\n\r\n", 400),
    "negative length": (head(PATH, "Content-Length: -5"), 400),
    "length of words": (head(PATH, "Content-Length: five"), 400),
    "header with a NUL": (head(PATH, "x: \0"), 400),
    "unknown expectation": (head(PATH, "Content-Length: 5", "Expect: much"), 417),
    "OPTIONS *": (head("*", method="OPTIONS"), 404),
    "CONNECT": (head("elsewhere:443", method="CONNECT"), 404),
    "websocket": (head(PATH, "Connection: Upgrade", "Upgrade: websocket", method="GET"), 405),
}


@pytest.mark.parametrize("case", REFUSALS)
async def test_what_http_cannot_take_gets_its_status(web: Running, case: str, caplog: pytest.LogCaptureFixture) -> None:
    request, status = REFUSALS[case]
    with caplog.at_level(logging.DEBUG):
        async with wire(port(web)) as connection:
            connection.send(request)
            answer = await connection.answer()
    assert answer.status == status
    assert_tells_nothing(answer)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def assert_tells_nothing(answer: Answer) -> None:
    told = str(answer.headers) + answer.body.decode("latin-1")
    for secret in ("Traceback", ".py", "/work", "/home", "site-packages"):
        assert secret not in told


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("path", [PATH, ASSETS + "UploadAsset"])
async def test_badly_chunked_bodies(web: Running, path: str, late: bool) -> None:
    for body in (b"zz\r\n", b"5\r\n" + frame(b"") + b"XX", b"fffffffffffffffff\r\n", b"-5\r\n", b"5;" + b"a" * 40_000):
        async with wire(port(web)) as connection:
            connection.send(head(path, "Transfer-Encoding: chunked") + (b"" if late else body))
            if late:
                await until(lambda: len(web.server.web._bridge.calls) == 1)  # type: ignore[union-attr]
                connection.send(body)
            answer = await connection.answer()
            # a chunk's extension that does not end is one more body that stalls
            assert answer.status == 400 or answer.code == (10 if b";" in body else 3)
            assert_tells_nothing(answer)


async def test_no_more_connections_than_there_may_be() -> None:
    async with serving(web_port=0, web_connections=3, web_idle_seconds=30) as running:
        kept = [await asyncio.open_connection("127.0.0.1", port(running)) for _ in range(3)]
        for reader, writer in kept:
            writer.write(post(PATH, frame(b"")))
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 200")
        for _ in range(5):
            async with wire(port(running)) as connection:
                status, headers = await connection.status()
                body = await connection.reader.read()
                assert (status, int(headers["content-length"]), headers["retry-after"]) == (503, len(body), "1")
        kept.pop()[1].transport.abort()
        web = running.server.web
        await until(lambda: len(web._runner.server.connections) == 2)  # type: ignore[union-attr]
        async with wire(port(running)) as connection:
            assert (await connection.call(PATH, b"")).code == 0
        for _, writer in kept:
            writer.transport.abort()


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("drip", [False, True])
async def test_headers_that_never_end_are_hung_up_on(web: Running, used: bool, drip: bool) -> None:
    async with wire(port(web)) as connection:
        if used:
            assert (await connection.call(PATH, b"")).code == 0
        began = time.monotonic()
        connection.send(b"POST / HTTP/1.1\r\nX: ")
        while not connection.reader.at_eof() and time.monotonic() - began < 4:
            if drip:
                connection.send(b"a")
            await asyncio.sleep(0.05)
        assert 0.5 < time.monotonic() - began < 2.5


async def test_silent_connections_are_hung_up_on(web: Running) -> None:
    async with wire(port(web)) as connection:
        assert await asyncio.wait_for(connection.reader.read(), 3) == b""


async def test_a_dripping_body_ends(web: Running) -> None:
    async with wire(port(web)) as connection:
        connection.send(head(PATH, "Content-Length: 1000") + b"\0\0\0\3")
        began, answering = time.monotonic(), asyncio.ensure_future(connection.answer())
        while not answering.done() and time.monotonic() - began < 4:
            connection.send(b"x")
            await asyncio.sleep(0.05)
        assert (await answering).reason == "UPLOAD_STALLED"
        assert time.monotonic() - began < 2.5


async def test_pipelined_requests_are_answered_in_order(web: Running) -> None:
    rig_id = await uploaded(web)
    slow = post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x")))
    async with wire(port(web)) as connection:
        connection.send(slow + post(PATH, frame(b"")) + post("/none/none", frame(b"")) + post(PATH, frame(b"")))
        answers = [await connection.answer() for _ in range(4)]
    assert [answer.code for answer in answers] == [0, 0, 12, 0]
    assert pb.AnimateResponse.FromString(answers[0].messages[-1]).HasField("summary")


async def test_endless_pipelining_fills_no_memory(web: Running) -> None:
    rig_id = await uploaded(web)
    web.engine.gate.clear()
    before = psutil.Process().memory_info().rss
    async with wire(port(web)) as connection:
        connection.send(post(ANIMATION + "Animate", frame(pb.AnimateRequest(rig_id=rig_id, prompt="x"))))
        await until(lambda: web.engine.running == 1)
        flood = post(PATH, frame(b"")) * 1000
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(drained(connection.writer, flood, 2000), 2)
        assert psutil.Process().memory_info().rss - before < 64 << 20
    web.engine.gate.set()


async def drained(writer: asyncio.StreamWriter, data: bytes, times: int) -> None:
    for _ in range(times):
        writer.write(data)
        await writer.drain()


@pytest.mark.parametrize("path", [PATH, ASSETS + "UploadAsset"])
async def test_who_leaves_within_a_body_is_no_news_to_the_log(
    web: Running, path: str, caplog: pytest.LogCaptureFixture
) -> None:
    for pause in (0.0, 0.1):
        async with wire(port(web)) as connection:
            connection.send(head(path, "Transfer-Encoding: chunked") + b"3\r\nabc\r\n")
            await asyncio.sleep(pause)
    await asyncio.sleep(0.1)
    gc.collect()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


async def test_two_hundred_slow_connections_leave_room_for_one_that_is_not(web: Running) -> None:
    idle = [await asyncio.open_connection("127.0.0.1", port(web)) for _ in range(200)]
    for _, writer in idle:
        writer.write(head(PATH, "Content-Length: 100") + b"\0")
    async with wire(port(web)) as connection:
        began = time.monotonic()
        assert (await connection.call(PATH, b"")).code == 0
        assert time.monotonic() - began < 1
    for _, writer in idle:
        writer.transport.abort()


async def test_random_bytes_and_random_cuts(web: Running) -> None:
    chance = random.Random(7)
    whole = post(PATH, frame(b""), "grpc-timeout: 1S")
    for _ in range(150):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        async with wire(port(web)) as connection:
            connection.send(bytes(data[: chance.randint(1, len(data))]))
            connection.writer.write_eof()
            told = await asyncio.wait_for(connection.reader.read(), 5)
            assert told == b"" or told.startswith(b"HTTP/1.")


async def test_http_1_0_is_answered_and_closed(web: Running) -> None:
    async with wire(port(web)) as connection:
        body = frame(b"")
        connection.send(f"POST {PATH} HTTP/1.0\r\nContent-Type: {BINARY}\r\nContent-Length: 5\r\n\r\n".encode() + body)
        told = await asyncio.wait_for(connection.reader.read(), 5)
    assert told.startswith(b"HTTP/1.0 200")
    assert b"grpc-status: 0\r\n" in told
