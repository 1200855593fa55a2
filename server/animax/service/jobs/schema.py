"""The tables of the store, and the way from one version of them to the next."""

from __future__ import annotations

from collections.abc import Callable
from enum import IntEnum
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.functions import FunctionElement

from animax.errors import ServiceError

metadata = sa.MetaData()
Serial = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""SQLite numbers rows only in a column that it calls INTEGER."""


class State(IntEnum):
    """Of a job; the numbers are those of animax.v1.JobState."""

    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    FAILED = 4
    CANCELLED = 5

    @property
    def final(self) -> bool:
        """It never changes again."""
        return self > State.RUNNING


class BlobState(IntEnum):
    """Of a row of ``blobs``: bytes are counted from WRITING on, found while READY, deleted while DOOMED."""

    WRITING = 1
    READY = 2
    DOOMED = 3


version_table = sa.Table("animax_schema", metadata, sa.Column("version", sa.Integer, nullable=False))

jobs = sa.Table(
    "jobs",
    metadata,
    # order of creation; never given twice, so that a page token stays valid
    sa.Column("sequence", Serial, primary_key=True, autoincrement=True),
    sa.Column("job_id", sa.String(32), nullable=False, unique=True),
    sa.Column("request_id", sa.String(128), unique=True),
    # whose job it is; of jobs with an owner, request ids are unique among that owner's alone
    sa.Column("owner", sa.String(255), nullable=False, server_default=""),
    sa.Column("own_request_id", sa.String(128)),
    sa.Column("body_sha256", sa.String(64), nullable=False),
    sa.Column("rig_id", sa.String(64), nullable=False),
    # a job waits for a worker that has this model
    sa.Column("model", sa.Text, nullable=False),
    sa.Column("animation", sa.LargeBinary, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("change", sa.Integer, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, default=0),
    # drawn anew at each attempt: whoever cannot name it has lost the job
    sa.Column("lease", sa.String(32)),
    sa.Column("lease_until", sa.Double),
    sa.Column("not_before", sa.Double, nullable=False, default=0.0),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("started_at", sa.Double),
    sa.Column("ended_at", sa.Double),
    sa.Column("error_code", sa.Integer),
    sa.Column("error_reason", sa.String(64)),
    sa.Column("error_message", sa.Text),
    sa.Column("result_sha256", sa.String(64)),
    sa.Column("result_bytes", sa.BigInteger),
    sa.Column("result_summary", sa.LargeBinary),
    sa.Index("jobs_by_state", "state", "sequence"),
    sa.Index("jobs_by_rig", "rig_id", "state"),
    sa.Index("jobs_by_end", "ended_at"),
    sqlite_autoincrement=True,
)
by_owner = (
    sa.Index("jobs_by_owner", jobs.c.owner, jobs.c.state),
    sa.Index("one_own_request_id", jobs.c.owner, jobs.c.own_request_id, unique=True),
)
job_labels = sa.Table(
    "job_labels",
    metadata,
    sa.Column("sequence", Serial, sa.ForeignKey("jobs.sequence", ondelete="CASCADE"), primary_key=True),
    sa.Column("name", sa.String(63), primary_key=True),
    sa.Column("value", sa.String(255), nullable=False),
    sa.Index("jobs_by_label", "name", "value"),
)
job_changes = sa.Table(
    "job_changes",
    metadata,
    sa.Column("sequence", Serial, sa.ForeignKey("jobs.sequence", ondelete="CASCADE"), primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("at", sa.Double, nullable=False),
    sa.Column("stage", sa.SmallInteger, nullable=False, default=0),
    sa.Column("fraction", sa.Double, nullable=False, default=0.0),
    sa.Column("step", sa.Integer, nullable=False, default=0),
    sa.Column("steps", sa.Integer, nullable=False, default=0),
    sa.Column("variant", sa.Integer, nullable=False, default=0),
)
blobs = sa.Table(
    "blobs",
    metadata,
    # hash and a suffix of its own, so that deleting an old copy never hits a new one
    sa.Column("location", sa.String(128), primary_key=True),
    sa.Column("sha256", sa.String(64), nullable=False),
    sa.Column("name", sa.String(255), nullable=False, default=""),
    sa.Column("size", sa.BigInteger, nullable=False),
    sa.Column("state", sa.SmallInteger, nullable=False),
    sa.Column("created_at", sa.Double, nullable=False),
    sa.Column("used_at", sa.Double, nullable=False),
    # who brought it
    sa.Column("owner", sa.String(255), nullable=False, server_default=""),
    sa.Index("blobs_by_use", "state", "used_at"),
)
sa.Index(
    "one_blob_a_content",
    blobs.c.sha256,
    unique=True,
    sqlite_where=blobs.c.state == BlobState.READY.value,
    postgresql_where=blobs.c.state == BlobState.READY.value,
)
blob_readers = sa.Table(
    "blob_readers",
    metadata,
    sa.Column("location", sa.String(128), sa.ForeignKey("blobs.location", ondelete="CASCADE"), primary_key=True),
    sa.Column("reader", sa.String(32), primary_key=True),
    sa.Column("until", sa.Double, nullable=False),
)


class now(FunctionElement[float]):  # noqa: N801
    """Seconds since the epoch by the database's clock: the one clock that all its users share."""

    type = sa.Double()
    inherit_cache = True


@compiles(now, "sqlite")
def _sqlite_now(*_: Any, **__: Any) -> str:
    return "((julianday('now') - 2440587.5) * 86400.0)"


@compiles(now, "postgresql")
def _postgresql_now(*_: Any, **__: Any) -> str:
    return "extract(epoch from clock_timestamp())::float8"


def _create(connection: sa.Connection) -> None:
    metadata.create_all(connection)


def _add_owners(connection: sa.Connection) -> None:
    """Jobs and rigs of before belong to nobody: only admins see those jobs."""
    for column in (jobs.c.owner, jobs.c.own_request_id, blobs.c.owner):
        there = {found["name"] for found in sa.inspect(connection).get_columns(column.table.name)}
        if column.name not in there:
            described = sa.schema.CreateColumn(column).compile(connection)
            connection.execute(sa.text(f"ALTER TABLE {column.table.name} ADD COLUMN {described}"))
    for index in by_owner:
        index.create(connection, checkfirst=True)


STEPS: tuple[Callable[[sa.Connection], None], ...] = (_create, _add_owners)
"""Step i leads from version i to i + 1. The first one makes the tables as they are now; so each later one looks whether
there is something left to do."""
LOCK_KEY = 0x616E696D
"""Of PostgreSQL's advisory locks: one that only animax takes."""


def migrate(connection: sa.Connection) -> None:
    """Bring the tables to this version, within the connection's transaction; several may try at once.

    Raises:
        ServiceError: they are of a later version.
    """
    lock(connection, 0)
    version = 0
    if sa.inspect(connection).has_table(version_table.name):
        version = connection.scalar(sa.select(version_table.c.version)) or 0
    if version > len(STEPS):
        raise ServiceError(
            f"the job store has version {version}; accepted: at most {len(STEPS)}, or a later animax",
            reason="STORE_NEWER",
        )
    for step in STEPS[version:]:
        step(connection)
    if version < len(STEPS):
        connection.execute(sa.delete(version_table))
        connection.execute(sa.insert(version_table).values(version=len(STEPS)))


def lock(connection: sa.Connection, what: int) -> None:
    """Be alone with ``what`` until the transaction ends. SQLite's writers always are."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK_KEY, what)))
