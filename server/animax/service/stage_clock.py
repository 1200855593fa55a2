"""When each stage of a generation began and ended, also of one that was stopped or failed."""

from __future__ import annotations

import threading
import time
from typing import NamedTuple


class Span(NamedTuple):
    """A stage; times are those of ``time.monotonic``."""

    stage: str
    began: float
    ended: float

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class StageClock:
    """Told of each stage by the thread that generates; read by any."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._spans: list[Span] = []
        self._stage = ""
        self._began = 0.0

    def enter(self, stage: str) -> None:
        """A stage begins, and the one before it ends. Telling the same one again changes nothing."""
        with self._lock:
            if stage != self._stage:
                self._spans, self._stage, self._began = self._so_far(), stage, time.monotonic()

    def leave(self) -> None:
        """The last stage ends."""
        with self._lock:
            self._spans, self._stage = self._so_far(), ""

    def spans(self) -> list[Span]:
        """The stages in order; one that goes on ends now."""
        with self._lock:
            return self._so_far()

    def _so_far(self) -> list[Span]:
        return [*self._spans, Span(self._stage, self._began, time.monotonic())] if self._stage else self._spans
