"""Which web pages may call: nobody but the address's own, unless the server is told."""

from __future__ import annotations

import pytest

from animax.service.config import ServerConfig
from tests.service.conftest import Running, serving
from tests.service.test_web import port
from tests.service.web_client import ANIMATION, Answer, frame, head, post, wire

PATH = ANIMATION + "GetCapabilities"
STUDIO = "https://studio.example"


async def asked(running: Running, origin: str, host: str | None = None) -> tuple[Answer, Answer]:
    """The answers to a preflight and to the call."""
    async with wire(port(running)) as connection:
        host = host or f"127.0.0.1:{port(running)}"
        wish = ["Access-Control-Request-Method: POST", "Access-Control-Request-Headers: content-type,x-grpc-web"]
        connection.send(head(PATH, f"Origin: {origin}", *wish, method="OPTIONS", kind=None, host=host))
        preflight = await connection.answer()
        connection.send(post(PATH, frame(b""), f"Origin: {origin}", host=host))
        return preflight, await connection.answer()


async def test_a_listed_origin_may_call_and_see_the_status() -> None:
    async with serving(web_port=0, web_origins=(STUDIO, "http://localhost:3000")) as running:
        for origin in (STUDIO, "http://localhost:3000"):
            preflight, answer = await asked(running, origin)
            assert preflight.status == 204
            assert preflight.headers["access-control-allow-methods"] == "POST"
            allowed = preflight.headers["access-control-allow-headers"].split(", ")
            assert {"content-type", "x-grpc-web", "x-user-agent", "grpc-timeout"} <= set(allowed)
            for one in (preflight, answer):
                assert one.headers["access-control-allow-origin"] == origin
                assert one.headers["vary"] == "Origin"
                assert "access-control-allow-credentials" not in one.headers
            exposed = answer.headers["access-control-expose-headers"].split(", ")
            assert {"grpc-status", "grpc-message", "grpc-status-details-bin"} == set(exposed)
            assert answer.code == 0


@pytest.mark.parametrize(
    "origin", ["https://evil.example", "http://studio.example", "https://studio.example.evil", "null", STUDIO + ":444"]
)
async def test_no_other_origin_reaches_a_method(origin: str) -> None:
    async with serving(web_port=0, web_origins=(STUDIO,)) as running:
        for answer in await asked(running, origin):
            assert answer.status == 403
            assert not any(name.startswith("access-control") for name in answer.headers)
            assert b"--web-origin" in answer.body


async def test_by_default_only_its_own_address_may() -> None:
    async with serving(web_port=0) as running:
        own = port(running)
        for host in (f"127.0.0.1:{own}", f"localhost:{own}", f"[::1]:{own}"):
            preflight, answer = await asked(running, f"http://{host}", host)
            assert (preflight.status, answer.code) == (204, 0)
        # a name that was made to point here (DNS rebinding)
        for answer in await asked(running, f"http://evil.example:{own}", f"evil.example:{own}"):
            assert answer.status == 403
        for answer in await asked(running, f"http://localhost:{own + 1}", f"localhost:{own}"):
            assert answer.status == 403


async def test_all_origins_only_when_asked_for() -> None:
    async with serving(web_port=0, web_origins=("*",)) as running:
        preflight, answer = await asked(running, "https://anybody.example")
        assert preflight.headers["access-control-allow-origin"] == "https://anybody.example"
        assert answer.code == 0


async def test_scripts_see_refusals_of_http_too() -> None:
    async with serving(web_port=0, web_origins=(STUDIO,)) as running, wire(port(running)) as connection:
        connection.send(post(PATH, b"{}", f"Origin: {STUDIO}", kind="application/json"))
        answer = await connection.answer()
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (415, STUDIO)


def test_origins_that_are_accepted() -> None:
    origins = ("*", STUDIO, "http://localhost:3000", "http://[::1]:8080", "https://127.0.0.1")
    assert ServerConfig(web_port=0, web_origins=origins).web_origins == origins
