"""``animax token``: tokens for servers that want to know who calls."""

from __future__ import annotations

import argparse

from animax.cli.options import new_command, positive
from animax.cli.status import DONE

EXAMPLES = """\
  animax token create studio                          prints the token once, and its line for the server's token file
  animax token create farm --concurrent 4 --motion-seconds 600
  animax token create operator --admin
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "token", "make tokens for servers that want to know who calls", EXAMPLES)
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    making = actions.add_parser("create", help="make a token", allow_abbrev=False)
    making.add_argument("name", metavar="NAME", help="who will show it")
    making.add_argument("--admin", action="store_true", help="let it see and cancel everybody's jobs")
    making.add_argument("--concurrent", metavar="N", type=positive, help="calls at the same time")
    making.add_argument("--queued", metavar="N", type=positive, help="requests, and jobs, that may wait")
    making.add_argument("--asset-bytes", metavar="N", type=positive, help="of rigs that it brings and the server keeps")
    making.add_argument("--motion-seconds", metavar="N", type=positive, help="of motion that it orders within a minute")
    making.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Make one and print it."""
    from animax.service.access.token_file import new_token, token_line

    token = new_token()
    quotas = {name: getattr(options, name) for name in ("concurrent", "queued", "asset_bytes", "motion_seconds")}
    line = token_line(options.name, token, {"scopes": "admin" if options.admin else None, **quotas})
    print(f"token, shown this once:\n{token}\nits line for the token file:\n{line}")
    return DONE
