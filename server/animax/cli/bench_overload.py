"""``animax bench overload``: what becomes of requests when more come than a server can take."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from animax.cli.bench_load import numbers
from animax.cli.bench_target import Target, add_target, describe, driver_of, target_of
from animax.cli.options import new_command
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE, FAILED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from animax.cli.load_driver import Outcome, Spread

EXAMPLES = """\
  animax bench overload
  animax bench overload hero.glb --factors 2 50 --for 60
  animax bench overload --server farm:50051 --url http://farm:9464
"""
FACTORS = (2.0, 5.0, 20.0)
P99_FACTOR = 1.3
"""By how much the p99 of accepted requests may exceed its value at capacity."""
REFUSAL_SECONDS = 0.05
PROBE_SECONDS = 0.1
REFUSED = "RESOURCE_EXHAUSTED"


@dataclass(frozen=True)
class Row:
    """How a server did under a load; seconds.

    Attributes:
        load: requests that began, as a multiple of what the server can take; None for as many streams at a time as it
            has places, which is its capacity.
        attempts: requests.
        accepted: that came whole.
        refused: at once, since the queue was full.
        failed: the others, by code and reason.
        first_frame: of the accepted.
        refusal: from the call to its refusal.
        health: from asking to SERVING, meanwhile.
        unhealthy: answers of health that were others, or none.
    """

    load: float | None
    attempts: int
    accepted: int
    refused: int
    failed: dict[str, int]
    first_frame: Spread
    refusal: Spread
    health: Spread
    unhealthy: int


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "bench overload", "measure a server that gets more than it can take", EXAMPLES)
    parser.add_argument(
        "--factors",
        metavar="X",
        type=float,
        nargs="+",
        default=FACTORS,
        help="requests that begin, as multiples of what it can take (default: 2 5 20)",
    )
    parser.add_argument(
        "--for", dest="duration", metavar="S", type=float, default=30.0, help="each, in seconds (default: %(default)g)"
    )
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Measure, report. Fails when a promise is broken or the server has counted something else than this command."""
    with ProgressDisplay() as display, target_of(options) as target:
        rows, text, broken = asyncio.run(measure(options, target, display))
    if options.json:
        print(json.dumps({"overload": [asdict(row) for row in rows], "broken": broken}, indent=2))
    else:
        print("\n".join([text, "", *lines(rows), "", *(broken or ["every promise was kept"])]))
    return FAILED if broken else DONE


async def measure(
    options: argparse.Namespace, target: Target, display: ProgressDisplay
) -> tuple[list[Row], str, list[str]]:
    """The rows, what was measured, and which promises were broken."""
    from animax.cli.server_counts import differences, settled_counts

    rows: list[Row] = []
    outcomes: list[Outcome] = []
    async with driver_of(options, target) as driver, Probe(target) as probe:
        capabilities = await driver.clients[0].capabilities()
        places = capabilities.limits.slots + capabilities.limits.max_queued
        before = await settled_counts(target.url) if target.url else None
        display.show(f"at capacity, {places} streams")
        began, made = time.monotonic(), await driver.closed_for(places, options.duration)
        rate = len(made) / (time.monotonic() - began)
        # the first ones found the queue shorter than it was from then on
        full = sorted(made, key=lambda one: one.began)[places:] or made
        rows.append(row_of(None, full, probe.take()))
        outcomes += made
        for factor in options.factors:
            display.show(f"at {factor:g} × capacity")
            made = await driver.open_for(factor * rate, options.duration)
            rows.append(row_of(factor, made, probe.take()))
            outcomes += made
        broken = promises(rows)
        if before is not None:
            broken += differences(outcomes, (await settled_counts(target.url)).since(before))
        text = f"{describe(options, capabilities)}; capacity {60 * rate:.1f} clips/min"
    return rows, text, broken


def row_of(load: float | None, outcomes: Sequence[Outcome], health: Sequence[float | None]) -> Row:
    """What became of the requests under one load, and of those who asked for health meanwhile."""
    from animax.cli.load_driver import failures, spread

    accepted = [one for one in outcomes if one.ok]
    refused = [one for one in outcomes if one.code == REFUSED]
    return Row(
        load,
        len(outcomes),
        len(accepted),
        len(refused),
        failures([one for one in outcomes if one.code != REFUSED]),
        spread(one.first_frame for one in accepted if one.first_frame is not None),
        spread(one.seconds for one in refused),
        spread(seconds for seconds in health if seconds is not None),
        sum(seconds is None for seconds in health),
    )


def promises(rows: Sequence[Row]) -> list[str]:
    """Which of them were broken, one sentence each. The first row is that at capacity."""
    broken = []
    base = rows[0].first_frame.p99
    for row in rows:
        where = "at capacity" if row.load is None else f"at {row.load:g} × capacity"
        p99, refusal = row.first_frame.p99, row.refusal.p99
        if base is None or p99 is None or p99 > P99_FACTOR * base:
            broken.append(f"{where}: p99 of accepted requests {told(p99)}; promised: {P99_FACTOR:g} × {told(base)}")
        if refusal is not None and refusal > REFUSAL_SECONDS:
            broken.append(f"{where}: p99 of refusals {told(refusal)}; promised: {told(REFUSAL_SECONDS)}")
        if row.unhealthy or row.health.p50 is None:
            broken.append(f"{where}: health did not answer SERVING {row.unhealthy} times; promised: always")
        broken += [f"{where}: {number} × {how}; promised: none" for how, number in row.failed.items()]
    return broken


def told(seconds: float | None) -> str:
    """Seconds in a sentence."""
    return "unknown" if seconds is None else f"{seconds:.3f} s"


class Probe:
    """Asks for health all the time, over a connection of its own, as a balancer does."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._seen: list[float | None] = []

    async def __aenter__(self) -> Probe:
        self._task = asyncio.create_task(self._ask())
        return self

    async def __aexit__(self, *_: Any) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    def take(self) -> list[float | None]:
        """Seconds of each answer since the last time; None for one that was not SERVING."""
        seen, self._seen = self._seen, []
        return seen

    async def _ask(self) -> None:
        import grpc
        from grpc_health.v1 import health_pb2, health_pb2_grpc

        from animax.wire.channel import channel_options

        address, credentials = self._target.address, self._target.connection.get("credentials")
        given = [*channel_options(address), ("grpc.use_local_subchannel_pool", 1)]
        opened = (
            grpc.aio.secure_channel(address, credentials, given)
            if credentials
            else grpc.aio.insecure_channel(address, given)
        )
        async with opened as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                began = time.monotonic()
                try:
                    answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
                    serving = answer.status == health_pb2.HealthCheckResponse.SERVING
                except grpc.aio.AioRpcError:
                    serving = False
                self._seen.append(time.monotonic() - began if serving else None)
                await asyncio.sleep(PROBE_SECONDS)


def lines(rows: Sequence[Row]) -> list[str]:
    """A table for people; failures below it."""
    out = [
        "load       attempts  accepted  refused   first frame s, p50    p95      p99    "
        "refusal ms, p50    p95      p99   health ms, p50    p95      p99"
    ]
    for row in rows:
        load = "capacity" if row.load is None else f"{row.load:g} ×"
        out.append(
            f"{load:<9} {row.attempts:>9} {row.accepted:>9} {row.refused:>8} {numbers(row.first_frame):>37} "
            f"{numbers(row.refusal, 1000):>33} {numbers(row.health, 1000):>32}"
        )
    return out
