"""Who may call, what each caller may use, and whose jobs are whose."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_status import rpc_status

from animax.client import AsyncClient, Client
from animax.errors import (
    BusyError,
    ForbiddenError,
    OptionError,
    QuotaError,
    RequestIdError,
    ServiceError,
    UnauthenticatedError,
    UnknownJobError,
)
from animax.request import Request
from animax.service.access.authenticator import MAX_CREDENTIAL, Authenticator
from animax.service.access.caller import Caller
from animax.service.access.identity import Identity
from animax.service.access.settings import AuthSettings, Quotas
from animax.service.access.token_file import new_token, read_tokens, token_line
from animax.service.jobs.settings import in_folder
from animax.v1 import animation_service_pb2 as pb
from animax.v1 import animation_service_pb2_grpc as pb_grpc
from animax.v1 import job_service_pb2 as job_pb
from animax.v1 import retarget_service_pb2 as retarget_pb
from tests.service.chain_glb import chain_glb
from tests.service.conftest import Running, serving, serving_in_thread, until
from tests.service.engine import FakeEngine
from tests.service.scrape import scrape
from tests.service.web_client import ANIMATION, head, wire


@pytest.fixture
def tokens(tmp_path: Path) -> dict[str, str]:
    """Tokens by name, of a file of them."""
    return {name: new_token() for name in ("ann", "ben", "root")}


@pytest.fixture
def auth(tmp_path: Path, tokens: dict[str, str]) -> Callable[..., AuthSettings]:
    """Settings with a file of all tokens; quotas are ann's."""

    def make(**quotas: Any) -> AuthSettings:
        more = {"ann": quotas, "ben": {}, "root": {"scopes": "admin"}}
        lines = [token_line(name, token, more[name]) for name, token in tokens.items()]
        (tmp_path / "tokens").write_text("# who may call\n\n" + "\n".join(lines) + "\n")
        return AuthSettings(token_file=tmp_path / "tokens")

    return make


def connect(running: Running, token: str | None = None) -> AsyncClient:
    return AsyncClient(running.target, token=token, timeout=20)


def reason(caught: pytest.ExceptionInfo[ServiceError]) -> str:
    return caught.value.reason


async def test_every_method_wants_a_token_but_health(auth, tokens, tmp_path):
    settings = auth()
    async with serving(auth=settings, reflection=True, jobs=in_folder(tmp_path)) as running:
        assert await running.health() == 1
        async with connect(running) as client:
            for call in (client.capabilities(), client.upload(running.glb), client.get_job("a" * 32)):
                with pytest.raises(UnauthenticatedError) as caught:
                    await call
                assert reason(caught) == "TOKEN_MISSING"
        async with running.channel() as channel:
            for service, methods in {
                name: list(service.methods_by_name)
                for file in (pb.DESCRIPTOR, *pb.DESCRIPTOR.dependencies, job_pb.DESCRIPTOR, retarget_pb.DESCRIPTOR)
                for name, service in file.services_by_name.items()
            }.items():
                for method in methods:
                    call = channel.stream_stream(f"/animax.v1.{service}/{method}")(
                        iter(())
                    )  # a message may meet a call that is refused already
                    with pytest.raises(grpc.aio.AioRpcError) as refused:
                        await call.read()
                    assert refused.value.code() is grpc.StatusCode.UNAUTHENTICATED, method
        async with connect(running, tokens["ann"]) as client:
            assert (await client.capabilities()).ready
            rig = await client.upload(running.glb)
            assert len((await client.animate(rig.rig_id, "waves").collect()).clip) == 60
            await client.create_job(rig.rig_id, "waves")


async def test_reflection_is_behind_it_too(auth, tokens):
    async with serving(auth=auth(), reflection=True) as running, running.channel() as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            async for _ in stub.ServerReflectionInfo(iter([asked])):
                pass
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        metadata = (("authorization", f"bearer {tokens['ben']}"),)
        async for answer in stub.ServerReflectionInfo(iter([asked]), metadata=metadata):
            assert answer.list_services_response.service


