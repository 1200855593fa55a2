"""Stores to test on: SQLite and a real PostgreSQL; folders, fsspec's memory, an S3 server."""

from __future__ import annotations

import logging
import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from animax.client import AsyncClient
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.database import Database
from animax.service.jobs.job import NewJob
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.schema import jobs
from animax.service.jobs.settings import JobSettings, in_folder
from animax.v1 import job_service_pb2 as job_pb
from tests.conftest import lacking
from tests.service.conftest import Running, serving
from tests.service.engine import FakeEngine
from tests.service.jobs.postgres import SOURCE, postgres_folder, postgres_server

QUICK = {"lease_seconds": 1.0, "poll_seconds": 0.05}


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """URL of a PostgreSQL server."""
    programs = postgres_folder()
    if programs is None:
        lacking(f"PostgreSQL is not installed ({SOURCE})")
    with postgres_server(programs) as url:
        yield url


@pytest.fixture
def new_postgres(postgres: str) -> Callable[[], str]:
    """Makes databases of one's own on it."""

    def make() -> str:
        name = f"animax_{uuid.uuid4().hex[:12]}"
        engine = sa.create_engine(
            sa.make_url(postgres).set(drivername="postgresql+psycopg"), isolation_level="AUTOCOMMIT"
        )
        with engine.connect() as connection:
            connection.execute(sa.text(f"CREATE DATABASE {name}"))
        engine.dispose()
        return postgres.rpartition("/")[0] + f"/{name}"

    return make


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'jobs.db'}"
    return request.getfixturevalue("new_postgres")()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    made = Database(database_url)
    yield made
    made.close()


@pytest.fixture
def blobs(database: Database, tmp_path: Path) -> BlobStore:
    """10,000 bytes in a folder."""
    return BlobStore(database, f"file://{tmp_path / 'blobs'}", 10_000)


@pytest.fixture
def store(database: Database, blobs: BlobStore) -> JobStore:
    """With the rigs "a" * 64 and "b" * 64 in it."""
    for letter in "ab":
        blobs.put(letter * 64, letter.encode() * 100, letter)
    return JobStore(database, limits())


def limits(**given: Any) -> JobSettings:
    """Settings of a store by itself; its leases outlast any test."""
    return JobSettings("sqlite:///unused", "memory://unused", **{"lease_seconds": 600, **given})


def expire_leases(database: Database) -> None:
    """As if every worker had been silent for too long."""
    with database.write() as connection:
        connection.execute(sa.update(jobs).where(jobs.c.lease.is_not(None)).values(lease_until=1.0))


def new_job(request_id: str = "", rig: str = "a", body: str = "body", **labels: str) -> NewJob:
    return NewJob(request_id, (body * 64)[:64], rig * 64, "fake", b"", labels)


@pytest.fixture
def settings(tmp_path: Path) -> JobSettings:
    """In a folder, with short leases."""
    return in_folder(tmp_path / "data", **QUICK)


Start = Callable[..., AbstractAsyncContextManager[tuple[Running, AsyncClient]]]


@pytest.fixture
def start(settings: JobSettings) -> Start:
    """Starts servers on the folder of ``settings``."""

    @asynccontextmanager
    async def begin(
        engine: FakeEngine | None = None, jobs: JobSettings = settings, **limits: Any
    ) -> AsyncIterator[tuple[Running, AsyncClient]]:
        limits = {"progress_seconds": 0.02, **limits}
        async with serving(engine, jobs=jobs, **limits) as running, AsyncClient(running.target) as client:
            yield running, client

    return begin


async def watched(client: AsyncClient, job_id: str, after: int = 0) -> list[job_pb.Job]:
    """All that a watch tells."""
    return [job async for job in client.watch_job(job_id, after=after)]


@pytest.fixture(autouse=True)
def quiet_libraries() -> None:
    for name in ("botocore", "werkzeug", "aiobotocore", "s3fs"):
        logging.getLogger(name).setLevel(logging.ERROR)
