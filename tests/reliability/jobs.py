"""A farm whose every part is killed while it works: server, worker and coordinator.

    python -m tests.reliability.jobs --jobs 200 [--postgres] [--kills 6]

Orders the jobs by ``animax batch`` on a server and a worker that share a store, kills each of the three with SIGKILL in
turn, starts it again, and at the end counts what was lost and what was made twice. Prints the figures of
docs/reliability.md. The engine is a stand-in (tests/service/engine.py): what is tried here is everything around it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from animax.assets import load_rig, read_clips
from animax.client import Client
from animax.wire.jobs import state_name
from tests.service.chain_glb import chain_glb
from tests.service.jobs.postgres import postgres_folder, postgres_server
from tests.service.jobs.process import REPOSITORY, Process

LEASE = 2.0


@dataclass(frozen=True)
class Report:
    """What became of a batch.

    Attributes:
        jobs: ordered.
        kills: by what was killed.
        lost: clips without a whole file at the end.
        twice: rows that have more than one job, or a job with more than one result.
        redone: attempts beyond the first: work that died with its process.
        longest_takeover: seconds from a kill to the next result, the longest.
        seconds: from the first order to the last file.
    """

    jobs: int
    kills: dict[str, int]
    lost: int
    twice: int
    redone: int
    longest_takeover: float
    seconds: float

    def lines(self) -> list[str]:
        """For people."""
        kills = ", ".join(f"{count} {name}" for name, count in self.kills.items())
        return [
            f"jobs                      {self.jobs}",
            f"killed (SIGKILL)          {kills}",
            f"lost                      {self.lost}",
            f"made twice                {self.twice}",
            f"attempts begun again      {self.redone}",
            f"kill to next result       {self.longest_takeover:.1f} s at most (leases of {LEASE:g} s)",
            f"whole batch               {self.seconds:.0f} s",
        ]


class Farm:
    """Server, worker and coordinator; each can be killed and is there again at once."""

    def __init__(self, folder: Path, database: str, jobs: int, step_seconds: float) -> None:
        (folder / "rig.glb").write_bytes(chain_glb())
        rows = [
            {"rig": "rig.glb", "prompt": f"number {index}", "output": f"out/{index}.glb", "seconds": 0.5, "seed": index}
            for index in range(jobs)
        ]
        self.folder = folder
        self.manifest = folder / "clips.jsonl"
        self.manifest.write_text("\n".join(json.dumps(row) for row in rows))
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        places = ["--database", database, "--blobs", f"file://{folder / 'blobs'}", "--lease", str(LEASE)]
        self._options = [*places, "--step-seconds", str(step_seconds), "--slots", "2"]
        self.server = self._start_server()
        self.worker = self._start_worker()
        self.coordinator = self._start_coordinator()

    @property
    def target(self) -> str:
        return f"127.0.0.1:{self.port}"

    def kill(self, which: str) -> None:
        """Kill one of the three and start it again."""
        if which == "server":
            self.server.kill()
            self.server = self._start_server()
        elif which == "worker":
            self.worker.kill()
            self.worker = self._start_worker()
        else:
            self.coordinator.send_signal(signal.SIGKILL)
            self.coordinator.wait()
            self.coordinator = self._start_coordinator()

    def files(self) -> int:
        """Clips that are there."""
        return len(list((self.folder / "out").glob("[0-9]*.glb")))

    def close(self) -> None:
        """End all."""
        self.coordinator.kill()
        self.coordinator.wait()
        for process in (self.server, self.worker):
            process.kill()

    def _start_server(self) -> Process:
        return Process(*self._options, "--port", str(self.port))

    def _start_worker(self) -> Process:
        return Process(*self._options, "--work")

    def _start_coordinator(self) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "animax", "batch", str(self.manifest), "--server", self.target]
        with (self.folder / "coordinator.log").open("a") as log:
            return subprocess.Popen([*command, "--parallel", "8"], cwd=REPOSITORY, stdout=log, stderr=log, text=True)


def try_farm(folder: Path, database: str, jobs: int, kills: int, step_seconds: float, limit: float) -> Report:
    """Make a batch, with ``kills`` kills spread over it."""
    farm = Farm(folder, database, jobs, step_seconds)
    began = time.monotonic()
    killed: Counter[str] = Counter()
    takeover = 0.0
    try:
        for index in range(kills):
            wanted = (index + 1) * jobs // (kills + 1)
            wait_for_files(farm, wanted, began + limit)
            which = ("server", "coordinator", "worker")[index % 3]
            before, at = farm.files(), time.monotonic()
            farm.kill(which)
            killed[which] += 1
            wait_for_files(farm, min(before + 1, jobs), began + limit)
            takeover = max(takeover, time.monotonic() - at)
        assert farm.coordinator.wait(max(1.0, began + limit - time.monotonic())) == 0, log_of(farm)
        seconds = time.monotonic() - began
        return Report(jobs, dict(killed), *count(farm, jobs), takeover, seconds)
    finally:
        farm.close()


def wait_for_files(farm: Farm, wanted: int, deadline: float) -> None:
    while farm.files() < wanted:
        assert time.monotonic() < deadline, log_of(farm)
        if farm.coordinator.poll() is not None and farm.files() < wanted:
            raise AssertionError(log_of(farm))
        time.sleep(0.02)


def count(farm: Farm, jobs: int) -> tuple[int, int, int]:
    """Clips that were lost, made twice, and begun again."""
    with Client(farm.target) as client:
        kept = list(client.list_jobs(page_size=200))
        by_row = Counter(job.labels["line"] for job in kept)
        results = [sum(state_name(change) == "succeeded" for change in client.watch_job(job.job_id)) for job in kept]
        whole = {job.animation.prompt: client.job_result(job.job_id, files=["glb"]).files[0]["glb"] for job in kept}
    lost = 0
    for index in range(jobs):
        path = farm.folder / "out" / f"{index}.glb"
        data = path.read_bytes() if path.exists() else b""
        same = hashlib.sha256(data).digest() == hashlib.sha256(whole.get(f"number {index}", b"-")).digest()
        lost += not (same and len(read_clips(load_rig(data))) == 1)
    twice = sum(count > 1 for count in by_row.values()) + sum(count != 1 for count in results)
    return lost, twice, sum(job.attempts - 1 for job in kept)


def log_of(farm: Farm) -> str:
    return (farm.folder / "coordinator.log").read_text()[-2000:]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--kills", type=int, default=9, help="server, coordinator and worker in turn")
    parser.add_argument("--step-seconds", type=float, default=0.05, help="four of them make a clip")
    parser.add_argument("--limit", type=float, default=1800.0, help="seconds")
    parser.add_argument("--postgres", action="store_true", help="a PostgreSQL of its own instead of SQLite")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="animax-farm-")))
        database = f"sqlite:///{folder / 'jobs.db'}"
        if options.postgres:
            programs = postgres_folder()
            assert programs is not None, "PostgreSQL is not installed"
            database = stack.enter_context(postgres_server(programs))
        report = try_farm(folder, database, options.jobs, options.kills, options.step_seconds, options.limit)
    print(f"store                     {'PostgreSQL' if options.postgres else 'SQLite'}, {os.cpu_count()} cores")
    print("\n".join(report.lines()))
    return int(bool(report.lost or report.twice))


if __name__ == "__main__":
    sys.exit(main())
