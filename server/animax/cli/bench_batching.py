"""``animax bench --batching``: servers that share denoising steps against servers that do not, under the same load."""

from __future__ import annotations

import argparse
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from animax.cli.bench import Call, rig_bytes, server, timed_call
from animax.cli.progress import ProgressDisplay
from animax.cli.status import DONE

if TYPE_CHECKING:
    from animax.client import Client
    from animax.request import Request

CONCURRENCY = (1, 2, 4, 8, 16)
SERVERS = {
    "one at a time": ("--max-batch", "0", "--slots", "1"),
    "all at once, nothing shared": ("--max-batch", "0", "--slots", "16"),
    "as it ships": (),
    "shared, 4 slots": ("--slots", "4"),
    "shared, 16 slots": ("--slots", "16"),
}
"""Options of ``animax serve``."""


@dataclass(frozen=True)
class Row:
    """How one server did with so many requests at a time; seconds to the first frame.

    ``processor`` is seconds that the server computed for a clip, on all cores together: unlike the others, hardly
    touched by what else runs on the machine. None where the system does not tell.
    """

    server: str
    concurrency: int
    clips_per_minute: float
    processor: float | None
    p50: float
    p99: float


@dataclass(frozen=True)
class Party:
    """A server, a connection to it and the rig on it."""

    process: int
    client: Client
    rig_id: str


@dataclass(frozen=True)
class Arrival:
    """Seconds to the first frame of a request, and of a second one that came half-way through it."""

    server: str
    alone: float
    first: float
    second: float


def run(options: argparse.Namespace, request: Request) -> int:
    """All servers run at the same time and take turns, so that a busy moment of the machine meets all of them."""
    from animax.client import Client

    with ExitStack() as stack, ProgressDisplay() as display:
        parties: dict[str, Party] = {}
        for name, flags in SERVERS.items():
            display.show(f"starting: {name}")
            started = stack.enter_context(server(options, *flags, "--queue", "64"))
            client = stack.enter_context(Client(started.address))
            parties[name] = Party(started.process.pid, client, client.upload(rig_bytes(options.rig)).rig_id)
        seeds = count(request.seed)
        rows = []
        for concurrency in options.concurrency or CONCURRENCY:
            display.show(f"{concurrency} at a time")
            rows += load(parties, request, concurrency, options.repeat, seeds)
        display.show("a second request half-way")
        arrivals = arrive_later(parties, request, options.repeat, seeds)
    if options.json:
        print(json.dumps({"load": [asdict(r) for r in rows], "second": [asdict(a) for a in arrivals]}, indent=2))
    else:
        print("\n".join(lines(rows, arrivals)))
    return DONE


def load(parties: dict[str, Party], request: Request, concurrency: int, repeat: int, seeds: count[int]) -> list[Row]:
    """``concurrency`` requests at once to each server in turn, ``repeat`` times."""
    calls: dict[str, list[Call]] = {name: [] for name in parties}
    took = dict.fromkeys(parties, 0.0)
    before = {name: processor_seconds(party.process) for name, party in parties.items()}
    with ThreadPoolExecutor(concurrency) as threads:
        for _ in range(repeat):
            chosen = [replace(request, seed=next(seeds)) for _ in range(concurrency)]
            for name, party in parties.items():
                began = time.perf_counter()
                calls[name] += threads.map(lambda one, p=party: timed_call(p.client, p.rig_id, one), chosen)
                took[name] += time.perf_counter() - began
    rows = []
    for name, made in calls.items():
        p50, p99 = np.percentile([call.first_frame for call in made], [50, 99])
        start, end = before[name], processor_seconds(parties[name].process)
        processor = None if start is None or end is None else (end - start) / len(made)
        rows.append(Row(name, concurrency, 60 * len(made) / took[name], processor, float(p50), float(p99)))
    return rows


def arrive_later(parties: dict[str, Party], request: Request, repeat: int, seeds: count[int]) -> list[Arrival]:
    """A second request to each server, half of a lone request's time after the first."""
    seen: dict[str, list[tuple[float, float, float]]] = {name: [] for name in parties}
    with ThreadPoolExecutor(2) as threads:
        for _ in range(repeat):
            one, other = (replace(request, seed=next(seeds)) for _ in range(2))
            for name, party in parties.items():
                alone = timed_call(party.client, party.rig_id, one).first_frame
                first = threads.submit(timed_call, party.client, party.rig_id, one)
                time.sleep(alone / 2)
                second = timed_call(party.client, party.rig_id, other)
                seen[name].append((alone, first.result().first_frame, second.first_frame))
    return [Arrival(name, *map(float, np.median(times, axis=0))) for name, times in seen.items()]


def processor_seconds(process: int) -> float | None:
    """What a process has computed so far, on all cores together; None where the system does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text("utf-8").rpartition(")")[2].split()
    except OSError:
        return None
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def lines(rows: list[Row], arrivals: list[Arrival]) -> list[str]:
    """A report for people."""
    out = ["at a time   server                         clips/min   processor s   first frame p50     p99"]
    out += [
        f"{row.concurrency:>9}   {row.server:<28} {row.clips_per_minute:>11.1f} "
        f"{'unknown' if row.processor is None else f'{row.processor:.2f}':>13} {row.p50:>17.3f} {row.p99:>7.3f}"
        for row in rows
    ]
    out += ["", "a second request half-way          alone    first   second (seconds to the first frame)"]
    out += [f"  {one.server:<28} {one.alone:>9.3f} {one.first:>8.3f} {one.second:>8.3f}" for one in arrivals]
    return out
