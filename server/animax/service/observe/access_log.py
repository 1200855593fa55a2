"""One line for each call, as text for people or as JSON for collectors; every other log line in the same form."""

from __future__ import annotations

import json
import logging
from datetime import datetime, timezone
from typing import Any

from animax.service.observe.record import Record, current

FORMATS = ("text", "json")
RIG_PREFIX = 12
"""Hex digits of a rig's id: enough to find it, too few to fetch it."""


class AccessLine:
    """What the log tells of a call that has ended. Put into words only where somebody reads them."""

    def __init__(self, record: Record, with_prompt: bool) -> None:
        self._record = record
        self._with_prompt = with_prompt

    def facts(self) -> dict[str, Any]:
        """As a dictionary, without what is not known."""
        record = self._record
        facts = {
            "request_id": record.request_id,
            "trace_id": record.trace_id,
            "method": record.name,
            "status": record.code,
            "reason": record.reason,
            "seconds": round(record.seconds, 4),
            "queued_seconds": round(record.queued_seconds, 4) if record.spans or record.queued_seconds else None,
            "first_frame_seconds": _rounded(record.first_frame_seconds),
            "upload_bytes": record.upload_bytes or None,
            **record.facts,
            "stages": {stage: round(seconds, 4) for stage, seconds in record.stage_seconds().items()} or None,
            "prompt": record.prompt if self._with_prompt else None,
        }
        if rig := facts.pop("rig_id", None):
            facts["rig"] = str(rig)[:RIG_PREFIX]
        return {name: value for name, value in facts.items() if value is not None and value != ""}

    def __str__(self) -> str:
        facts = self.facts()
        head = f"{facts.pop('method')} {facts.pop('status')}"
        stages = facts.pop("stages", {})
        told = {**facts, **stages}
        # a text of the caller's is quoted, so that it cannot pass for another field or line
        return " ".join([head, *(f"{name}={_quoted(value)}" for name, value in told.items())])


class TextFormatter(logging.Formatter):
    """Lines for people."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)-7s %(name)s: %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """A line, with the request that it is about."""
        text = super().format(record)
        call = current.get()
        if call is None or isinstance(record.msg, AccessLine):
            return text
        first, newline, rest = text.partition("\n")
        return f"{first} [{call.request_id}]{newline}{rest}"


class JsonFormatter(logging.Formatter):
    """Lines for machines: one JSON object each."""

    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        at = datetime.fromtimestamp(record.created, timezone.utc).isoformat(timespec="milliseconds")
        line: dict[str, Any] = {"time": at, "level": record.levelname.lower(), "logger": record.name}
        if isinstance(record.msg, AccessLine):
            line.update(event="request", **record.msg.facts())
        else:
            line["message"] = record.getMessage()
            if (call := current.get()) is not None:
                line["request_id"] = call.request_id
            if record.exc_info:
                line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def formatter(name: str) -> logging.Formatter:
    """The formatter of one of ``FORMATS``."""
    return JsonFormatter() if name == "json" else TextFormatter()


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 4)


def _quoted(value: object) -> str:
    text = str(value)
    return text if text and all(c.isalnum() or c in "._:/+=@-" for c in text) else json.dumps(text)
