"""``animax top``: how a server stands, in a terminal, as long as one looks."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from typing import Any

from animax.cli.options import new_command
from animax.cli.server_options import LOCAL, STATUS_PAGE, add_server, ask_page, connection_of, in_words
from animax.cli.status import DONE
from animax.errors import AnimaxError, OptionError, UnavailableError

EXAMPLES = """\
  animax top                                       what any server tells over gRPC: models, load, jobs
  animax top --url http://localhost:9464           all that a server with --metrics-port 9464 tells
  animax top --url http://localhost:9464 --once --json
"""
STATES = ("queued", "running", "succeeded", "failed", "cancelled")
ANSWER_SECONDS = 5.0
CLEAR = "\x1b[H\x1b[2J"


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "top", "show models, load, jobs, latencies and errors of a server", EXAMPLES)
    parser.add_argument(
        "--url", metavar="URL", help="of the server's status page (--metrics-port); tells more than gRPC"
    )
    add_server(parser, default=None, help=f"the server to ask (default: {LOCAL})")
    parser.add_argument("--once", action="store_true", help="show it once, for scripts")
    parser.add_argument("--json", action="store_true", help="as JSON, one object a line")
    parser.add_argument("--every", type=float, default=2.0, metavar="S", help="seconds (default: %(default)g)")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Show it until Ctrl-C."""
    if options.url and options.server:
        raise OptionError("url", options.url, "nothing beside --server")
    if not 0.1 <= options.every <= 3600:
        raise OptionError("every", options.every, "0.1 to 3600")
    while True:
        try:
            status = from_page(options.url) if options.url else from_server(options)
            text = json.dumps(status) if options.json else shown(status)
        except AnimaxError as error:
            if options.once or isinstance(error, OptionError):
                raise
            # a server that is started anew comes back
            error = in_words(error, options) if isinstance(error, UnavailableError) else error
            text = json.dumps({"error": str(error)}) if options.json else f"animax: {error}"
        print(f"{CLEAR}{text}" if sys.stdout.isatty() and not options.once and not options.json else text, flush=True)
        if options.once:
            return DONE
        time.sleep(options.every)


def from_page(url: str) -> dict[str, Any]:
    """What the status page tells.

    Raises:
        OptionError: it is no URL of a status page.
        UnavailableError: it cannot be reached.
    """
    answered, text = ask_page(url, "/status.json", ANSWER_SECONDS)
    if answered != 200:
        raise UnavailableError("the server does not answer", reason="")
    try:
        status = json.loads(text)
    except ValueError:
        status = None
    if not isinstance(status, dict) or "slots" not in status:
        raise OptionError("url", url, STATUS_PAGE)
    return status


def from_server(options: argparse.Namespace) -> dict[str, Any]:
    """The part of it that is told over gRPC.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    from animax.client import Client

    with Client(options.server or LOCAL, **connection_of(options), timeout=ANSWER_SECONDS) as client:
        told = client.capabilities()
    return {
        "version": told.server_version,
        "ready": told.ready,
        "state": "ready" if told.ready else "not ready",
        "models": [{"name": m.name, "sha256": m.sha256, "provider": m.provider} for m in told.models or [told.model]],
        "slots": told.limits.slots,
        "generating": told.load.generating,
        "queued": told.load.queued,
        "rigs": told.load.rigs,
    }


def shown(status: Mapping[str, Any]) -> str:
    """As text; what is not known is left out."""
    lines = [f"animax {status['version']}  {'READY' if status['ready'] else status['state'].upper()}"]
    if "uptime_seconds" in status:
        lines[0] += f"  up {status['uptime_seconds']:,.0f} s"
    if status.get("memory_bytes"):
        lines[0] += f"  memory {mebibytes(status['memory_bytes'])}"
    load = f"slots {bar(status['generating'], status['slots'])}  queue {status['queued']}  rigs {status['rigs']}"
    if "rig_bytes" in status:
        load += f" ({mebibytes(status['rig_bytes'])}, {status['rig_hits']} hits, {status['rig_misses']} misses)"
    lines += ["", load, "", "MODEL             RUNS ON    SHA-256"]
    lines += [f"{m['name']:<17} {m['provider']:<10} {m['sha256'][:12]}" for m in status["models"]]
    if status.get("store") is not None:
        counts = status.get("jobs")
        told = "  ".join(f"{state} {counts.get(state, 0)}" for state in STATES) if counts is not None else "no answer"
        lines += ["", f"jobs of the store: {told}"]
    latencies = dict(status.get("latencies", {}))
    if status.get("first_frame", {}).get("count"):
        latencies["first frame"] = status["first_frame"]
    if latencies:
        lines += ["", "LAST 5 MINUTES         CALLS  NOW     P50     P95  LONGEST (S)"]
    for name, seconds in latencies.items():
        now = status.get("calls", {}).get(name, 0)
        times = "".join(f"{seconds[at]:8.3f}" for at in ("p50", "p95", "max"))
        lines.append(f"{name.rpartition('/')[2]:<22} {seconds['count']:>5.0f} {now:>4} {times}")
    if "errors" in status:
        errors = ", ".join(f"{reason} {count}" for reason, count in status["errors"].items())
        lines += ["", f"errors: {errors or 'none'}"]
    return "\n".join(lines)


def bar(used: int, count: int) -> str:
    """``[##..] 2/4``; at most as wide as a line has room for."""
    drawn = min(count, 32)
    full = round(drawn * used / count) if count else 0
    return f"[{'#' * full}{'.' * (drawn - full)}] {used}/{count}"


def mebibytes(count: int) -> str:
    """Bytes for people."""
    return f"{count / 2**20:,.0f} MiB"
