"""``animax serve``: the gRPC service in the foreground."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from animax.cli.config import add_config
from animax.cli.options import add_provider, existing_file, new_command, positive
from animax.cli.status import DONE
from animax.cli.store_options import MIB, add_store, store_of
from animax.cli.watch_options import add_watching, start_log, watching

if TYPE_CHECKING:
    from animax.service import Server

EXAMPLES = """\
  animax serve
  animax serve --host 0.0.0.0 --tls-certificate server.pem --tls-key server.key --tls-clients ca.pem
  animax serve --web-port 8080 --web-origin https://studio.example
  animax serve --port 0 --slots 4 --queue 64 --reflection
  animax serve --metrics-port 9464 --log-format json
  animax serve --model embedded --model /srv/models/creatures
  animax serve --config animax.toml
  animax serve --database postgresql://animax@db/animax --blobs s3://studio/animax
"""


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command. What is left out is ``ServerConfig``'s own default."""
    parser = new_command(commands, "serve", "serve animations over gRPC until Ctrl-C or SIGTERM", EXAMPLES)
    add_config(parser)
    place = parser.add_argument_group("place")
    place.add_argument("--host", metavar="ADDRESS", help="to listen on (default: 127.0.0.1, this machine alone)")
    place.add_argument("--port", type=int, metavar="N", help="to listen on; 0 takes a free one (default: 50051)")
    place.add_argument("--tls-certificate", type=existing_file, metavar="PEM", help="certificate chain; turns TLS on")
    place.add_argument("--tls-key", type=existing_file, metavar="PEM", help="private key of the certificate")
    place.add_argument(
        "--tls-clients", type=existing_file, metavar="PEM", help="roots that client certificates must have"
    )
    place.add_argument(
        "--auth-tokens",
        type=existing_file,
        metavar="FILE",
        help="let only callers in who show a token of this file (`animax token create`); more in docs/security.md",
    )
    place.add_argument(
        "--web-port",
        type=int,
        metavar="N",
        help="for gRPC-Web over HTTP/1.1 too, for browsers and engines; 0 takes a free one (default: none)",
    )
    place.add_argument(
        "--web-origin",
        dest="web_origins",
        action="append",
        metavar="URL",
        help="of web pages that may call, like https://studio.example; again for each further one, * for all "
        "(default: none but those from the web port's own address)",
    )
    engine = parser.add_argument_group("engine")
    engine.add_argument(
        "--model",
        dest="models",
        action="append",
        metavar="NAME",
        help="an installed model (`animax models list`) or a model folder; again for each further one that requests "
        "may name, the first is the default (default: embedded)",
    )
    add_provider(engine)
    engine.add_argument(
        "--max-batch",
        type=int,
        metavar="N",
        help="samples in one network call, of requests that denoise at the same time; a guided step has two; 0 shares "
        "no calls (default: 1 on the CPU, else 16)",
    )
    engine.add_argument(
        "--watch",
        dest="watch_seconds",
        type=float,
        metavar="S",
        help="between looks for changed models, which are loaded without a pause; 0 looks only on SIGHUP (default: 2)",
    )
    load = parser.add_argument_group("load")
    load.add_argument(
        "--slots",
        type=positive,
        metavar="N",
        help="requests that generate at the same time (default: 2 on the CPU, else 8)",
    )
    load.add_argument("--queue", dest="max_queued", type=int, metavar="N", help="requests that may wait (default: 16)")
    load.add_argument("--max-asset-mib", type=positive, metavar="N", help="size of one uploaded rig (default: 64)")
    load.add_argument(
        "--max-seconds", dest="max_request_seconds", type=float, metavar="S", help="for one request (default: 300)"
    )
    load.add_argument(
        "--grace", dest="grace_seconds", type=float, metavar="S", help="for running requests at shutdown (default: 30)"
    )
    load.add_argument(
        "--drain", dest="drain_seconds", type=float, metavar="S", help="between NOT_SERVING and refusing (default: 0)"
    )
    add_store(parser)
    parser.add_argument("--no-jobs", action="store_true", help="keep nothing: rigs in memory, no job service")
    parser.add_argument(
        "--reflection", action="store_const", const=True, help="let clients list the services (grpcurl)"
    )
    add_watching(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Serve until told to stop."""
    given: dict[str, Any] = {
        name: getattr(options, name)
        for name in (
            "host", "port", "web_port", "max_batch", "watch_seconds", "provider", "threads", "reflection",
            "slots", "max_queued", "max_request_seconds", "grace_seconds", "drain_seconds", "web_origins", "models",
        )
    }  # fmt: skip
    given.update({f"tls.{name}": getattr(options, f"tls_{name}") for name in ("certificate", "key", "clients")})
    if options.max_asset_mib is not None:
        given["max_asset_bytes"] = options.max_asset_mib * MIB
    if options.auth_tokens is not None:
        given["auth.token_file"] = options.auth_tokens
    if options.no_jobs:
        given["jobs.enabled"] = False
    given = {name: value for name, value in given.items() if value is not None}
    from animax.service import serve
    from animax.service.configuration.load import in_force

    config = in_force(options.config, {**given, **store_of(options), **watching(options)}).config
    start_log(config)
    serve(config, on_started=announce)
    return DONE


def announce(server: Server) -> None:
    """Tell people and scripts where: one line on stdout for each port."""
    print(f"listening on {server.config.host}:{server.port}", flush=True)
    if server.web is not None:
        print(f"gRPC-Web on {server.config.host}:{server.web.port}", flush=True)
    if server.monitor is not None:
        print(f"status on http://{server.monitor.host}:{server.monitor.port}/", flush=True)
