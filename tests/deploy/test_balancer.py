"""nginx as deploy/ configures it, before two real servers on one store."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from animax.client import Client
from animax.errors import UnavailableError
from animax.v1 import animation_service_pb2 as pb
from animax.wire.jobs import state_name
from tests.conftest import lacking
from tests.deploy.balancer import ANIMATE, SOURCE, Farm, farm, load
from tests.service.chain_glb import chain_glb
from tests.service.jobs.test_processes import wait_for
from tests.service.web_client import ANIMATION, Wire

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture
def nginx() -> str:
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        lacking(f"nginx is not installed ({SOURCE})")
    return found


@pytest.fixture
def balanced(nginx: str, tmp_path: Path) -> Iterator[Farm]:
    with farm(tmp_path, nginx, None, "--drain", "0.5", "--slots", "4", "--step-seconds", "0.1") as made:
        yield made


def test_nginx_takes_the_configuration(balanced: Farm, nginx: str, tmp_path: Path) -> None:
    done = subprocess.run([nginx, "-t", "-c", str(tmp_path / "nginx.conf")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "[warn]" not in done.stderr


def test_two_servers_are_one_to_their_clients(balanced: Farm) -> None:
    """Rigs and jobs of one are seen by the other; streams are spread, and not kept back on their way."""
    one, two = (replica.process.target for replica in balanced.replicas)
    with Client(balanced.target) as client, Client(one) as first, Client(two) as second:
        rig_id = client.upload(chain_glb()).rig_id
        for server in (first, second):
            assert server.upload(chain_glb()).rig_id == rig_id
        assert sum(replica.count("animax_upload_bytes_total") for replica in balanced.replicas) == len(chain_glb())
        began, told = time.monotonic(), []
        client.animate(rig_id, "walks").collect(lambda progress: told.append((time.monotonic() - began, progress)))
        assert told[0][0] < 0.3  # four steps of 0.1 s: what was kept back would come later
        jobs = [client.create_job(rig_id, f"number {i}").job_id for i in range(6)]
        for job in jobs:
            assert state_name(list(client.watch_job(job))[-1]) == "succeeded"
            for server in (first, second):
                assert state_name(server.get_job(job)) == "succeeded"
                assert server.job_result(job, files=["glb"]).files[0]["glb"][:4] == b"glTF"
        streams = [client.animate(rig_id, "walks") for _ in range(4)]
        for stream in streams:
            stream.collect()
        counts = [replica.count("animax_requests_total", method=ANIMATE, code="OK") for replica in balanced.replicas]
        assert sum(counts) == 5
        assert min(counts) >= 1


def test_a_client_that_leaves_is_noticed_behind_the_balancer(balanced: Farm) -> None:
    with Client(balanced.target) as client:
        rig_id = client.upload(chain_glb()).rig_id
        stream = client.animate(rig_id, "walks", variants=8)
        next(message for message in stream if isinstance(message, pb.Progress))
        stream.cancel()
        cancelled = lambda: sum(  # noqa: E731
            replica.count("animax_requests_total", method=ANIMATE, code="CANCELLED") for replica in balanced.replicas
        )
        wait_for(lambda: cancelled() == 1, 3)


def test_no_stream_is_lost_when_a_server_ends(balanced: Farm) -> None:
    """Those that run finish; those that come are served by the other, or told when to come again."""
    with Client(balanced.target) as client:
        rig_id = client.upload(chain_glb()).rig_id
    ending = threading.Timer(0.5, balanced.replicas[0].process.terminate)
    ending.start()
    outcome = load(balanced.target, rig_id, 30, 4)
    ending.join()
    assert (outcome.finished, dict(outcome.lost)) == (30, {})
    assert outcome.refused["CANCELLED"] <= 4  # a client each, at the moment its connection was taken away
    assert balanced.replicas[0].process._process.poll() == 0
    # killed too: gRPC's own status, not a page of HTML
    balanced.replicas[1].process.kill()
    with Client(balanced.target) as client, pytest.raises(UnavailableError, match="no server can be reached"):
        client.capabilities()


async def test_grpc_web_goes_through_too(balanced: Farm) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", balanced.web_port)
    answer = await Wire(reader, writer).call(ANIMATION + "GetCapabilities", pb.GetCapabilitiesRequest())
    writer.close()
    assert answer.trailers["grpc-status"] == "0"
    assert pb.GetCapabilitiesResponse.FromString(answer.messages[0]).server_version
