"""Whatever bytes come: readers of files, frames and messages, and a server's two ports.

    python -m tests.reliability.fuzz --cases 100000

Prints a line for each way; the status is 1 when something was found. The engine of the server is a stand-in.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from hypothesis import HealthCheck, Phase, given, seed, settings

from animax.client import Client
from animax.service.jobs.settings import in_folder
from tests.reliability.fault_proxy import proxy_to
from tests.reliability.fuzz_messages import Method, bodies, methods
from tests.reliability.fuzz_targets import TARGETS, glb
from tests.service.conftest import Running, serving_in_thread
from tests.service.engine import FakeEngine
from tests.service.web_client import ANIMATION, ASSETS, TEXT, frame, head, post

SHARES = {
    "GLB reader, fields": 0.1,
    "GLB reader, bytes": 0.1,
    "GLB reader, Atheris": 0.15,
    "gRPC-Web frames, Atheris": 0.15,
    "streams, Atheris": 0.1,
    "messages, Atheris": 0.15,
    "every method, Hypothesis": 0.1,
    "raw gRPC frames": 0.075,
    "raw gRPC-Web bytes": 0.075,
}
"""Of the cases."""
BLAMED = {"INVALID_ARGUMENT", "NOT_FOUND", "ALREADY_EXISTS", "FAILED_PRECONDITION", "RESOURCE_EXHAUSTED", "ABORTED"}
"""Codes of what is no fault of the server."""
AT_A_TIME = 8
SILENCE_SECONDS = 0.05
REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass
class Report:
    """What came of some cases."""

    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


def glb_files(changed: Callable[[int, int], Iterator[tuple[str, bytes]]], cases: int, start: int) -> Report:
    """Files of the generators of ``tests.assets.hostile``."""
    report = Report(cases)
    for name, content in changed(start, cases):
        try:
            report.outcomes[glb(b"\0" + content)] += 1
        except BaseException as error:
            report.wrong.append(f"{name}, seed {start}: {error!r}"[:300])
    return report


def with_atheris(target: str, cases: int, start: int) -> Report:
    """A target in a process of its own, since Atheris never comes back."""
    command = [sys.executable, "-m", "tests.reliability.fuzz_atheris", target]
    done = subprocess.run(
        [*command, "--cases", str(cases), "--seed", str(start)], cwd=REPOSITORY, capture_output=True, text=True
    )
    report = Report(cases)
    ran = re.search(r"number_of_executed_units: (\d+)", done.stderr)
    reached = re.search(r"new_units_added:\s+(\d+)", done.stderr)
    if done.returncode or ran is None or int(ran[1]) < cases:
        report.wrong.append(f"status {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
    else:
        report.outcomes[f"inputs that reached further: {reached[1] if reached else '0'}"] = 1
    return report


@contextmanager
def served() -> Iterator[tuple[Running, str]]:
    """A server with all of its services, and the id of a rig on it."""
    with tempfile.TemporaryDirectory(prefix="animax-fuzz-") as folder:
        limits: dict[str, Any] = {"web_port": 0, "upload_idle_seconds": 0.5, "slots": 2}
        with serving_in_thread(FakeEngine(steps=1, glb_bytes=2000), jobs=in_folder(Path(folder)), **limits) as running:
            with Client(running.target) as client:
                rig_id = client.upload(running.glb).rig_id
            yield running, rig_id


def every_method(running: Running, rig_id: str, cases: int, start: int) -> Report:
    """Every method of the contract, in turn, with any messages."""
    report = Report()
    with Client(running.target) as client:
        job_id = client.create_job(rig_id, "walks", request_id="known").job_id
    with grpc.insecure_channel(running.target, [("grpc.enable_http_proxy", 0)]) as channel:
        for method in (every := list(methods())):
            call_with_anything(channel, method, (rig_id, job_id, "known"), -(-cases // len(every)), start, report)
    return report


def call_with_anything(
    channel: grpc.Channel, method: Method, known: tuple[str, ...], cases: int, start: int, report: Report
) -> None:
    """One method, ``cases`` times."""
    # on the wire a message is a stream of one, and so is an answer
    call = channel.stream_stream(method.path, None, None)

    @seed(start)
    @settings(
        max_examples=cases,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
    )
    @given(bodies(method, known))
    def attempt(sent: list[bytes]) -> None:
        answer = call(iter(sent), timeout=30)
        size = 0
        try:
            for _ in answer:
                pass
        except grpc.RpcError:
            size = sum(len(key) + len(value) for key, value in answer.trailing_metadata() or ())
        code = answer.code().name
        report.cases += 1
        report.outcomes[code] += 1
        if code not in BLAMED | {"OK"} or size > 4096:
            report.wrong.append(f"{method.path}: {code} {answer.details()}, {size} bytes, of {sent!r}"[:600])

    attempt()


async def conversations(running: Running, rig_id: str) -> list[bytes]:
    """What gRPC's own client says: preface, settings, headers and messages of three calls."""
    from animax.client import AsyncClient
    from tests.service.chain_glb import chain_glb

    said = []
    for number in range(3):
        async with proxy_to(running.server.port) as proxy:
            async with AsyncClient(f"127.0.0.1:{proxy.port}", own_connection=True) as client:
                if number == 0:
                    await client.capabilities()
                elif number == 1:
                    await client.animate(rig_id, "walks").collect()
                else:
                    await client.upload(chain_glb(4, name=f"fuzz{number}"))
            said.append(bytes(proxy.heard))
    return said


