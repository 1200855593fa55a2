"""The list of clips that a batch makes: CSV with a header, or JSON lines."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from animax.cli.outputs import CLIP_SUFFIXES
from animax.errors import AssetError, OptionError
from animax.request import Request, RootMode

NEEDED = ("rig", "prompt", "output")
NUMBERS: dict[str, type] = {"seconds": float, "fps": float, "seed": int, "guidance": float, "steps": int}
SWITCHES = ("loop", "foot_cleanup")
REQUEST = ("prompt", *NUMBERS, *SWITCHES, "root_mode")
"""Columns that are fields of a ``Request``."""
COLUMNS = (*NEEDED, *NUMBERS, *SWITCHES, "root_mode", "facing")
FACING = re.compile(r"[+-]?[xyz]")
T = TypeVar("T")
TRUE, FALSE = {"true", "yes", "1"}, {"false", "no", "0"}


@dataclass(frozen=True)
class Row:
    """One clip to make.

    Attributes:
        line: in the manifest, from 1.
        rig: file.
        rig_sha256: of its content.
        request: what to generate.
        facing: an axis, or empty.
        outputs: files to write.
    """

    line: int
    rig: Path
    rig_sha256: str
    request: Request
    facing: str
    outputs: tuple[Path, ...]

    @property
    def key(self) -> str:
        """Names the clip: the same for the same content of the row, wherever it stands."""
        parts = [self.rig_sha256, self.request.as_dict(), self.facing, [str(path) for path in self.outputs]]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:24]


def read_manifest(path: Path) -> tuple[list[Row], list[str]]:
    """All rows, and a sentence for each thing that is wrong.

    Relative paths are relative to the manifest.

    Raises:
        OptionError: the file is neither ``.csv`` nor ``.jsonl``, has no rows, or lacks a column.
        AssetError: it is not UTF-8 text.
    """
    readers = {".csv": _read_csv, ".jsonl": _read_json_lines, ".ndjson": _read_json_lines}
    if path.suffix.lower() not in readers:
        raise OptionError("manifest", path.name, f"a name that ends in {', '.join(readers)}")
    rows: list[Row] = []
    problems: list[str] = []
    hashes: dict[Path, str] = {}
    written: dict[Path, int] = {}
    try:
        for line, values in readers[path.suffix.lower()](path):
            row, faults = _row(path.parent, line, values, hashes)
            for output in row.outputs if row else ():
                if (other := written.setdefault(output.resolve(), line)) != line:
                    faults.append(OptionError("output", str(output), f"another file than line {other}'s"))
            problems += [f"line {line}: {fault}" for fault in faults]
            if row and not faults:
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AssetError(f"{path.name} cannot be read: {error}; accepted: text in UTF-8") from None
    if not rows and not problems:
        raise OptionError("manifest", f"{path.name}, without rows", "at least one row")
    return rows, problems


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        columns = reader.fieldnames or ()
        for name in NEEDED:
            if name not in columns:
                raise OptionError("the header", ",".join(columns), f"{', '.join(NEEDED)} among the columns")
        for values in reader:
            # DictReader keeps what has no column under None
            yield reader.line_num, {name: value or "" for name, value in values.items() if value or name in NEEDED}


def _read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except json.JSONDecodeError as error:
                yield line, OptionError("the line", text, f"JSON ({error.msg})")


def _row(folder: Path, line: int, values: Any, hashes: dict[Path, str]) -> tuple[Row | None, list[Exception]]:
    """A row, or all that is wrong with it."""
    if isinstance(values, OptionError):
        return None, [values]
    if not isinstance(values, dict):
        return None, [OptionError("the line", values, "a JSON object")]
    faults: list[Exception] = []

    def read(part: Callable[..., T], *given: Any) -> T | None:
        try:
            return part(*given)
        except (OptionError, OSError) as error:
            faults.append(error)
            return None

    for name in values:
        read(_check_column, name)
    rig = read(_rig, folder, values, hashes)
    facing = read(_facing, values)
    outputs = read(_outputs, folder, values)
    fields: dict[str, Any] = {name: read(_field, name, values) for name in REQUEST if name in (*values, "prompt")}
    request = None if faults else read(partial(Request, **fields))
    if rig is None or request is None or facing is None or outputs is None:
        return None, faults
    return Row(line, rig, hashes[rig], request, facing, outputs), faults


def _check_column(name: object) -> None:
    if name not in COLUMNS:
        raise OptionError("the column", name, ", ".join(COLUMNS))


def _needed(name: str, values: dict[str, Any]) -> Any:
    value = values.get(name)
    if value in (None, "", []):
        raise OptionError(name, value, "a value in every row")
    return value


def _rig(folder: Path, values: dict[str, Any], hashes: dict[Path, str]) -> Path:
    name = str(_needed("rig", values))
    rig = folder / name
    if rig not in hashes:
        if not rig.is_file():
            raise OptionError("rig", name, "a file that is there")
        hashes[rig] = hashlib.sha256(rig.read_bytes()).hexdigest()
    return rig


def _facing(values: dict[str, Any]) -> str:
    facing = str(values.get("facing", "")).strip().lower()
    if facing and not FACING.fullmatch(facing):
        raise OptionError("facing", facing, "+x, -x, +y, -y, +z, -z")
    return facing


def _outputs(folder: Path, values: dict[str, Any]) -> tuple[Path, ...]:
    rig, value = folder / str(values.get("rig")), _needed("output", values)
    names = value if isinstance(value, list) else str(value).split(";")
    outputs = tuple(folder / str(name).strip() for name in names)
    for output in outputs:
        if output.suffix.lower() not in CLIP_SUFFIXES:
            raise OptionError("output", output.name, f"names that end in {', '.join(CLIP_SUFFIXES)}")
        if output.resolve() == rig.resolve():
            raise OptionError("output", output.name, "another file than the rig itself")
    return outputs


def _field(name: str, values: dict[str, Any]) -> Any:
    """Of a ``Request``."""
    if name in NUMBERS:
        return _number(name, values[name], NUMBERS[name])
    if name in SWITCHES:
        return _switch(name, values[name])
    if name == "root_mode":
        return _root_mode(values[name])
    return str(_needed(name, values))


def _root_mode(value: Any) -> RootMode:
    modes = [mode.value for mode in RootMode]
    if value not in modes:
        raise OptionError("root_mode", value, ", ".join(modes))
    return RootMode(value)


def _number(name: str, value: Any, kind: type) -> Any:
    try:
        number = kind(value)
    except (TypeError, ValueError, OverflowError):
        raise OptionError(name, value, "a whole number" if kind is int else "a number") from None
    if isinstance(value, bool) or (isinstance(value, float) and number != value):
        raise OptionError(name, value, "a whole number" if kind is int else "a number")
    return number


def _switch(name: str, value: Any) -> bool:
    text = str(value).strip().lower()
    if text not in TRUE | FALSE:
        raise OptionError(name, value, "true or false")
    return text in TRUE