async def test_grpc_web_is_behind_it_too(auth, tokens):
    async with serving(auth=auth(), web_port=0) as running:
        assert running.server.web is not None
        for headers, code in (
            ([], 16),
            (["Authorization: Bearer nobody"], 16),
            ([f"Authorization: Bearer {tokens['ann']}"], 0),
            ([f"Authorization: Bearer {tokens['ann']}", f"Authorization: Bearer {tokens['ann']}"], 16),
        ):
            async with wire(running.server.web.port) as connection:
                answer = await connection.call(ANIMATION + "GetCapabilities", pb.GetCapabilitiesRequest(), *headers)
            assert answer.code == code
        async with wire(running.server.web.port) as connection:
            assert (await connection.call("/grpc.health.v1.Health/Check", b"")).code == 0


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic YTpi", "Bearer a b", "Bearer ü".encode().decode("latin-1"), "Bearer nobody"],
)
def test_what_is_no_credential(auth, header):
    with pytest.raises(UnauthenticatedError) as caught:
        Authenticator(auth()).identify([("authorization", header)])
    assert reason(caught) == "TOKEN_INVALID"


def test_credentials_that_are_too_long_are_not_looked_at(auth):
    with pytest.raises(UnauthenticatedError, match=str(MAX_CREDENTIAL)):
        Authenticator(auth()).identify([("authorization", "Bearer " + "a" * MAX_CREDENTIAL)])


async def test_tokens_come_and_go_with_the_file(auth, tokens, tmp_path, caplog):
    settings = auth()
    async with serving(auth=settings, watch_seconds=0.02) as running, connect(running, tokens["ben"]) as client:
        await client.capabilities()
        whole = (tmp_path / "tokens").read_text()
        (tmp_path / "tokens").write_text(whole + "a damaged line\n")
        await until(lambda: "cannot be used" in caplog.text)
        assert "damaged" not in caplog.text
        await client.capabilities()
        kept = [line for line in whole.splitlines() if not line.startswith("ben")]
        (tmp_path / "tokens").write_text("\n".join(kept))

        async def gone() -> bool:
            try:
                await client.capabilities()
            except UnauthenticatedError:
                return True
            return False

        began = time.monotonic()
        while not await gone():
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)


async def test_nothing_of_a_token_is_logged_or_told(auth, tokens, caplog):
    caplog.set_level(logging.DEBUG)
    secret = "animax_" + "S" * 43
    async with serving(auth=auth()) as running:
        async with connect(running, secret) as client:
            with pytest.raises(UnauthenticatedError) as caught:
                await client.capabilities()
        async with connect(running, tokens["ann"]) as client:
            await client.capabilities()
    assert secret not in caplog.text
    assert tokens["ann"] not in caplog.text
    assert secret not in str(caught.value)
    assert "token:ann" in caplog.text


@pytest.mark.parametrize(
    "line", ["ann", "ann xyz", "a/b " + "0" * 64, "ann " + "0" * 64 + " concurrent=0", "ann " + "0" * 64 + " hush=1"]
)
def test_a_line_that_is_none_is_named_but_not_told(tmp_path, line):
    (tmp_path / "tokens").write_text(f"\n{line}\n")
    with pytest.raises(OptionError) as caught:
        read_tokens(tmp_path / "tokens", Quotas())
    assert caught.value.name.startswith("token_file, line 2")
    assert "0" * 64 not in str(caught.value)


async def test_jobs_belong_to_their_owner(auth, tokens, tmp_path):
    async with (
        serving(auth=auth(), jobs=in_folder(tmp_path, poll_seconds=0.02)) as running,
        connect(running, tokens["ann"]) as ann,
        connect(running, tokens["ben"]) as ben,
        connect(running, tokens["root"]) as root,
    ):
        rig = await ann.upload(running.glb)
        mine = await ann.create_job(rig.rig_id, "waves", request_id="shot")
        theirs = await ben.create_job(rig.rig_id, "jumps", request_id="shot")
        assert mine.job_id != theirs.job_id
        assert (await ann.create_job(rig.rig_id, "waves", request_id="shot")).job_id == mine.job_id
        assert (mine.request_id, theirs.request_id) == ("shot", "shot")
        for call in (ben.get_job(mine.job_id), ben.cancel_job(mine.job_id), ben.job_result(mine.job_id)):
            with pytest.raises(UnknownJobError) as caught:
                await call
        assert str(caught.value).replace(mine.job_id, "") == "there is no job  (any more)"
        with pytest.raises(UnknownJobError):
            async for _ in ben.watch_job(mine.job_id):
                pass
        assert [job.job_id async for job in ben.list_jobs()] == [theirs.job_id]
        assert [job.job_id async for job in root.list_jobs()] == [theirs.job_id, mine.job_id]
        assert (await root.get_job(mine.job_id)).job_id == mine.job_id
        async for job in ann.watch_job(mine.job_id):
            last = job
        assert last.state == 3
        await ann.job_result(mine.job_id)