def requests(rig_id: str) -> list[bytes]:
    """What browsers say."""
    from animax.v1 import animation_service_pb2 as pb
    from animax.v1 import asset_service_pb2 as asset_pb

    order = frame(pb.AnimateRequest(rig_id=rig_id, prompt="walks", seconds=0.5))
    chunk = frame(asset_pb.UploadAssetChunkRequest(upload_id="u", chunk=b"glTF"))
    chunked = head(ANIMATION + "Animate", "Transfer-Encoding: chunked")
    return [
        post(ANIMATION + "GetCapabilities", frame(b""), "grpc-timeout: 1S"),
        post(ANIMATION + "Animate", order),
        post(ASSETS + "UploadAssetChunk", chunk),
        post(ANIMATION + "GetCapabilities", b"AAAAAAA=", kind=TEXT),
        chunked + f"{len(order):x}\r\n".encode() + order + b"\r\n0\r\n\r\n",
    ]


def mutated(dice: random.Random, said: bytes, http2: bool) -> bytes:
    """A conversation with some harm done to it."""
    data = bytearray(said)
    for _ in range(dice.choice([1, 1, 2, 4])):
        at = dice.randrange(len(data)) if data else 0
        way = dice.randrange(6)
        if way == 0 and data:
            data[at] = dice.randrange(256)
        elif way == 1 and data:
            data[at] ^= 1 << dice.randrange(8)
        elif way == 2:
            del data[at:]
        elif way == 3:
            data[at:at] = data[at : at + dice.randrange(1, 200)]
        elif way == 4:
            del data[at : at + dice.randrange(1, 20)]
        elif http2:  # a frame of any kind, whose length is told truly or not
            payload = dice.randbytes(dice.choice([0, 4, 5, 8, 40]))
            length = dice.choice([len(payload), len(payload), dice.randrange(1 << 24)])
            stream = dice.choice([0, 1, 2, 3, 2**31 - 1])
            header = bytes([dice.randrange(12), dice.randrange(256)]) + stream.to_bytes(4, "big")
            data[at:at] = length.to_bytes(3, "big") + header + payload
        else:
            data[at:at] = dice.choice([b"\r\n", b"\r\n\r\n", b"\0", b"x: y\r\n", b"Content-Length: 7\r\n", b"\xff" * 9])
    return bytes(data)


async def raw(running: Running, port: int, said: list[bytes], cases: int, start: int, *, http2: bool) -> Report:
    """Harmed conversations, some at a time, each on a connection of its own."""
    dice = random.Random(start)
    report = Report(cases)
    left = iter(range(cases))

    async def talk() -> None:
        for _ in left:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                writer.write(mutated(dice, dice.choice(said), http2))
                if dice.random() < 0.5:
                    writer.write_eof()
                heard = await asyncio.wait_for(reader.read(1 << 16), SILENCE_SECONDS * (1 + 9 * (dice.random() < 0.02)))
                report.outcomes["answered" if heard else "closed"] += 1
            except asyncio.TimeoutError:
                report.outcomes["silence"] += 1
            except ConnectionError:
                report.outcomes["reset"] += 1
            finally:
                writer.transport.abort()

    await asyncio.gather(*(talk() for _ in range(AT_A_TIME)))
    await asyncio.to_thread(require_clean, running, report)
    return report


def require_clean(running: Running, report: Report) -> None:
    """Note what the server still has of calls, and whether it still answers."""
    from tests.reliability.faults import left

    end = time.monotonic() + 20
    while any(found := left(running).values()) and time.monotonic() < end:
        time.sleep(0.05)
    if any(found):
        report.wrong.append(f"left: {left(running)}")
    with Client(running.target, timeout=20) as client:
        if not client.capabilities().ready:
            report.wrong.append("the server is not ready any more")


def reports(cases: int, start: int) -> Iterator[tuple[str, Report, float]]:
    """All ways, with the seconds that each took."""
    from tests.assets.hostile import changed_bytes, changed_fields

    counts = {way: max(1, round(share * cases)) for way, share in SHARES.items()}
    files = {"GLB reader, fields": changed_fields, "GLB reader, bytes": changed_bytes}
    atheris = dict(zip([way for way in SHARES if "Atheris" in way], TARGETS, strict=True))
    for way, changed in files.items():
        yield timed(way, lambda w=way, c=changed: glb_files(c, counts[w], start))  # type: ignore[misc]
    for way, target in atheris.items():
        yield timed(way, lambda w=way, t=target: with_atheris(t, counts[w], start))  # type: ignore[misc]
    with served() as (running, rig_id):
        web = running.server.web
        assert web is not None
        way = "every method, Hypothesis"
        yield timed(way, lambda: every_method(running, rig_id, counts[way], start))
        said = asyncio.run(conversations(running, rig_id))
        for name, port, words in (
            ("raw gRPC frames", running.server.port, said),
            ("raw gRPC-Web bytes", web.port, requests(rig_id)),
        ):
            talk = lambda n=name, p=port, w=words: raw(running, p, w, counts[n], start, http2=w is said)  # type: ignore[misc] # noqa: E731
            yield timed(name, lambda t=talk: asyncio.run(t()))  # type: ignore[misc]


def timed(way: str, run: Callable[[], Report]) -> tuple[str, Report, float]:
    """A way, what came of it, and how long it took."""
    began = time.monotonic()
    return way, run(), time.monotonic() - began


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=100_000, help="over all ways (default: %(default)d)")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    total = wrong = 0
    print(f"{'way':<26} {'cases':>7} {'seconds':>8}   outcomes")
    for way, report, seconds in reports(options.cases, options.seed):
        outcomes = ", ".join(what if "reached" in what else f"{n} {what}" for what, n in report.outcomes.most_common())
        print(f"{way:<26} {report.cases:>7} {seconds:>8.0f}   {outcomes}", flush=True)
        for text in report.wrong[:20]:
            print(f"  WRONG: {text}")
        total, wrong = total + report.cases, wrong + len(report.wrong)
    print(f"{total} cases, {wrong} of them wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
