"""All keys of the configuration, read off ``ServerConfig`` and what belongs to it: nothing is said twice."""

from __future__ import annotations

import inspect
import re
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from animax.service import config
from animax.service.access import settings as access
from animax.service.jobs import settings as jobs
from animax.service.ranges import in_words

VARIABLES = {
    "models": "ANIMAX_SERVE_MODELS",  # ANIMAX_MODELS has the folders where models are looked for
    "jobs.data": "ANIMAX_DATA",
}
"""Of keys whose variable is not simply named after them."""
SECRETS = frozenset({"jobs.database", "jobs.blobs"})
"""URLs that may hold a password."""
ANY = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    Path: "a path",
    tuple: "a list of texts; in the environment separated by commas",
}


@dataclass(frozen=True)
class Key:
    """One setting.

    Attributes:
        name: with its table: ``jobs.lanes``.
        kind: its type; ``tuple`` for texts.
        optional: may be unset.
        default: None where nothing is set.
        accepted: in words.
        meaning: a sentence or two.
    """

    name: str
    kind: type
    optional: bool
    default: Any
    accepted: str
    meaning: str

    @property
    def table(self) -> str:
        """Of the file; empty for the top."""
        return self.name.rpartition(".")[0]

    @property
    def variable(self) -> str:
        """Of the environment."""
        return VARIABLES.get(self.name) or "ANIMAX_" + self.name.upper().replace(".", "_")


def every_key() -> dict[str, Key]:
    """All keys by name, in the order of a file: first those of no table."""
    places = {"database", "blobs"}
    found = [
        *_of(config.ServerConfig, "", config.RANGES, leave_out={"tls", "jobs", "auth"}),
        *_of(config.TlsFiles, "tls", {}, unset={"certificate", "key"}),
        *_of(access.AuthSettings, "auth", access.RANGES),
        Key("jobs.enabled", bool, False, True, ANY[bool], "Keep jobs, rigs and results; false keeps rigs in memory."),
        Key(
            "jobs.data", Path, True, None, ANY[Path],
            "Folder for everything, where database and blobs say nothing else. Unset: the user's data folder.",
        ),
        *_of(jobs.JobSettings, "jobs", jobs.RANGES, unset=places),
    ]  # fmt: skip
    return {key.name: key for key in found}


def tables() -> Mapping[str, str]:
    """What each table of the file is about."""
    return {
        "": "Places, limits, what can be seen.",
        "tls": "Transport security of both ports. Files that change are read anew, without a restart.",
        "auth": "Who may call. While no key of it is set, everybody may.",
        "jobs": "The store of jobs, rigs and results.",
    }


def _of(
    settings: type,
    table: str,
    ranges: Mapping[str, tuple[float, float]],
    *,
    leave_out: set[str] = frozenset(),  # type: ignore[assignment]
    unset: set[str] = frozenset(),  # type: ignore[assignment]
) -> list[Key]:
    hints, meanings = typing.get_type_hints(settings), _meanings(settings)
    keys = []
    for field in fields(settings):
        if field.name in leave_out:
            continue
        kind, optional = _kind(hints[field.name])
        accepted = ANY[kind]
        if field.name in ranges:
            accepted = in_words(*ranges[field.name])
        if field.name in config.CHOICES and not table:
            accepted = ", ".join(config.CHOICES[field.name])
        default = None if field.default is MISSING else field.default
        name = f"{table}.{field.name}" if table else field.name
        optional = optional or field.name in unset
        keys.append(Key(name, kind, optional, default, accepted, meanings.get(field.name, "")))
    return keys


def _kind(hint: Any) -> tuple[type, bool]:
    """A plain type, and whether None is one of its values."""
    parts = typing.get_args(hint) if typing.get_origin(hint) in (typing.Union, types.UnionType) else (hint,)
    plain = [part for part in parts if part is not type(None)]
    assert len(plain) == 1, hint
    return typing.get_origin(plain[0]) or plain[0], len(plain) < len(parts)


def _meanings(settings: type) -> dict[str, str]:
    """What the docstring says of each attribute, as plain text."""
    _, _, section = (inspect.getdoc(settings) or "").partition("Attributes:\n")
    found: dict[str, str] = {}
    name = ""
    for line in section.split("\n"):
        started = re.match(r"    (\w+): (.*)", line)
        if started:
            name, found[started[1]] = started[1], started[2]
        elif line.startswith("        ") and name:
            found[name] += " " + line.strip()
        elif line:
            break
    return {name: _sentence(text) for name, text in found.items()}


def _sentence(text: str) -> str:
    text = re.sub(r"\bNone\b", "unset", text.replace("``", "`"))
    return text[0].upper() + text[1:]
