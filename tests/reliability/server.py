"""A server of its own process whose engine is a stand-in that sleeps: what is tried on it is everything around engines.

    python -m tests.reliability.server --slots 2 --step-seconds 0.05
    animax bench load --server 127.0.0.1:50051 --url http://127.0.0.1:9464

Prints where it listens as ``animax serve`` does.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from animax.assets import write_bvh, write_glb
from animax.cli.bench_target import Target
from animax.cli.serve import announce
from animax.service import Server, ServerConfig
from animax.service.generation import Writers
from animax.service.models import ServedModels
from animax.service.server import run
from tests.service.engine import FakeEngine, FakeModel

REPOSITORY = Path(__file__).resolve().parents[2]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--metrics-port", type=int, default=0)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--queue", type=int, default=16)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--step-seconds", type=float, default=0.05)
    parser.add_argument("--write-timeout", type=float, default=10.0)
    parser.add_argument("--grace", type=float, default=120.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.ERROR)
    config = ServerConfig(
        port=options.port,
        metrics_port=options.metrics_port,
        slots=options.slots,
        max_queued=options.queue,
        write_timeout_seconds=options.write_timeout,
        grace_seconds=options.grace,
    )
    engine = FakeEngine(steps=options.steps, step_seconds=options.step_seconds)

    async def serve() -> None:
        server = Server(config, ServedModels([FakeModel()]), engine.animate, writers=Writers(write_glb, write_bvh))
        await run(server, announce)

    asyncio.run(serve())


@contextmanager
def process(*options: str) -> Iterator[Target]:
    """Such a server, gone with its context."""
    command = [sys.executable, "-m", "tests.reliability.server", *options]
    started = subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True)
    try:
        assert started.stdout is not None
        address = started.stdout.readline().removeprefix("listening on").strip()
        assert address, "the server did not start"
        url = started.stdout.readline().removeprefix("status on").strip()
        yield Target(address, url, process=started)
    finally:
        started.kill()
        started.wait()


if __name__ == "__main__":
    main()
