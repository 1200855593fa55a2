"""Progress on stderr: a bar that redraws itself on a terminal, a line per stage elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

from animax.errors import Cancelled
from animax.request import Progress, Stage

WIDTH = 24
REDRAW_SECONDS = 0.08
TITLES = {
    Stage.TEMPLATE: "template views",
    Stage.TEXT: "prompt",
    Stage.DENOISE: "denoising",
    Stage.TRIANGULATE: "triangulation",
    Stage.ROTATIONS: "joint rotations",
    Stage.CLEAN: "clean-up",
}


class ProgressDisplay:
    """Shows where the work stands. Use as a context; calls may come from any one thread.

    Args:
        total: requests in a row that share the display.
        stream: default: stderr.
    """

    def __init__(self, total: int = 1, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._total = total
        self._began = time.monotonic()
        self._drawn = -1.0
        self._line = ""
        self.request = 0

    def __enter__(self) -> ProgressDisplay:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.clear()

    def __call__(self, progress: Progress) -> None:
        """An ``OnProgress``."""
        step = f" {progress.step}/{progress.steps}" if progress.step else ""
        self.show(f"{TITLES[progress.stage]}{step if self._terminal else ''}", progress.fraction)

    def remote(self, progress: Any, interrupted: Callable[[], bool], fraction: float) -> None:
        """Show a server's ``Progress`` message: ``fraction`` of the request at hand.

        Raises:
            Cancelled: ``interrupted`` said so.
        """
        from animax.wire.request import STAGE_OF

        if interrupted():
            raise Cancelled("interrupted")
        stage = STAGE_OF.get(progress.stage)
        self.show(TITLES[stage] if stage else f"queued, {progress.queue_position} before this one", fraction)

    def show(self, what: str, fraction: float = 0.0) -> None:
        """Show what is being done and how much of the request at hand is done."""
        which = f"{self.request + 1}/{self._total} " if self._total > 1 else ""
        if not self._terminal:
            if which + what != self._line:
                self._line = which + what
                print(f"animax: {self._line}", file=self._stream, flush=True)
            return
        now = time.monotonic()
        if now - self._drawn < REDRAW_SECONDS and fraction < 1:
            return
        self._drawn = now
        whole = (self.request + fraction) / self._total
        filled = round(WIDTH * whole)
        bar = "█" * filled + "░" * (WIDTH - filled)
        self._draw(f"{bar} {100 * whole:3.0f} %  {which}{what}  {now - self._began:.1f} s")

    def clear(self) -> None:
        """Take the bar off the terminal, so that a line can be printed."""
        if self._terminal and self._line:
            self._draw("")

    def _draw(self, line: str) -> None:
        encoding = self._stream.encoding or "ascii"
        line = line.encode(encoding, "replace").decode(encoding)
        self._stream.write("\r" + line + " " * (len(self._line) - len(line)) + ("" if line else "\r"))
        self._stream.flush()
        self._line = line
