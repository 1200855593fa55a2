"""How a server is set up."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from animax.errors import OptionError
from animax.request import MAX_VARIANTS
from animax.service.access.settings import AuthSettings
from animax.service.jobs.settings import JobSettings
from animax.service.ranges import check_ranges

MIB = 1024 * 1024
ORIGIN = re.compile(r"\*|http://[a-z0-9.:\[\]_-]+(?<!:80)|https://[a-z0-9.:\[\]_-]+(?<!:443)")
SLOTS = {"cpu": 2, "cuda": 8, "tensorrt": 8}
"""Requests that generate at the same time, by provider (docs/decisions.md)."""
RANGES: dict[str, tuple[float, float]] = {
    "port": (0, 65535),
    "web_port": (0, 65535),
    "web_idle_seconds": (0.1, 86_400),
    "web_connections": (1, 1_000_000),
    "threads": (1, 1024),
    "max_batch": (0, 1024),
    "slots": (1, 64),
    "max_queued": (0, 100_000),
    "max_variants": (1, 64),
    "max_asset_bytes": (1, 2**31),
    "max_joints": (1, 2000),
    "rig_bytes": (1, 2**50),
    "upload_bytes": (1, 2**50),
    "unread_bytes": (1, 2**50),
    "max_request_seconds": (0.1, 86_400),
    "write_timeout_seconds": (0.1, 3600),
    "upload_idle_seconds": (0.1, 3600),
    "progress_seconds": (0.01, 1),
    "grace_seconds": (0, 3600),
    "drain_seconds": (0, 3600),
    "watch_seconds": (0, 3600),
    "metrics_port": (0, 65535),
}
"""Least and most of each number of ``ServerConfig``, where it is not None."""
CHOICES = {
    "provider": ("auto", "cpu", "cuda", "tensorrt"),
    "log_level": ("debug", "info", "warning", "error"),
    "log_format": ("text", "json"),
}


@dataclass(frozen=True)
class Tls:
    """Transport security.

    Attributes:
        certificate: PEM chain of the server.
        key: PEM private key of the server.
        client_authority: PEM roots that client certificates must come from (mutual TLS); None asks for none.
    """

    certificate: bytes
    key: bytes
    client_authority: bytes | None = None


@dataclass(frozen=True)
class TlsFiles:
    """Transport security from PEM files, which are read anew when they change.

    Attributes:
        certificate: chain of the server.
        key: private key of the server.
        clients: roots that client certificates must come from (mutual TLS); None asks for none.
    """

    certificate: Path
    key: Path
    clients: Path | None = None

    @property
    def paths(self) -> tuple[Path, ...]:
        """All files."""
        return (self.certificate, self.key, *([self.clients] if self.clients else []))

    def read(self) -> Tls:
        """What the files hold now.

        Raises:
            OptionError: one cannot be read.
        """
        try:
            parts = [path.read_bytes() for path in self.paths]
        except OSError as error:
            raise OptionError("tls", f"unreadable ({error.strerror})", "PEM files that can be read") from None
        return Tls(*parts)


@dataclass(frozen=True)
class ServerConfig:
    """Limits and places of one server. Out-of-range values raise ``OptionError`` at once.

    Attributes:
        host: address to listen on. The default is reachable from this machine alone; open it to a network only with
            TLS, and with callers who are known: by tokens or by certificates.
        port: 0 takes a free one.
        tls: None speaks cleartext; else both ports have it.
        auth: how callers are known; None lets everybody call.
        web_port: for gRPC-Web over HTTP/1.1; 0 takes a free one, None speaks none.
        web_origins: of web pages that may call, as browsers write them (``https://studio.example``); ``*`` for all.
            Pages from the web port's own address always may.
        web_idle_seconds: a connection of the web port without a request, or with one whose headers do not end, is
            closed after so long. Longer than a proxy keeps its own, or requests meet a closed connection.
        web_connections: of the web port at a time; a further one gets a 503 and is closed. Each is an open file.
        models: names or folders of the models to load; the first is the default.
        provider: where it runs: ``auto``, ``cpu``, ``cuda``, ``tensorrt``.
        threads: of the engine; None leaves the number to it.
        max_batch: samples in one network call; None takes the provider's own, 0 lets requests not share calls.
        slots: requests that generate at the same time; None takes the provider's own (``SLOTS``).
        max_queued: requests that may wait for a slot; one more is refused at once.
        max_variants: clips of one request.
        max_asset_bytes: size of one uploaded file.
        max_joints: joints of one rig.
        rig_bytes: memory for uploaded rigs; beyond it the least recently used go.
        upload_bytes: memory for uploads that are on their way in.
        unread_bytes: memory for generated clips that readers have not taken yet; beyond it the slowest reader is shed.
        max_request_seconds: waiting and generating, over all variants.
        write_timeout_seconds: a reader that takes no message for so long is shed.
        upload_idle_seconds: an upload that brings no byte for so long is ended.
        progress_seconds: longest time between two progress messages; at most 1 by the contract.
        grace_seconds: what running requests get to finish when the server shuts down.
        drain_seconds: between telling health NOT_SERVING and refusing new requests, for a load balancer to notice.
        watch_seconds: between looks at the models' manifests; a changed model is loaded anew. 0 looks only on SIGHUP.
        reflection: let clients list the services (for grpcurl and the like).
        metrics_port: plain HTTP for metrics, probes and the status page; 0 takes a free one, None opens none.
        metrics_host: address of ``metrics_port``. No token guards it; it tells nothing that was asked for.
        log_level: least that the commands log: ``debug``, ``info``, ``warning``, ``error``.
        log_format: of the commands' log: ``text`` for people, ``json`` with one object a line.
        log_prompts: let the log hold prompts.
        traces: send OpenTelemetry spans to where ``OTEL_EXPORTER_OTLP_ENDPOINT`` says; needs ``animax[otel]``.
        jobs: where jobs, rigs and results are kept; None keeps rigs in memory and has no JobService.
    """

    host: str = "127.0.0.1"
    port: int = 50051
    tls: Tls | TlsFiles | None = None
    auth: AuthSettings | None = None
    web_port: int | None = None
    web_origins: tuple[str, ...] = ()
    web_idle_seconds: float = 75.0
    web_connections: int = 512
    models: tuple[str, ...] = ("embedded",)
    provider: str = "auto"
    threads: int | None = None
    max_batch: int | None = None
    slots: int | None = None
    max_queued: int = 16
    max_variants: int = MAX_VARIANTS
    max_asset_bytes: int = 64 * MIB
    max_joints: int = 2000
    rig_bytes: int = 1024 * MIB
    upload_bytes: int = 256 * MIB
    unread_bytes: int = 128 * MIB
    max_request_seconds: float = 300.0
    write_timeout_seconds: float = 10.0
    upload_idle_seconds: float = 30.0
    progress_seconds: float = 0.5
    grace_seconds: float = 30.0
    drain_seconds: float = 0.0
    watch_seconds: float = 2.0
    reflection: bool = False
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"
    log_level: str = "info"
    log_format: str = "text"
    log_prompts: bool = False
    traces: bool = False
    jobs: JobSettings | None = None

    def slots_on(self, provider: str) -> int:
        """Requests that generate at the same time on a provider."""
        return self.slots or SLOTS.get(provider, 1)

    def __post_init__(self) -> None:
        check_ranges(self, RANGES)
        for name, choices in CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(name, getattr(self, name), ", ".join(choices))
        if not self.models:
            raise OptionError("models", self.models, "at least one")
        for name in ("host", "metrics_host"):
            if not getattr(self, name):
                raise OptionError(name, getattr(self, name), "an address or host name")
        for origin in self.web_origins:
            if not ORIGIN.fullmatch(origin):
                accepted = "* or scheme://host[:port] in lower case, without a path, a default port or a user"
                raise OptionError("web_origins", origin, accepted)
        if self.web_origins and self.web_port is None:
            raise OptionError("web_origins", self.web_origins, "a web_port with them")
        if self.upload_bytes < self.max_asset_bytes:
            raise OptionError("upload_bytes", self.upload_bytes, f"at least max_asset_bytes, {self.max_asset_bytes}")
