"""The list of clips that a batch makes: CSV with a header, or JSON lines."""

from __future__ import annotations

import csv
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from animax.cli.outputs import CLIP_SUFFIXES
from animax.errors import AssetError, OptionError
from animax.request import Request, RootMode

NEEDED = ("rig", "prompt", "output")
NUMBERS: dict[str, type] = {"seconds": float, "fps": float, "seed": int, "guidance": float, "steps": int}
SWITCHES = ("loop", "foot_cleanup")
COLUMNS = (*NEEDED, *NUMBERS, *SWITCHES, "root_mode", "facing")
FACING = re.compile(r"[+-]?[xyz]")
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
        OptionError: the file is neither ``.csv`` nor ``.jsonl``.
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
            try:
                row = _row(path.parent, line, values, hashes)
                for output in row.outputs:
                    if written.setdefault(output.resolve(), line) != line:
                        raise OptionError(
                            "output", str(output), f"another file than line {written[output.resolve()]}'s"
                        )
            except (OptionError, OSError) as error:
                problems.append(f"line {line}: {error}")
            else:
                rows.append(row)
    except (UnicodeDecodeError, csv.Error) as error:
        raise AssetError(f"{path.name} cannot be read: {error}; accepted: text in UTF-8") from None
    return rows, problems


def _read_csv(path: Path) -> Iterator[tuple[int, Any]]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        for values in reader:
            # DictReader keeps what has no column under None
            yield reader.line_num, {name: value for name, value in values.items() if value not in (None, "")}


def _read_json_lines(path: Path) -> Iterator[tuple[int, Any]]:
    for line, text in enumerate(path.read_text("utf-8-sig").splitlines(), 1):
        if text.strip():
            try:
                yield line, json.loads(text)
            except json.JSONDecodeError as error:
                yield line, OptionError("the line", text, f"JSON ({error.msg})")


def _row(folder: Path, line: int, values: Any, hashes: dict[Path, str]) -> Row:
    if isinstance(values, OptionError):
        raise values
    if not isinstance(values, dict):
        raise OptionError("the line", values, "a JSON object")
    for name in values:
        if name not in COLUMNS:
            raise OptionError("the column", name, ", ".join(COLUMNS))
    for name in NEEDED:
        if name not in values:
            raise OptionError(name, None, "a value in every row")
    rig = folder / str(values["rig"])
    if rig not in hashes:
        if not rig.is_file():
            raise OptionError("rig", str(values["rig"]), "a file that is there")
        hashes[rig] = hashlib.sha256(rig.read_bytes()).hexdigest()
    facing = str(values.get("facing", "")).strip().lower()
    if facing and not FACING.fullmatch(facing):
        raise OptionError("facing", facing, "+x, -x, +y, -y, +z, -z")
    return Row(line, rig, hashes[rig], _request(values), facing, _outputs(folder, rig, values["output"]))


def _outputs(folder: Path, rig: Path, value: Any) -> tuple[Path, ...]:
    names = value if isinstance(value, list) else str(value).split(";")
    outputs = tuple(folder / str(name).strip() for name in names)
    for output in outputs:
        if output.suffix.lower() not in CLIP_SUFFIXES:
            raise OptionError("output", output.name, f"names that end in {', '.join(CLIP_SUFFIXES)}")
        if output.resolve() == rig.resolve():
            raise OptionError("output", output.name, "another file than the rig itself")
    return outputs


def _request(values: dict[str, Any]) -> Request:
    given: dict[str, Any] = {"prompt": str(values["prompt"])}
    for name, kind in NUMBERS.items():
        if name in values:
            given[name] = _number(name, values[name], kind)
    for name in SWITCHES:
        if name in values:
            given[name] = _switch(name, values[name])
    if "root_mode" in values:
        modes = [mode.value for mode in RootMode]
        if values["root_mode"] not in modes:
            raise OptionError("root_mode", values["root_mode"], ", ".join(modes))
        given["root_mode"] = RootMode(values["root_mode"])
    return Request(**given)


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
