"""``animax bench drain``: a server is told to end while it is under load; whether a stream is lost."""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from animax.cli.bench_target import Target, add_target, describe, driver_of, target_of
from animax.cli.options import new_command, positive
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE, FAILED
from animax.errors import OptionError, UnavailableError

if TYPE_CHECKING:
    from animax.cli.load_driver import Outcome
    from animax.client import AsyncClient

EXAMPLES = """\
  animax bench drain
  animax bench drain hero.glb --streams 32
"""
GRACE_SECONDS = 600
IN_SECONDS = 60.0
LATE_SECONDS = 0.1
"""Between requests that come too late."""


@dataclass(frozen=True)
class Report:
    """What became of a drain.

    Attributes:
        streams: that were in progress or waiting when the server was told.
        lost: of them, by code and reason.
        late: requests that came after that, by code and reason.
        late_p99: seconds until they were answered.
        seconds: from being told to the end of the process.
        status: exit status of the process.
    """

    streams: int
    lost: dict[str, int]
    late: dict[str, int]
    late_p99: float | None
    seconds: float
    status: int

    @property
    def broken(self) -> bool:
        """Whether a promise was."""
        return bool(self.lost or self.status or any(not told.startswith("UNAVAILABLE") for told in self.late))


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(
        commands, "bench drain", "end a server under load and count the streams that are lost", EXAMPLES
    )
    parser.add_argument("--streams", metavar="N", type=positive, default=16, help="(default: %(default)d)")
    add_target(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Drain, report."""
    if options.server:
        raise OptionError("server", options.server, "none: the server is ended, so it is one of this command's own")
    room = ("--queue", str(options.streams), "--grace", str(GRACE_SECONDS))
    with ProgressDisplay() as display, target_of(options, *room) as target:
        report, text = asyncio.run(measure(options, target, display))
    print(json.dumps(asdict(report), indent=2) if options.json else "\n".join([text, "", *lines(report)]))
    return FAILED if report.broken else DONE


async def measure(options: argparse.Namespace, target: Target, display: ProgressDisplay) -> tuple[Report, str]:
    """What became of the streams, and what was measured."""
    from animax.cli.load_driver import failures, spread

    process = target.process
    assert process is not None
    late: list[Outcome] = []
    async with driver_of(options, target) as driver:
        capabilities = await driver.clients[0].capabilities()
        streams = [asyncio.create_task(driver.stream()) for _ in range(options.streams)]
        display.show(f"{options.streams} streams")
        await all_in(driver.clients[0], streams)
        began = time.monotonic()
        process.terminate()
        display.show("draining")
        ended = asyncio.create_task(asyncio.to_thread(process.wait))
        while not ended.done():
            await asyncio.wait({ended}, timeout=LATE_SECONDS)
            if not ended.done():
                late.append(await driver.stream())
        seconds = time.monotonic() - began
        outcomes = await asyncio.gather(*streams)
    p99 = spread(one.seconds for one in late).p99
    whole = {"OK": sum(one.ok for one in late)} if any(one.ok for one in late) else {}
    report = Report(len(outcomes), failures(outcomes), whole | failures(late), p99, seconds, await ended)
    return report, describe(options, capabilities)


async def all_in(client: AsyncClient, streams: Sequence[asyncio.Task[Outcome]]) -> None:
    """Return once every stream is generated, waits, or has ended.

    Raises:
        UnavailableError: some never came as far.
    """
    end = time.monotonic() + IN_SECONDS
    while time.monotonic() < end:
        load = (await client.capabilities()).load
        if load.generating + load.queued >= sum(not stream.done() for stream in streams):
            return
        await asyncio.sleep(0.02)
    raise UnavailableError("some streams did not begin", reason="NOT_READY")


def lines(report: Report) -> list[str]:
    """A report for people."""
    late = ", ".join(f"{number} × {told}" for told, number in report.late.items()) or "none"
    lost = ", ".join(f"{number} × {told}" for told, number in report.lost.items()) or "none"
    answered = "" if report.late_p99 is None else f", answered within {1000 * report.late_p99:.0f} ms (p99)"
    return [
        f"streams in progress when the server was told to end   {report.streams}",
        f"lost                                                  {lost}",
        f"requests that came after that                         {late}{answered}",
        f"from being told to the end of the process             {report.seconds:.1f} s, status {report.status}",
    ]
