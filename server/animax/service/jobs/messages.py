"""Between the store's types and the messages of job_service.proto."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import replace

from google.protobuf.timestamp_pb2 import Timestamp

from animax.errors import OptionError
from animax.service.jobs.job import Change, Filter, Job, NewJob
from animax.service.jobs.schema import State
from animax.service.models import ServedModels
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.wire.request import Order, check_rig_id, read_animate_request

REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{0,128}")
JOB_ID = re.compile("[0-9a-f]{32}")
MAX_LABELS = 16
MAX_LABEL_NAME = 63
MAX_LABEL_VALUE = 255
"""Characters."""


def read_create_request(
    message: job_pb.CreateAnimationJobRequest, max_variants: int, models: ServedModels
) -> tuple[NewJob, Order]:
    """Check an order and make every choice that it leaves to the server.

    Raises:
        OptionError: a field is out of range; its name is the field's.
    """
    if not REQUEST_ID.fullmatch(message.request_id):
        raise OptionError("request_id", message.request_id, "at most 128 characters of A-Z a-z 0-9 . _ : -")
    order = read_animate_request(message.animation, max_variants)
    resolved = pb.AnimateRequest()
    resolved.CopyFrom(message.animation)
    resolved.seed = order.request.seed
    resolved.model = models.get(order.model).name
    body = job_pb.CreateAnimationJobRequest(animation=message.animation, labels=message.labels)
    new = NewJob(
        request_id=message.request_id,
        body_sha256=hashlib.sha256(body.SerializeToString(deterministic=True)).hexdigest(),
        rig_id=order.rig_id,
        model=resolved.model,
        animation=resolved.SerializeToString(),
        labels=check_labels(message.labels),
    )
    return new, order


def read_filter(message: job_pb.ListJobsRequest) -> Filter:
    """The filter of a list.

    Raises:
        OptionError: a field is out of range.
    """
    known = {int(state) for state in State}
    if not set(message.states) <= known:
        raise OptionError("states", list(message.states), "values of animax.v1.JobState")
    rig_id = check_rig_id(message.rig_id) if message.rig_id else ""
    return Filter(tuple(sorted({State(state) for state in message.states})), rig_id, check_labels(message.labels))


def check_job_id(job_id: str) -> str:
    """``job_id`` itself.

    Raises:
        OptionError: it is none.
    """
    if not JOB_ID.fullmatch(job_id):
        raise OptionError("job_id", job_id, "32 lower-case hex digits")
    return job_id


def check_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """``labels`` themselves.

    Raises:
        OptionError: there are too many, or one is too long or not printable.
    """
    if len(labels) > MAX_LABELS:
        raise OptionError("labels", f"{len(labels)} of them", f"at most {MAX_LABELS}")
    for name, value in labels.items():
        if not (1 <= len(name) <= MAX_LABEL_NAME and name.isprintable()):
            raise OptionError("labels", name, f"names of 1 to {MAX_LABEL_NAME} printable characters")
        if not (len(value) <= MAX_LABEL_VALUE and value.isprintable()):
            raise OptionError("labels", value, f"values of at most {MAX_LABEL_VALUE} printable characters")
    return dict(labels)


def job_message(job: Job, *, in_list: bool = False) -> job_pb.Job:
    """A job as it stands."""
    step = job.latest.step
    message = job_pb.Job(
        job_id=job.job_id,
        request_id=job.request_id,
        state=job_pb.JobState.ValueType(job.state),
        animation=pb.AnimateRequest.FromString(job.animation),
        labels=job.labels,
        change=job.latest.number,
        progress=pb.Progress(
            stage=pb.STAGE_QUEUED if job.state is State.QUEUED else pb.Stage.ValueType(step.stage),
            fraction=step.fraction,
            step=step.step,
            steps=step.steps,
            variant=step.variant,
            queue_position=job.ahead,
            elapsed_seconds=max(0.0, job.latest.at - job.created_at),
        ),
        attempts=job.latest.attempts,
        create_time=_time(job.created_at),
        start_time=_time(job.started_at),
        end_time=_time(job.ended_at),
    )
    if job.failure is not None:
        failure = job.failure
        message.error.CopyFrom(job_pb.JobError(code=failure.code, reason=failure.reason, message=failure.message))
    if job.result is not None:
        result = job_pb.JobResult(sha256=job.result.sha256, size_bytes=job.result.size, expired=job.result.expired)
        if not in_list:
            result.clips.extend(pb.Summary.FromString(job.result.summary).clips)
        message.result.CopyFrom(result)
    return message


def as_of(job: Job, change: Change) -> Job:
    """A job as it stood after one of its changes."""
    if change.state.final:
        return replace(job, latest=change)
    started = None if change.state is State.QUEUED else job.started_at
    return replace(
        job,
        latest=change,
        started_at=started,
        ended_at=None,
        failure=None,
        result=None,
        ahead=job.ahead if change.number == job.latest.number else 0,
    )


def _time(seconds: float | None) -> Timestamp | None:
    if seconds is None:
        return None
    stamp = Timestamp()
    stamp.FromMicroseconds(round(seconds * 1e6))
    return stamp
