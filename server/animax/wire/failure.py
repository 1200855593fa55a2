"""Errors as gRPC statuses with google.rpc details, and back. The tables are those of the services in proto/."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2
from grpc_status import rpc_status

from animax import errors
from animax.errors import AnimaxError, OptionError, ServiceError

log = logging.getLogger(__name__)

DOMAIN = "animax"
MAX_TEXT = 400
"""Bytes of a text in a status. It is in there up to four times; in the encodings of HTTP/2 that stays below 4 KiB."""


class MalformedMessage(AnimaxError):
    """Bytes that are no message of the contract."""


_TABLE: tuple[tuple[type[AnimaxError], grpc.StatusCode, str], ...] = (
    # the first line that an error is an instance of holds
    (errors.OptionError, grpc.StatusCode.INVALID_ARGUMENT, "OPTION_OUT_OF_RANGE"),
    (MalformedMessage, grpc.StatusCode.INVALID_ARGUMENT, "MALFORMED_MESSAGE"),
    (errors.UnsupportedAssetError, grpc.StatusCode.INVALID_ARGUMENT, "ASSET_UNSUPPORTED"),
    (errors.AssetError, grpc.StatusCode.INVALID_ARGUMENT, "ASSET_INVALID"),
    (errors.RigError, grpc.StatusCode.INVALID_ARGUMENT, "RIG_INVALID"),
    (errors.UnknownRigError, grpc.StatusCode.NOT_FOUND, "RIG_UNKNOWN"),
    (errors.UnknownJobError, grpc.StatusCode.NOT_FOUND, "JOB_UNKNOWN"),
    (errors.ResultExpiredError, grpc.StatusCode.NOT_FOUND, "RESULT_EXPIRED"),
    (errors.RequestIdError, grpc.StatusCode.ALREADY_EXISTS, "REQUEST_ID_REUSED"),
    (errors.BoneMapError, grpc.StatusCode.FAILED_PRECONDITION, "BONES_UNMATCHED"),
    (errors.ModelError, grpc.StatusCode.FAILED_PRECONDITION, "MODEL_INVALID"),
    (errors.EngineError, grpc.StatusCode.UNAVAILABLE, "ENGINE_FAILED"),
    (errors.GenerationError, grpc.StatusCode.ABORTED, "NO_MOTION"),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED, "DEADLINE"),
    (errors.Cancelled, grpc.StatusCode.CANCELLED, "CANCELLED"),
    # these carry their reason
    (errors.BusyError, grpc.StatusCode.RESOURCE_EXHAUSTED, ""),
    (errors.UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED, ""),
    (errors.ForbiddenError, grpc.StatusCode.PERMISSION_DENIED, ""),
    (errors.UnavailableError, grpc.StatusCode.UNAVAILABLE, ""),
    (errors.JobStateError, grpc.StatusCode.FAILED_PRECONDITION, ""),
    (errors.DamagedError, grpc.StatusCode.DATA_LOSS, ""),
    (errors.StreamError, grpc.StatusCode.ABORTED, ""),
)
_BY_REASON = {reason: kind for kind, _, reason in _TABLE if reason}
_BY_CODE: dict[grpc.StatusCode, type[ServiceError]] = {
    code: kind for kind, code, _ in _TABLE if issubclass(kind, ServiceError)
}
_FIELDS = {
    "ASSET_UNSUPPORTED": "chunk",
    "ASSET_INVALID": "chunk",
    "RIG_INVALID": "chunk",
    "REQUEST_ID_REUSED": "request_id",
}
"""The request's field that is at fault, where the error does not say."""
ENGINE_RETRY = 5.0
"""Seconds: about what an engine needs to start anew."""
MEMORY_RETRY = 5.0
"""Seconds: about what a request in progress takes."""


