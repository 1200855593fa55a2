"""Which server a bench command drives: one that runs already, or one that it starts for itself."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import TYPE_CHECKING, Any

from animax.cli.bench import rig_bytes, server
from animax.cli.options import add_engine, add_request, existing_file, request_of
from animax.cli.server_options import add_server, check_local, connection_of
from animax.errors import OptionError

if TYPE_CHECKING:
    import subprocess

    from animax.cli.load_driver import Driver
    from animax.v1 import animation_service_pb2 as pb

CONNECTIONS = 16


@dataclass(frozen=True)
class Target:
    """A server.

    Attributes:
        address: of its gRPC port.
        url: of its status page; empty when nobody said it.
        connection: arguments of clients beside the address.
        process: of a server that was started for this; None for any other.
    """

    address: str
    url: str = ""
    connection: dict[str, Any] = field(default_factory=dict)
    process: subprocess.Popen[str] | None = None


def add_target(parser: argparse.ArgumentParser) -> None:
    """The server, what to ask it for, and how to report."""
    parser.add_argument(
        "rig", metavar="RIG", nargs="?", type=existing_file, help="a rigged .glb (default: a made-up quadruped)"
    )
    parser.add_argument("--prompt", default="walks forward", help="what the rig shall do (default: %(default)r)")
    add_server(parser, default=None, help="a server that runs already (default: one of this command's own)")
    parser.add_argument(
        "--url", metavar="URL", help="with --server: its status page (--metrics-port), to compare its counts with ours"
    )
    parser.add_argument("--json", action="store_true", help="report as JSON on stdout")
    add_request(parser)
    add_engine(parser)


@contextmanager
def target_of(options: argparse.Namespace, *more: str) -> Iterator[Target]:
    """The server that the arguments of ``add_target`` say.

    Args:
        options: of the command.
        more: options of ``animax serve`` for a server of its own.

    Raises:
        OptionError: a status page alone, or what a server of its own would heed beside another.
    """
    check_local(options)
    if options.server:
        yield Target(options.server, options.url or "", connection_of(options))
        return
    if options.url:
        raise OptionError("url", options.url, "one beside --server")
    with server(options, "--metrics-port", "0", *more) as started:
        yield Target(started.address, started.url, process=started.process)


@asynccontextmanager
async def driver_of(options: argparse.Namespace, target: Target) -> AsyncIterator[Driver]:
    """A driver whose rig is on the server, which has made a first clip of it."""
    from animax.cli.load_driver import Driver
    from animax.client import AsyncClient

    request = request_of(options, options.prompt)
    async with AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(AsyncClient(target.address, own_connection=True, **target.connection))
            for _ in range(CONNECTIONS)
        ]
        for client in clients:  # every connection is there before anything is counted
            await client.capabilities()
        rig_id = (await clients[0].upload(rig_bytes(options.rig))).rig_id
        model = (options.server and options.model) or ""  # a server of its own has no other
        await clients[0].animate(rig_id, request, model=model).collect()
        yield Driver(clients, rig_id, request, count(request.seed), model)


def describe(options: argparse.Namespace, capabilities: pb.GetCapabilitiesResponse) -> str:
    """What was asked of whom, in one line."""
    import os

    model, limits = capabilities.model, capabilities.limits
    where = "a server that ran already" if options.server else f"{os.cpu_count()} cores, driver included"
    return (
        f"{options.seconds:g} s at {options.fps:g} fps; model {model.name} on {model.provider}, {limits.slots} slots, "
        f"{limits.max_queued} may wait; {where}"
    )
