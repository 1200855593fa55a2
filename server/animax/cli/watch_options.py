"""Arguments that say what can be seen of a server or worker: log, metrics, traces."""

from __future__ import annotations

import argparse
import logging
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from animax.service import ServerConfig

NAMES = ("metrics_port", "metrics_host", "log_level", "log_format", "log_prompts", "traces")
"""Of ``ServerConfig``."""


def add_watching(parser: argparse.ArgumentParser) -> None:
    """What is left out is ``ServerConfig``'s own default."""
    group = parser.add_argument_group("watching")
    group.add_argument(
        "--metrics-port",
        type=int,
        metavar="N",
        help="plain HTTP for Prometheus (/metrics), probes (/healthz, /readyz) and a status page (/); 0 takes a free "
        "one (default: none)",
    )
    group.add_argument("--metrics-host", metavar="ADDRESS", help="for --metrics-port (default: 127.0.0.1)")
    group.add_argument(
        "--traces",
        action="store_const",
        const=True,
        help="send OpenTelemetry spans to $OTEL_EXPORTER_OTLP_ENDPOINT (pip install 'animax[otel]')",
    )
    group.add_argument(
        "--log-level", choices=("debug", "info", "warning", "error"), help="least that is logged (default: info)"
    )
    group.add_argument("--log-format", choices=("text", "json"), help="json has one object a line (default: text)")
    group.add_argument(
        "--log-prompts", action="store_const", const=True, help="let the log hold prompts (default: it never does)"
    )


def watching(options: argparse.Namespace) -> dict[str, Any]:
    """The fields of ``ServerConfig`` that the arguments set."""
    return {name: getattr(options, name) for name in NAMES if getattr(options, name) is not None}


def start_log(config: ServerConfig) -> None:
    """Log to stderr as configured."""
    from animax.service.observe.access_log import formatter

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter(config.log_format))
    logging.basicConfig(level=config.log_level.upper(), handlers=[handler])
