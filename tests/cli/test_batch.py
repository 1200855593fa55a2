from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from animax.assets import load_rig, read_clips
from animax.cli import main
from animax.errors import GenerationError
from animax.service.jobs.settings import in_folder
from tests.service.conftest import Running, serving_in_thread


@pytest.fixture
def manifest(tmp_path: Path, biped: Path) -> Path:
    (tmp_path / "hero.glb").write_bytes(biped.read_bytes())
    rows = [
        {"rig": "hero.glb", "prompt": "waves", "output": ["out/wave.glb", "out/wave.npz", "out/wave.bvh"], "seed": 1},
        {"rig": "hero.glb", "prompt": "jumps", "output": "out/jump.glb", "seconds": 1, "loop": True},
        {"rig": "hero.glb", "prompt": "walks", "output": "walk.bvh"},
    ]
    path = tmp_path / "clips.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture
def farm(tmp_path: Path) -> Iterator[Running]:
    with serving_in_thread(jobs=in_folder(tmp_path / "data", poll_seconds=0.05), writers=None) as running:
        yield running


def test_in_process(manifest, pipeline, capsys):
    assert main(["batch", str(manifest)]) == 0
    assert capsys.readouterr().out == "3 made, 0 failed, 0 were there already\n"
    out = manifest.parent / "out"
    (clip,) = [clip for clip in read_clips(load_rig(out / "jump.glb"), fps=30) if clip.name == "jumps"]
    assert len(clip) in (30, 31)
    assert (manifest.parent / "walk.bvh").read_text().startswith("HIERARCHY")
    assert [request.prompt for request in pipeline.requests] == ["waves", "jumps", "walks"]


def test_begun_again_it_makes_what_is_missing(manifest, pipeline, capsys):
    assert main(["batch", str(manifest)]) == 0
    (manifest.parent / "walk.bvh").unlink()
    pipeline.requests.clear()
    assert main(["batch", str(manifest), "--dry-run"]) == 0
    assert "1 of 3 to make, 2 s of motion" in capsys.readouterr().out
    assert main(["batch", str(manifest)]) == 0
    assert [request.prompt for request in pipeline.requests] == ["walks"]
    assert capsys.readouterr().out == "1 made, 0 failed, 2 were there already\n"


def test_a_clip_that_cannot_be_made_does_not_stop_the_others(manifest, pipeline, capsys, monkeypatch):
    clip = pipeline.clip

    def fail(rig, request):
        if request.prompt == "jumps":
            raise GenerationError("nothing moved")
        return clip(rig, request)

    monkeypatch.setattr(pipeline, "clip", fail)
    assert main(["batch", str(manifest)]) == 1
    said = capsys.readouterr()
    assert "clips.jsonl line 2: nothing moved" in said.err
    assert said.out == "2 made, 1 failed, 0 were there already\n"
    assert main(["batch", str(manifest), "--fail-fast"]) == 1
    monkeypatch.setattr(pipeline, "clip", clip)
    assert main(["batch", str(manifest)]) == 0


def test_a_manifest_with_mistakes_is_status_2_and_nothing_is_made(manifest, pipeline, capsys):
    manifest.write_text(manifest.read_text() + '\n{"rig": "hero.glb", "prompt": "x", "output": "x.fbx"}\n{')
    assert main(["batch", str(manifest)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
    assert pipeline.requests == []


def test_a_dry_run_makes_nothing(manifest, pipeline, capsys):
    assert main(["batch", str(manifest), "--dry-run"]) == 0
    assert "3 of 3 to make, 5 s of motion, 1 rigs" in capsys.readouterr().out
    assert pipeline.requests == []
    assert not (manifest.parent / "clips.jsonl.journal").exists()


def test_on_a_server(manifest, farm, capsys):
    assert main(["batch", str(manifest), "--server", farm.target]) == 0
    assert capsys.readouterr().out == "3 made, 0 failed, 0 were there already\n"
    out = manifest.parent / "out"
    npz = np.load(out / "wave.npz")
    (clip,) = [clip for clip in read_clips(load_rig(out / "wave.glb"), fps=30) if clip.name == "waves"]
    assert len(npz["rotations"]) == len(clip)
    made = len(farm.engine.calls)
    assert made == 3
    # files lost: fetched again, not made again
    (out / "wave.glb").unlink()
    assert main(["batch", str(manifest), "--server", farm.target]) == 0
    assert len(farm.engine.calls) == made
    # and the jobs can be looked at
    assert main(["jobs", "list", "--server", farm.target, "--json"]) == 0
    jobs = [json.loads(line) for line in capsys.readouterr().out.splitlines() if line.startswith("{")]
    assert {job["state"] for job in jobs} == {"JOB_STATE_SUCCEEDED"}
    assert {job["labels"]["line"] for job in jobs} == {"1", "2", "3"}


def test_the_model_is_one_of_the_server_s(manifest, farm, capsys):
    assert main(["batch", str(manifest), "--server", farm.target, "--model", "other"]) == 1
    assert "'other'; accepted: fake" in capsys.readouterr().err
    assert main(["batch", str(manifest), "--server", farm.target, "--model", "fake"]) == 0
    for option in (["--provider", "cpu"], ["--threads", "2"]):
        assert main(["batch", str(manifest), "--server", farm.target, *option]) == 2


def test_a_job_that_fails_on_the_server_is_told_and_tried_anew(manifest, farm, capsys):
    farm.engine.failure = GenerationError("nothing moved")
    assert main(["batch", str(manifest), "--server", farm.target]) == 1
    assert "nothing moved" in capsys.readouterr().err
    farm.engine.failure = None
    assert main(["batch", str(manifest), "--server", farm.target]) == 0


def test_a_server_that_is_away_for_too_long_is_a_failure(manifest, capsys):
    assert main(["batch", str(manifest), "--server", "127.0.0.1:1", "--patience", "0"]) == 1
    assert "0 made, 3 failed" in capsys.readouterr().out