def details(error: grpc.aio.AioRpcError) -> set[str]:
    status = rpc_status.from_call(error)
    return {detail.type_url.rpartition(".")[2] for detail in status.details}


async def test_calls_at_the_same_time(auth, tokens):
    engine = FakeEngine()
    async with (
        serving(engine, auth=auth(concurrent=1)) as running,
        connect(running, tokens["ann"]) as ann,
        connect(running, tokens["ben"]) as ben,
    ):
        rig = await ann.upload(running.glb)
        engine.gate.clear()
        stream = aiter(ann.animate(rig.rig_id, "waves"))
        await anext(stream)
        metadata = (("authorization", f"Bearer {tokens['ann']}"),)
        async with running.channel() as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await pb_grpc.AnimationServiceStub(channel).GetCapabilities(
                    pb.GetCapabilitiesRequest(), metadata=metadata
                )
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(caught.value) == {"ErrorInfo", "RetryInfo", "QuotaFailure"}
        with pytest.raises(BusyError) as refused:
            await ann.capabilities()
        assert reason(refused) == "QUOTA_EXCEEDED"
        await ben.capabilities()
        await stream.aclose()

        async def free() -> bool:
            try:
                await ann.capabilities()
            except BusyError:
                return False
            return True

        began = time.monotonic()
        while not await free():
            assert time.monotonic() - began < 10
            await asyncio.sleep(0.01)


async def test_requests_that_wait(auth, tokens):
    engine = FakeEngine()
    async with (
        serving(engine, auth=auth(queued=1)) as running,
        connect(running, tokens["ann"]) as ann,
        connect(running, tokens["ben"]) as ben,
    ):
        rig = await ann.upload(running.glb)
        engine.gate.clear()
        streams = [aiter(client.animate(rig.rig_id, "waves")) for client in (ann, ann)]
        for stream in streams:  # one generates, one waits
            await anext(stream)
        with pytest.raises(BusyError) as caught:
            await ann.animate(rig.rig_id, "waves").collect()
        assert reason(caught) == "QUOTA_EXCEEDED"
        assert caught.value.retry_after is not None
        streams.append(aiter(ben.animate(rig.rig_id, "waves")))
        await anext(streams[-1])
        engine.gate.set()
        for stream in streams:
            async for _ in stream:
                pass


async def test_motion_a_minute(auth, tokens):
    async with serving(auth=auth(motion_seconds=5)) as running, connect(running, tokens["ann"]) as ann:
        rig = await ann.upload(running.glb)
        await ann.animate(rig.rig_id, Request("waves", seconds=2), variants=2).collect()
        with pytest.raises(BusyError) as caught:
            await ann.animate(rig.rig_id, Request("waves", seconds=2)).collect()
        assert reason(caught) == "QUOTA_EXCEEDED"
        assert 0 < (caught.value.retry_after or 0) <= 60
        await ann.animate(rig.rig_id, Request("waves", seconds=1)).collect()


async def test_an_order_repeated_is_charged_once(auth, tokens, tmp_path):
    async with (
        serving(auth=auth(motion_seconds=3), jobs=in_folder(tmp_path / "store")) as running,
        connect(running, tokens["ann"]) as ann,
    ):
        rig = await ann.upload(running.glb)
        orders = [await ann.create_job(rig.rig_id, Request("waves", seconds=2), request_id="one") for _ in range(5)]
        assert len({job.job_id for job in orders}) == 1
        await ann.create_job(rig.rig_id, Request("jumps", seconds=1), request_id="two")
        assert (await ann.create_job(rig.rig_id, Request("waves", seconds=2), request_id="one")).job_id
        with pytest.raises(BusyError) as caught:
            await ann.create_job(rig.rig_id, Request("waves", seconds=1), request_id="three")
        assert reason(caught) == "QUOTA_EXCEEDED"
        with pytest.raises(RequestIdError):
            await ann.create_job(rig.rig_id, Request("waves", seconds=1), request_id="one")


