"""A model folder's manifest: what the model is, which files belong to it, and whether they are the ones meant."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any

from animax.diffusion.sampler import SPACINGS
from animax.errors import ModelError

FORMAT = "animax-model-4"
MANIFEST = "manifest.json"
CODECS = ("splat", "rgb")
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
class VideoFiles:
    """Of a model behind a video VAE.

    Attributes:
        encoder: graph, from the first frames of a clip to latents.
        decoder: graph, from a window's latents to frames.
        radius: of a pose map's circles, in widths of the picture.
        colours: of the pose maps' palette.
    """

    encoder: str
    decoder: str
    radius: float
    colours: int


@dataclass(frozen=True)
class PromptFiles:
    """Of a model that brings a text encoder of its own.

    Attributes:
        encoder: graph.
        tokenizer: file of the package ``tokenizers``.
    """

    encoder: str
    tokenizer: str


@dataclass(frozen=True)
class Manifest:
    """``manifest.json`` of a model folder.

    Attributes:
        name: of the model.
        licence: of the weights, as an SPDX identifier.
        file: the network's graph; further entries of ``files`` are its external weights.
        files: every file of the model, by name.
        precision: of the stored weights but a video VAE's: fp32, fp16, bf16 or int8.
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
        text_encoder: hash of the text encoder that it was trained on.
        spacing: of the noise levels, see ``Schedule``.
        shift: likewise.
        guidance_image: weight of the template views; 1 leaves their guidance out.
        boldness: of what the network says differs from a plan, the share that is taken, see ``Schedule``.
        video: for the codec rgb alone.
        prompt: None: the text encoder that comes with the package.
        repertoire: file of a ``Repertoire``; None: the network is given no plan and not told the time.
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
    text_encoder: str
    spacing: str = "flow"
    shift: float = 1.0
    guidance_image: float = 1.0
    boldness: float = 1.0
    video: VideoFiles | None = None
    prompt: PromptFiles | None = None
    repertoire: str | None = None

    @property
    def graphs(self) -> tuple[str, ...]:
        """Files that are graphs, the network first."""
        video = (self.video.encoder, self.video.decoder) if self.video else ()
        return (self.file, *video, *((self.prompt.encoder,) if self.prompt else ()))

    def files_of(self, graph: str) -> list[str]:
        """A graph and its external weights: what has its name but for the suffix; the network has all the rest."""
        parts = [name for name in self.graphs if name != self.file]
        if graph == self.file:
            parts += [self.prompt.tokenizer] if self.prompt else []
            parts += [self.repertoire] if self.repertoire else []
            taken = {name for part in parts for name in (part, *self._beside(part))}
            return [graph, *sorted(set(self.files) - taken - {graph})]
        return [graph, *self._beside(graph)]

    def _beside(self, graph: str) -> list[str]:
        return sorted(name for name in self.files if name != graph and Path(name).stem == Path(graph).stem)

    def precision_of(self, graph: str) -> str:
        """Of a graph's stored weights; a video VAE's are always whole."""
        return "fp32" if self.video and graph in (self.video.encoder, self.video.decoder) else self.precision

    def digest(self, graph: str) -> str:
        """Hex digest that names a graph and its weights."""
        return self._digest(self.files_of(graph))

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.files.values())

    @property
    def sha256(self) -> str:
        """Hex digest that names the weights: of the one file, or of the list of all digests."""
        return self._digest(list(self.files))

    def _digest(self, names: list[str]) -> str:
        if len(names) == 1:
            return self.files[names[0]].sha256
        listing = "".join(f"{self.files[name].sha256}  {name}\n" for name in sorted(names))
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
    title = f"{MANIFEST} of {folder!r}"
    known = _plain(Manifest, values, title)
    for name, kind in (("video", VideoFiles), ("prompt", PromptFiles)):
        part = values.get(name)
        if part is not None and not isinstance(part, dict):
            raise ModelError(f"{title}: {name} is {part!r}; accepted: an object")
        known[name] = None if part is None else kind(**_plain(kind, part, f"{title}: {name}"))

    if values.get("repertoire") is not None:
        known["repertoire"] = values["repertoire"]

    def refuse(field: str, accepted: str) -> ModelError:
        return ModelError(f"{title}: {field} is {values.get(field)!r}; accepted: {accepted}")

    if not NAME.fullmatch(known["name"]):
        raise refuse("name", "letters, digits, '.', '_' and '-'")
    if known["codec"] not in CODECS:
        raise refuse("codec", " or ".join(CODECS))
    if (known["codec"] == "rgb") != (known["video"] is not None):
        raise refuse("video", "an object with the codec rgb, nothing with splat")
    if known["codec"] == "rgb" and (known["channels"], known["pose_size"]) != (3, known["rgb_size"]):
        raise ModelError(
            f"{title}: channels, pose_size and rgb_size are {known['channels']}, {known['pose_size']} and "
            f"{known['rgb_size']}; accepted with the codec rgb: 3 and equal sizes"
        )
    if not isinstance(known.get("repertoire", ""), str):
        raise refuse("repertoire", "a file name")
    if known["spacing"] not in SPACINGS:
        raise refuse("spacing", " or ".join(SPACINGS))
    if known["views"] != VIEWS:
        raise refuse("views", str(VIEWS))
    if (known["frames"] - 1) % known["patch"]:
        raise refuse("frames", f"1 + a multiple of patch, {known['patch']}")
    listed = values.get("files")
    if not isinstance(listed, dict):
        raise refuse("files", f"an object with an entry for {known['file']!r}")
    entries = {}
    for name, entry in listed.items():
        if Path(name).name != name or "\\" in name:
            raise ModelError(f"{title}: file is {name!r}; accepted: a file name in the same folder")
        try:
            entries[name] = FileEntry(str(entry["sha256"]), int(entry["size"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"{title}: files[{name!r}] is {entry!r}; accepted: sha256 and size") from error
    manifest = Manifest(**{**known, "files": entries})
    named = [*manifest.graphs, *([manifest.prompt.tokenizer] if manifest.prompt else [])]
    named += [manifest.repertoire] if manifest.repertoire is not None else []
    for name in named:
        if name not in entries or named.count(name) > 1:
            raise ModelError(
                f"{title}: files is {sorted(entries)}; accepted: an object with an entry for {name!r} alone"
            )
    return manifest


TYPES: dict[object, tuple[type, ...]] = {"str": (str,), "int": (int,), "float": (int, float)}


def _plain(kind: type, values: Mapping[str, Any], title: str) -> dict[str, Any]:
    """The texts and numbers among the fields of a dataclass.

    Raises:
        ModelError: one of them is missing, of another type or out of range.
    """
    known: dict[str, Any] = {}
    for field in fields(kind):
        if field.type not in TYPES:
            continue
        value: Any = values.get(field.name, None if field.default is MISSING else field.default)
        accepted = None
        is_kind = isinstance(value, TYPES[field.type]) and not isinstance(value, bool)
        if not is_kind:
            accepted = f"a value of type {field.type}"
        elif isinstance(value, str):
            accepted = None if value else "a text that is not empty"
        elif not (math.isfinite(value) and value > 0):
            accepted = "a number above zero"
        if accepted:
            raise ModelError(f"{title}: {field.name} is {value!r}; accepted: {accepted}")
        known[field.name] = value
    return known
