"""Rigs and results by content: bytes in any place that fsspec reaches, an index of them in the database.

A row is written before its bytes and deleted after them, so that no byte is ever forgotten, whenever a process dies.
The budget counts rows. What makes room is what was used longest ago and is not in use: a rig is while a job that has
not ended wants it, anything is while it is being read.
"""

from __future__ import annotations

import hashlib
import io
import logging
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import IO, Any

import fsspec
import sqlalchemy as sa
from sqlalchemy import exc

from animax.errors import AnimaxError, DamagedError, OptionError, UnavailableError
from animax.service.jobs.database import RETRY_SECONDS, Database, is_full, storage_full
from animax.service.jobs.schema import BlobState, State, blob_readers, blobs, jobs, lock, now
from animax.service.rig_store import require_room

log = logging.getLogger(__name__)

RESERVING = 2
"""What ``lock`` locks while room is made: the budget must not be given away twice."""
ABANDONED_SECONDS = 3600.0
"""A blob that has been on its way in for so long has lost its writer."""
COPY_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Pending:
    """Bytes that were written, but that nobody finds before they are adopted."""

    location: str
    sha256: str
    size: int


class BlobReader(io.RawIOBase):
    """Bytes of a blob in order, checked at their end; keeps the blob in use as long as it is read.

    Raises:
        DamagedError: at the end, when they are not those that were written.
    """

    def __init__(self, store: BlobStore, location: str, reader: str, sha256: str, file: IO[bytes]) -> None:
        self._store = store
        self._location = location
        self._reader = reader
        self._sha256 = sha256
        self._file = file
        self._digest = hashlib.sha256()
        self._renewed = time.monotonic()

    def readable(self) -> bool:
        """It is."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read on."""
        if time.monotonic() - self._renewed > self._store.reader_seconds / 4:
            self._store.keep_reading(self._location, self._reader)
            self._renewed = time.monotonic()
        with self._store.typed_errors():
            data = self._file.read(len(buffer))
        if not data and self._digest.hexdigest() != self._sha256:
            self._store.doom(self._location)
            raise DamagedError("the stored bytes are not those that were written", reason="RESULT_DAMAGED")
        self._digest.update(data)
        buffer[: len(data)] = data
        return len(data)


