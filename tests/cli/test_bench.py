from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from animax.cli import bench
from animax.cli.command_line import build_parser
from animax.cli.options import request_of
from animax.cli.progress import ProgressDisplay
from animax.request import Stage


@pytest.fixture
def report(biped, pipeline) -> dict:
    options = build_parser().parse_args(["bench", str(biped), "--repeat", "2"])
    return bench.in_process(options, request_of(options, options.prompt), ProgressDisplay())


def test_every_phase_is_measured_and_warm_clips_have_seeds_of_their_own(report, pipeline):
    assert set(report["seconds"]) == {"import", "read_rig", "load_model", "warm_up", "first_clip", "warm_clip"}
    assert all(seconds > 0 for seconds in report["seconds"].values())
    assert set(report["stages"]) == {stage.value for stage in Stage}
    assert len({request.seed for request in pipeline.requests}) == len(pipeline.requests) == 3


def test_the_table_shows_every_number(report):
    row = dict.fromkeys(("ready_seconds", "first_frame_seconds", "first_frame_worst_seconds", "clip_seconds"), 1.5)
    row |= {"concurrency": 4, "clips_per_minute": 12.25, "peak_mib": None}
    text = "\n".join(bench.lines({**report, "server": [row]}))
    for name in (*report["stages"], "warm clip", "× real time", "12.2", "unknown"):
        assert name in text


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_peak_memory_grows_by_what_is_used():
    program = "input(); block = bytearray(b'x') * (200 << 20); del block; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
    ) as process:
        before = bench.peak_mib(process.pid)
        process.stdin.write("\n")
        process.stdout.readline()
        after = bench.peak_mib(process.pid)
        process.stdin.write("\n")
    assert after - before == pytest.approx(200, abs=20)


def test_peak_memory_of_no_process_is_unknown():
    assert bench.peak_mib(2**22 + 1) is None
