from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from animax.cli import main
from animax.client import Client
from animax.service.jobs.settings import in_folder
from tests.service.conftest import Running, serving_in_thread


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Running]:
    with serving_in_thread(jobs=in_folder(tmp_path / "data", poll_seconds=0.05), writers=None) as running:
        yield running


@pytest.fixture
def job_id(farm) -> str:
    with Client(farm.target) as client:
        rig = client.upload(farm.glb)
        return client.create_job(rig.rig_id, "waves", variants=2, labels={"shot": "17"}).job_id


def test_from_list_to_result(farm, job_id, capsys, tmp_path):
    server = ["--server", farm.target]
    assert main(["jobs", "show", job_id, "--follow", *server]) == 0
    shown = capsys.readouterr().out
    assert shown.count("succeeded") == 1
    told = json.loads(shown[shown.index("{") :])
    assert (told["job_id"], told["labels"]) == (job_id, {"shot": "17"})
    assert main(["jobs", "list", "--state", "succeeded", "--label", "shot=17", *server]) == 0
    assert capsys.readouterr().out.split()[0] == job_id
    assert main(["jobs", "list", "--label", "shot=18", *server]) == 0
    assert capsys.readouterr().out == ""
    outputs = ["-o", str(tmp_path / "wave.glb"), "-o", str(tmp_path / "wave.npz"), "-o", str(tmp_path / "wave.bvh")]
    assert main(["jobs", "result", job_id, *outputs, *server]) == 0
    made = {path.name for path in tmp_path.glob("wave-*")}
    assert made == {f"wave-{i}.{kind}" for i in (1, 2) for kind in ("glb", "npz", "bvh")}
    assert main(["jobs", "cancel", job_id, "0" * 32, *server]) == 1
    said = capsys.readouterr()
    assert "succeeded" in said.out
    assert said.out.endswith("(had ended already)\n")
    assert "there is no job" in said.err


@pytest.mark.parametrize(
    ("arguments", "status"),
    [
        (["show", "0" * 32], 1),
        (["show", "x"], 2),
        (["cancel", "x"], 2),
        (["result", "x", "-o", "x.glb"], 2),
        (["list", "--label", "x"], 2),
        (["result", "0" * 32, "-o", "x.fbx"], 2),
    ],
)
def test_what_cannot_be_done_is_one_line(farm, capsys, arguments, status):
    assert main(["jobs", *arguments, "--server", farm.target]) == status
    assert len(capsys.readouterr().err.splitlines()) == 1
