"""The soak in twenty seconds, and that it notices what stays behind."""

from __future__ import annotations

from pathlib import Path

import pytest

from animax.cli import bench_soak
from animax.cli.bench_soak import Level, kept, report_of, slope_of
from animax.cli.bench_target import Target
from animax.cli.command_line import build_parser
from animax.cli.load_driver import Outcome
from animax.cli.progress import ProgressDisplay
from tests.service.chain_glb import chain_glb
from tests.service.conftest import serving
from tests.service.engine import FakeEngine


async def test_nothing_stays_behind(tmp_path: Path) -> None:
    (tmp_path / "rig.glb").write_bytes(chain_glb())
    options = ["bench soak", str(tmp_path / "rig.glb"), "--seconds", "1", "--minutes", "0.2", "--streams", "4"]
    async with serving(FakeEngine(steps=3, step_seconds=0.02), slots=2, metrics_port=0) as running:
        target = Target(running.target, f"http://127.0.0.1:{running.server.monitor.port}/")  # type: ignore[union-attr]
        report, _ = await bench_soak.measure(build_parser().parse_args(options), target, ProgressDisplay())
        assert running.server.animation.slots.running == running.server.animation.unread.nbytes == 0
    # so short a time says nothing about memory
    assert [text for text in report.broken if "memory" not in text] == []
    assert report.samples > 3
    ways = {end.partition(":")[0] for end in report.ends}
    assert ways == set(bench_soak.WAYS)
    assert report.ends["stays: OK"] >= 10
    table = "\n".join(bench_soak.lines(report))
    for part in ("descriptors", "tasks", f"{report.slope_mib:+.3f}", f"{sum(report.ends.values())}"):
        assert part in table


@pytest.mark.parametrize("slope", [-3.0, 0.0, 0.9, 1.1])
def test_memory_that_grows_is_noticed(slope: float) -> None:
    # what fills up in the first fifth does not count
    levels = [Level(m / 10, 100 + slope * m / 10 + 50 * min(m / 20, 1), 20, 8) for m in range(100)]
    base = Level(0, 100, 20, 8)
    report = report_of(10.0, [], levels, base, base, [])
    assert report.slope_mib == pytest.approx(slope, abs=0.01)
    assert bool(report.broken) == (slope > 1)
    assert slope_of(levels[:1]) == 0


def test_what_is_left_is_named() -> None:
    base = Level(0, 100, 20, 8)
    assert kept(base, Level(1, 100, 28, 12)) == []
    assert "29 descriptors" in kept(base, Level(1, 100, 29, 8))[0]
    assert "13 tasks" in kept(base, Level(1, 100, 20, 13))[0]


def test_a_stream_that_should_have_come_whole_is_a_broken_promise() -> None:
    base = Level(0, 100, 20, 8)
    ends = [("stays", Outcome("INTERNAL", "INTERNAL", 1, None, (), 0)), ("deadline", Outcome("OK", "", 1, 1, (), 0))]
    assert report_of(1.0, ends, [], base, base, []).broken == ["1 × stays: INTERNAL INTERNAL; promised: none"]
    busy = [("stays", Outcome("RESOURCE_EXHAUSTED", "QUEUE_FULL", 1, None, (), 0))]
    assert report_of(1.0, busy, [], base, base, []).broken == []
