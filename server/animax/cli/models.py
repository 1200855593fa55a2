"""``animax models``: which models are installed, and whether their files are the ones meant."""

from __future__ import annotations

import argparse
import json
import sys
from typing import TYPE_CHECKING

from animax.cli.options import new_command
from animax.cli.status import DONE, FAILED
from animax.errors import ModelError

if TYPE_CHECKING:
    from animax.diffusion.registry import Installed

EXAMPLES = """\
  animax models list
  animax models verify
  animax models verify embedded ./creatures

Models are folders with a manifest.json, found in the folders of $ANIMAX_MODELS, in the user's configuration
folder (models/ in it) and in the package; the first of a name wins.
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "models", "list and verify the installed models", EXAMPLES)
    actions = parser.add_subparsers(metavar="ACTION", required=True)
    listing = actions.add_parser("list", help="what is installed", allow_abbrev=False)
    listing.add_argument("--json", action="store_true", help="as JSON on stdout")
    listing.set_defaults(run=run_list)
    verifying = actions.add_parser("verify", help="compare every file with its manifest", allow_abbrev=False)
    verifying.add_argument(
        "models", metavar="NAME", nargs="*", help="names or folders (default: all that are installed)"
    )
    verifying.set_defaults(run=run_verify)


def run_list(options: argparse.Namespace) -> int:
    """Print a line a model, or a JSON array of objects."""
    from animax.diffusion.registry import installed

    models = installed()
    if options.json:
        print(json.dumps([as_dict(model) for model in models], indent=2))
        return DONE
    print(f"{'name':<16} {'codec':<6} {'views':>5} {'fps':>5} {'precision':<9} {'MB':>7}  {'licence':<12} from")
    seen: set[str] = set()
    for model in models:
        manifest = model.manifest
        if manifest is None:
            print(f"{model.name:<16} cannot be used: {model.problem}")
            continue
        place = model.source + (" (hidden by the one above)" if model.name in seen else "")
        seen.add(model.name)
        print(
            f"{model.name:<16} {manifest.codec:<6} {manifest.views:>5} {manifest.fps:>5g} {manifest.precision:<9} "
            f"{manifest.size / 1e6:>7.1f}  {manifest.licence:<12} {place}"
        )
    return DONE


def as_dict(model: Installed) -> dict[str, object]:
    """A model for scripts."""
    described: dict[str, object] = {"name": model.name, "from": model.source, "folder": str(model.folder)}
    manifest = model.manifest
    if manifest is None:
        return {**described, "problem": model.problem}
    more = {
        name: getattr(manifest, name) for name in ("codec", "views", "fps", "precision", "size", "sha256", "licence")
    }
    return {**described, **more}


def run_verify(options: argparse.Namespace) -> int:
    """Print a line a model; fails when one of them is not as its manifest says."""
    from animax.diffusion.manifest import read_manifest
    from animax.diffusion.registry import installed, model_folder

    folders = {name: model_folder(name) for name in options.models} or {
        f"{model.name} ({model.source})": model.folder for model in installed()
    }
    failed = 0
    for name, folder in folders.items():
        try:
            manifest = read_manifest(folder)
            manifest.verify(folder)
            print(f"{name}: ok, {len(manifest.files)} files, {manifest.size} bytes, SHA-256 {manifest.sha256}")
        except ModelError as error:
            failed += 1
            print(f"{name}: {error}", file=sys.stderr)
    return FAILED if failed else DONE
