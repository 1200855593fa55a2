"""The short version of ``python -m tests.reliability.jobs``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.reliability.jobs import try_farm


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_whatever_is_killed_no_clip_is_lost_or_made_twice(tmp_path: Path) -> None:
    report = try_farm(tmp_path, f"sqlite:///{tmp_path / 'jobs.db'}", jobs=12, kills=3, step_seconds=0.05, limit=240)
    assert (report.lost, report.twice) == (0, 0)
    assert report.kills == {"server": 1, "coordinator": 1, "worker": 1}
