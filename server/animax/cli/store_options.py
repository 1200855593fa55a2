"""Arguments that say where jobs, rigs and results are kept."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from animax.cli.options import positive
from animax.errors import OptionError

MIB = 1024 * 1024


def add_store(parser: argparse.ArgumentParser) -> None:
    """The store's places and limits. What is left out is what the file or the environment says."""
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


def store_of(options: argparse.Namespace) -> dict[str, Any]:
    """The keys of the configuration that the arguments of ``add_store`` set.

    Raises:
        OptionError: a folder is given that nothing would be kept in.
    """
    if options.data and options.database and options.blobs:
        raise OptionError("data", str(options.data), "nothing beside both --database and --blobs")
    given = {f"jobs.{name}": getattr(options, name) for name in ("data", "database", "blobs", "lanes")}
    if options.blob_mib is not None:
        given["jobs.blob_bytes"] = options.blob_mib * MIB
    return {name: value for name, value in given.items() if value is not None}
