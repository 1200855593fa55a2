"""Transactions on the store's database, with failures as typed errors."""

from __future__ import annotations

import errno
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import exc

from animax.errors import BusyError, OptionError, UnavailableError
from animax.service.jobs.schema import migrate

log = logging.getLogger(__name__)

BUSY_SECONDS = 20.0
"""How long one writer of an SQLite file waits for the others."""
RETRY_SECONDS = 5.0
FULL_RETRY = 30.0
DISK_FULL = "53100"
"""PostgreSQL's SQLSTATE."""
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg"}


class Database:
    """A pool of connections; safe to use from several threads. The tables are brought up to date at once.

    Args:
        url: ``sqlite:///file`` or ``postgresql://user@host/name``.

    Raises:
        OptionError: another kind of URL, or a driver that is not installed.
        UnavailableError: it cannot be reached.
        ServiceError: it belongs to a later version.
    """

    def __init__(self, url: str) -> None:
        self._engine = _engine(url)
        # one snapshot for all that a transaction reads; SQLite's always see only one
        snapshot: dict[str, Any] = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
        self._reads = self._engine.execution_options(
            animax_reads=True, **(snapshot if self._engine.dialect.name == "postgresql" else {})
        )
        with self.write() as connection:
            migrate(connection)

    def close(self) -> None:
        """Close all connections."""
        self._engine.dispose()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that may write; committed at the end, rolled back by an error.

        Raises:
            UnavailableError: the database cannot be reached, or was busy for too long.
            BusyError: its disk is full.
        """
        with _typed_errors(), self._engine.begin() as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that only reads: on SQLite it waits for no writer.

        Raises:
            UnavailableError: the database cannot be reached.
        """
        with _typed_errors(), self._reads.begin() as connection:
            yield connection


def _engine(url: str) -> sa.Engine:
    accepted = "sqlite:///FILE or postgresql://USER@HOST/NAME"
    try:
        parsed = sa.make_url(url)
    except exc.ArgumentError:
        raise OptionError("database", "no URL", accepted) from None
    kind = parsed.get_backend_name()
    if kind not in DRIVERS:
        raise OptionError("database", kind, accepted)
    if "+" not in parsed.drivername:
        parsed = parsed.set(drivername=DRIVERS[kind])
    try:
        if kind == "sqlite":
            return _sqlite(parsed)
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except ImportError as error:
        raise OptionError("database", kind, f"its driver, by pip install 'animax[postgres]' ({error.name})") from None


def _write_ahead(connection: Any) -> None:
    """Switch to a write-ahead log. SQLite refuses that at once, without its own waiting, while another process does."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
        time.sleep(0.02)


def _sqlite(url: sa.URL) -> sa.Engine:
    if not url.database or url.database == ":memory:":
        raise OptionError("database", str(url), "sqlite:///FILE: a database in memory has one connection")
    try:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        accepted = f"a file in a folder that can be made ({error.strerror})"
        raise OptionError("database", str(url), accepted) from error
    engine = sa.create_engine(url, connect_args={"timeout": BUSY_SECONDS})

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: object) -> None:
        connection.isolation_level = None  # transactions begin where SQLAlchemy says so
        _write_ahead(connection)
        for pragma in ("synchronous = FULL", "foreign_keys = ON"):
            connection.execute(f"PRAGMA {pragma}")

    @sa.event.listens_for(engine, "begin")
    def begin(connection: sa.Connection) -> None:
        # a transaction that reads first and then writes would fail where it should wait
        reads = connection.get_execution_options().get("animax_reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def _typed_errors() -> Iterator[None]:
    try:
        yield
    except (exc.OperationalError, exc.InterfaceError, exc.InternalError, exc.TimeoutError) as error:
        cause = getattr(error, "orig", error)
        if "disk is full" in str(cause) or getattr(cause, "sqlstate", None) == DISK_FULL:
            raise storage_full("the disk of the job store is full") from None
        log.warning("the job store failed: %s", cause)
        raise UnavailableError(
            "the job store cannot be reached", reason="STORE_UNAVAILABLE", retry_after=RETRY_SECONDS
        ) from None


def storage_full(why: str, retry_after: float | None = FULL_RETRY) -> BusyError:
    """The error for bytes that have no room."""
    return BusyError(why, reason="STORAGE_FULL", retry_after=retry_after)


def is_full(error: OSError) -> bool:
    """Whether a file could not be written because there is no room."""
    return error.errno in (errno.ENOSPC, errno.EDQUOT)