@pytest.mark.parametrize(
    "method", ["AnimationService/Animate", "AnimationService/GetCapabilities", "AssetService/UploadAssetChunk"]
)
async def test_a_stranger_is_refused_before_the_message_is_read(auth, method):
    never = asyncio.Event()

    async def nothing():
        await never.wait()
        yield b""

    async with serving(auth=auth(), web_port=0, metrics_port=0) as running, running.channel() as channel:
        call = channel.stream_unary(f"/animax.v1.{method}")(nothing(), timeout=20)
        assert await call.code() == grpc.StatusCode.UNAUTHENTICATED
        never.set()
        async with wire(running.server.web.port) as connection:
            connection.send(head(f"/animax.v1.{method}", "Content-Length: 1000000"))
            answer = await asyncio.wait_for(connection.answer(), 10)  # the body would be waited for thirty seconds
        assert (answer.code, answer.reason) == (16, "TOKEN_MISSING")
        counted = (await scrape(running)).by("animax_requests_total", "method", "code")
        assert counted == {(f"animax.v1.{method}", "UNAUTHENTICATED"): 2}


@pytest.mark.parametrize("kept", [True, False])
async def test_bytes_of_rigs(auth, tokens, tmp_path, kept):
    small = chain_glb()
    settings = auth(asset_bytes=len(small) + 10)
    jobs = in_folder(tmp_path / "jobs") if kept else None
    other = small[:-1] + b" "
    async with (
        serving(auth=settings, jobs=jobs) as running,
        connect(running, tokens["ann"]) as ann,
        connect(running, tokens["ben"]) as ben,
    ):
        await ann.upload(small)
        await ann.upload(small)
        with pytest.raises(BusyError) as caught:
            await ann.upload(other)
        assert reason(caught) == "QUOTA_EXCEEDED"
        assert caught.value.retry_after is None
        await ben.upload(small)


def test_what_is_taken_back_is_that_order_and_no_other():
    caller = Caller(Identity("x", quotas=Quotas(motion_seconds=10)))
    refused, kept = caller.order(2), caller.order(5)
    assert kept is not None
    caller.take_back(refused)
    caller.take_back(refused)
    with pytest.raises(QuotaError):
        caller.order(6)
    caller.order(5)


def test_motion_is_forgotten_after_a_minute():
    now = [0.0]
    caller = Caller(Identity("x", quotas=Quotas(motion_seconds=10)), lambda: now[0])
    caller.order(6)
    now[0] = 20.0
    caller.order(4)
    with pytest.raises(QuotaError) as caught:
        caller.order(5)
    assert caught.value.retry_after == pytest.approx(40)
    with pytest.raises(QuotaError) as caught:
        caller.order(11)
    assert caught.value.retry_after is None
    now[0] = 60.0
    caller.order(6)
    assert not caller.idle
    now[0] = 120.0
    assert caller.idle


