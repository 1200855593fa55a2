"""A server in a process of its own, on a shared store, with an engine that stands in for the network.

    python -m tests.service.jobs.process --database URL --blobs URL --step-seconds 0.02

Prints its port. Each generation appends a line to ``--log``: who made what, so that a test can count.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from animax.assets import write_bvh, write_glb
from animax.service import Server, ServerConfig
from animax.service.generation import Writers
from animax.service.jobs.settings import JobSettings
from animax.service.jobs.work import work
from animax.service.models import ServedModels
from animax.service.server import rig_parser, run
from tests.service.engine import FakeEngine, FakeModel

REPOSITORY = Path(__file__).resolve().parents[3]


class LoggedEngine(FakeEngine):
    """Writes down every clip that it has made to the end."""

    log: Path | None = None

    def animate(self, rig: Any, request: Any, model: Any, /, **callbacks: Any) -> Any:
        made = super().animate(rig, request, model, **callbacks)
        if self.log is not None:
            with self.log.open("a") as log:
                log.write(f"{os.getpid()} {request.prompt} {request.seed}\n")
        return made


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--database", required=True)
    parser.add_argument("--blobs", required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--step-seconds", type=float, default=0.02)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--lease", type=float, default=2.0)
    parser.add_argument("--attempts", type=int, default=10)
    parser.add_argument("--grace", type=float, default=20)
    parser.add_argument("--drain", type=float, default=0)
    parser.add_argument("--metrics-port", type=int)
    parser.add_argument("--web-port", type=int)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--work", action="store_true", help="no port: only work")
    options = parser.parse_args()
    engine = LoggedEngine(steps=options.steps, step_seconds=options.step_seconds)
    engine.log = options.log
    settings = JobSettings(
        options.database,
        options.blobs,
        lease_seconds=options.lease,
        max_attempts=options.attempts,
        poll_seconds=0.1,
        lanes=options.slots,
    )
    config = ServerConfig(
        port=options.port,
        slots=options.slots,
        grace_seconds=options.grace,
        drain_seconds=options.drain,
        metrics_port=options.metrics_port,
        web_port=options.web_port,
        jobs=settings,
    )
    writers = Writers(write_glb, write_bvh)

    async def serve() -> None:
        server = Server(config, ServedModels([FakeModel()]), engine.animate, writers=writers)
        await run(server, lambda started: print(started.port, flush=True))

    async def only_work() -> None:
        started = lambda: print(0, flush=True)  # noqa: E731
        await work(config, ServedModels([FakeModel()]), engine.animate, rig_parser(config), writers, started)

    asyncio.run(only_work() if options.work else serve())


class Process:
    """A server process that can be killed."""

    def __init__(self, *options: str) -> None:
        command = [sys.executable, "-m", "tests.service.jobs.process", *options]
        self._process = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = self._process.stdout.readline().strip()
        assert self.port, "the process did not start"

    @property
    def target(self) -> str:
        """Where it listens."""
        return f"127.0.0.1:{self.port}"

    def kill(self) -> None:
        """SIGKILL: nothing in it gets to run again."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait()

    def terminate(self) -> int:
        """SIGTERM; its exit status."""
        self._process.terminate()
        return self._process.wait(60)


@contextmanager
def process(*options: str) -> Iterator[Process]:
    """A process, gone with its context."""
    started = Process(*options)
    try:
        yield started
    finally:
        started._process.kill()
        started._process.wait()


if __name__ == "__main__":
    main()
