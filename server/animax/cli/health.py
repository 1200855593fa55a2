"""``animax health``: ask a server's health service, as an exit status for probes and scripts."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from animax.cli.options import new_command
from animax.cli.server_options import LOCAL, add_server, ask_page, credentials_of
from animax.cli.status import DONE, FAILED
from animax.errors import OptionError, ServiceError

if TYPE_CHECKING:
    import grpc

EXAMPLES = """\
  animax health                                        is the server on this machine ready?
  animax health --server farm:50051 --service animax.v1.JobService
  animax health --server farm:50051 --tls-ca ca.pem
  animax health --url http://localhost:9464            a worker, which has no other port than --metrics-port
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command."""
    parser = new_command(commands, "health", "say whether a server is ready: exit status 0 if it is, else 1", EXAMPLES)
    parser.add_argument("--url", metavar="URL", help="of a status page (--metrics-port), to be asked instead")
    add_server(parser, default=None, help=f"the server to ask (default: {LOCAL})")
    parser.add_argument("--service", metavar="NAME", default="", help="one of its services (default: the whole server)")
    parser.add_argument(
        "--timeout", type=float, default=5.0, metavar="S", help="seconds for the answer (default: %(default)g)"
    )
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Ask once."""
    if options.url and options.server:
        raise OptionError("url", options.url, "nothing beside --server")
    if options.url:
        state = readiness(options.url, options.timeout)
    else:
        state = health(options.server or LOCAL, credentials_of(options), options.service, options.timeout)
    print(state)
    return DONE if state == "SERVING" else FAILED


def health(target: str, credentials: grpc.ChannelCredentials | None, service: str = "", timeout: float = 5.0) -> str:
    """What grpc.health.v1 says of a server: ``SERVING``, ``NOT_SERVING``, ...

    Raises:
        UnavailableError: it cannot be reached.
        DeadlineExceeded: it does not answer in time.
        ServiceError: it has no such service.
    """
    # not animax.client: a probe runs every few seconds, and that takes longer to import than all the rest
    import grpc
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    from animax.wire.channel import channel_options
    from animax.wire.failure import typed_errors

    given = channel_options(target)
    opened = (
        grpc.insecure_channel(target, given) if credentials is None else grpc.secure_channel(target, credentials, given)
    )
    with opened as channel, typed_errors():
        request = health_pb2.HealthCheckRequest(service=service)
        try:
            answer = health_pb2_grpc.HealthStub(channel).Check(request, timeout=timeout)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.NOT_FOUND:
                raise ServiceError(f"the server has no service {service!r}", reason="") from None
            raise
    name: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    return name


def readiness(url: str, timeout: float = 5.0) -> str:
    """``SERVING``, or what ``/readyz`` says instead.

    Raises:
        OptionError: it is no URL of a status page.
        UnavailableError: it cannot be reached.
    """
    status, text = ask_page(url, "/readyz", timeout)
    return "SERVING" if status == 200 else text.decode(errors="replace").strip()
