"""What a client sends to the job service, and how it reads what comes back."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence

from animax.errors import AnimaxError, OptionError
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import job_service_pb2 as job_pb
from animax.wire.failure import failure_error
from animax.wire.request import FILE_FORMATS

JOB_STATES: dict[str, job_pb.JobState.ValueType] = {
    "queued": job_pb.JOB_STATE_QUEUED,
    "running": job_pb.JOB_STATE_RUNNING,
    "succeeded": job_pb.JOB_STATE_SUCCEEDED,
    "failed": job_pb.JOB_STATE_FAILED,
    "cancelled": job_pb.JOB_STATE_CANCELLED,
}
FINAL = frozenset({"succeeded", "failed", "cancelled"})
_NAMES: dict[int, str] = {value: name for name, value in JOB_STATES.items()}


def state_name(job: job_pb.Job) -> str:
    """``queued``, ``running``, ``succeeded``, ``failed`` or ``cancelled``."""
    return _NAMES.get(job.state, "unknown")


def create_message(
    animation: pb.AnimateRequest, request_id: str | None, labels: Mapping[str, str]
) -> job_pb.CreateAnimationJobRequest:
    """An order; without a request id it gets one of its own."""
    name = uuid.uuid4().hex if request_id is None else request_id
    return job_pb.CreateAnimationJobRequest(request_id=name, animation=animation, labels=labels)


def list_message(states: Sequence[str], rig_id: str, labels: Mapping[str, str], page: int) -> job_pb.ListJobsRequest:
    """The question for a first page.

    Raises:
        OptionError: an unknown state.
    """
    for state in states:
        if state not in JOB_STATES:
            raise OptionError("states", state, ", ".join(JOB_STATES))
    return job_pb.ListJobsRequest(
        page_size=page, states=[JOB_STATES[state] for state in states], rig_id=rig_id, labels=labels
    )


def result_message(job_id: str, files: Sequence[str]) -> job_pb.GetJobResultRequest:
    """The question for a result.

    Raises:
        OptionError: an unknown file format.
    """
    for name in files:
        if name not in FILE_FORMATS:
            raise OptionError("file_formats", name, " or ".join(FILE_FORMATS))
    return job_pb.GetJobResultRequest(job_id=job_id, file_formats=[FILE_FORMATS[name] for name in files])


def job_error(job: job_pb.Job) -> AnimaxError | None:
    """Why a job failed, as the error that Animate would have raised; None when it did not."""
    if not job.HasField("error"):
        return None
    return failure_error(job.error.code, job.error.reason, job.error.message)
