"""Jobs in the database. Every change of one is a transaction of its own, so a process may die between any two lines.

Whoever works on a job holds its lease; all that a worker writes is written only while the lease is still its own. So a
worker that was taken for dead can do no harm, and a job has one final state and at most one result.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from animax.errors import BusyError, QuotaError, RequestIdError, UnknownJobError, UnknownRigError
from animax.service.jobs.database import Database
from animax.service.jobs.job import Change, Claim, Failure, Filter, Job, NewJob, Step, Stored
from animax.service.jobs.schema import BlobState, State, blobs, job_changes, job_labels, jobs, lock, now
from animax.service.jobs.settings import JobSettings

QUEUE_RETRY = 10.0
"""Seconds."""
EXHAUSTED = "ATTEMPTS_EXHAUSTED"
CREATING = 1
"""What ``lock`` locks while a job is created: the number of those that wait must not run over."""
ABORTED = 10
"""google.rpc.Code."""


class JobStore:
    """The jobs of one database; safe to use from several threads and processes."""

    def __init__(self, database: Database, settings: JobSettings) -> None:
        self._database = database
        self._settings = settings

    def known(self, new: NewJob) -> Job | None:
        """The job of an earlier order with the same request id; None without one.

        Raises:
            RequestIdError: the request id was used with another order.
        """
        with self._database.read() as connection:
            return _known(connection, new)

    def create(self, new: NewJob) -> Job:
        """Keep an order; the job of an earlier one with the same request id, if there is one.

        Raises:
            RequestIdError: the request id was used with another order.
            UnknownRigError: the rig is not in the store.
            BusyError: too many jobs are waiting.
            QuotaError: too many of the owner's are.
        """
        with self._database.write() as connection:
            lock(connection, CREATING)
            if (known := _known(connection, new)) is not None:
                return known
            waiting = connection.scalar(sa.select(sa.func.count()).where(jobs.c.state == State.QUEUED)) or 0
            if waiting >= self._settings.max_queued:
                raise BusyError(
                    f"{waiting} jobs are waiting; accepted: at most {self._settings.max_queued}",
                    reason="QUEUE_FULL",
                    retry_after=QUEUE_RETRY,
                )
            if new.most_queued is not None:
                mine = sa.and_(jobs.c.state == State.QUEUED, jobs.c.owner == new.owner)
                own = connection.scalar(sa.select(sa.func.count()).where(mine)) or 0
                if own >= new.most_queued:
                    text = f"{own} jobs of this caller are waiting; accepted: at most {new.most_queued}"
                    raise QuotaError("queued", text, QUEUE_RETRY)
            # the rig's row is written to, so that nobody evicts it before this transaction's job keeps it
            touched = connection.execute(
                sa.update(blobs)
                .where(blobs.c.sha256 == new.rig_id, blobs.c.state == BlobState.READY)
                .values(used_at=now())
            )
            if not touched.rowcount:
                raise UnknownRigError(f"rig {new.rig_id} is not here; upload it (again)")
            values = {
                "job_id": secrets.token_hex(16),
                "request_id": None if new.owner else new.request_id or None,
                "owner": new.owner,
                "own_request_id": new.request_id or None if new.owner else None,
                "body_sha256": new.body_sha256,
                "rig_id": new.rig_id,
                "model": new.model,
                "animation": new.animation,
                "state": State.QUEUED,
                "change": 0,
                "created_at": now(),
            }
            sequence = connection.scalar(sa.insert(jobs).values(values).returning(jobs.c.sequence))
            if new.labels:
                rows = [{"sequence": sequence, "name": name, "value": value} for name, value in new.labels.items()]
                connection.execute(sa.insert(job_labels), rows)
            _change(connection, jobs.c.sequence == sequence, State.QUEUED)
            return _whole(connection, connection.execute(sa.select(jobs).where(jobs.c.sequence == sequence)).one())

    def get(self, job_id: str) -> Job:
        """The job.

        Raises:
            UnknownJobError: there is none of this id.
        """
        with self._database.read() as connection:
            return _whole(connection, _find(connection, job_id))

    def list(self, which: Filter, before: int | None, limit: int) -> Sequence[Job]:
        """The latest ``limit`` jobs of a filter that were created before the one with sequence ``before``."""
        query = sa.select(jobs).order_by(jobs.c.sequence.desc()).limit(limit)
        if before is not None:
            query = query.where(jobs.c.sequence < before)
        if which.states:
            query = query.where(jobs.c.state.in_(which.states))
        if which.owner is not None:
            query = query.where(jobs.c.owner == which.owner)
        if which.rig_id:
            query = query.where(jobs.c.rig_id == which.rig_id)
        for name, value in which.labels.items():
            labelled = sa.select(job_labels.c.sequence).where(job_labels.c.name == name, job_labels.c.value == value)
            query = query.where(jobs.c.sequence.in_(labelled))
        with self._database.read() as connection:
            return _assemble(connection, connection.execute(query).all())

    def cancel(self, job_id: str) -> Job:
        """Cancel a job that has not ended; returns how it stands then.

        Raises:
            UnknownJobError: there is none of this id.
        """
        with self._database.write() as connection:
            alive = sa.and_(jobs.c.job_id == job_id, jobs.c.state.in_((State.QUEUED, State.RUNNING)))
            _change(connection, alive, State.CANCELLED, lease=None, lease_until=None, ended_at=now())
            return _whole(connection, _find(connection, job_id))

    def work_waits(self, models: Collection[str]) -> bool:
        """Whether a claim would probably succeed."""
        lost = sa.and_(jobs.c.state == State.RUNNING, jobs.c.lease_until < now())
        with self._database.read() as connection:
            return bool(connection.scalar(sa.select(sa.exists().where(sa.or_(_claimable(models), lost)))))

    def claim(self, models: Collection[str]) -> Claim | None:
        """Take up the job that has waited longest for one of some models; None when none waits.

        Jobs whose worker died are queued again, or fail, first.
        """
        with self._database.write() as connection:
            self._take_back(connection)
            waits = sa.select(jobs.c.sequence).where(_claimable(models)).order_by(jobs.c.sequence).limit(1)
            sequence = connection.scalar(waits.with_for_update(skip_locked=True))
            if sequence is None:
                return None
            lease = secrets.token_hex(16)
            _change(
                connection,
                jobs.c.sequence == sequence,
                State.RUNNING,
                lease=lease,
                lease_until=now() + self._settings.lease_seconds,
                started_at=now(),
                attempts=jobs.c.attempts + 1,
            )
            row = connection.execute(sa.select(jobs).where(jobs.c.sequence == sequence)).one()
            return Claim(lease, _whole(connection, row))

    def keep(self, claim: Claim) -> bool:
        """Renew a lease; False when it was lost, to a cancel or another worker."""
        with self._database.write() as connection:
            done = connection.execute(
                sa.update(jobs).where(_held(claim)).values(lease_until=now() + self._settings.lease_seconds)
            )
            return bool(done.rowcount)

    def progress(self, claim: Claim, step: Step) -> bool:
        """Tell progress and renew the lease; False when it was lost."""
        with self._database.write() as connection:
            until = now() + self._settings.lease_seconds
            return _change(connection, _held(claim), State.RUNNING, step, lease_until=until)

    def succeed(self, claim: Claim, result: Stored, adopt: Callable[[sa.Connection], None]) -> bool:
        """End a job with its result, all in one transaction; False, and nothing done, when its lease was lost.

        Args:
            claim: of the job.
            result: to be noted.
            adopt: makes the result's bytes permanent within the transaction.
        """
        with self._database.write() as connection:
            mine = _change(
                connection,
                _held(claim),
                State.SUCCEEDED,
                Step(fraction=1.0),
                lease=None,
                lease_until=None,
                ended_at=now(),
                result_sha256=result.sha256,
                result_bytes=result.size,
                result_summary=result.summary,
            )
            if mine:
                adopt(connection)
            return mine

    def fail(self, claim: Claim, failure: Failure) -> bool:
        """End a job with an error; False when its lease was lost."""
        with self._database.write() as connection:
            return _fail(connection, _held(claim), failure)

    def give_back(self, claim: Claim, failure: Failure | None = None, pause: float = 0.0) -> bool:
        """Queue a job again, for other workers too; False when its lease was lost.

        Args:
            claim: of the job.
            failure: why; the attempt then counts, and the last one that is allowed ends the job with it. None: the
                worker is leaving, and the attempt does not count.
            pause: seconds before anybody takes it up.
        """
        with self._database.write() as connection:
            held = _held(claim)
            if failure is not None and claim.job.latest.attempts >= self._settings.max_attempts:
                return _fail(connection, held, failure)
            attempts = jobs.c.attempts - int(failure is None)
            later = now() + pause
            return _change(
                connection, held, State.QUEUED, lease=None, lease_until=None, not_before=later, attempts=attempts
            )

    def changes(self, job_id: str, after: int) -> tuple[Job, Sequence[Change]]:
        """The job as it stands, and its changes after number ``after``, in order.

        Raises:
            UnknownJobError: there is none of this id.
        """
        with self._database.read() as connection:
            job = _whole(connection, _find(connection, job_id))
            query = (
                sa.select(job_changes)
                .where(job_changes.c.sequence == job.sequence, job_changes.c.number > after)
                .order_by(job_changes.c.number)
            )
            return job, [_read_change(row) for row in connection.execute(query)]

    def latest(self, job_ids: Collection[str]) -> dict[str, int]:
        """Number of the latest change of each of some jobs."""
        with self._database.read() as connection:
            query = sa.select(jobs.c.job_id, jobs.c.change).where(jobs.c.job_id.in_(job_ids))
            return {row.job_id: row.change for row in connection.execute(query)}

    def purge(self) -> int:
        """Delete jobs that ended longer ago than they are kept; returns how many."""
        with self._database.write() as connection:
            old = jobs.c.ended_at < now() - self._settings.retention_seconds
            return connection.execute(sa.delete(jobs).where(old)).rowcount

    def counts(self) -> dict[State, int]:
        """Jobs by state."""
        with self._database.read() as connection:
            query = sa.select(jobs.c.state, sa.func.count()).group_by(jobs.c.state)
            return {State(state): count for state, count in connection.execute(query)}

    def _take_back(self, connection: sa.Connection) -> None:
        lost = sa.and_(jobs.c.state == State.RUNNING, jobs.c.lease_until < now())
        query = sa.select(jobs.c.sequence, jobs.c.lease, jobs.c.attempts).where(lost)
        for row in connection.execute(query.with_for_update(skip_locked=True)).all():
            this = jobs.c.sequence == row.sequence
            if row.attempts >= self._settings.max_attempts:
                text = f"its workers died {row.attempts} times; accepted: {self._settings.max_attempts} attempts"
                _fail(connection, this, Failure(ABORTED, EXHAUSTED, text))
            else:
                _change(connection, this, State.QUEUED, lease=None, lease_until=None)


def _claimable(models: Collection[str]) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.state == State.QUEUED, jobs.c.not_before <= now(), jobs.c.model.in_(models))


def _request_of(new: NewJob) -> sa.ColumnElement[bool]:
    """The job that has the request id already."""
    if new.owner:
        return sa.and_(jobs.c.owner == new.owner, jobs.c.own_request_id == new.request_id)
    return jobs.c.request_id == new.request_id


def _known(connection: sa.Connection, new: NewJob) -> Job | None:
    """The job that has the request id already, if it is of the same order; see ``JobStore.known``."""
    row = connection.execute(sa.select(jobs).where(_request_of(new))).one_or_none() if new.request_id else None
    if row is None:
        return None
    if row.body_sha256 != new.body_sha256:
        raise RequestIdError(
            f"request_id {new.request_id} was used with another request; accepted: the same request again, or a new id"
        )
    return _whole(connection, row)


def _held(claim: Claim) -> sa.ColumnElement[bool]:
    return sa.and_(jobs.c.sequence == claim.job.sequence, jobs.c.lease == claim.lease, jobs.c.state == State.RUNNING)


def _change(
    connection: sa.Connection, which: sa.ColumnElement[bool], state: State, step: Step | None = None, **values: Any
) -> bool:
    """Change the one job that ``which`` holds for and note that as its next change; False when it holds for none."""
    update = sa.update(jobs).where(which).values(state=state, change=jobs.c.change + 1, **values)
    row = connection.execute(update.returning(jobs.c.sequence, jobs.c.change, jobs.c.attempts)).one_or_none()
    if row is None:
        return False
    step = step or Step()
    change = {
        "sequence": row.sequence,
        "number": row.change,
        "state": state,
        "attempts": row.attempts,
        "at": now(),
        "stage": step.stage,
        "fraction": step.fraction,
        "step": step.step,
        "steps": step.steps,
        "variant": step.variant,
    }
    connection.execute(sa.insert(job_changes).values(change))
    return True


def _fail(connection: sa.Connection, which: sa.ColumnElement[bool], failure: Failure) -> bool:
    return _change(
        connection,
        which,
        State.FAILED,
        lease=None,
        lease_until=None,
        ended_at=now(),
        error_code=failure.code,
        error_reason=failure.reason,
        error_message=failure.message,
    )


def _find(connection: sa.Connection, job_id: str) -> sa.Row[Any]:
    row = connection.execute(sa.select(jobs).where(jobs.c.job_id == job_id)).one_or_none()
    if row is None:
        raise unknown_job(job_id)
    return row


def unknown_job(job_id: str) -> UnknownJobError:
    """What is told of a job that is not there."""
    return UnknownJobError(f"there is no job {job_id} (any more)")


def _whole(connection: sa.Connection, row: sa.Row[Any]) -> Job:
    ahead = 0
    if row.state == State.QUEUED:
        query = sa.select(sa.func.count()).where(jobs.c.state == State.QUEUED, jobs.c.sequence < row.sequence)
        ahead = connection.scalar(query) or 0
    return replace(_assemble(connection, [row])[0], ahead=ahead)


def _assemble(connection: sa.Connection, rows: Sequence[sa.Row[Any]]) -> Sequence[Job]:
    """Rows of ``jobs`` with what other tables say about them."""
    labels: dict[int, dict[str, str]] = {row.sequence: {} for row in rows}
    for label in connection.execute(sa.select(job_labels).where(job_labels.c.sequence.in_(labels))):
        labels[label.sequence][label.name] = label.value
    numbered = sa.tuple_(job_changes.c.sequence, job_changes.c.number)
    query = sa.select(job_changes).where(numbered.in_([(row.sequence, row.change) for row in rows]))
    latest = {change.sequence: _read_change(change) for change in connection.execute(query)}
    results = [row.result_sha256 for row in rows if row.result_sha256]
    there = set(
        connection.scalars(
            sa.select(blobs.c.sha256).where(blobs.c.sha256.in_(results), blobs.c.state == BlobState.READY)
        )
        if results
        else ()
    )
    return [
        Job(
            sequence=row.sequence,
            job_id=row.job_id,
            request_id=row.request_id or row.own_request_id or "",
            body_sha256=row.body_sha256,
            rig_id=row.rig_id,
            animation=row.animation,
            labels=labels[row.sequence],
            latest=latest[row.sequence],
            created_at=row.created_at,
            started_at=row.started_at,
            ended_at=row.ended_at,
            failure=Failure(row.error_code, row.error_reason, row.error_message) if row.error_reason else None,
            result=Stored(row.result_sha256, row.result_bytes, row.result_summary, row.result_sha256 not in there)
            if row.result_sha256
            else None,
            owner=row.owner,
        )
        for row in rows
    ]


def _read_change(row: sa.Row[Any]) -> Change:
    step = Step(row.stage, row.fraction, row.step, row.steps, row.variant)
    return Change(row.number, State(row.state), row.attempts, row.at, step)