class Issuer:
    """Signs JWTs, and writes the key set that verifies them."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "jwks.json"
        self.keys: dict[str, Any] = {}

    def add(self, name: str, key: Any) -> None:
        self.keys[name] = key
        self.write()

    def write(self) -> None:
        entries = []
        for name, key in self.keys.items():
            algorithm = (
                jwt.algorithms.RSAAlgorithm if isinstance(key, rsa.RSAPrivateKey) else jwt.algorithms.ECAlgorithm
            )
            entries.append({**json.loads(algorithm.to_jwk(key.public_key())), "kid": name, "use": "sig"})
        swap = self.file.with_suffix(".new")
        swap.write_text(json.dumps({"keys": entries}))
        swap.replace(self.file)

    def token(self, key: str = "one", algorithm: str = "ES256", **claims: Any) -> str:
        now = int(time.time())
        body = {"sub": "4711", "iss": "https://id", "aud": "animax", "exp": now + 300, "scope": "use", **claims}
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, self.keys[key], algorithm, headers={"kid": key})

    def settings(self, **more: Any) -> AuthSettings:
        return AuthSettings(jwks_file=self.file, issuer="https://id", audience="animax", **more)


@pytest.fixture
def issuer(tmp_path: Path) -> Issuer:
    made = Issuer(tmp_path)
    made.add("one", ec.generate_private_key(ec.SECP256R1()))
    return made


def identify(settings: AuthSettings, token: str) -> Identity:
    return Authenticator(settings).identify([("authorization", f"Bearer {token}")])


def test_a_jwt_that_is_valid(issuer):
    found = identify(issuer.settings(concurrent=3), issuer.token(scope="use admin"))
    assert found == Identity("jwt:4711", frozenset({"use", "admin"}), Quotas(concurrent=3))


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": int(time.time()) - 100}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"iss": "https://else"}, "TOKEN_INVALID"),
        ({"aud": "else"}, "TOKEN_INVALID"),
        ({"aud": None}, "TOKEN_INVALID"),
        ({"sub": None}, "TOKEN_INVALID"),
        ({"sub": "x" * 201}, "TOKEN_INVALID"),
        ({"nbf": int(time.time()) + 1000}, "TOKEN_INVALID"),
    ],
)
def test_claims_are_checked(issuer, claims, why):
    with pytest.raises(UnauthenticatedError) as caught:
        identify(issuer.settings(), issuer.token(**claims))
    assert reason(caught) == why


def test_signatures_are_checked(issuer):
    settings = issuer.settings()
    good = issuer.token()
    head, body, signature = good.split(".")
    forged = [
        f"{head}.{body}.{signature[::-1]}",
        jwt.encode(jwt.decode(good, options={"verify_signature": False}), None, "none"),
        jwt.encode({"sub": "x"}, "k" * 32, "HS256", headers={"kid": "one"}),
        f"{head}.{body}.",
        "a.b.c",
    ]
    issuer.keys["two"] = rsa.generate_private_key(65537, 2048)  # not in the file
    forged.append(issuer.token("two", "RS256"))
    for token in forged:
        with pytest.raises(UnauthenticatedError) as caught:
            identify(settings, token)
        assert reason(caught) == "TOKEN_INVALID"


def test_a_scope_can_be_asked_for(issuer):
    assert identify(issuer.settings(jwt_scope="use"), issuer.token()).name == "jwt:4711"
    with pytest.raises(ForbiddenError) as caught:
        identify(issuer.settings(jwt_scope="animate"), issuer.token())
    assert reason(caught) == "SCOPE_MISSING"


async def test_a_missing_scope_is_permission_denied(issuer):
    async with (
        serving(auth=issuer.settings(jwt_scope="animate")) as running,
        connect(running, issuer.token()) as client,
    ):
        with pytest.raises(ForbiddenError):
            await client.capabilities()


def test_keys_come_with_the_file(issuer):
    known = Authenticator(issuer.settings())
    issuer.add("two", rsa.generate_private_key(65537, 2048))
    header = [("authorization", f"Bearer {issuer.token('two', 'RS256')}")]
    with pytest.raises(UnauthenticatedError):
        known.identify(header)
    assert known.files[0].look()
    assert known.identify(header).name == "jwt:4711"
    issuer.file.write_text("{}")
    assert not known.files[0].look()
    assert known.identify(header).name == "jwt:4711"


@pytest.mark.parametrize("algorithms", [("none",), ("HS256",), ()])
def test_algorithms_without_a_key_pair_are_refused(issuer, algorithms):
    with pytest.raises(OptionError, match="algorithms"):
        issuer.settings(algorithms=algorithms)


@pytest.mark.parametrize("text", ["", "{}", '{"keys": []}', '{"keys": [{"kty": "oct", "k": "c2VjcmV0"}]}', "[1]"])
def test_a_key_set_without_a_public_key(issuer, text):
    issuer.file.write_text(text)
    with pytest.raises(OptionError, match="jwks_file"):
        Authenticator(issuer.settings())


def test_the_blocking_client_shows_its_token(auth, tokens):
    with serving_in_thread(auth=auth()) as running, Client(running.target, token=tokens["ann"], timeout=20) as client:
        rig = client.upload(running.glb)
        assert len(client.animate(rig.rig_id, "waves").collect().clip) == 60


@pytest.mark.parametrize("target", ["farm:50051", "localhost.example:50051", "127.evil.example:1"])
def test_a_token_goes_nowhere_in_cleartext(target):
    with pytest.raises(OptionError) as caught:
        Client(target, token="hush-hush")
    assert "hush" not in str(caught.value)