def status_of(error: Exception) -> status_pb2.Status:
    """The status that a caller gets for an error.

    Of an error that animax did not raise on purpose, nothing is told but a reference to the log.
    """
    if isinstance(error, MemoryError):
        error = errors.BusyError("memory ran out", reason="MEMORY_FULL", retry_after=MEMORY_RETRY)
    for kind, code, reason in _TABLE:
        if isinstance(error, kind):
            reason = error.reason if isinstance(error, ServiceError) else reason
            return _status(code, reason, str(error), error)
    reference = secrets.token_hex(4)
    log.error("internal error, reference %s", reference, exc_info=error)
    return _status(grpc.StatusCode.INTERNAL, "INTERNAL", f"internal error; the server's log has it as {reference}")


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The code of a status."""
    return next((known for known in grpc.StatusCode if known.value[0] == status.code), grpc.StatusCode.UNKNOWN)


def reason_of(status: status_pb2.Status) -> str:
    """The reason in the details of a status."""
    info = details_pb.ErrorInfo()
    for detail in status.details:
        if detail.Unpack(info):
            break
    return str(info.reason)


def failure_error(code: int, reason: str, message: str) -> AnimaxError:
    """The error that a code, a reason and a message stand for; of the same class that the server raised.

    Args:
        code: a google.rpc.Code.
        reason: of the tables of the contract.
        message: for people.
    """
    kind = _BY_REASON.get(reason)
    if kind is not None and not issubclass(kind, OptionError):
        return kind(message)
    return _BY_CODE.get(code_of(status_pb2.Status(code=code)), ServiceError)(message, reason=reason)


def _status(code: grpc.StatusCode, reason: str, text: str, error: AnimaxError | None = None) -> status_pb2.Status:
    text = _clean(text)
    number: int = code.value[0]
    status = status_pb2.Status(code=number, message=text)
    info = details_pb.ErrorInfo(reason=reason, domain=DOMAIN)
    field = _FIELDS.get(reason)
    if isinstance(error, OptionError):
        field = _clean(error.name, 60)
        info.metadata.update(option=field, seen=_clean(repr(error.seen), 100), accepted=_clean(error.accepted, 200))
    _attach(status, info)
    if field:
        _attach(status, details_pb.BadRequest(field_violations=[{"field": field, "description": text}]))
    retry_after = error.retry_after if isinstance(error, ServiceError) else None
    if isinstance(error, errors.EngineError):
        retry_after = ENGINE_RETRY
    if retry_after is not None:
        retry = details_pb.RetryInfo()
        retry.retry_delay.FromMilliseconds(int(retry_after * 1000))
        _attach(status, retry)
    if isinstance(error, errors.BusyError):
        subject = f"caller:{error.quota}" if isinstance(error, errors.QuotaError) else reason.lower()
        _attach(status, details_pb.QuotaFailure(violations=[{"subject": subject, "description": text}]))
    return status


def _attach(status: status_pb2.Status, detail: Any) -> None:
    packed = AnyMessage()
    packed.Pack(detail)
    status.details.append(packed)


def _clean(text: str, limit: int = MAX_TEXT) -> str:
    data = "".join(c if c.isprintable() else " " for c in text).encode()
    return data.decode() if len(data) <= limit else data[: limit - 3].decode(errors="ignore") + "…"


class _Verbatim(str):
    """Text that is its own repr: the server sent the repr already."""

    def __repr__(self) -> str:
        return str(self)


def error_of(call: Any) -> AnimaxError:
    """The error that a failed call means to its caller: of the same class that the server raised where it has one.

    Args:
        call: the ``grpc.RpcError`` of a blocking or an asyncio call.
    """
    code, text = call.code(), call.details() or ""
    info, retry_after = details_pb.ErrorInfo(), None
    try:
        status = rpc_status.from_call(call)
    except ValueError:  # a proxy on the way changed code or text
        status = None
    for detail in status.details if status else ():
        if detail.Is(details_pb.ErrorInfo.DESCRIPTOR):
            detail.Unpack(info)
        if detail.Is(details_pb.RetryInfo.DESCRIPTOR):
            retry = details_pb.RetryInfo()
            detail.Unpack(retry)
            retry_after = retry.retry_delay.ToMilliseconds() / 1000
    kind = _BY_REASON.get(info.reason)
    if kind is OptionError:
        return OptionError(info.metadata["option"], _Verbatim(info.metadata["seen"]), info.metadata["accepted"])
    if kind is not None:
        return kind(text)
    if code == grpc.StatusCode.DEADLINE_EXCEEDED:
        return errors.DeadlineExceeded(text)
    if code == grpc.StatusCode.CANCELLED:
        return errors.Cancelled(text)
    failed = _BY_CODE.get(code, ServiceError)
    return failed(f"{code.name}: {text}", reason=info.reason, retry_after=retry_after)


@contextmanager
def typed_errors() -> Iterator[None]:
    """Turn a failed call's error into that of ``animax.errors``."""
    try:
        yield
    except grpc.RpcError as error:
        raise error_of(error) from None
