"""The short version of ``python -m tests.reliability.faults``."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.reliability.fault_proxy import Fault, proxy_to
from tests.reliability.faults import HARMLESS, KINDS, try_all


async def test_whatever_happens_on_the_way_the_server_is_as_before(caplog: pytest.LogCaptureFixture) -> None:
    reports = [report async for report in try_all(seed=1, tries=2)]
    assert [text for report in reports for text in report.wrong] == []
    assert len(reports) == 4 * len(KINDS)
    harmed = [report for report in reports if report.kind not in HARMLESS]
    assert sum(report.struck for report in harmed) > len(harmed)
    # a fault that strikes is noticed by some of the clients at least
    assert {told for report in harmed for told in report.outcomes} - {"OK", "status 0"}
    own = [record for record in caplog.records if record.name.startswith("animax")]
    assert not [record for record in own if record.levelno >= logging.ERROR]


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(100):
        writer.write(data)
    writer.close()


@pytest.mark.parametrize(
    ("fault", "comes"),
    [
        (Fault(), b"0123456789"),
        (Fault("delay"), b"0123456789"),
        (Fault("bytes", True, 5), b"0123456789"),
        (Fault("flip", True, 3, 0), b"0122456789"),
        (Fault("flip", False, 9, 1), b"012345678;"),
        (Fault("cut", True, 4), b""),
        (Fault("cut", False, 4), b"0123"),
        (Fault("half close", False, 4), b"0123"),
        (Fault("half close", True, 4), b"0123"),
        (Fault("reset", False, 4), None),
        (Fault("vanish", False, 4), None),
    ],
    ids=str,
)
async def test_the_proxy_does_what_it_is_told(fault: Fault, comes: bytes | None) -> None:
    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with proxy_to(server.sockets[0].getsockname()[1]) as proxy:
        proxy.fault = fault
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"0123456789")
        if fault.kind not in ("cut", "half close"):
            writer.write_eof()
        if comes is None:
            with pytest.raises((ConnectionError, asyncio.TimeoutError)):
                await asyncio.wait_for(reader.read(), 0.3 if fault.kind == "vanish" else 10)
        else:
            assert await asyncio.wait_for(read_all(reader), 10) == comes
        writer.transport.abort()
    server.close()


async def read_all(reader: asyncio.StreamReader) -> bytes:
    found = b""
    while data := await reader.read(100):
        found += data
    return found
