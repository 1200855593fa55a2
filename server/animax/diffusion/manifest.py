"""A model folder's manifest: what the model is, which files belong to it, and whether they are the ones meant."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from animax.errors import ModelError

FORMAT = "animax-model-2"
MANIFEST = "manifest.json"
CODECS = ("splat",)
"""Pose-map codecs that this version can decode."""
VIEWS = 4
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
"""Of a model: it becomes the name of folders and of models on other servers."""


@dataclass(frozen=True)
class FileEntry:
    """One file of a model.

    Attributes:
        sha256: hex digest of its bytes.
        size: bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True)
class Manifest:
    """``manifest.json`` of a model folder.

    Attributes:
        name: of the model.
        licence: of the weights, as an SPDX identifier.
        file: the network's graph; further entries of ``files`` are its external weights.
        files: every file of the model, by name.
        precision: of the stored weights: fp32, fp16, bf16 or int8.
        codec: of the pose maps.
        channels: of a pose map.
        pose_size: height and width of a pose map.
        rgb_size: height and width of a generated picture.
        views: template views.
        room: radius that the template views show, in half diagonals of the rest box.
        frames: of a window.
        patch: frames of a time slot.
        fps: frames a second of what it generates.
        steps: denoising steps, unless the request says otherwise.
        guidance: weight of the prompt, likewise.
        shift: of the noise schedule.
        text_encoder: hash of the text encoder that it was trained on.
    """

    name: str
    licence: str
    file: str
    files: Mapping[str, FileEntry]
    precision: str
    codec: str
    channels: int
    pose_size: int
    rgb_size: int
    views: int
    room: float
    frames: int
    patch: int
    fps: float
    steps: int
    guidance: float
    shift: float
    text_encoder: str

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    @property
    def sha256(self) -> str:
        """Hex digest that names the weights: of the one file, or of the list of all digests."""
        if len(self.files) == 1:
            return self.files[self.file].sha256
        listing = "".join(f"{entry.sha256}  {name}\n" for name, entry in sorted(self.files.items()))
        return hashlib.sha256(listing.encode()).hexdigest()

    def verify(self, folder: Path) -> None:
        """Compare the files in ``folder`` with the manifest.

        Raises:
            ModelError: a file is missing, or of another size or content.
        """
        for name, entry in self.files.items():
            path = folder / name
            if not path.is_file():
                raise ModelError(f"model {self.name!r} lacks its file {name!r}")
            seen = file_entry(path) if path.stat().st_size == entry.size else None
            if seen is None:
                raise ModelError(f"model {self.name!r}: {name} has {path.stat().st_size} bytes; accepted: {entry.size}")
            if seen.sha256 != entry.sha256:
                raise ModelError(f"model {self.name!r}: {name} has SHA-256 {seen.sha256}; accepted: {entry.sha256}")


def file_entry(path: Path) -> FileEntry:
    """Digest and size of a file."""
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
            size += len(block)
    return FileEntry(digest.hexdigest(), size)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder; fields that this version does not know are left alone.

    Raises:
        ModelError: there is none, it is damaged, or of a version or kind that this version cannot serve.
    """
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ModelError(f"folder {folder.name!r} has no {MANIFEST}") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"{MANIFEST} of {folder.name!r} is not JSON") from error
    if not isinstance(values, dict) or values.get("format") != FORMAT:
        seen = values.get("format") if isinstance(values, dict) else values
        raise ModelError(f"{MANIFEST} of {folder.name!r} has format {seen!r}; accepted: {FORMAT!r}")
    return _checked(values, folder.name)


def _checked(values: dict[str, Any], folder: str) -> Manifest:
    def refuse(field: str, accepted: str) -> ModelError:
        return ModelError(f"{MANIFEST} of {folder!r}: {field} is {values.get(field)!r}; accepted: {accepted}")

    kinds = {"str": str, "int": int, "float": (int, float)}
    known: dict[str, Any] = {}
    for field in fields(Manifest):
        value: Any = values.get(field.name)
        known[field.name] = value
        if field.name == "files":
            continue
        if not isinstance(value, kinds[str(field.type)]) or isinstance(value, bool):  # type: ignore[arg-type]
            raise refuse(field.name, f"a value of type {field.type}")
        if field.type != "str" and not (math.isfinite(value) and value > 0):
            raise refuse(field.name, "a number above zero")
        if field.type == "str" and not value:
            raise refuse(field.name, "a text that is not empty")
    if not NAME.fullmatch(known["name"]):
        raise refuse("name", "letters, digits, '.', '_' and '-'")
    if known["codec"] not in CODECS:
        raise refuse("codec", " or ".join(CODECS))
    if known["views"] != VIEWS:
        raise refuse("views", str(VIEWS))
    if (known["frames"] - 1) % known["patch"]:
        raise refuse("frames", f"1 + a multiple of patch, {known['patch']}")
    listed = values.get("files")
    if not isinstance(listed, dict) or known["file"] not in listed:
        raise refuse("files", f"an object with an entry for {known['file']!r}")
    entries = {}
    for name, entry in listed.items():
        if Path(name).name != name or "\\" in name:
            raise ModelError(f"{MANIFEST} of {folder!r}: file is {name!r}; accepted: a file name in the same folder")
        try:
            entries[name] = FileEntry(str(entry["sha256"]), int(entry["size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(
                f"{MANIFEST} of {folder!r}: files[{name!r}] is {entry!r}; accepted: sha256 and size"
            ) from error
    return Manifest(**{**known, "files": entries})
