"""The store by itself, on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import sqlalchemy as sa

from animax.errors import BusyError, OptionError, RequestIdError, ServiceError, UnavailableError, UnknownRigError
from animax.service.jobs.blob_store import BlobStore
from animax.service.jobs.database import Database
from animax.service.jobs.job import Failure, Filter, Step, Stored
from animax.service.jobs.job_store import JobStore
from animax.service.jobs.schema import STEPS, State, version_table
from tests.service.jobs.conftest import expire_leases, limits, new_job

MODELS = ["fake"]
FAILURE = Failure(10, "NO_MOTION", "nothing moved")


def adopt_nothing(_: sa.Connection) -> None:
    pass


def states(store: JobStore, job_id: str) -> list[State]:
    return [change.state for change in store.changes(job_id, 0)[1]]


def test_a_job_from_order_to_result(store: JobStore) -> None:
    made = store.create(new_job("one", shot="17"))
    assert (made.state, made.latest.number, made.labels) == (State.QUEUED, 1, {"shot": "17"})
    claim = store.claim(MODELS)
    assert claim is not None
    assert (claim.job.job_id, claim.job.latest.attempts) == (made.job_id, 1)
    assert store.claim(MODELS) is None
    assert store.progress(claim, Step(4, 0.5, 2, 4))
    assert store.succeed(claim, Stored("c" * 64, 10, b"summary"), adopt_nothing)
    job, changes = store.changes(made.job_id, 0)
    assert [change.number for change in changes] == [1, 2, 3, 4]
    assert [change.step.fraction for change in changes] == [0, 0, 0.5, 1]
    assert changes[-1] == job.latest
    assert job.result == Stored("c" * 64, 10, b"summary", expired=True)  # no bytes were stored here
    assert job.created_at <= (job.started_at or 0) <= (job.ended_at or 0)
    assert abs(job.created_at - time.time()) < 5


def test_what_a_worker_that_lost_its_lease_writes_is_not_written(database: Database, store: JobStore) -> None:
    made = store.create(new_job())
    first = store.claim(MODELS)
    assert first is not None
    assert store.keep(first)
    expire_leases(database)
    second = store.claim(MODELS)
    assert second is not None
    assert second.job.job_id == made.job_id
    assert second.job.latest.attempts == 2
    assert not store.keep(first)
    assert not store.progress(first, Step(fraction=0.9))
    assert not store.succeed(first, Stored("d" * 64, 1, b""), adopt_nothing)
    assert not store.fail(first, FAILURE)
    assert not store.give_back(first)
    assert store.succeed(second, Stored("c" * 64, 1, b""), adopt_nothing)
    assert store.get(made.job_id).result == Stored("c" * 64, 1, b"", expired=True)
    assert states(store, made.job_id) == [
        State.QUEUED,
        State.RUNNING,
        State.QUEUED,
        State.RUNNING,
        State.SUCCEEDED,
    ]


def test_a_lease_that_is_kept_up_is_kept(database: Database, store: JobStore) -> None:
    store.create(new_job())
    claim = store.claim(MODELS)
    assert claim is not None
    for renew in (store.keep, lambda claim: store.progress(claim, Step(fraction=0.5))):
        expire_leases(database)
        assert store.work_waits(MODELS)
        assert renew(claim)
        assert not store.work_waits(MODELS)
        assert store.claim(MODELS) is None


def test_a_job_that_kills_its_workers_fails_in_the_end(database: Database, store: JobStore) -> None:
    made = store.create(new_job())
    for _ in range(3):
        assert store.claim(MODELS) is not None
        expire_leases(database)
    assert store.claim(MODELS) is None
    job = store.get(made.job_id)
    assert job.state is State.FAILED
    assert job.failure is not None
    assert job.failure.reason == "ATTEMPTS_EXHAUSTED"


def test_giving_back(store: JobStore) -> None:
    made = store.create(new_job())
    claim = store.claim(MODELS)
    assert claim is not None
    assert store.give_back(claim)
    claim = store.claim(MODELS)
    assert claim is not None
    assert claim.job.latest.attempts == 1  # the first was not counted
    assert store.give_back(claim, FAILURE, pause=0.3)
    assert store.claim(MODELS) is None
    assert not store.work_waits(MODELS)
    time.sleep(0.4)
    for attempts in (2, 3):
        claim = store.claim(MODELS)
        assert claim is not None
        assert claim.job.latest.attempts == attempts
        assert store.give_back(claim, FAILURE)
    assert store.get(made.job_id).failure == FAILURE


@pytest.mark.parametrize("state", ["queued", "running", "succeeded", "failed", "cancelled"])
def test_cancelling(store: JobStore, state: str) -> None:
    made = store.create(new_job())
    claim = store.claim(MODELS) if state != "queued" else None
    if claim is not None and state == "succeeded":
        store.succeed(claim, Stored("c" * 64, 1, b""), adopt_nothing)
    if claim is not None and state == "failed":
        store.fail(claim, FAILURE)
    if state == "cancelled":
        store.cancel(made.job_id)
    before = store.get(made.job_id)
    after = store.cancel(made.job_id)
    if before.state.final:
        assert after == before
    else:
        assert after.state is State.CANCELLED
        assert after.latest.number == before.latest.number + 1
    assert claim is None or not store.keep(claim)
    assert store.claim(MODELS) is None


def test_request_ids_under_concurrency(store: JobStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: store.create(new_job("same")).job_id, range(24)))
    assert len(set(made)) == 1
    with pytest.raises(RequestIdError):
        store.create(new_job("same", body="other"))
    assert store.create(new_job("")).job_id != store.create(new_job("")).job_id


def test_every_job_is_claimed_once_under_concurrency(store: JobStore) -> None:
    made = {store.create(new_job(str(i))).job_id for i in range(40)}

    def work(_: int) -> list[str]:
        claimed = []
        while (claim := store.claim(MODELS)) is not None:
            claimed.append(claim.job.job_id)
            assert store.succeed(claim, Stored("c" * 64, 1, b""), adopt_nothing)
        return claimed

    with ThreadPoolExecutor(6) as threads:
        claimed = [job_id for jobs in threads.map(work, range(6)) for job_id in jobs]
    assert len(claimed) == 40
    assert set(claimed) == made


def test_the_oldest_goes_first(store: JobStore) -> None:
    made = [store.create(new_job()).job_id for _ in range(4)]
    assert [store.get(job_id).ahead for job_id in made] == [0, 1, 2, 3]
    claims = [store.claim(MODELS) for _ in range(4)]
    assert [claim.job.job_id for claim in claims if claim] == made


def test_a_job_waits_for_a_worker_that_has_its_model(store: JobStore) -> None:
    store.create(new_job())
    assert not store.work_waits(["other"])
    assert store.claim(["other"]) is None
    assert store.claim(["other", "fake"]) is not None


def test_limits_of_the_queue_hold_under_concurrency(database: Database, store: JobStore) -> None:
    small = JobStore(database, limits(max_queued=5))

    def order(_: int) -> bool:
        try:
            small.create(new_job())
        except BusyError:
            return False
        return True

    with ThreadPoolExecutor(8) as threads:
        assert sum(threads.map(order, range(20))) == 5


def test_without_its_rig_no_job_is_kept(store: JobStore) -> None:
    with pytest.raises(UnknownRigError):
        store.create(new_job(rig="f"))
    assert store.list(Filter(), None, 10) == []


def test_old_jobs_are_deleted_with_all_that_is_about_them(database: Database, store: JobStore) -> None:
    old, new = store.create(new_job(a="b")), store.create(new_job(a="b"))
    store.cancel(old.job_id)
    brief = JobStore(database, limits(retention_seconds=1))
    assert brief.purge() == 0
    time.sleep(1.1)
    assert brief.purge() == 1
    assert [job.job_id for job in store.list(Filter(labels={"a": "b"}), None, 10)] == [new.job_id]
    with database.read() as connection:
        assert connection.scalar(sa.text("SELECT count(*) FROM job_labels")) == 1
        assert connection.scalar(sa.text("SELECT count(*) FROM job_changes")) == 1


def test_a_store_of_a_later_version_is_refused_by_name(database_url: str, database: Database) -> None:
    Database(database_url).close()  # opening it again changes nothing
    with database.write() as connection:
        assert connection.scalar(sa.select(version_table.c.version)) == len(STEPS)
        connection.execute(sa.update(version_table).values(version=len(STEPS) + 1))
    with pytest.raises(ServiceError, match=f"version {len(STEPS) + 1}; accepted: at most {len(STEPS)}") as caught:
        Database(database_url)
    assert caught.value.reason == "STORE_NEWER"


def test_several_processes_may_create_the_tables_at_once(database_url: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        for made in threads.map(Database, [database_url] * 4):
            made.close()


@pytest.mark.parametrize("url", ["mysql://x/y", "nothing", "sqlite://", "sqlite:///:memory:", "", "http://x"])
def test_other_databases_are_refused_by_name(url: str) -> None:
    with pytest.raises(OptionError) as caught:
        Database(url)
    assert caught.value.name == "database"


def test_a_database_that_is_not_there_is_unavailable_and_its_password_is_not_told() -> None:
    with pytest.raises(UnavailableError) as caught:
        Database("postgresql://someone:hunter2@127.0.0.1:1/animax")
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert "hunter2" not in str(caught.value)


WORKER = """
    import sys
    from animax.service.jobs.blob_store import BlobStore
    from animax.service.jobs.database import Database
    from animax.service.jobs.job import Step, Stored
    from animax.service.jobs.job_store import JobStore
    from animax.service.jobs.settings import JobSettings
    import io, hashlib

    database = Database(sys.argv[1])
    store = JobStore(database, JobSettings("sqlite:///x", "memory://x", lease_seconds=0.5, max_attempts=100))
    blobs = BlobStore(database, sys.argv[2], 10_000_000)
    print("working", flush=True)
    while True:
        claim = store.claim(["fake"])
        if claim is None:
            continue
        for step in range(3):
            store.progress(claim, Step(fraction=step / 3))
        data = claim.job.job_id.encode()
        digest = hashlib.sha256(data).hexdigest()
        with blobs.writing(digest, len(data), io.BytesIO(data)) as pending:
            store.succeed(claim, Stored(digest, len(data), b""), lambda c: blobs.adopt(c, pending))
