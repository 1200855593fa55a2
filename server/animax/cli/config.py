"""``animax config``: what a server would be set up with, and files to begin from."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from animax.cli.options import new_command
from animax.cli.status import DONE, FAILED

EXAMPLES = """\
  animax config example > animax.toml
  animax config check animax.toml             every value in force, and where it comes from
  animax serve --config animax.toml
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "config", "check a configuration, or print one to begin from", EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    checking = actions.add_parser(
        "check",
        help="print every value in force and where it comes from; fails without the files and models it names",
        allow_abbrev=False,
    )
    checking.add_argument(
        "file", metavar="FILE", type=Path, nargs="?", help="TOML (default: $ANIMAX_CONFIG, else none)"
    )
    checking.set_defaults(run=run_check)
    showing = actions.add_parser("example", help="print a commented TOML file with all defaults", allow_abbrev=False)
    showing.add_argument("--markdown", action="store_true", help="print all keys as Markdown tables instead")
    showing.set_defaults(run=run_example)


def add_config(parser: argparse.ArgumentParser) -> None:
    """The file of a command that can be configured."""
    parser.add_argument(
        "--config",
        metavar="TOML",
        type=Path,
        help="settings; variables of the environment override it, the arguments here override both "
        "(default: $ANIMAX_CONFIG, else none; `animax config example` prints one)",
    )


def run_check(options: argparse.Namespace) -> int:
    """Print one line a setting; passwords are masked. Fails where a server would not start with what they name."""
    from animax.service.configuration.load import DEFAULT, in_force, unused_variables
    from animax.service.configuration.named import unusable

    settings = in_force(options.file)
    values = settings.values
    width = max(len(value.key.name) for value in values)
    for value in values:
        origin = f"{value.origin} {value.place}".rstrip() if value.origin != DEFAULT else DEFAULT
        print(f"{value.key.name:<{width}} = {value.shown():<28} # {origin}")
    for name in unused_variables(os.environ):
        print(f"# {name} is set, but there is no such setting")
    found = unusable(settings)
    for fault in found:
        print(f"animax: {fault}", file=sys.stderr)
    return FAILED if found else DONE


def run_example(options: argparse.Namespace) -> int:
    """Print the file or the tables."""
    from animax.service.configuration.texts import example, key_tables

    print(key_tables() if options.markdown else example(), end="")
    return DONE
