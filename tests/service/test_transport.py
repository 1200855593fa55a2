"""Certificates that come, go and change, with an authority nobody here wrote."""

from __future__ import annotations

import asyncio
import datetime
import os
import signal
import ssl
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trustme

from animax.client import AsyncClient
from animax.errors import OptionError, UnavailableError
from animax.service.config import Tls, TlsFiles
from animax.service.server import run
from animax.service.transport import Transport
from animax.v1 import animation_service_pb2 as pb
from tests.service.conftest import Running, make, serving, until
from tests.service.web_client import ANIMATION, wire


class Files:
    """The files of a server."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files = TlsFiles(folder / "server.pem", folder / "server.key")

    def write(self, issued: trustme.LeafCert) -> None:
        self.put("server.key", issued.private_key_pem.bytes())
        self.put("server.pem", b"".join(blob.bytes() for blob in issued.cert_chain_pems))

    def put(self, name: str, data: bytes) -> None:
        (self.folder / f"{name}.new").write_bytes(data)
        (self.folder / f"{name}.new").replace(self.folder / name)


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(tmp_path: Path, ca: trustme.CA) -> Files:
    made = Files(tmp_path)
    made.write(ca.issue_cert("localhost"))
    return made


def client_of(running: Running, ca: trustme.CA, own: trustme.LeafCert | None = None) -> AsyncClient:
    return AsyncClient(
        f"localhost:{running.server.port}",
        ca=ca.cert_pem.bytes(),
        certificate=own.cert_chain_pems[0].bytes() if own else None,
        key=own.private_key_pem.bytes() if own else None,
        timeout=5,
    )


async def reaches(running: Running, ca: trustme.CA, own: trustme.LeafCert | None = None) -> bool:
    async with client_of(running, ca, own) as client:
        try:
            await client.capabilities()
        except UnavailableError:
            return False
        return True


async def web_reaches(running: Running, ca: trustme.CA, own: trustme.LeafCert | None = None) -> bool:
    context = ssl.create_default_context(cadata=ca.cert_pem.bytes().decode())
    if own is not None:
        own.configure_cert(context)
    assert running.server.web is not None
    try:
        async with wire(running.server.web.port, context) as connection:
            answer = await connection.call(ANIMATION + "GetCapabilities", pb.GetCapabilitiesRequest())
    except (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError):
        return False
    return answer.code == 0


async def becomes(check: Callable[[], Awaitable[bool]]) -> None:
    began = time.monotonic()
    while not await check():
        assert time.monotonic() - began < 20
        await asyncio.sleep(0.02)


@pytest.mark.parametrize(
    "issue",
    [
        lambda ca: ca.issue_cert("localhost", not_after=datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)),
        lambda ca: ca.issue_cert("elsewhere.example"),
        lambda ca: trustme.CA().issue_cert("localhost"),
    ],
    ids=["expired", "of another name", "of another authority"],
)
async def test_certificates_that_clients_refuse(files: Files, ca: trustme.CA, issue) -> None:
    files.write(issue(ca))
    async with serving(tls=files.files, web_port=0) as running:
        assert not await reaches(running, ca)
        assert not await web_reaches(running, ca)


async def test_mutual_tls(files: Files, ca: trustme.CA, tmp_path: Path) -> None:
    files.put("clients.pem", ca.cert_pem.bytes())
    tls = TlsFiles(files.files.certificate, files.files.key, tmp_path / "clients.pem")
    mine, strange = ca.issue_cert("artist.example"), trustme.CA().issue_cert("artist.example")
    late = datetime.datetime(2001, 1, 1, tzinfo=datetime.timezone.utc)
    expired = ca.issue_cert("artist.example", not_after=late)
    async with serving(tls=tls, web_port=0, watch_seconds=0.02) as running:
        for check in (reaches, web_reaches):
            assert await check(running, ca, mine)
            for own in (None, strange, expired):
                assert not await check(running, ca, own)
        other = trustme.CA()
        files.put("clients.pem", other.cert_pem.bytes())  # those who were trusted are not any more
        for check in (reaches, web_reaches):
            await becomes(lambda check=check: check(running, ca, other.issue_cert("artist.example")))
            assert not await check(running, ca, mine)


async def test_new_connections_get_the_new_certificate(files: Files, ca: trustme.CA) -> None:
    async with serving(tls=files.files, web_port=0, watch_seconds=0.02) as running, client_of(running, ca) as old:
        await old.capabilities()
        other = trustme.CA()
        files.write(other.issue_cert("localhost"))
        await becomes(lambda: reaches(running, other))
        await becomes(lambda: web_reaches(running, other))
        assert not await reaches(running, ca)
        assert not await web_reaches(running, ca)
        await old.capabilities()  # a connection that is there goes on


async def test_a_broken_file_keeps_the_old_certificate(files: Files, ca: trustme.CA, caplog) -> None:
    async with serving(tls=files.files, web_port=0, watch_seconds=0.02) as running:
        for name, data in (("server.pem", b"hush"), ("server.key", ca.issue_cert("localhost").private_key_pem.bytes())):
            caplog.clear()
            files.put(name, data)
            await until(lambda: "cannot be used" in caplog.text)
            assert "hush" not in caplog.text
            assert str(files.folder) not in caplog.text
            assert await reaches(running, ca)
            assert await web_reaches(running, ca)
        other = trustme.CA()
        files.write(other.issue_cert("localhost"))
        await becomes(lambda: reaches(running, other))


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="no SIGHUP here")
async def test_sighup_reads_them_anew(files: Files, ca: trustme.CA) -> None:
    running = make(None, None, {"tls": files.files, "watch_seconds": 0})
    task = asyncio.create_task(run(running.server))
    await running.ready()
    assert await reaches(running, ca)
    other = trustme.CA()
    files.write(other.issue_cert("localhost"))
    assert not await reaches(running, other)
    os.kill(os.getpid(), signal.SIGHUP)
    await becomes(lambda: reaches(running, other))
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(task, 20)


@pytest.mark.parametrize("tls", [Tls(b"no", b"key"), TlsFiles(Path("no.pem"), Path("no.key"))])
def test_what_is_no_certificate_is_refused_at_the_start(tls: Tls | TlsFiles) -> None:
    with pytest.raises(OptionError, match="tls"):
        Transport(tls)


def test_parts_that_belong_together(ca: trustme.CA) -> None:
    for parts in ({"certificate": b"x"}, {"key": b"x"}, {"certificate": b"x", "key": b"x"}, {"ca": "no.pem"}):
        with pytest.raises(OptionError):
            AsyncClient("localhost:1", **parts)
