"""What travels between the store and its users."""

from __future__ import annotations

from dataclasses import dataclass, field

from animax.service.jobs.schema import State


@dataclass(frozen=True)
class NewJob:
    """An order to be kept.

    Attributes:
        request_id: of the client's choice; empty for none.
        body_sha256: of the order as the client sent it; two orders of one request id must agree in it.
        rig_id: must be in the store.
        model: name; only workers that have it take the job up.
        animation: a serialised ``AnimateRequest``, every choice made.
        labels: for filters and people.
        owner: who orders; request ids are its own. Empty where nobody is told apart.
        most_queued: jobs of the owner that may wait; None sets no limit.
    """

    request_id: str
    body_sha256: str
    rig_id: str
    model: str
    animation: bytes
    labels: dict[str, str] = field(default_factory=dict)
    owner: str = ""
    most_queued: int | None = None


@dataclass(frozen=True)
class Step:
    """Where a running job stands; as in ``animax.v1.Progress``."""

    stage: int = 0
    fraction: float = 0.0
    step: int = 0
    steps: int = 0
    variant: int = 0


@dataclass(frozen=True)
class Change:
    """One change of a job.

    Attributes:
        number: from 1, without a gap.
        state: after it.
        attempts: after it.
        at: seconds since the epoch.
        step: after it.
    """

    number: int
    state: State
    attempts: int
    at: float
    step: Step


@dataclass(frozen=True)
class Failure:
    """Why a job failed: a google.rpc.Code, a reason of the contract, a sentence."""

    code: int
    reason: str
    message: str


@dataclass(frozen=True)
class Stored:
    """A result in the store: content, size, and its serialised ``Summary``."""

    sha256: str
    size: int
    summary: bytes
    expired: bool = False


@dataclass(frozen=True)
class Job:
    """A job as it stands. Times are seconds since the epoch by the store's clock.

    Attributes:
        sequence: order of creation.
        latest: its latest change.
        owner: who ordered it; empty where nobody was told apart.
        ahead: queued jobs that were created before it, while it is queued itself; not counted in lists.
    """

    sequence: int
    job_id: str
    request_id: str
    body_sha256: str
    rig_id: str
    animation: bytes
    labels: dict[str, str]
    latest: Change
    created_at: float
    started_at: float | None
    ended_at: float | None
    failure: Failure | None
    result: Stored | None
    ahead: int = 0
    owner: str = ""

    @property
    def state(self) -> State:
        """After its latest change."""
        return self.latest.state


@dataclass(frozen=True)
class Filter:
    """Which jobs to list; what is empty does not matter. An owner of None is anybody."""

    states: tuple[State, ...] = ()
    rig_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    owner: str | None = None


@dataclass(frozen=True)
class Claim:
    """The right to work on a job, as long as the lease is kept up.

    Attributes:
        lease: names this attempt at it.
        job: as it was when it was claimed.
    """

    lease: str
    job: Job
