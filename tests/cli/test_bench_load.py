"""The load commands against a real server with a stand-in engine: what they count, and what they make of it."""

from __future__ import annotations

import asyncio
import json
from argparse import Namespace
from pathlib import Path

import pytest

from animax.cli import bench_load, bench_overload
from animax.cli.bench_load import Row
from animax.cli.bench_target import Target
from animax.cli.command_line import build_parser, join_words, main
from animax.cli.load_driver import Outcome, Spread, failures, spread
from animax.cli.progress import ProgressDisplay
from animax.cli.server_counts import differences, read_counts, settled_counts
from animax.client import AsyncClient
from animax.errors import OptionError
from tests.reliability.server import process
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving
from tests.service.engine import FakeEngine


@pytest.fixture
def rig(tmp_path: Path) -> str:
    path = tmp_path / "rig.glb"
    path.write_bytes(chain_glb())
    return str(path)


def options_of(command: str, rig: str, *more: str) -> Namespace:
    return build_parser().parse_args([command, rig, "--seconds", "1", *more])


def target_of(running: Running) -> Target:
    assert running.server.monitor is not None
    return Target(running.target, f"http://127.0.0.1:{running.server.monitor.port}/")


async def test_every_stream_is_counted_and_failures_stand_apart(rig: str) -> None:
    engine = FakeEngine(steps=2, step_seconds=0.01)
    async with serving(engine, slots=1, max_queued=3, metrics_port=0) as running:
        options = options_of("bench load", rig, "--streams", "1", "12", "--clips", "12")
        rows, text, found = await bench_load.measure(options, target_of(running), ProgressDisplay())
    assert found == []
    alone, crowd = rows
    assert (alone.streams, alone.clips, alone.whole, alone.failed) == (1, 12, 12, {})
    # one runs and three wait; of the others, those who come while it is so are refused
    assert crowd.clips == 12
    assert set(crowd.failed) == {"RESOURCE_EXHAUSTED QUEUE_FULL"}
    assert crowd.whole + sum(crowd.failed.values()) == 12
    assert crowd.whole >= 4
    for row in rows:
        assert 0.02 <= row.first_frame.p50 <= row.first_frame.p95 <= row.first_frame.p99  # type: ignore[operator]
        assert 0 <= row.gap.p50 <= row.gap.p99  # type: ignore[operator]
    assert len(engine.calls) == 1 + alone.whole + crowd.whole
    assert len({request.seed for request in engine.calls[1:]}) == len(engine.calls) - 1
    assert "1 slots, 3 may wait" in text
    table = "\n".join(bench_load.lines(rows))
    assert f"at 12: {crowd.failed['RESOURCE_EXHAUSTED QUEUE_FULL']} × RESOURCE_EXHAUSTED QUEUE_FULL" in table


async def test_counts_that_differ_are_told() -> None:
    async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
        url = target_of(running).url
        rig_id = (await client.upload(running.glb)).rig_id
        before = await settled_counts(url)
        await client.animate(rig_id, "somebody else's").collect()
        counted = (await settled_counts(url)).since(before)
        assert differences([Outcome("OK", "", 1.0, 0.5, (), 0.0)], counted) == []
        assert differences([], counted) == [
            "OK: the driver saw 0, the server 1",
            "calls: the driver made 0, the server saw 1",
            "streams with frames: the driver saw 0, the server 1",
        ]
        told = differences([Outcome("RESOURCE_EXHAUSTED", "QUEUE_FULL", 0.0, None, (), 0.0)] * 2, counted)
        assert "QUEUE_FULL: the driver saw 2, the server 0" in told
        now = await asyncio.to_thread(read_counts, url)
        assert now.resident > 10_000_000
        assert now.descriptors > 5
        assert now.tasks >= 1


async def test_a_call_that_the_client_left_may_have_ended_well_for_the_server() -> None:
    left = [Outcome("CANCELLED", "Cancelled", 0.1, 0.1, (), 0.0)]
    async with serving(metrics_port=0) as running, AsyncClient(running.target) as client:
        url = target_of(running).url
        rig_id = (await client.upload(running.glb)).rig_id
        before = await settled_counts(url)
        await client.animate(rig_id, "whole").collect()
        counted = (await settled_counts(url)).since(before)
    assert differences(left, counted) == []
    assert "calls: the driver made 2, the server saw 1" in differences([*left, *left], counted)


