"""Waiting with a limit, without ever losing a cancellation."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any, TypeVar

T = TypeVar("T")


async def within(awaitable: Awaitable[T], seconds: float, *ends: asyncio.Future[Any]) -> T:
    """The result of ``awaitable``.

    ``asyncio.wait_for`` up to Python 3.11 can swallow a cancellation that arrives together with the result; a handler
    that swallows one generates for a client that is gone.

    Args:
        awaitable: cancelled when it is not waited for any longer.
        seconds: how long to wait.
        ends: futures that end the waiting early.

    Raises:
        TimeoutError: the time is over, or one of ``ends`` is done.
    """
    task: asyncio.Future[T] = asyncio.ensure_future(awaitable)
    either: set[asyncio.Future[Any]] = {task, *ends}
    try:
        await asyncio.wait(either, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
    finally:
        if not task.done():
            task.cancel()
        task.add_done_callback(_seen)  # also one that failed just as the waiting was cancelled
    raise TimeoutError(f"nothing within {seconds:g} s")


def _seen(task: asyncio.Future[Any]) -> None:
    """Whatever a task that nobody waits for ends with is no news to the log."""
    if not task.cancelled():
        task.exception()
