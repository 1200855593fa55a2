"""What a batch has done so far, so that it can be killed at any time and begun again."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from contextlib import suppress
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

from animax.cli.manifest import Row
from animax.cli.outputs import write_whole
from animax.errors import AnimaxError


class Journal:
    """A file of JSON lines that is only ever added to. Use as a context; safe to use from several threads.

    The hashes of a clip's files are noted before the files are renamed into place: a clip is done when both agree. So
    it is never made twice, and never taken for done while a file is missing.

    Attributes:
        batch: names this batch; request ids are made from it.

    Raises:
        AnimaxError: another process uses it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._made: dict[str, dict[str, str]] = {}
        self._failures: dict[str, int] = {}
        self.batch = ""

    def __enter__(self) -> Journal:
        self._file = self._path.open("a+b")
        try:
            self._be_alone()
            self._read()
        except BaseException:
            self._file.close()
            raise
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._file.close()

    def is_done(self, row: Row) -> bool:
        """Whether a row's files were made and are still what was made."""
        made = self._made.get(row.key, {})
        return set(made) == {str(path) for path in row.outputs} and all(
            path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == made[str(path)] for path in row.outputs
        )

    def request_id(self, row: Row) -> str:
        """Of the order of a row: the same at every start, another one after the row has failed."""
        return f"{self.batch}-{row.key}-{self._failures.get(row.key, 0)}"

    def deliver(self, row: Row, contents: dict[Path, bytes]) -> None:
        """Note a row's files and write them."""
        hashes = {str(path): hashlib.sha256(content).hexdigest() for path, content in contents.items()}
        self._add({"key": row.key, "made": hashes})
        self._made[row.key] = hashes
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, lambda part, content=content: part.write_bytes(content))  # type: ignore[misc]

    def failed(self, row: Row, reason: str) -> None:
        """Note that a row could not be made; the next start tries it anew."""
        self._add({"key": row.key, "failed": reason})
        self._failures[row.key] = self._failures.get(row.key, 0) + 1

    def _be_alone(self) -> None:
        with suppress(ImportError):  # Windows has no flock
            import fcntl

            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AnimaxError(
                    f"{self._path.name} is in use by another batch; accepted: one at a time, or another --journal"
                ) from None

    def _read(self) -> None:
        self._file.seek(0)
        data = self._file.read()
        for line in data.splitlines():
            try:
                entry = json.loads(line)
                self.batch = entry.get("batch", self.batch)
                key = entry.get("key", "")
                if "made" in entry:
                    self._made[key] = entry["made"]
                if "failed" in entry:
                    self._failures[key] = self._failures.get(key, 0) + 1
            except (ValueError, AttributeError):  # torn when a process died while it wrote
                continue
        if data and not data.endswith(b"\n"):
            self._file.write(b"\n")
        if not self.batch:
            self.batch = uuid.uuid4().hex
            self._add({"batch": self.batch})

    def _add(self, entry: dict[str, Any]) -> None:
        with self._lock:
            self._file.write(json.dumps(entry).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