class BlobStore:
    """At most ``max_bytes``; safe to use from several threads and processes.

    Args:
        database: holds the index.
        url: folder, as fsspec names it.
        max_bytes: budget.
        reader_seconds: for how long bytes stay in use after they were last read from.

    Raises:
        OptionError: an unknown kind of URL, or a package that is not installed.
        UnavailableError: the place cannot be reached.
    """

    def __init__(self, database: Database, url: str, max_bytes: int, reader_seconds: float = 120.0) -> None:
        self._database = database
        self._max_bytes = max_bytes
        self.reader_seconds = reader_seconds
        try:
            self._files, root = fsspec.url_to_fs(url)
        except (ValueError, ImportError) as error:
            hint = "a URL that fsspec knows; for s3:// pip install 'animax[s3]'"
            raise OptionError("blobs", url.split("://")[0], hint) from error
        self._root = root.rstrip("/")
        with self.typed_errors():
            self._files.makedirs(self._root, exist_ok=True)

    @property
    def nbytes(self) -> int:
        """Bytes that count against the budget."""
        with self._database.read() as connection:
            return _total(connection)

    def put(self, sha256: str, data: bytes, name: str = "", owner: str = "", most: int | None = None) -> None:
        """Keep some bytes; nothing to do when they are there.

        Args:
            sha256: of the bytes.
            data: the bytes.
            name: for people.
            owner: who brought them.
            most: bytes that the owner may have; None sets no limit.

        Raises:
            BusyError: there is no room.
            QuotaError: the owner has too much.
        """
        if not self.touch(sha256):
            with (
                self.writing(sha256, len(data), io.BytesIO(data), name, owner, most) as pending,
                self._database.write() as connection,
            ):
                self.adopt(connection, pending)

    @contextmanager
    def writing(
        self, sha256: str, size: int, source: IO[bytes], name: str = "", owner: str = "", most: int | None = None
    ) -> Iterator[Pending]:
        """Write bytes that are to be adopted within the context; what was not is deleted at its end.

        Raises:
            BusyError: there is no room.
            UnavailableError: the place cannot be reached.
        """
        location = f"{sha256[:2]}/{sha256}.{secrets.token_hex(4)}"
        self._make_room(location, sha256, size, name, owner, most)
        try:
            with self.typed_errors():
                path = self._path(location)
                self._files.makedirs(path.rpartition("/")[0], exist_ok=True)
                with self._files.open(path, "wb") as file:
                    shutil.copyfileobj(source, file, COPY_BYTES)
            yield Pending(location, sha256, size)
        finally:
            with suppress(UnavailableError):  # the sweep finds it later
                self._discard(location)

    def adopt(self, connection: sa.Connection, pending: Pending) -> None:
        """Make written bytes permanent within a transaction; the same bytes may be there already."""
        ready = (
            sa.update(blobs).where(blobs.c.location == pending.location).values(state=BlobState.READY, used_at=now())
        )
        try:
            with connection.begin_nested():
                connection.execute(ready)
        except exc.IntegrityError:  # somebody else was faster: theirs are as good
            same = sa.and_(blobs.c.sha256 == pending.sha256, blobs.c.state == BlobState.READY)
            connection.execute(sa.update(blobs).where(same).values(used_at=now()))

    def touch(self, sha256: str) -> bool:
        """Whether a content is there; it is recently used then."""
        with self._database.write() as connection:
            there = sa.and_(blobs.c.sha256 == sha256, blobs.c.state == BlobState.READY)
            return bool(connection.execute(sa.update(blobs).where(there).values(used_at=now())).rowcount)

    def read(self, sha256: str) -> tuple[bytes, str] | None:
        """All bytes of a content and its name; None when it is not there.

        Raises:
            UnavailableError: the place cannot be reached.
        """
        with self.opened(sha256) as found:
            if found is None:
                return None
            reader, name = found
            try:
                return reader.read(), name
            except DamagedError:
                log.exception("a blob was damaged")
                return None

    @contextmanager
    def opened(self, sha256: str) -> Iterator[tuple[io.BufferedReader, str] | None]:
        """A content to read from, and its name; None when it is not there. It stays as long as the context lasts.

        Raises:
            UnavailableError: the place cannot be reached.
        """
        reader = secrets.token_hex(16)
        with self._database.write() as connection:
            there = sa.and_(blobs.c.sha256 == sha256, blobs.c.state == BlobState.READY)
            update = sa.update(blobs).where(there).values(used_at=now())
            row = connection.execute(update.returning(blobs.c.location, blobs.c.name)).one_or_none()
            if row is not None:
                until = now() + self.reader_seconds
                connection.execute(sa.insert(blob_readers).values(location=row.location, reader=reader, until=until))
        if row is None:
            yield None
            return
        try:
            file = self._open(row.location)
            if file is None:
                yield None
                return
            with file:
                raw = BlobReader(self, row.location, reader, sha256, file)
                yield io.BufferedReader(raw, COPY_BYTES), row.name
        finally:
            with suppress(UnavailableError), self._database.write() as connection:  # it runs out by itself
                connection.execute(sa.delete(blob_readers).where(blob_readers.c.reader == reader))

    def keep_reading(self, location: str, reader: str) -> None:
        """Renew a reader's hold on a blob."""
        with self._database.write() as connection:
            this = sa.and_(blob_readers.c.location == location, blob_readers.c.reader == reader)
            connection.execute(sa.update(blob_readers).where(this).values(until=now() + self.reader_seconds))

    def doom(self, location: str) -> None:
        """Let nobody find a blob any more; the next sweep deletes it."""
        with self._database.write() as connection:
            connection.execute(sa.update(blobs).where(blobs.c.location == location).values(state=BlobState.DOOMED))

    def sweep(self) -> int:
        """Delete what processes that died have left behind; returns how many blobs."""
        with self._database.write() as connection:
            abandoned = sa.and_(blobs.c.state == BlobState.WRITING, blobs.c.created_at < now() - ABANDONED_SECONDS)
            connection.execute(sa.update(blobs).where(abandoned).values(state=BlobState.DOOMED))
            connection.execute(sa.delete(blob_readers).where(blob_readers.c.until < now()))
            doomed = sa.and_(blobs.c.state == BlobState.DOOMED, ~_being_read())
            locations = list(connection.scalars(sa.select(blobs.c.location).where(doomed)))
        return self._delete(locations)

    def _discard(self, location: str) -> None:
        with self._database.write() as connection:
            unadopted = sa.and_(blobs.c.location == location, blobs.c.state == BlobState.WRITING)
            update = sa.update(blobs).where(unadopted).values(state=BlobState.DOOMED)
            left = list(connection.scalars(update.returning(blobs.c.location)))
        self._delete(left)

    def owned(self, owner: str) -> int:
        """Bytes that somebody brought and that are kept."""
        with self._database.read() as connection:
            return _owned(connection, owner)

    def _make_room(self, location: str, sha256: str, size: int, name: str, owner: str, most: int | None) -> None:
        if size > self._max_bytes:
            raise storage_full(f"{size} bytes are to be stored; accepted: at most {self._max_bytes}", None)
        with self._database.write() as connection:
            lock(connection, RESERVING)
            if most is not None:
                require_room(_owned(connection, owner), size, most)
            evicted = self._evict(connection, _total(connection) + size - self._max_bytes)
            values = {"location": location, "sha256": sha256, "name": name, "size": size, "state": BlobState.WRITING}
            connection.execute(sa.insert(blobs).values(**values, owner=owner, created_at=now(), used_at=now()))
        self._delete(evicted)

    def _evict(self, connection: sa.Connection, excess: int) -> list[str]:
        """Doom what was used longest ago and is not in use, until ``excess`` bytes are free."""
        if excess <= 0:
            return []
        free = sa.and_(blobs.c.state == BlobState.READY, ~_being_read(), ~_wanted())
        oldest = sa.select(blobs.c.location, blobs.c.size).where(free).order_by(blobs.c.used_at)
        victims = []
        # locked first, judged again then: a job or a reader that came in between holds the row, or shows now
        for row in connection.execute(oldest.with_for_update(skip_locked=True)).all():
            this = sa.and_(blobs.c.location == row.location, free)
            if connection.execute(sa.update(blobs).where(this).values(state=BlobState.DOOMED)).rowcount:
                victims.append(row.location)
                excess -= row.size
            if excess <= 0:
                return victims
        raise storage_full(f"there is no room for {excess} bytes: what is stored is in use")

    def _delete(self, locations: list[str]) -> int:
        """Delete doomed blobs, bytes first."""
        deleted = []
        for location in locations:
            with suppress(UnavailableError), self.typed_errors():
                with suppress(FileNotFoundError):
                    self._files.rm_file(self._path(location))
                deleted.append(location)
        if deleted:
            with self._database.write() as connection:
                gone = sa.and_(blobs.c.location.in_(deleted), blobs.c.state == BlobState.DOOMED)
                return connection.execute(sa.delete(blobs).where(gone)).rowcount
        return 0

    def _open(self, location: str) -> IO[bytes] | None:
        with self.typed_errors():
            try:
                file: IO[bytes] = self._files.open(self._path(location), "rb")
            except FileNotFoundError:  # not by us: deleted by hand
                self.doom(location)
                return None
            return file

    def _path(self, location: str) -> str:
        return f"{self._root}/{location}"

    @contextmanager
    def typed_errors(self) -> Iterator[None]:
        """Whatever goes wrong with files, as an error that is safe to show.

        Raises:
            BusyError: the place is full.
            UnavailableError: it cannot be reached.
        """
        try:
            yield
        except AnimaxError:
            raise
        except Exception as error:  # fsspec's backends raise what their libraries do
            if isinstance(error, OSError) and is_full(error):
                raise storage_full("the disk for rigs and results is full") from None
            log.warning("the storage of rigs and results failed", exc_info=error)
            raise UnavailableError(
                "the storage of rigs and results cannot be reached",
                reason="STORE_UNAVAILABLE",
                retry_after=RETRY_SECONDS,
            ) from None


def _owned(connection: sa.Connection, owner: str) -> int:
    mine = sa.and_(blobs.c.owner == owner, blobs.c.state != BlobState.DOOMED)
    return int(connection.scalar(sa.select(sa.func.coalesce(sa.func.sum(blobs.c.size), 0)).where(mine)) or 0)


def _total(connection: sa.Connection) -> int:
    counted = sa.select(sa.func.coalesce(sa.func.sum(blobs.c.size), 0)).where(blobs.c.state != BlobState.DOOMED)
    return int(connection.scalar(counted) or 0)


def _being_read() -> sa.ColumnElement[bool]:
    return sa.exists().where(blob_readers.c.location == blobs.c.location, blob_readers.c.until > now())


def _wanted() -> sa.ColumnElement[bool]:
    """By a job that has not ended: its rig."""
    return sa.exists().where(jobs.c.rig_id == blobs.c.sha256, jobs.c.state.in_((State.QUEUED, State.RUNNING)))
