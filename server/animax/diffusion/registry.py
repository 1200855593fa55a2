"""Where models are found by name: folders with a manifest, on a search path."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from animax.diffusion.manifest import MANIFEST, Manifest, read_manifest
from animax.errors import ModelError

PACKAGE = Path(__file__).resolve().parent.parent / "models"
VARIABLE = "ANIMAX_MODELS"
"""Environment variable with further folders of models, separated as in PATH."""
TEXT_ENCODER = "text"
"""The one folder of the package's models that is none."""


@dataclass(frozen=True)
class Installed:
    """A folder on the search path that has a manifest.

    Attributes:
        folder: where it is.
        source: ``ANIMAX_MODELS``, ``config`` or ``package``.
        manifest: None where it cannot be used.
        problem: why not.
    """

    folder: Path
    source: str
    manifest: Manifest | None
    problem: str = ""

    @property
    def name(self) -> str:
        """The model's, or the folder's where the manifest cannot be read."""
        return self.manifest.name if self.manifest else self.folder.name


def search_path() -> list[tuple[str, Path]]:
    """Source and folder of every place where models may lie; earlier ones win."""
    places = [(VARIABLE, Path(entry)) for entry in os.environ.get(VARIABLE, "").split(os.pathsep) if entry]
    return [*places, ("config", config_folder() / "models"), ("package", PACKAGE)]


def config_folder() -> Path:
    """The user's own settings of animax, by the platform's custom."""
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home() / "AppData" / "Roaming")) / "animax"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "animax"
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "animax"


def installed() -> list[Installed]:
    """Every model folder on the search path, the ones that win first."""
    found = []
    for source, place in search_path():
        for path in sorted(place.glob(f"*/{MANIFEST}")):
            folder = path.parent
            if source == "package" and folder.name == TEXT_ENCODER:
                continue
            try:
                found.append(Installed(folder, source, read_manifest(folder)))
            except ModelError as error:
                found.append(Installed(folder, source, None, str(error)))
    return found


def available_models() -> list[str]:
    """Names that ``model_folder`` finds."""
    return sorted({model.name for model in installed() if model.manifest})


def model_folder(name: str | Path) -> Path:
    """The folder of a model: by its name on the search path, else ``name`` itself as a folder.

    Raises:
        ModelError: there is no such model, or its manifest cannot be used.
    """
    named = [model for model in installed() if model.name == str(name)]
    usable = next((model for model in named if model.manifest), None)
    if usable:
        return usable.folder
    if (Path(name) / MANIFEST).is_file():
        return Path(name)
    if named:
        raise ModelError(named[0].problem)
    shown = Path(name).name if Path(name).is_absolute() else str(name)
    raise ModelError(f"no model {shown!r}; accepted: {', '.join(available_models())}, or a folder with a {MANIFEST}")


def folder_stamp(name: str | Path) -> tuple[object, ...]:
    """Something that changes when the model of that name does: its folder, and size and time of every file in it.

    Raises:
        ModelError: see ``model_folder``.
    """
    folder = model_folder(name)
    states = [(path.name, path.stat()) for path in sorted(folder.iterdir()) if path.is_file()]
    return (folder, *((file, state.st_size, state.st_mtime_ns) for file, state in states))
