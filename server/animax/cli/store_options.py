"""Arguments that say where jobs, rigs and results are kept."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from animax.cli.options import positive
from animax.errors import OptionError

if TYPE_CHECKING:
    from animax.service.jobs.settings import JobSettings


def add_store(parser: argparse.ArgumentParser) -> None:
    """The store's places and limits. What is left out is ``JobSettings``'s own default."""
    group = parser.add_argument_group("store of jobs, rigs and results")
    group.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="keep everything below this folder (default: $ANIMAX_DATA, else the user's data folder)",
    )
    group.add_argument("--database", metavar="URL", help="jobs: sqlite:///FILE or postgresql://USER@HOST/NAME")
    group.add_argument("--blobs", metavar="URL", help="rigs and results: file:///DIR, s3://BUCKET/PREFIX, ...")
    group.add_argument("--blob-mib", metavar="N", type=positive, help="for rigs and results (default: 20480)")
    group.add_argument("--lanes", metavar="N", type=positive, help="jobs that run at the same time in this process")


def settings_of(options: argparse.Namespace) -> JobSettings:
    """The settings that the arguments of ``add_store`` describe.

    Raises:
        OptionError: a value is out of range, or a folder is given that nothing would be kept in.
    """
    from animax.service.config import MIB
    from animax.service.jobs.settings import JobSettings, in_folder

    limits: dict[str, Any] = {}
    if options.blob_mib is not None:
        limits["blob_bytes"] = options.blob_mib * MIB
    if options.lanes is not None:
        limits["lanes"] = options.lanes
    if options.database and options.blobs:
        if options.data:
            raise OptionError("data", str(options.data), "nothing beside both --database and --blobs")
        return JobSettings(options.database, options.blobs, **limits)
    settings = in_folder(options.data or default_folder(), **limits)
    if options.database or options.blobs:
        from dataclasses import replace

        settings = replace(
            settings, database=options.database or settings.database, blobs=options.blobs or settings.blobs
        )
    return settings


def default_folder() -> Path:
    """Where this user's data goes: ``$ANIMAX_DATA``, else what the system has for it."""
    if given := os.environ.get("ANIMAX_DATA"):
        return Path(given)
    if os.name == "nt":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "animax"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share") / "animax"
