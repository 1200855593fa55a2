"""Transport security, with certificates made by OpenSSL."""

from __future__ import annotations

from collections.abc import Callable

import grpc
import pytest

from animax.client import AsyncClient
from animax.errors import UnavailableError
from animax.service.config import Tls
from tests.service.conftest import Running, serving


def connect(running: Running, credentials: grpc.ChannelCredentials | None) -> AsyncClient:
    return AsyncClient(f"localhost:{running.server.port}", credentials=credentials, timeout=5)


async def test_only_clients_that_trust_the_server_reach_it(authority: Callable[[str], list[bytes]]) -> None:
    roots, certificate, key = authority("localhost")
    async with serving(tls=Tls(certificate, key)) as running:
        async with connect(running, grpc.ssl_channel_credentials(roots)) as client:
            rig = await client.upload(running.glb)
            assert len((await client.animate(rig.rig_id, "waves").collect()).clip) == 60
        for credentials in (None, grpc.ssl_channel_credentials()):
            async with connect(running, credentials) as client:
                with pytest.raises(UnavailableError):
                    await client.capabilities()


async def test_a_certificate_for_another_name_is_not_accepted(authority: Callable[[str], list[bytes]]) -> None:
    roots, certificate, key = authority("elsewhere")
    credentials = grpc.ssl_channel_credentials(roots)
    async with serving(tls=Tls(certificate, key)) as running, connect(running, credentials) as client:
        with pytest.raises(UnavailableError):
            await client.capabilities()


async def test_mutual_tls_wants_a_certificate_of_the_authority(authority: Callable[[str], list[bytes]]) -> None:
    roots, certificate, key = authority("localhost")
    _, own, own_key = authority("artist")
    async with serving(tls=Tls(certificate, key, client_authority=roots)) as running:
        async with connect(running, grpc.ssl_channel_credentials(roots, own_key, own)) as client:
            assert (await client.capabilities()).ready
        async with connect(running, grpc.ssl_channel_credentials(roots)) as client:
            with pytest.raises(UnavailableError):
                await client.capabilities()