async def test_beyond_its_places_a_server_refuses_and_serves_the_rest(rig: str) -> None:
    engine = FakeEngine(steps=2, step_seconds=0.02)
    async with serving(engine, slots=1, max_queued=2, metrics_port=0) as running:
        options = options_of("bench overload", rig, "--for", "1.5", "--factors", "3")
        rows, text, broken = await bench_overload.measure(options, target_of(running), ProgressDisplay())
    capacity, beyond = rows
    assert (capacity.load, capacity.refused, capacity.accepted) == (None, 0, capacity.attempts)
    assert beyond.load == 3
    assert beyond.accepted + beyond.refused == beyond.attempts
    assert beyond.refused > beyond.attempts / 3
    for row in rows:
        assert row.failed == {}
        assert row.unhealthy == 0
        assert row.health.p50 is not None
    # times are this machine's; that counts agree is not
    assert not [text for text in broken if "driver" in text]
    assert "capacity" in text
    assert engine.most_running == 1


def overloaded(load: float | None, p99: float, refusal: float = 0.01, **more: object) -> bench_overload.Row:
    values = {"attempts": 9, "accepted": 5, "refused": 4, "failed": {}, "unhealthy": 0, **more}
    seconds = Spread(0.5, 0.6, p99)
    refusals = Spread(0.001, 0.002, refusal)
    return bench_overload.Row(load, first_frame=seconds, refusal=refusals, health=Spread(0.001, 0.1, 0.1), **values)  # type: ignore[arg-type]


def test_promises() -> None:
    kept = [overloaded(None, 1.0), overloaded(20.0, 1.3, 0.05)]
    assert bench_overload.promises(kept) == []
    for broken, words in (
        (overloaded(5.0, 1.31), "at 5 × capacity: p99 of accepted requests 1.310 s; promised: 1.3 × 1.000 s"),
        (overloaded(5.0, 1.0, 0.051), "p99 of refusals 0.051 s"),
        (overloaded(5.0, 1.0, unhealthy=1), "health did not answer SERVING 1 times"),
        (overloaded(5.0, 1.0, failed={"INTERNAL": 2}), "2 × INTERNAL; promised: none"),
    ):
        told = bench_overload.promises([*kept, broken])
        assert len(told) == 1
        assert words in told[0]
    table = "\n".join(bench_overload.lines(kept))
    for part in ("capacity", "20 ×", "1.300", "50.000", "100.000"):
        assert part in table


def test_a_server_that_runs_already(rig: str, capsys: pytest.CaptureFixture[str]) -> None:
    with process("--step-seconds", "0.01") as target:
        command = ["bench", "load", rig, "--server", target.address, "--url", target.url, "--streams", "2"]
        assert main([*command, "--clips", "4", "--seconds", "1", "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert main([*command, "--provider", "cpu"]) == 2
        assert main([*command, "--model", "nosuch"]) == 2
        assert "'nosuch'; accepted: " in capsys.readouterr().err
    assert report["differences"] == []
    assert [row["whole"] for row in report["load"]] == [4]


def test_two_words_are_one_command_only_where_they_are_meant(rig: str) -> None:
    assert join_words(["bench", "load", "x"]) == ["bench load", "x"]
    assert join_words(["bench", "hero.glb"]) == ["bench", "hero.glb"]
    assert join_words(["animate", "load"]) == ["animate", "load"]
    assert join_words(["bench"]) == ["bench"]
    options = options_of("bench load", rig, "--url", "http://localhost:1")
    with pytest.raises(OptionError, match="url"):
        options.run(options)


def test_percentiles_and_failures() -> None:
    assert spread([]) == Spread(None, None, None)
    assert spread(range(101)) == Spread(50, 95, 99)
    one = Row(1, 2, 0, {}, spread([]), spread([]), 0.0)
    assert "–" in bench_load.lines([one])[1]
    cut = [Outcome("OK", "STREAM_CUT", 1.0, None, (), 0.0), Outcome("OK", "", 1.0, 0.5, (), 0.0)]
    assert failures(cut) == {"OK STREAM_CUT": 1}
