"""Where jobs, rigs and results are kept, and how jobs are run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from animax.service.ranges import check_ranges

GIB = 1024**3
DAY = 86_400
RANGES: dict[str, tuple[float, float]] = {
    "blob_bytes": (1, 2**60),
    "max_queued": (1, 10_000_000),
    "max_attempts": (1, 100),
    "lease_seconds": (0.5, 3600),
    "max_job_seconds": (1, 7 * DAY),
    "retention_seconds": (1, 36_500 * DAY),
    "poll_seconds": (0.01, 60),
    "lanes": (1, 64),
    "share": (1, 1000),
}
"""Least and most of each number of ``JobSettings``, where it is not None."""


@dataclass(frozen=True)
class JobSettings:
    """The store and its limits. Out-of-range values raise ``OptionError`` at once.

    Attributes:
        database: SQLAlchemy URL: ``sqlite:///file`` for one machine, ``postgresql://...`` for several.
        blobs: fsspec URL of a folder for rigs and results: ``file:///...``, ``s3://bucket/prefix``, ...
        blob_bytes: all rigs and results together; beyond it the least recently used go that are not in use.
        max_queued: jobs that may wait.
        max_attempts: how often a job is taken up before it fails.
        lease_seconds: a worker that gives no sign of life for so long has lost its job to another.
        max_job_seconds: one attempt at one job.
        retention_seconds: how long a job that ended is kept.
        poll_seconds: how often other processes' changes are looked for.
        lanes: jobs that run at the same time in this process; None takes all slots but one, at least one.
        share: while requests wait too, every ``share``-th slot that becomes free goes to a job.
    """

    database: str
    blobs: str
    blob_bytes: int = 20 * GIB
    max_queued: int = 10_000
    max_attempts: int = 3
    lease_seconds: float = 15.0
    max_job_seconds: float = 3600.0
    retention_seconds: float = 30.0 * DAY
    poll_seconds: float = 0.5
    lanes: int | None = None
    share: int = 4

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)


def in_folder(folder: Path, **limits: float) -> JobSettings:
    """Settings that keep everything below one folder of this machine."""
    folder = folder.absolute()
    given: dict[str, object] = {
        "database": f"sqlite:///{folder / 'animax.db'}",
        "blobs": f"file://{(folder / 'blobs').as_posix()}",
        **limits,
    }
    return JobSettings(**given)  # type: ignore[arg-type]
