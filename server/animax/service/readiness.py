"""Whether the server can generate: warming up, ready, recovering, draining. Told to health checks as it changes."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from concurrent.futures import Executor
from enum import Enum

from grpc_health.v1 import health, health_pb2

from animax.errors import UnavailableError
from animax.service.models import ServedModels

log = logging.getLogger(__name__)

SERVICES = ("", "animax.v1.AnimationService", "animax.v1.AssetService", "animax.v1.RetargetService")
JOB_SERVICE = "animax.v1.JobService"
FIRST_RETRY, LAST_RETRY = 1.0, 30.0
"""Seconds between attempts to bring an engine back; doubled each time."""


class State(str, Enum):
    """What the server is doing."""

    WARMING_UP = "warming up"
    READY = "ready"
    RECOVERING = "recovering from an engine failure"
    DRAINING = "shutting down"


class Readiness:
    """The state of one server, kept in step with its health service."""

    def __init__(self, models: ServedModels, executor: Executor, services: Sequence[str] = SERVICES) -> None:
        self.state = State.WARMING_UP
        self.health = health.aio.HealthServicer()
        self._services = services
        self._leaving = False
        self._models = models
        self._executor = executor
        self._warming: asyncio.Task[None] | None = None

    async def begin(self) -> None:
        """Tell NOT_SERVING and warm up in the background."""
        await self._tell(State.WARMING_UP)
        self._warming = asyncio.create_task(self._warm_up())

    @property
    def serving(self) -> bool:
        """What health is told."""
        return self.state is State.READY and not self._leaving

    def require(self) -> None:
        """Return when ready.

        Raises:
            UnavailableError: not ready.
        """
        self.require_open()
        if self.state is not State.READY:
            raise UnavailableError(f"the server is {self.state.value}", reason="NOT_READY", retry_after=FIRST_RETRY)

    def require_open(self) -> None:
        """Return unless the server is shutting down.

        Raises:
            UnavailableError: it is.
        """
        if self.state is State.DRAINING:
            # a balancer has another server at once, a client without one may find this one started anew
            raise UnavailableError("the server is shutting down", reason="DRAINING", retry_after=FIRST_RETRY)

    async def engine_failed(self) -> None:
        """Tell NOT_SERVING and warm up again until that works."""
        if self.state is State.READY:
            await self._tell(State.RECOVERING)
            self._warming = asyncio.create_task(self._warm_up())

    async def drain(self, seconds: float) -> None:
        """Tell NOT_SERVING for good; ``seconds`` later, refuse requests."""
        self._leaving = True
        await self.health.enter_graceful_shutdown()
        await asyncio.sleep(seconds)
        self.state = State.DRAINING
        if self._warming is not None:
            self._warming.cancel()

    async def _warm_up(self) -> None:
        pause = FIRST_RETRY
        while True:
            began = time.monotonic()
            try:
                await asyncio.get_running_loop().run_in_executor(self._executor, self._models.warm_up)
            except Exception:
                log.exception("the engine failed to warm up; next attempt in %g s", pause)
                await asyncio.sleep(pause)
                pause = min(2 * pause, LAST_RETRY)
            else:
                names = ", ".join(f"{model.name} on {model.provider}" for model in self._models)
                log.info("warm after %.2f s: %s", time.monotonic() - began, names)
                await self._tell(State.READY)
                return

    async def _tell(self, state: State) -> None:
        if self.state is State.DRAINING:
            return
        self.state = state
        serving = health_pb2.HealthCheckResponse.SERVING
        not_serving = health_pb2.HealthCheckResponse.NOT_SERVING
        for service in self._services:
            await self.health.set(service, serving if state is State.READY else not_serving)
