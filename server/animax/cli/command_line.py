"""The command line as a whole: what commands there are."""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from animax.cli.animate import add_command as add_animate
from animax.cli.batch import add_command as add_batch
from animax.cli.bench import add_command as add_bench
from animax.cli.bench_drain import add_command as add_bench_drain
from animax.cli.bench_load import add_command as add_bench_load
from animax.cli.bench_overload import add_command as add_bench_overload
from animax.cli.bench_soak import add_command as add_bench_soak
from animax.cli.config import add_command as add_config
from animax.cli.health import add_command as add_health
from animax.cli.inspect import add_command as add_inspect
from animax.cli.jobs import add_command as add_jobs
from animax.cli.models import add_command as add_models
from animax.cli.options import as_typed
from animax.cli.outcome import outcome
from animax.cli.retarget import add_command as add_retarget
from animax.cli.serve import add_command as add_serve
from animax.cli.server_options import in_words
from animax.cli.status import DONE, MISUSED
from animax.cli.token import add_command as add_token
from animax.cli.top import add_command as add_top
from animax.cli.work import add_command as add_work
from animax.errors import OptionError, UnavailableError

BENCHES = ("load", "overload", "soak", "drain")
EPILOG = """\
exit status:
  0    done
  1    it failed; the last line on stderr says why
  2    wrong usage, or an option out of range
  130  interrupted

`animax COMMAND --help` explains a command.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Errors become one line on stderr, never a traceback.

    Args:
        arguments: without the program's name; None takes the process's own.

    Returns:
        The exit status.
    """
    words = join_axes(join_words(sys.argv[1:] if arguments is None else arguments))
    options = build_parser().parse_args(words)
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its core writes to stderr what calls tell as well

    def work() -> int:
        try:
            return int(options.run(options))
        except OptionError as error:
            raise OptionError(as_typed(error.name, words), error.seen, error.accepted) from error
        except UnavailableError as error:
            raise in_words(error, options) from error

    return outcome("animax", work)


class Parser(argparse.ArgumentParser):
    """Tells what is wrong in a line, and where to read on, rather than all that could have been typed."""

    def error(self, message: str) -> NoReturn:
        """Say it and exit."""
        self.exit(MISUSED, f"animax: {message}\nsee `{self.prog} --help`\n")


def build_parser() -> argparse.ArgumentParser:
    """The parser of all commands; each puts its function into ``run``."""
    parser: argparse.ArgumentParser = Parser(
        "animax",
        description="Animate any rigged mesh from a text prompt.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=ShowVersion, nargs=0, help="show the version and exit")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    every = (
        add_animate, add_batch, add_retarget, add_serve, add_work, add_jobs, add_top, add_health, add_inspect,
        add_bench, add_bench_load, add_bench_overload, add_bench_soak, add_bench_drain, add_models, add_config,
        add_token,
    )  # fmt: skip
    for add_command in every:
        add_command(commands)
    return parser


class ShowVersion(argparse.Action):
    """Looks the version up only when it is asked for: that takes longer than all other parsing."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print it and exit."""
        from importlib.metadata import version

        print(f"animax {version('animax')}")
        parser.exit(DONE)


def join_words(arguments: Sequence[str]) -> list[str]:
    """``bench load`` as the one command that it is: ``bench`` itself takes a file there."""
    if len(arguments) > 1 and arguments[0] == "bench" and arguments[1] in BENCHES:
        return [" ".join(arguments[:2]), *arguments[2:]]
    return list(arguments)


def join_axes(arguments: Sequence[str]) -> list[str]:
    """``--facing -x`` as ``--facing=-x``: argparse takes the bare ``-x`` for an option."""
    joined: list[str] = []
    for argument in arguments:
        if joined and joined[-1] in ("--facing", "--source-facing", "--up") and re.fullmatch(r"-[xyzXYZ]", argument):
            joined[-1] += f"={argument}"
        else:
            joined.append(argument)
    return joined
