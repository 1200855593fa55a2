"""The files and models that a configuration names, looked at as a server would that starts with them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from animax.diffusion.manifest import read_manifest
from animax.diffusion.registry import model_folder
from animax.errors import ModelError, OptionError
from animax.service.access.authenticator import Authenticator
from animax.service.configuration.load import InForce
from animax.service.transport import Transport


def unusable(settings: InForce) -> list[str]:
    """A sentence for each file or model that no server would start with; it names the setting."""
    missing = {
        value.key.name: str(OptionError(value.told, str(value.value), "a file that is there"))
        for value in settings.values
        if value.key.kind is Path and value.value and value.key.name != "jobs.data" and not value.value.is_file()
    }
    found = list(missing.values())
    tables: dict[str, Callable[[Any], object]] = {"tls": Transport, "auth": Authenticator}
    for table, read in tables.items():
        given = getattr(settings.config, table)
        if given is not None and not any(name.startswith(f"{table}.") for name in missing):
            try:
                read(given)
            except OptionError as error:
                name = table if error.name == table else f"{table}.{error.name}"
                found.append(str(OptionError(name, error.seen, error.accepted)))
    models = next(value for value in settings.values if value.key.name == "models")
    for name in models.value:
        try:
            read_manifest(model_folder(name))
        except ModelError as error:
            found.append(f"{models.told}: {error}")
    return found
