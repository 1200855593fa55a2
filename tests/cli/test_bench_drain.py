"""A drain of a real process with a stand-in engine."""

from __future__ import annotations

from pathlib import Path

import pytest

from animax.cli import bench_drain
from animax.cli.bench_drain import Report, lines
from animax.cli.command_line import build_parser
from animax.cli.progress import ProgressDisplay
from animax.errors import OptionError
from tests.reliability.server import process
from tests.service.chain_glb import chain_glb


async def test_no_stream_is_lost_and_late_ones_are_told(tmp_path: Path) -> None:
    (tmp_path / "rig.glb").write_bytes(chain_glb())
    options = build_parser().parse_args(["bench drain", str(tmp_path / "rig.glb"), "--seconds", "1", "--streams", "6"])
    with process("--steps", "4", "--step-seconds", "0.1") as target:
        report, _ = await bench_drain.measure(options, target, ProgressDisplay())
    assert (report.streams, report.lost, report.status) == (6, {}, 0)
    assert report.seconds > 0.4
    assert report.late
    assert all(told.startswith("UNAVAILABLE") for told in report.late)
    assert not report.broken


def test_what_is_lost_is_told() -> None:
    report = Report(3, {"CANCELLED Cancelled": 1}, {"UNAVAILABLE DRAINING": 2}, 0.01, 2.0, 0)
    assert report.broken
    assert "1 × CANCELLED Cancelled" in "\n".join(lines(report))
    assert Report(3, {}, {"OK": 1}, 0.01, 2.0, 0).broken
    assert Report(3, {}, {}, None, 2.0, 1).broken
    assert not Report(3, {}, {"UNAVAILABLE DRAINING": 2}, 0.01, 2.0, 0).broken


def test_it_ends_no_server_of_others() -> None:
    options = build_parser().parse_args(["bench drain", "--server", "localhost:1"])
    with pytest.raises(OptionError, match="server"):
        options.run(options)
