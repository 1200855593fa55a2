"""The short versions of ``python -m tests.reliability.fuzz``, and what it found once."""

from __future__ import annotations

import asyncio
import importlib.util
import time

import pytest

from animax.client import AsyncClient
from animax.service.grpc_port import AT_A_TIME
from tests.assets.hostile import changed_bytes, changed_fields
from tests.conftest import lacking
from tests.reliability.fuzz import (
    SHARES,
    conversations,
    every_method,
    glb_files,
    mutated,
    raw,
    requests,
    served,
    with_atheris,
)
from tests.reliability.fuzz_messages import methods
from tests.reliability.fuzz_targets import READERS, TARGETS, seeds
from tests.service.conftest import serving, until


async def test_a_path_that_is_no_text_ends_no_stream_and_no_server() -> None:
    async with serving() as running, AsyncClient(running.target) as client:
        rig_id = (await client.upload(running.glb)).rig_id
        said = (await conversations(running, rig_id))[0]
        running.engine.gate.clear()
        stream = asyncio.create_task(client.animate(rig_id, "goes on").collect())
        await until(lambda: running.engine.running == 1)
        harmed = said.replace(b"AnimationService", b"AnimationSe\xfdvice")
        assert harmed != said
        for _ in range(3):
            reader, writer = await asyncio.open_connection("127.0.0.1", running.server.port)
            writer.write(harmed)
            heard = b""
            while b"Method not found!" not in heard:
                heard += await asyncio.wait_for(reader.readuntil(b"!"), 10)
            writer.transport.abort()
        running.engine.gate.set()
        assert len((await stream).clip) == 60
        assert (await client.capabilities()).ready
        assert await running.health() == 1


async def test_calls_that_arrive_at_once_are_all_answered_while_the_loop_was_busy() -> None:
    """More than gRPC hands over at a time: none may be lost between gRPC and the loop of calls."""
    async with serving() as running, AsyncClient(running.target) as client:
        calls = [asyncio.create_task(client.capabilities()) for _ in range(10 * AT_A_TIME)]
        await asyncio.sleep(0)
        time.sleep(0.2)
        answers = await asyncio.wait_for(asyncio.gather(*calls), 30)
    assert [answer.ready for answer in answers] == [True] * len(calls)


def test_any_messages_by_every_method_and_any_bytes_on_both_ports() -> None:
    with served() as (running, rig_id):
        web = running.server.web
        assert web is not None
        called = every_method(running, rig_id, 20 * len(list(methods())), 1)
        assert called.wrong == []
        assert called.outcomes["OK"] > 10
        assert called.outcomes["INVALID_ARGUMENT"] > 10
        said = asyncio.run(conversations(running, rig_id))
        for port, words in ((running.server.port, said), (web.port, requests(rig_id))):
            talked = asyncio.run(raw(running, port, words, 150, 1, http2=words is said))
            assert talked.wrong == []
            assert talked.outcomes["answered"] > 10


@pytest.mark.parametrize("changed", [changed_fields, changed_bytes])
def test_any_files(changed) -> None:
    report = glb_files(changed, 60, 7)
    assert report.wrong == []
    assert report.outcomes["AssetError"] > 5


def test_atheris_finds_nothing_in_a_moment() -> None:
    if importlib.util.find_spec("atheris") is None:
        lacking("atheris is not installed (it has wheels for Linux on x86_64 alone)")
    report = with_atheris("orders", 2000, 1)
    assert report.wrong == []


def test_what_fuzzers_begin_from_is_read() -> None:
    for target, run in TARGETS.items():
        told = [run(content) for content in seeds(target)]
        assert "DecodeError" not in told
        assert "read" in told or target == "stream", (target, told)
    assert len(seeds("orders")) == len(READERS)
    assert sum(SHARES.values()) == pytest.approx(1)
    assert len({method.path for method in methods()}) >= 14
    import random

    dice = random.Random(1)
    assert len({mutated(dice, b"0123456789" * 9, http2) for http2 in (True, False) for _ in range(50)}) > 60
