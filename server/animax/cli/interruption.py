"""Ctrl-C as a question that the work asks between its steps."""

from __future__ import annotations

import signal
import sys
import threading
from types import TracebackType
from typing import Any


class Interruption:
    """While entered, the first Ctrl-C (or SIGTERM) only sets a flag; a second one interrupts at once.

    An instance is a ``ShouldStop``.
    """

    def __init__(self) -> None:
        self._asked = threading.Event()
        self._before: dict[int, Any] = {}

    def __call__(self) -> bool:
        """Whether somebody asked to stop."""
        return self._asked.is_set()

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        if self._asked.is_set():
            raise KeyboardInterrupt
        self._asked.set()
        print("\nanimax: stopping after this step; once more stops at once", file=sys.stderr)
