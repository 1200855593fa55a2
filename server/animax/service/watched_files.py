"""Files that are read anew when they change, by whoever has something to do with what is in them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from animax.errors import AnimaxError

T = TypeVar("T")
log = logging.getLogger(__name__)


class WatchedFiles(Generic[T]):
    """What some files say, as of the last look at which they could be read.

    Args:
        what: they are, for the log.
        paths: of the files.
        load: reads them; raises AnimaxError, whose message holds nothing of what is in them.

    Attributes:
        current: what ``load`` made last.

    Raises:
        AnimaxError: from the first ``load``.
    """

    def __init__(self, what: str, paths: Sequence[Path], load: Callable[[], T]) -> None:
        self._what = what
        self._paths = paths
        self._load = load
        self._seen = self._stamps()
        self.current = load()

    def look(self, *, anyway: bool = False) -> bool:
        """Read the files anew if they have changed, or ``anyway``; returns whether that was done. What is damaged
        changes nothing: whoever was let in before the edit still is."""
        stamps = self._stamps()
        if stamps == self._seen and not anyway:
            return False
        self._seen = stamps
        try:
            self.current = self._load()
        except AnimaxError as error:
            log.warning("%s changed, but cannot be used; what was read before stays: %s", self._what, error)
            return False
        log.info("%s read anew", self._what)
        return True

    def _stamps(self) -> tuple[tuple[int, ...], ...]:
        found: list[tuple[int, ...]] = []
        for path in self._paths:
            try:
                status = path.stat()
                found.append((status.st_mtime_ns, status.st_size, status.st_ino))
            except OSError:
                found.append(())
        return tuple(found)
