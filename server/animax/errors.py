"""Every error that animax raises on purpose.

Each message names the thing, the value that was seen and what is accepted, and is safe to show to a remote caller:
it holds no path of this machine and no trace.
"""

from __future__ import annotations

from collections.abc import Sequence


class AnimaxError(Exception):
    """Base class of all errors below."""


class AssetError(AnimaxError):
    """A file is damaged, not what it claims to be, or over a limit."""


class UnsupportedAssetError(AssetError):
    """A file is valid but uses a feature that animax refuses by name (Draco, meshopt, ...)."""


class RigError(AnimaxError):
    """A file was read, but holds nothing that can be animated, or its skeleton breaks a rule."""


class OptionError(AnimaxError, ValueError):
    """An option of a request is out of range.

    Args:
        name: the option, spelt as the caller knows it (``seconds``, ``facing``, ...).
        seen: the value that was given.
        accepted: what would have been accepted, in words.
    """

    def __init__(self, name: str, seen: object, accepted: str) -> None:
        self.name = name
        self.seen = seen
        self.accepted = accepted
        super().__init__(f"{name} is {_short(seen)}; accepted: {accepted}")


class ModelError(AnimaxError):
    """A model folder is incomplete, altered or of another version."""


class EngineError(AnimaxError):
    """The inference engine cannot start (missing provider) or failed while running."""


class GenerationError(AnimaxError):
    """The network's output cannot be turned into motion."""


class BoneMapError(AnimaxError):
    """No bone of a target follows any of the source; accepted: a bone map that drives at least one joint."""


class Cancelled(AnimaxError):
    """The caller cancelled, or its deadline passed, between two stages of the work."""


class DeadlineExceeded(Cancelled):
    """The time given to a request is over."""


class UnknownRigError(AnimaxError):
    """The service holds no rig of this id; accepted: one that was uploaded and not dropped since."""


class UnknownJobError(AnimaxError):
    """The service has no job of this id; accepted: one that was created and not deleted since."""


class RequestIdError(AnimaxError):
    """A request id was used with another request before; accepted: the same request, or a new id."""


class ResultExpiredError(AnimaxError):
    """The result of a job made room for others; accepted: to order it again."""


class ServiceError(AnimaxError):
    """A call to the service failed for a reason outside of the request.

    Args:
        message: for people.
        reason: the reason on the wire (``QUEUE_FULL``, ...; proto/animax/v1/animation_service.proto lists them).
        retry_after: seconds after which a retry makes sense; None when there is nothing to wait for.
    """

    def __init__(self, message: str, *, reason: str, retry_after: float | None = None) -> None:
        self.reason = reason
        self.retry_after = retry_after
        super().__init__(message)


class BusyError(ServiceError):
    """The service's queue or memory is full, or the reader was too slow for what it holds."""


class QuotaError(BusyError):
    """A caller has used up what it may use.

    Args:
        quota: which of its quotas.
        message: for people.
        retry_after: seconds; None when waiting does not help.
    """

    def __init__(self, quota: str, message: str, retry_after: float | None = None) -> None:
        self.quota = quota
        super().__init__(message, reason="QUOTA_EXCEEDED", retry_after=retry_after)


class UnauthenticatedError(ServiceError):
    """The caller showed no credentials, or none that are valid."""


class ForbiddenError(ServiceError):
    """The caller is known, but may not do this."""


class UnavailableError(ServiceError):
    """The service cannot be reached, is not ready yet, or is shutting down."""


class JobStateError(ServiceError):
    """A job is not in the state that the call needs."""


class DamagedError(ServiceError):
    """Stored bytes are not those that were written."""


class StreamError(ServiceError):
    """A stream was cut, stalled, or breaks the contract."""


def some_of(names: Sequence[str], most: int = 12) -> str:
    """The first of some names, for ``accepted``."""
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def _short(value: object, limit: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
