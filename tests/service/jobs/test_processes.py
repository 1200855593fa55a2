"""Real processes on one store: killed, restarted, side by side."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from animax.client import Client
from animax.errors import UnavailableError
from animax.v1 import job_service_pb2 as job_pb
from animax.wire.jobs import FINAL, state_name
from tests.service.chain_glb import chain_glb
from tests.service.jobs.process import process

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals")


@pytest.fixture
def places(database_url: str, tmp_path: Path) -> list[str]:
    return ["--database", database_url, "--blobs", f"file://{tmp_path / 'blobs'}", "--log", str(tmp_path / "log")]


def wait_for(condition: Callable[[], bool], seconds: float = 90.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def all_jobs(client: Client) -> list[job_pb.Job]:
    return list(client.list_jobs(page_size=200))


def test_jobs_survive_the_death_of_the_server(places: list[str], tmp_path: Path) -> None:
    """Killed twice with jobs queued and running; nothing is lost, nothing is there twice, the rig is still known."""
    orders = 12
    with process(*places, "--step-seconds", "0.05") as first, Client(first.target) as client:
        rig = client.upload(chain_glb())
        for index in range(orders):
            client.create_job(rig.rig_id, f"number {index}", request_id=f"order-{index}")
        wait_for(lambda: sum(state_name(job) == "succeeded" for job in all_jobs(client)) >= 2)
        first.kill()
        with pytest.raises(UnavailableError):
            client.get_job("0" * 32)
    with process(*places, "--step-seconds", "0.05") as second, Client(second.target) as client:
        before = {job.request_id for job in all_jobs(client)}
        assert before == {f"order-{index}" for index in range(orders)}
        # a client that did not hear the first answer asks again
        again = client.create_job(rig.rig_id, "number 3", request_id="order-3")
        assert len(all_jobs(client)) == orders
        assert again.request_id == "order-3"
        wait_for(lambda: sum(state_name(job) == "succeeded" for job in all_jobs(client)) >= 6)
        second.kill()
    with process(*places) as third, Client(third.target) as client:
        wait_for(lambda: all(state_name(job) in FINAL for job in all_jobs(client)))
        jobs = all_jobs(client)
        assert Counter(state_name(job) for job in jobs) == {"succeeded": orders}
        assert len({job.request_id for job in jobs}) == orders
        for job in jobs:
            changes = list(client.watch_job(job.job_id))
            assert [change.change for change in changes] == list(range(1, len(changes) + 1))
            assert [state_name(change) for change in changes].count("succeeded") == 1
        # the rig was uploaded two lives ago: a file that needs it can still be made
        result = client.job_result(jobs[-1].job_id, files=["glb"])
        assert result.files[0]["glb"][:4] == b"glTF"
        assert len(client.animate(rig.rig_id, "walks").collect().clip) == 60
        assert third.terminate() == 0
    made = Counter(line.split(" ", 1)[1] for line in (tmp_path / "log").read_text().splitlines())
    assert sum(made.values()) - orders <= 2 * 2  # at most what was at work, unheard of, when each of two was killed


def test_two_servers_and_a_worker_share_one_store(places: list[str], tmp_path: Path) -> None:
    with (
        process(*places) as one,
        process(*places) as two,
        process(*places, "--work"),
        Client(one.target) as here,
        Client(two.target) as there,
    ):
        rig = here.upload(chain_glb())
        # the other one knows the rig without an upload, and animates it
        assert len(there.animate(rig.rig_id, "walks").collect().clip) == 60
        jobs = [
            (here, there)[index % 2].create_job(rig.rig_id, f"number {index}", request_id=f"{index}")
            for index in range(16)
        ]
        assert there.create_job(rig.rig_id, "number 0", request_id="0").job_id == jobs[0].job_id
        for index, job in enumerate(jobs):
            ordered, other = (here, there) if index % 2 else (there, here)
            states = [state_name(change) for change in other.watch_job(job.job_id)]
            assert states[-1] == "succeeded"
            assert other.job_result(job.job_id).summary == ordered.job_result(job.job_id).summary
        assert {job.job_id for job in all_jobs(here)} == {job.job_id for job in all_jobs(there)}
    makers = Counter(line.split()[0] for line in (tmp_path / "log").read_text().splitlines() if "number" in line)
    assert sum(makers.values()) == 16
    assert len(makers) >= 2


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
def test_a_cancel_reaches_a_job_on_another_server(places: list[str]) -> None:
    endless = [*places, "--steps", "100000", "--slots", "1"]
    with (
        process(*endless) as one,
        process(*endless) as two,
        Client(one.target) as here,
        Client(two.target) as there,
    ):
        rig = here.upload(chain_glb())
        jobs = [here.create_job(rig.rig_id, f"endless {index}") for index in range(3)]
        wait_for(lambda: here.capabilities().load.generating == there.capabilities().load.generating == 1)
        for job in jobs:
            assert state_name(there.cancel_job(job.job_id)) == "cancelled"
        wait_for(lambda: here.capabilities().load.generating == there.capabilities().load.generating == 0)