"""


@pytest.mark.skipif(os.name != "posix", reason="signals")
def test_workers_may_be_killed_between_any_two_lines(
    database_url: str, database: Database, blobs: BlobStore, store: JobStore, tmp_path, repository
) -> None:
    """Two processes work; one after the other is killed with SIGKILL. Every job ends with its one result."""
    made = [store.create(new_job(str(i))).job_id for i in range(24)]
    place = f"file://{tmp_path / 'blobs'}"
    command = [sys.executable, "-c", textwrap.dedent(WORKER), database_url, place]

    def employ() -> subprocess.Popen[str]:
        worker = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
        assert worker.stdout is not None
        worker.stdout.readline()
        return worker

    workers = [employ(), employ()]
    killed = 0
    deadline = time.monotonic() + 100
    try:
        while store.counts().get(State.SUCCEEDED, 0) < 24:
            assert time.monotonic() < deadline, store.counts()
            time.sleep(0.05 + 0.03 * (killed % 2))
            if killed < 2:
                workers[0].send_signal(signal.SIGKILL)
                workers[0].wait()
                killed += 1
                workers = [workers[1], employ()]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
    for job_id in made:
        job, changes = store.changes(job_id, 0)
        assert [change.number for change in changes] == list(range(1, len(changes) + 1))
        assert [change.state for change in changes].count(State.SUCCEEDED) == 1
        assert job.result is not None
        found = blobs.read(job.result.sha256)
        assert found is not None
        assert found[0] == job_id.encode()


def test_a_store_of_before_there_were_owners_is_brought_forward(database_url: str, store: JobStore) -> None:
    # the fixture made all tables: take away what version 1 had not
    database = Database(database_url)
    with database.write() as connection:
        for statement in (
            "DROP INDEX jobs_by_owner",
            "DROP INDEX one_own_request_id",
            "ALTER TABLE jobs DROP COLUMN owner",
            "ALTER TABLE jobs DROP COLUMN own_request_id",
            "ALTER TABLE blobs DROP COLUMN owner",
            "UPDATE animax_schema SET version = 1",
            "INSERT INTO jobs (job_id, request_id, body_sha256, rig_id, model, animation, state, change, attempts,"
            " not_before, created_at) VALUES ('a', 'r', 'b', 'c', 'fake', '', 1, 1, 0, 0, 0)",
            "INSERT INTO job_changes (sequence, number, state, attempts, at, stage, fraction, step, steps, variant)"
            " SELECT sequence, 1, 1, 0, 0, 0, 0, 0, 0, 0 FROM jobs",
        ):
            connection.execute(sa.text(statement))
    database.close()
    again = Database(database_url)
    job = JobStore(again, limits()).get("a")
    assert (job.owner, job.request_id) == ("", "r")
    again.close()
