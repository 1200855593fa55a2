from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from animax.cli import bench_batching
from animax.cli.bench_batching import Arrival, Row, lines, processor_seconds
from animax.cli.command_line import build_parser


def test_the_table_shows_every_server_and_every_number():
    rows = [Row("as it ships", 16, 61.25, 1.75, 0.5, 2.125), Row("one at a time", 16, 40.0, None, 1.0, 3.0)]
    text = "\n".join(lines(rows, [Arrival("as it ships", 0.4, 0.55, 0.625)]))
    for part in ("as it ships", "61.2", "1.75", "0.500", "2.125", "unknown", "0.400", "0.550", "0.625"):
        assert part in text


def test_every_server_s_options_are_options_of_serve():
    for flags in bench_batching.SERVERS.values():
        build_parser().parse_args(["serve", *flags, "--queue", "64"])


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs Linux's /proc")
def test_processor_time_is_what_a_process_computes():
    process = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        for _ in range(600):
            time.sleep(0.05)
            if (spent := processor_seconds(process.pid) or 0.0) > 0.2:
                break
        assert spent > 0.2
    finally:
        process.kill()
        process.wait()
    own = processor_seconds(os.getpid())
    assert own == pytest.approx(sum(os.times()[:2]), abs=0.5)
    assert processor_seconds(2**22 + 1) is None
